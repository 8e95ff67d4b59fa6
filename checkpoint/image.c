/* image.c - see image.h. */
#include "checkpoint/image.h"
#include "checkpoint/hdf5_file.h"
#include "runtime/monitor/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STAGE_BYTES ((size_t)1 << 20)

/* A stretch of the image: bytes HDF5 wrote (dataset -1), or the raw data of a dataset (entries first, then texts). */
typedef struct piece {
    int64_t offset, bytes;
    int dataset;
    size_t metadata; /* where the bytes stand in image->metadata */
} piece;

struct tarn_checkpoint_image {
    int entry_count, text_count;
    tarn_hdf5_dataset *datasets; /* owns the names */
    int64_t file_bytes;
    piece *pieces;
    int piece_count;
    uint8_t *metadata;
};

/* A function of the text alone, so that the file's layout does not depend on what stood there before. */
static int64_t text_capacity(const char *value)
{
    int64_t capacity = TARN_CHECKPOINT_TEXT_MINIMUM;
    while (capacity < (int64_t)strlen(value) + 1) capacity *= 2;
    return capacity;
}

static bool check_name(const char *name, tarn_problem *problem)
{
    size_t length = name ? strlen(name) : 0;
    bool good = length && length < 1000 && name[0] != '/' && name[length - 1] != '/' && !strstr(name, "//");
    /* HDF5 drops a lone dot between slashes. */
    good = good && strcmp(name, ".") && strncmp(name, "./", 2) && !strstr(name, "/./") &&
           (length < 2 || strcmp(name + length - 2, "/."));
    return good ? true
                : tarn_problem_set(problem, 0,
                                   "'%s' cannot name a dataset: expected parts joined by single slashes, none "
                                   "of them empty or a lone dot",
                                   name ? name : "(null)");
}

static bool describe_entry(tarn_hdf5_dataset *dataset, const tarn_checkpoint_entry *entry, const tarn_hdf5_slice *slice,
                           tarn_problem *problem)
{
    if (!check_name(entry->name, problem)) return false;
    if ((unsigned)entry->dtype >= TARN_DTYPE_COUNT || entry->ndim < 0 || entry->ndim > TARN_MAX_DIMS)
        return tarn_problem_set(problem, 0, "dataset %s: unknown type or %d dimensions (at most %d)", entry->name,
                                entry->ndim, TARN_MAX_DIMS);
    dataset->dtype = entry->dtype;
    dataset->ndim = entry->ndim;
    memcpy(dataset->shape, entry->shape, sizeof dataset->shape);
    dataset->in_digest = entry->in_digest;
    if (slice) dataset->slice = *slice;
    dataset->bytes = tarn_hdf5_array_bytes(entry->dtype, entry->ndim, entry->shape);
    if (dataset->bytes < 0 || (dataset->bytes && !entry->data))
        return tarn_problem_set(problem, 0, "dataset %s: %s", entry->name,
                                dataset->bytes < 0 ? "a negative or impossibly large shape" : "no data");
    dataset->name = strdup(entry->name);
    return dataset->name ? true : tarn_problem_set(problem, ENOMEM, "out of memory");
}

static bool describe_text(tarn_hdf5_dataset *dataset, const tarn_checkpoint_text *text, tarn_problem *problem)
{
    if (!check_name(text->name, problem)) return false;
    if (!text->value || strlen(text->value) >= TARN_CHECKPOINT_TEXT_MAXIMUM)
        return tarn_problem_set(problem, 0, "text %s: %s", text->name,
                                text->value ? "longer than 1 MiB, the most a checkpoint carries" : "no value");
    dataset->is_text = true;
    dataset->bytes = text_capacity(text->value);
    dataset->name = strdup(text->name);
    return dataset->name ? true : tarn_problem_set(problem, ENOMEM, "out of memory");
}

static bool describe(tarn_checkpoint_image *image, const tarn_checkpoint_content *content, tarn_problem *problem)
{
    int count = content->entry_count + content->text_count;
    image->datasets = calloc((size_t)count + 1, sizeof *image->datasets);
    if (!image->datasets) return tarn_problem_set(problem, ENOMEM, "out of memory");
    image->entry_count = content->entry_count;
    image->text_count = content->text_count;
    for (int i = 0; i < count; i++)
        if (i < content->entry_count
                ? !describe_entry(&image->datasets[i], &content->entries[i],
                                  content->slices ? &content->slices[i] : NULL, problem)
                : !describe_text(&image->datasets[i], &content->texts[i - content->entry_count], problem))
            return false;
    return true;
}

/* ---- template ---------------------------------------------------------------------------------------------------- */

static int by_offset(const void *a, const void *b)
{
    int64_t x = ((const piece *)a)->offset, y = ((const piece *)b)->offset;
    return (x > y) - (x < y);
}

/* Pieces of raw data in order of offset, then the gaps between them as metadata. */
static bool lay_out(tarn_checkpoint_image *image, tarn_problem *problem)
{
    int count = image->entry_count + image->text_count, data_count = 0;
    image->pieces = calloc(2 * (size_t)count + 1, sizeof *image->pieces);
    if (!image->pieces) return tarn_problem_set(problem, ENOMEM, "out of memory");
    for (int i = 0; i < count; i++)
        if (image->datasets[i].bytes)
            image->pieces[data_count++] = (piece){image->datasets[i].offset, image->datasets[i].bytes, i, 0};
    qsort(image->pieces, (size_t)data_count, sizeof *image->pieces, by_offset);
    int64_t at = TARN_CHECKPOINT_BLOCK;
    int total = data_count;
    size_t metadata = 0;
    for (int i = 0; i <= data_count; i++) {
        int64_t next = i < data_count ? image->pieces[i].offset : image->file_bytes;
        if (next < at) return tarn_problem_set(problem, 0, "HDF5 laid datasets over one another");
        if (next > at) {
            image->pieces[total++] = (piece){at, next - at, -1, metadata};
            metadata += (size_t)(next - at);
        }
        at = i < data_count ? next + image->pieces[i].bytes : next;
    }
    image->piece_count = total;
    qsort(image->pieces, (size_t)total, sizeof *image->pieces, by_offset);
    image->metadata = malloc(metadata + 1);
    return image->metadata ? true : tarn_problem_set(problem, ENOMEM, "out of memory");
}

static bool read_template(tarn_checkpoint_image *image, const tarn_hdf5_memory *memory, tarn_problem *problem)
{
    image->file_bytes = tarn_hdf5_memory_bytes(memory);
    if (!lay_out(image, problem)) return false;
    for (int i = 0; i < image->piece_count; i++) {
        const piece *gap = &image->pieces[i];
        if (gap->dataset < 0) tarn_hdf5_memory_read(memory, gap->offset, image->metadata + gap->metadata, gap->bytes);
    }
    return true;
}

bool tarn_checkpoint_image_make(tarn_checkpoint_image **out, const tarn_checkpoint_content *content,
                                tarn_problem *problem)
{
    *out = NULL;
    tarn_checkpoint_image *image = calloc(1, sizeof *image);
    if (!image) return tarn_problem_set(problem, ENOMEM, "out of memory");
    int count = content->entry_count + content->text_count;
    tarn_hdf5_memory *memory = tarn_hdf5_memory_create();
    bool done = memory ? describe(image, content, problem) : tarn_problem_set(problem, ENOMEM, "out of memory");
    done = done && tarn_hdf5_make(memory, TARN_CHECKPOINT_BLOCK, image->datasets, count, problem) &&
           read_template(image, memory, problem);
    tarn_hdf5_memory_destroy(memory);
    if (!done) {
        tarn_checkpoint_image_destroy(image);
        return false;
    }
    *out = image;
    return true;
}

void tarn_checkpoint_image_destroy(tarn_checkpoint_image *image)
{
    if (!image) return;
    for (int i = 0; image->datasets && i < image->entry_count + image->text_count; i++)
        free((char *)image->datasets[i].name);
    free(image->datasets);
    free(image->pieces);
    free(image->metadata);
    free(image);
}

bool tarn_checkpoint_image_fits(const tarn_checkpoint_image *image, const tarn_checkpoint_content *content)
{
    if (!image || image->entry_count != content->entry_count || image->text_count != content->text_count) return false;
    for (int i = 0; i < content->entry_count; i++) {
        const tarn_hdf5_dataset *dataset = &image->datasets[i];
        const tarn_checkpoint_entry *entry = &content->entries[i];
        if (strcmp(dataset->name, entry->name) || dataset->dtype != entry->dtype || dataset->ndim != entry->ndim ||
            dataset->in_digest != entry->in_digest || (dataset->bytes && !entry->data))
            return false;
        static const tarn_hdf5_slice whole;
        if (!tarn_hdf5_same_slice(&dataset->slice, content->slices ? &content->slices[i] : &whole)) return false;
        for (int d = 0; d < entry->ndim; d++)
            if (dataset->shape[d] != entry->shape[d]) return false;
    }
    for (int i = 0; i < content->text_count; i++) {
        const tarn_hdf5_dataset *dataset = &image->datasets[image->entry_count + i];
        const tarn_checkpoint_text *text = &content->texts[i];
        if (strcmp(dataset->name, text->name) || !text->value || dataset->bytes != text_capacity(text->value))
            return false;
    }
    return true;
}

int64_t tarn_checkpoint_image_bytes(const tarn_checkpoint_image *image)
{
    return image->file_bytes;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Small pieces are gathered in `stage`, large ones go to the file as they are. */
typedef struct sink {
    int file;
    int error;
    tarn_sha256 *sha;
    uint8_t *stage;
    size_t used;
} sink;

static int write_at(int file, const uint8_t *data, size_t bytes, off_t at)
{
    enum { PIECE = 32 << 20 }; /* after each, whoever watches this rank sees that it works */
    while (bytes) {
        size_t piece = bytes < PIECE ? bytes : PIECE;
        ssize_t done = at < 0 ? write(file, data, piece) : pwrite(file, data, piece, at);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return errno;
        if (done == 0) return EIO;
        data += done;
        bytes -= (size_t)done;
        tarn_monitor_progress(NULL);
        if (at >= 0) at += done;
    }
    return 0;
}

static void flush(sink *to)
{
    if (!to->error) to->error = write_at(to->file, to->stage, to->used, -1);
    to->used = 0;
}

static void put(sink *to, const void *data, size_t bytes)
{
    tarn_sha256_update(to->sha, data, bytes);
    if (bytes > STAGE_BYTES - to->used) flush(to);
    if (bytes > STAGE_BYTES) {
        if (!to->error) to->error = write_at(to->file, data, bytes, -1);
        return;
    }
    memcpy(to->stage + to->used, data, bytes);
    to->used += bytes;
}

static void put_text(sink *to, const char *value, int64_t capacity)
{
    static const uint8_t zeros[4096];
    size_t length = strlen(value), left = (size_t)capacity - length;
    put(to, value, length);
    while (left) {
        size_t part = left < sizeof zeros ? left : sizeof zeros;
        put(to, zeros, part);
        left -= part;
    }
}

static void put_image(sink *to, const tarn_checkpoint_image *image, const tarn_checkpoint_content *content)
{
    for (int i = 0; i < image->piece_count && !to->error; i++) {
        const piece *part = &image->pieces[i];
        if (part->dataset < 0)
            put(to, image->metadata + part->metadata, (size_t)part->bytes);
        else if (part->dataset < image->entry_count)
            put(to, content->entries[part->dataset].data, (size_t)part->bytes);
        else
            put_text(to, content->texts[part->dataset - image->entry_count].value, part->bytes);
    }
    flush(to);
}

static int reserve(int file, int64_t bytes)
{
    int error;
    do error = posix_fallocate(file, 0, bytes);
    while (error == EINTR);
    return error == EOPNOTSUPP || error == EINVAL ? 0 : error;
}

bool tarn_checkpoint_image_write(const tarn_checkpoint_image *image, int file, const tarn_checkpoint_content *content,
                                 tarn_problem *problem)
{
    tarn_checkpoint_header header = {.step = content->step, .image_bytes = image->file_bytes - TARN_CHECKPOINT_BLOCK};
    sink to = {.file = file, .sha = tarn_sha256_create(), .stage = malloc(STAGE_BYTES)};
    bool ready =
        to.sha && to.stage && tarn_checkpoint_digest_bytes(content->entries, content->entry_count, header.state_digest);
    if (ready) {
        to.error = reserve(file, image->file_bytes);
        if (!to.error && lseek(file, TARN_CHECKPOINT_BLOCK, SEEK_SET) < 0) to.error = errno;
        if (!to.error) put_image(&to, image, content);
    }
    uint8_t block[TARN_CHECKPOINT_BLOCK];
    ready = tarn_sha256_finish(to.sha, header.image_digest) && ready && tarn_checkpoint_header_encode(&header, block);
    free(to.stage);
    if (!ready) return tarn_problem_set(problem, ENOMEM, "no memory for its SHA-256");
    if (!to.error) to.error = write_at(file, block, sizeof block, 0);
    if (!to.error && fsync(file)) to.error = errno;
    return to.error ? tarn_problem_set(problem, to.error, "%s", strerror(to.error)) : true;
}
