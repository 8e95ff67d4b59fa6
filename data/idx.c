/* idx.c - images and labels in the IDX format of MNIST (yann.lecun.com/exdb/mnist), plain or gzipped.
 *
 * A file is two zero bytes, a type (8 = bytes), the number of dimensions, each dimension as a big-endian 32-bit number,
 * then the elements. Pixels stay bytes in memory and become f32 when a sample is read. zlib's gzread reads both plain
 * and gzipped files. Sizes in messages are those of the unpacked contents.
 *
 * Invariant: nothing is believed of a header before as many bytes were read: memory grows with what the file holds.
 */
#include "data/dataset.h"
#include "runtime/monitor/monitor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define IDX_MAX_DIMS 16
#define IDX_CHUNK    ((int64_t)1 << 20)

typedef struct idx_array {
    int ndim;
    int64_t dims[IDX_MAX_DIMS];
    uint8_t *bytes; /* header and elements */
    int64_t header; /* bytes before the elements */
    int64_t total;  /* header and elements */
} idx_array;

typedef struct idx_source {
    idx_array images, labels;
} idx_source;

/* An open file and what was read of it. */
typedef struct idx_file {
    tarn_context *context;
    const char *path;
    gzFile stream;
    uint8_t *bytes;
    int64_t used, capacity;
} idx_file;

/* Reads until `wanted` bytes are there or the file ends (used < wanted). */
static tarn_status idx_read_to(idx_file *file, int64_t wanted)
{
    while (file->used < wanted) {
        int64_t take = wanted - file->used;
        if (take >= 2 * IDX_CHUNK) take = IDX_CHUNK; /* the last piece is never small: see idx_read_elements */
        if (file->used + take > file->capacity) {
            int64_t capacity = 2 * file->capacity > file->used + take ? 2 * file->capacity : file->used + take;
            if (capacity > wanted) capacity = wanted;
            uint8_t *grown = realloc(file->bytes, (size_t)capacity);
            if (grown == NULL)
                return tarn_fail(file->context, TARN_ERROR_MEMORY, TARN_HERE, "%s: no memory for %lld bytes",
                                 file->path, (long long)capacity);
            file->bytes = grown;
            file->capacity = capacity;
        }
        int got = gzread(file->stream, file->bytes + file->used, (unsigned)take);
        tarn_monitor_progress(file->context);
        if (got < 0) {
            int code;
            const char *reason = gzerror(file->stream, &code);
            return tarn_fail(file->context, code == Z_ERRNO ? TARN_ERROR_IO : TARN_ERROR_FORMAT, TARN_HERE,
                             "%s: cannot be read after %lld bytes: %s: the file is damaged, get it anew", file->path,
                             (long long)file->used, code == Z_ERRNO ? strerror(errno) : reason);
        }
        if (got == 0) return TARN_OK; /* the end, or a packed file that ends too soon: reported as truncated */
        file->used += got;
    }
    return TARN_OK;
}

static tarn_status idx_truncated(const idx_file *file, const char *what, int64_t expected)
{
    return tarn_fail(file->context, TARN_ERROR_FORMAT, TARN_HERE,
                     "%s: %s: expected %lld bytes%s, found %lld: get the file anew", file->path,
                     file->used == 0 ? "the file is empty" : "the file is truncated", (long long)expected, what,
                     (long long)file->used);
}

/* Magic and dimensions. */
static tarn_status idx_read_header(idx_file *file, idx_array *array)
{
    tarn_status status = idx_read_to(file, 4);
    if (status != TARN_OK) return status;
    if (file->used < 4) return idx_truncated(file, " of magic number at least", 4);
    const uint8_t *magic = file->bytes;
    if (magic[0] != 0 || magic[1] != 0 || magic[3] == 0 || magic[3] > IDX_MAX_DIMS)
        return tarn_fail(
            file->context, TARN_ERROR_FORMAT, TARN_HERE,
            "%s: is no IDX file: its first bytes are %02x %02x %02x %02x, expected 00 00 08 and the number of "
            "dimensions (00 00 08 03 for images, 00 00 08 01 for labels)",
            file->path, magic[0], magic[1], magic[2], magic[3]);
    if (magic[2] != 8)
        return tarn_fail(file->context, TARN_ERROR_UNSUPPORTED, TARN_HERE,
                         "%s: its elements are of IDX type 0x%02x; only unsigned bytes (0x08) are read", file->path,
                         magic[2]);
    array->ndim = magic[3];
    array->header = 4 + 4 * (int64_t)array->ndim;
    status = idx_read_to(file, array->header);
    if (status != TARN_OK) return status;
    if (file->used < array->header) return idx_truncated(file, " of header", array->header);
    int64_t elements = 1;
    for (int d = 0; d < array->ndim; d++) {
        const uint8_t *at = file->bytes + 4 + 4 * d;
        array->dims[d] = (int64_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
        if (array->dims[d] == 0)
            return tarn_fail(file->context, TARN_ERROR_FORMAT, TARN_HERE,
                             "%s: dimension %d is 0: the file holds no samples", file->path, d);
        if (__builtin_mul_overflow(elements, array->dims[d], &elements) || elements > INT64_MAX / 8)
            return tarn_fail(file->context, TARN_ERROR_FORMAT, TARN_HERE,
                             "%s: the dimensions in its header are larger than any file", file->path);
    }
    array->total = array->header + elements;
    return TARN_OK;
}

/* Asks for one byte more than there should be, in the same call as the last pixels: gzread looks at the checksum of a
 * packed file only while it has room to write, and takes a missing one for a regular end otherwise. */
static tarn_status idx_read_elements(idx_file *file, const idx_array *array)
{
    tarn_status status = idx_read_to(file, array->total + 1);
    if (status != TARN_OK) return status;
    if (file->used < array->total) return idx_truncated(file, " by the dimensions in its header", array->total);
    if (file->used > array->total) {
        char more[4096];
        int64_t found = file->used;
        for (int got; (got = gzread(file->stream, more, sizeof more)) > 0;) found += got;
        return tarn_fail(
            file->context, TARN_ERROR_FORMAT, TARN_HERE,
            "%s: data follows the elements: expected %lld bytes by the dimensions in its header, found %lld",
            file->path, (long long)array->total, (long long)found);
    }
    int code;
    (void)gzerror(file->stream, &code);
    if (code != Z_OK)
        return tarn_fail(file->context, TARN_ERROR_FORMAT, TARN_HERE,
                         "%s: the packed file is truncated: its checksum is missing after all %lld bytes: get it anew",
                         file->path, (long long)array->total);
    return TARN_OK;
}

static tarn_status idx_load(tarn_context *context, const char *path, idx_array *array)
{
    errno = 0;
    idx_file file = {.context = context, .path = path, .stream = gzopen(path, "rbe")};
    if (file.stream == NULL)
        return tarn_fail(context, errno == 0 ? TARN_ERROR_MEMORY : TARN_ERROR_IO, TARN_HERE,
                         "%s: cannot open it: %s: check the path", path, errno == 0 ? "no memory" : strerror(errno));
    gzbuffer(file.stream, 131071); /* odd: contents that fill it exactly hide a missing checksum */
    tarn_status status = idx_read_header(&file, array);
    if (status == TARN_OK) status = idx_read_elements(&file, array);
    gzclose(file.stream);
    if (status != TARN_OK) {
        free(file.bytes);
        return status;
    }
    array->bytes = file.bytes;
    return TARN_OK;
}

static tarn_status idx_read(const tarn_dataset *dataset, int64_t index, void *input, void *target,
                            tarn_data_error *error)
{
    (void)error;
    const idx_source *source = dataset->source;
    int64_t sample = dataset->first + index, pixels = dataset->shape.input_shape[0];
    const uint8_t *image = source->images.bytes + source->images.header + sample * pixels;
    float *out = input;
    for (int64_t i = 0; i < pixels; i++) out[i] = (float)image[i] / 255.0f;
    *(int32_t *)target = source->labels.bytes[source->labels.header + sample];
    return TARN_OK;
}

static void idx_close(void *data)
{
    idx_source *source = data;
    free(source->images.bytes);
    free(source->labels.bytes);
    free(source);
}

static const tarn_dataset_kind idx_kind = {.name = "idx", .read = idx_read, .close = idx_close};

/* Both files, and that they belong together. */
static tarn_status idx_load_both(tarn_context *context, const char *images, const char *labels, idx_source *source)
{
    tarn_status status = idx_load(context, images, &source->images);
    if (status == TARN_OK) status = idx_load(context, labels, &source->labels);
    if (status != TARN_OK) return status;
    if (source->labels.ndim != 1)
        return tarn_fail(context, TARN_ERROR_FORMAT, TARN_HERE,
                         "%s: has %d dimensions, labels have 1: are images and labels exchanged?", labels,
                         source->labels.ndim);
    if (source->images.dims[0] != source->labels.dims[0])
        return tarn_fail(context, TARN_ERROR_FORMAT, TARN_HERE,
                         "%s holds %lld images but %s holds %lld labels: the two files do not belong together", images,
                         (long long)source->images.dims[0], labels, (long long)source->labels.dims[0]);
    return TARN_OK;
}

tarn_status tarn_idx_open(tarn_dataset **dataset, tarn_context *context, const char *images, const char *labels)
{
    *dataset = NULL;
    if (images == NULL || labels == NULL)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "idx: the path of the %s is missing",
                         images == NULL ? "images" : "labels");
    idx_source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "%s: no memory for the dataset", images);
    tarn_dataset *made = NULL;
    tarn_status status = idx_load_both(context, images, labels, source);
    if (status == TARN_OK) status = tarn_dataset_create(&made, context, &idx_kind, source, images);
    if (status != TARN_OK) {
        idx_close(source);
        return status;
    }
    int64_t n = source->images.dims[0], highest = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t label = source->labels.bytes[source->labels.header + i];
        if (label > highest) highest = label;
    }
    tarn_sample_shape shape = {.input_dtype = TARN_F32,
                               .target_dtype = TARN_I32,
                               .input_ndim = 1,
                               .input_shape = {(source->images.total - source->images.header) / n},
                               .classes = highest + 1};
    made->length = n;
    status = tarn_dataset_set_shape(made, &shape);
    if (status == TARN_OK)
        status = tarn_data_digest(context, source->images.bytes, (size_t)source->images.total, source->labels.bytes,
                                  (size_t)source->labels.total, made->digest);
    if (status != TARN_OK) {
        tarn_dataset_close(made);
        return status;
    }
    *dataset = made;
    return TARN_OK;
}
