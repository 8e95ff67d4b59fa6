/* reader.c - see reader.h. */
#include "checkpoint/reader.h"
#include "checkpoint/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A stretch with the name of its array, to sort by. */
typedef struct named {
    const char *name;
    tarn_checkpoint_stretch stretch;
} named;

struct tarn_checkpoint_reader {
    tarn_hdf5_file **files;
    int file_count;
    tarn_hdf5_dataset *datasets; /* whole arrays, in order of name; names are the files' */
    int *first;                  /* [count + 1]: the stretches of dataset i are first[i] to first[i + 1] - 1 */
    tarn_checkpoint_stretch *stretches;
    int count;
};

void tarn_checkpoint_reader_close(tarn_checkpoint_reader *reader)
{
    if (!reader) return;
    for (int i = 0; i < reader->file_count; i++) tarn_hdf5_close(reader->files[i]);
    free(reader->files);
    free(reader->datasets);
    free(reader->first);
    free(reader->stretches);
    free(reader);
}

static bool open_files(tarn_checkpoint_reader *reader, const char *path, int parts, tarn_problem *problem)
{
    int count = parts ? parts : 1;
    reader->files = calloc((size_t)count, sizeof(tarn_hdf5_file *));
    if (!reader->files) return tarn_problem_set(problem, ENOMEM, "out of memory");
    for (int i = 0; i < count; i++) {
        char part[TARN_CHECKPOINT_PATH];
        if (parts && !tarn_checkpoint_part_path(part, path, i))
            return tarn_problem_set(problem, ENAMETOOLONG, "too long a name");
        if (!tarn_hdf5_open(&reader->files[i], parts ? part : path, problem)) return false;
        reader->file_count++;
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    const named *x = a, *y = b;
    int names = strcmp(x->name, y->name);
    if (names) return names;
    if (x->stretch.begin != y->stretch.begin) return x->stretch.begin < y->stretch.begin ? -1 : 1;
    return (x->stretch.file > y->stretch.file) - (x->stretch.file < y->stretch.file);
}

static named *gather(const tarn_checkpoint_reader *reader, int *count)
{
    size_t total = 0;
    for (int i = 0; i < reader->file_count; i++) total += (size_t)tarn_hdf5_count(reader->files[i]);
    named *all = calloc(total + 1, sizeof *all);
    *count = 0;
    for (int i = 0; all && i < reader->file_count; i++)
        for (int k = 0; k < tarn_hdf5_count(reader->files[i]); k++) {
            const tarn_hdf5_dataset *dataset = tarn_hdf5_at(reader->files[i], k);
            int64_t size = dataset->is_text ? 1 : (int64_t)tarn_dtype_size(dataset->dtype);
            int64_t elements = dataset->bytes / size, begin = dataset->slice.is_slice ? dataset->slice.begin : 0;
            all[(*count)++] = (named){dataset->name, {i, begin, elements, dataset}};
        }
    if (*count) qsort(all, (size_t)*count, sizeof *all, by_name);
    return all;
}

/* The array that stretches [from, to) make up. */
static bool join(tarn_hdf5_dataset *whole, const named *all, int from, int to, tarn_problem *problem)
{
    *whole = *all[from].stretch.dataset;
    if (!whole->slice.is_slice) {
        if (to - from == 1) return true;
        return tarn_problem_set(problem, 0, "its array %s is in more than one part", whole->name);
    }
    const tarn_hdf5_slice slice = whole->slice;
    whole->ndim = slice.ndim;
    memcpy(whole->shape, slice.shape, sizeof whole->shape);
    whole->slice = (tarn_hdf5_slice){0};
    whole->offset = -1;
    whole->bytes = tarn_hdf5_array_bytes(whole->dtype, whole->ndim, whole->shape);
    int64_t next = 0, size = (int64_t)tarn_dtype_size(whole->dtype);
    for (int i = from; i < to; i++) {
        const tarn_hdf5_dataset *piece = all[i].stretch.dataset;
        tarn_hdf5_slice same = piece->slice;
        same.begin = slice.begin;
        if (!tarn_hdf5_same_slice(&same, &slice) || piece->dtype != whole->dtype ||
            piece->in_digest != whole->in_digest || piece->is_text || all[i].stretch.begin != next)
            return tarn_problem_set(problem, 0, "its parts do not make up the array %s: element %" PRId64 " is missing",
                                    whole->name, next);
        next += all[i].stretch.count;
    }
    return next * size == whole->bytes
               ? true
               : tarn_problem_set(problem, 0, "its array %s ends early, at element %" PRId64, whole->name, next);
}

static bool assemble(tarn_checkpoint_reader *reader, tarn_problem *problem)
{
    int total;
    named *all = gather(reader, &total);
    reader->datasets = calloc((size_t)total + 1, sizeof *reader->datasets);
    reader->first = calloc((size_t)total + 2, sizeof *reader->first);
    reader->stretches = calloc((size_t)total + 1, sizeof *reader->stretches);
    bool done = all && reader->datasets && reader->first && reader->stretches;
    if (!done) tarn_problem_set(problem, ENOMEM, "out of memory for its list of datasets");
    for (int from = 0, to; done && from < total; from = to) {
        for (to = from; to < total && !strcmp(all[to].name, all[from].name); to++)
            reader->stretches[to] = all[to].stretch;
        done = join(&reader->datasets[reader->count], all, from, to, problem);
        reader->first[reader->count++] = from;
        reader->first[reader->count] = to;
    }
    free(all);
    return done;
}

bool tarn_checkpoint_reader_open(tarn_checkpoint_reader **out, const char *path, int parts, tarn_problem *problem)
{
    *out = NULL;
    tarn_checkpoint_reader *reader = calloc(1, sizeof *reader);
    if (!reader) return tarn_problem_set(problem, ENOMEM, "out of memory");
    if (!open_files(reader, path, parts, problem) || !assemble(reader, problem)) {
        tarn_checkpoint_reader_close(reader);
        return false;
    }
    *out = reader;
    return true;
}

int tarn_checkpoint_reader_count(const tarn_checkpoint_reader *reader)
{
    return reader->count;
}

const tarn_hdf5_dataset *tarn_checkpoint_reader_at(const tarn_checkpoint_reader *reader, int index)
{
    return &reader->datasets[index];
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const tarn_hdf5_dataset *)a)->name, ((const tarn_hdf5_dataset *)b)->name);
}

const tarn_hdf5_dataset *tarn_checkpoint_reader_find(const tarn_checkpoint_reader *reader, const char *name)
{
    tarn_hdf5_dataset key = {.name = name};
    return reader->count ? bsearch(&key, reader->datasets, (size_t)reader->count, sizeof key, compare_names) : NULL;
}

int tarn_checkpoint_reader_stretches(const tarn_checkpoint_reader *reader, const tarn_hdf5_dataset *dataset,
                                     const tarn_checkpoint_stretch **stretches)
{
    int index = (int)(dataset - reader->datasets);
    *stretches = reader->stretches + reader->first[index];
    return reader->first[index + 1] - reader->first[index];
}

bool tarn_checkpoint_reader_read_stretch(tarn_checkpoint_reader *reader, const tarn_checkpoint_stretch *stretch,
                                         void *data, tarn_problem *problem)
{
    return tarn_hdf5_read(reader->files[stretch->file], stretch->dataset, data, problem);
}

bool tarn_checkpoint_reader_read(tarn_checkpoint_reader *reader, const tarn_hdf5_dataset *dataset, void *data,
                                 tarn_problem *problem)
{
    const tarn_checkpoint_stretch *stretches;
    int count = tarn_checkpoint_reader_stretches(reader, dataset, &stretches);
    int64_t size = dataset->is_text ? 1 : (int64_t)tarn_dtype_size(dataset->dtype);
    for (int i = 0; i < count; i++)
        if (!tarn_checkpoint_reader_read_stretch(reader, &stretches[i], (uint8_t *)data + stretches[i].begin * size,
                                                 problem))
            return false;
    return true;
}
