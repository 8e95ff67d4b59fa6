/* dataset.c - what all sources share: life, shape, reading, the validation part.
 *
 * Invariant: after a failure a dataset is as it was before the call.
 */
#include "data/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tarn_status tarn_data_explain(tarn_data_error *error, tarn_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return status;
}

tarn_status tarn_dataset_create(tarn_dataset **dataset, tarn_context *context, const tarn_dataset_kind *kind,
                                void *source, const char *name)
{
    tarn_dataset *made = calloc(1, sizeof *made);
    char *copy = strdup(name);
    if (made == NULL || copy == NULL) {
        free(made);
        free(copy);
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "%s: no memory for the dataset", name);
    }
    made->context = context;
    made->kind = kind;
    made->source = source;
    made->name = copy;
    *dataset = made;
    return TARN_OK;
}

tarn_dataset *tarn_dataset_root(tarn_dataset *dataset)
{
    return dataset->parent != NULL ? dataset->parent : dataset;
}

tarn_dataset *tarn_dataset_make_validation(tarn_dataset *dataset)
{
    if (dataset->validation != NULL) return dataset->validation;
    tarn_dataset *part = NULL;
    if (tarn_dataset_create(&part, dataset->context, dataset->kind, dataset->source, dataset->name) != TARN_OK)
        return NULL;
    part->parent = dataset;
    part->shape = dataset->shape;
    part->input_bytes = dataset->input_bytes;
    part->target_bytes = dataset->target_bytes;
    memcpy(part->digest, dataset->digest, sizeof part->digest);
    dataset->validation = part;
    return part;
}

void tarn_dataset_close(tarn_dataset *dataset)
{
    if (dataset == NULL || dataset->parent != NULL) return; /* the validation part is borrowed */
    if (dataset->validation != NULL) {
        free(dataset->validation->name);
        free(dataset->validation);
    }
    if (dataset->kind->close != NULL) dataset->kind->close(dataset->source);
    free(dataset->name);
    free(dataset);
}

int64_t tarn_dataset_length(const tarn_dataset *dataset)
{
    return dataset->length;
}

void tarn_dataset_shape(const tarn_dataset *dataset, tarn_sample_shape *shape)
{
    *shape = dataset->shape;
}

const char *tarn_dataset_digest(const tarn_dataset *dataset)
{
    return dataset->digest;
}

tarn_dataset *tarn_dataset_validation(tarn_dataset *dataset)
{
    return dataset->validation;
}

/* Bytes of one sample's input or target; 0 when the shape makes no sense. */
static int64_t sample_bytes(tarn_dtype dtype, int ndim, const int64_t *shape)
{
    if ((int)dtype < 0 || dtype >= TARN_DTYPE_COUNT || ndim < 0 || ndim >= TARN_MAX_DIMS) return 0;
    int64_t bytes = (int64_t)tarn_dtype_size(dtype);
    for (int d = 0; d < ndim; d++)
        if (shape[d] < 1 || __builtin_mul_overflow(bytes, shape[d], &bytes)) return 0;
    return bytes;
}

tarn_status tarn_dataset_set_shape(tarn_dataset *dataset, const tarn_sample_shape *shape)
{
    int64_t input_bytes = sample_bytes(shape->input_dtype, shape->input_ndim, shape->input_shape);
    int64_t target_bytes = sample_bytes(shape->target_dtype, shape->target_ndim, shape->target_shape);
    if (input_bytes == 0 || target_bytes == 0)
        return tarn_fail(
            dataset->context, TARN_ERROR_SHAPE, TARN_HERE,
            "%s: the shape of a sample's %s makes no sense: it needs a known dtype, 0 to %d dimensions (one "
            "is left for the batch) and sizes of 1 or more",
            dataset->name, input_bytes == 0 ? "input" : "target", TARN_MAX_DIMS - 1);
    if (shape->classes < 0 || (shape->classes > 0 && !tarn_targets_are_classes(shape)))
        return tarn_fail(dataset->context, TARN_ERROR_SHAPE, TARN_HERE,
                         "%s: %lld classes with %s targets: classes need i32 or i64 targets, 0 stands for none",
                         dataset->name, (long long)shape->classes, tarn_dtype_name(shape->target_dtype));
    dataset->shape = *shape;
    dataset->input_bytes = input_bytes;
    dataset->target_bytes = target_bytes;
    return TARN_OK;
}

tarn_status tarn_dataset_require_idle(tarn_dataset *dataset, const char *what)
{
    int loaders = atomic_load(&tarn_dataset_root(dataset)->loaders);
    if (loaders == 0) return TARN_OK;
    return tarn_fail(dataset->context, TARN_ERROR_STATE, TARN_HERE,
                     "%s: cannot %s while %d loaders read from it: do it before training starts", dataset->name, what,
                     loaders);
}

tarn_status tarn_sample_check_targets(const tarn_sample_shape *shape, int64_t target_bytes, const void *target,
                                      int64_t index, tarn_data_error *error)
{
    if (shape->classes == 0) return TARN_OK;
    size_t size = tarn_dtype_size(shape->target_dtype);
    for (int64_t i = 0; i < target_bytes / (int64_t)size; i++) {
        int64_t value;
        if (size == sizeof(int32_t)) {
            int32_t narrow;
            memcpy(&narrow, (const char *)target + i * 4, sizeof narrow);
            value = narrow;
        } else {
            memcpy(&value, (const char *)target + i * 8, sizeof value);
        }
        if (value < -1 || value >= shape->classes)
            return tarn_data_explain(error, TARN_ERROR_FORMAT,
                                     "sample %lld: target %lld (element %lld) is outside of [0, %lld), the classes the "
                                     "shape states; -1 stands for a target that does not count",
                                     (long long)index, (long long)value, (long long)i, (long long)shape->classes);
    }
    return TARN_OK;
}

tarn_status tarn_dataset_read_quiet(const tarn_dataset *dataset, int64_t index, void *input, void *target,
                                    tarn_data_error *error)
{
    if (index < 0 || index >= dataset->length)
        return tarn_data_explain(error, TARN_ERROR_ARGUMENT, "%s: sample %lld is outside of [0, %lld)", dataset->name,
                                 (long long)index, (long long)dataset->length);
    return dataset->kind->read(dataset, index, input, target, error);
}

tarn_status tarn_dataset_read(tarn_dataset *dataset, int64_t index, void *input, void *target)
{
    tarn_data_error error;
    tarn_status status = tarn_dataset_read_quiet(dataset, index, input, target, &error);
    return status == TARN_OK ? TARN_OK : tarn_fail(dataset->context, status, TARN_HERE, "%s", error.text);
}

/* The last round(n * share) samples, at least one on each side. */
static tarn_status split_samples(tarn_dataset *dataset, double share)
{
    int64_t cut = (int64_t)((double)dataset->length * share + 0.5);
    if (cut < 1) cut = 1;
    if (cut >= dataset->length)
        return tarn_fail(dataset->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "%s: a validation share of %g leaves nothing of %lld samples to train on", dataset->name,
                         share, (long long)dataset->length);
    tarn_dataset *part = tarn_dataset_make_validation(dataset);
    if (part == NULL) return TARN_ERROR_MEMORY;
    dataset->length -= cut;
    part->first = dataset->first + dataset->length;
    part->length = cut;
    return TARN_OK;
}

tarn_status tarn_dataset_split(tarn_dataset *dataset, double share)
{
    if (!(share >= 0 && share < 1))
        return tarn_fail(dataset->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "%s: a validation share of %g makes no sense: it must be at least 0 and below 1",
                         dataset->name, share);
    if (dataset->parent != NULL || dataset->validation != NULL)
        return tarn_fail(dataset->context, TARN_ERROR_STATE, TARN_HERE, "%s: is split already", dataset->name);
    if (dataset->stream && share > 0)
        return tarn_fail(dataset->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "%s: a stream has no last samples to cut off: give the validation data as a dataset of its "
                         "own (validation in tarn_train_options)",
                         dataset->name);
    tarn_status status = tarn_dataset_require_idle(dataset, "split it");
    if (status != TARN_OK || share == 0) return status;
    return dataset->kind->split != NULL ? dataset->kind->split(dataset, share) : split_samples(dataset, share);
}
