/* callback.c - samples that a function of the caller writes: any of a known number, or a stream with an end.
 *
 * There are no bytes to hash, so the digest is empty.
 */
#include "data/dataset.h"

#include <stdlib.h>

typedef struct callback_source {
    tarn_read_function *read;
    void *user;
} callback_source;

static tarn_status callback_read(const tarn_dataset *dataset, int64_t index, void *input, void *target,
                                 tarn_data_error *error)
{
    const callback_source *source = dataset->source;
    int64_t sample = dataset->first + index;
    tarn_status status = source->read(source->user, sample, input, target);
    if (status == TARN_EXHAUSTED && dataset->stream)
        return tarn_data_explain(error, status, "the stream ends before sample %lld", (long long)sample);
    if (status == TARN_EXHAUSTED)
        return tarn_data_explain(error, TARN_ERROR_ARGUMENT,
                                 "sample %lld: the read function says that there are no more samples, though the "
                                 "dataset was opened with a number of them: only a stream (tarn_stream_open) may end",
                                 (long long)sample);
    if (status != TARN_OK)
        return tarn_data_explain(error, status, "sample %lld: the read function returned an error (%s)",
                                 (long long)sample, tarn_status_name(status));
    return tarn_sample_check_targets(&dataset->shape, dataset->target_bytes, target, sample, error);
}

static const tarn_dataset_kind callback_kind = {.name = "callback", .read = callback_read, .close = free};

static tarn_status open_source(tarn_dataset **dataset, tarn_context *context, int64_t n, bool stream,
                               const tarn_sample_shape *shape, tarn_read_function *read, void *user)
{
    *dataset = NULL;
    if (n < 1 || shape == NULL || read == NULL)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "callback: %s: a dataset needs a shape, a read function and at least one sample",
                         n < 1           ? "there are no samples"
                         : shape == NULL ? "shape is NULL"
                                         : "read is NULL");
    callback_source *source = malloc(sizeof *source);
    if (source == NULL) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "callback: no memory for the dataset");
    *source = (callback_source){read, user};
    tarn_dataset *made = NULL;
    tarn_status status = tarn_dataset_create(&made, context, &callback_kind, source, stream ? "stream" : "callback");
    if (status != TARN_OK) {
        free(source);
        return status;
    }
    status = tarn_dataset_set_shape(made, shape);
    if (status != TARN_OK) {
        tarn_dataset_close(made);
        return status;
    }
    made->length = n;
    made->stream = stream;
    *dataset = made;
    return TARN_OK;
}

tarn_status tarn_callback_open(tarn_dataset **dataset, tarn_context *context, int64_t n, const tarn_sample_shape *shape,
                               tarn_read_function *read, void *user)
{
    return open_source(dataset, context, n, false, shape, read, user);
}

tarn_status tarn_stream_open(tarn_dataset **dataset, tarn_context *context, const tarn_sample_shape *shape,
                             tarn_read_function *read, void *user)
{
    return open_source(dataset, context, INT64_MAX, true, shape, read, user);
}
