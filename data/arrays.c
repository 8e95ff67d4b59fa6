/* arrays.c - samples that lie in the caller's memory: row `index` of two arrays.
 */
#include "data/dataset.h"

#include <stdlib.h>
#include <string.h>

typedef struct arrays_source {
    const char *inputs, *targets; /* borrowed */
} arrays_source;

static tarn_status arrays_read(const tarn_dataset *dataset, int64_t index, void *input, void *target,
                               tarn_data_error *error)
{
    (void)error;
    const arrays_source *source = dataset->source;
    int64_t row = dataset->first + index;
    memcpy(input, source->inputs + row * dataset->input_bytes, (size_t)dataset->input_bytes);
    memcpy(target, source->targets + row * dataset->target_bytes, (size_t)dataset->target_bytes);
    return TARN_OK;
}

static const tarn_dataset_kind arrays_kind = {.name = "arrays", .read = arrays_read, .close = free};

/* The shape, the targets and the digest of a dataset whose source is set. */
static tarn_status arrays_prepare(tarn_dataset *dataset, int64_t n, const tarn_sample_shape *shape)
{
    const arrays_source *source = dataset->source;
    tarn_status status = tarn_dataset_set_shape(dataset, shape);
    if (status != TARN_OK) return status;
    int64_t inputs, targets;
    if (__builtin_mul_overflow(n, dataset->input_bytes, &inputs) ||
        __builtin_mul_overflow(n, dataset->target_bytes, &targets))
        return tarn_fail(dataset->context, TARN_ERROR_SHAPE, TARN_HERE, "%lld samples of this shape fit in no memory",
                         (long long)n);
    for (int64_t i = 0; i < n; i++) {
        tarn_data_error error;
        status = tarn_sample_check_targets(&dataset->shape, dataset->target_bytes,
                                           source->targets + i * dataset->target_bytes, i, &error);
        if (status != TARN_OK) return tarn_fail(dataset->context, status, TARN_HERE, "arrays: %s", error.text);
    }
    dataset->length = n;
    return tarn_data_digest(dataset->context, source->inputs, (size_t)inputs, source->targets, (size_t)targets,
                            dataset->digest);
}

tarn_status tarn_arrays_open(tarn_dataset **dataset, tarn_context *context, int64_t n, const tarn_sample_shape *shape,
                             const void *inputs, const void *targets)
{
    *dataset = NULL;
    if (n < 1 || shape == NULL || inputs == NULL || targets == NULL)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "arrays: %s: a dataset needs a shape, inputs, targets and at least one sample",
                         n < 1            ? "there are no samples"
                         : shape == NULL  ? "shape is NULL"
                         : inputs == NULL ? "inputs is NULL"
                                          : "targets is NULL");
    arrays_source *source = malloc(sizeof *source);
    if (source == NULL) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "arrays: no memory for the dataset");
    *source = (arrays_source){inputs, targets};
    tarn_dataset *made = NULL;
    tarn_status status = tarn_dataset_create(&made, context, &arrays_kind, source, "arrays");
    if (status != TARN_OK) {
        free(source);
        return status;
    }
    status = arrays_prepare(made, n, shape);
    if (status != TARN_OK) {
        tarn_dataset_close(made);
        return status;
    }
    *dataset = made;
    return TARN_OK;
}
