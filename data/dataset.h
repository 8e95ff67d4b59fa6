/* dataset.h - the inside of a tarn_dataset: what the sources (text, idx, arrays, callback) share.
 *
 * Invariants
 *  1. A source's read changes nothing in the dataset: any number of threads may read at once.
 *  2. Read reports through a tarn_data_error and never through the context, so that a sample read ahead and never used
 *     fails nobody.
 *  3. The validation part is a second tarn_dataset on the same source, owned by the first.
 */
#ifndef TARN_DATA_DATASET_H
#define TARN_DATA_DATASET_H

#include <stdatomic.h>
#include <tarn/data.h>

#define TARN_DIGEST_TEXT_BYTES 72 /* "sha256:", 64 digits, zero */

/* An error on its way to tarn_fail. */
typedef struct tarn_data_error {
    char text[1024];
} tarn_data_error;

/* Writes the message and returns the status. */
tarn_status tarn_data_explain(tarn_data_error *error, tarn_status status, const char *format, ...) TARN_PRINTF(3, 4);

typedef struct tarn_dataset_kind {
    const char *name;
    /* Writes sample `index` of [0, length); dataset->first is where the part begins, in units of the source. */
    tarn_status (*read)(const tarn_dataset *dataset, int64_t index, void *input, void *target, tarn_data_error *error);
    /* Cuts the validation part off; NULL: the last samples. */
    tarn_status (*split)(tarn_dataset *dataset, double share);
    void (*close)(void *source); /* NULL: nothing to free */
} tarn_dataset_kind;

struct tarn_dataset {
    tarn_context *context;
    const tarn_dataset_kind *kind;
    void *source; /* owned by the dataset without a parent */
    char *name;   /* for messages: a path, or what it is */
    int64_t first, length;
    bool stream; /* read in order, once; read returns TARN_EXHAUSTED at its end */
    tarn_sample_shape shape;
    int64_t input_bytes, target_bytes; /* of one sample */
    char digest[TARN_DIGEST_TEXT_BYTES];
    tarn_dataset *parent;     /* NULL unless this is a validation part */
    tarn_dataset *validation; /* owned */
    atomic_int loaders;       /* of both parts, counted in the parent: while any is open the shape stays */
};

/* An empty dataset of a source; takes the source only on success. name is copied. */
tarn_status tarn_dataset_create(tarn_dataset **dataset, tarn_context *context, const tarn_dataset_kind *kind,
                                void *source, const char *name);
/* The validation part, created empty when there is none yet; NULL without memory (recorded). */
tarn_dataset *tarn_dataset_make_validation(tarn_dataset *dataset);
/* Checks a shape that a caller gave, computes the bytes of a sample and stores both. */
tarn_status tarn_dataset_set_shape(tarn_dataset *dataset, const tarn_sample_shape *shape);
/* Records STATE when a loader is open on either part. */
tarn_status tarn_dataset_require_idle(tarn_dataset *dataset, const char *what);
/* The dataset that owns the source. */
tarn_dataset *tarn_dataset_root(tarn_dataset *dataset);
/* Reads through the kind, range checked; thread-safe, touches no context. */
tarn_status tarn_dataset_read_quiet(const tarn_dataset *dataset, int64_t index, void *input, void *target,
                                    tarn_data_error *error);
/* Integer targets of a sample of `classes` classes lie in [-1, classes), -1 = not counted. */
tarn_status tarn_sample_check_targets(const tarn_sample_shape *shape, int64_t target_bytes, const void *target,
                                      int64_t index, tarn_data_error *error);
/* Integer targets are classes: padding is -1, and only targets >= 0 count. */
static inline bool tarn_targets_are_classes(const tarn_sample_shape *shape)
{
    return shape->target_dtype == TARN_I32 || shape->target_dtype == TARN_I64;
}

/* The whole file in memory, freed with free(). Errors name the path. */
tarn_status tarn_file_read_all(tarn_context *context, const char *path, uint8_t **bytes, int64_t *size);

/* "sha256:<hex>" of up to two pieces of memory, one after the other. */
tarn_status tarn_data_digest(tarn_context *context, const void *first, size_t first_bytes, const void *second,
                             size_t second_bytes, char out[TARN_DIGEST_TEXT_BYTES]);

#endif
