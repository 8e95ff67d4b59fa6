/* gather.c - gather: rows of x (N, ...) by index (...), i32 or i64 in [0, N): (..., ...). Backward: dy is added to the
 * row it came from, in the order of the index; rows nobody took get +0. */
#include "ops/rows.h"
#include "ops/shape.h"
#include <tarn/ops.h>

static tarn_status infer(tarn_call *call)
{
    const tarn_view *x = &call->in[0], *index = &call->in[1];
    if (index->dtype != TARN_I32 && index->dtype != TARN_I64)
        return tarn_call_error(call, "the index is %s: it must be i32 or i64", tarn_dtype_name(index->dtype));
    if (x->ndim < 1) return tarn_call_error(call, "a scalar has no rows");
    if (index->ndim + x->ndim - 1 > TARN_MAX_DIMS)
        return tarn_call_error(call, "the result would have more than %d dimensions", TARN_MAX_DIMS);
    int64_t count = tarn_view_numel(index);
    for (int64_t i = 0; i < count; i++) {
        int64_t row = index->dtype == TARN_I32 ? ((const int32_t *)index->data)[i] : ((const int64_t *)index->data)[i];
        if (row < 0 || row >= x->shape[0])
            return tarn_call_error(call, "index %lld at position %lld: there are %lld rows", (long long)row,
                                   (long long)i, (long long)x->shape[0]);
    }
    call->outputs = 1;
    tarn_view *out = &call->out[0];
    out->dtype = x->dtype;
    out->ndim = 0;
    for (int d = 0; d < index->ndim; d++) out->shape[out->ndim++] = index->shape[d];
    for (int d = 1; d < x->ndim; d++) out->shape[out->ndim++] = x->shape[d];
    return TARN_OK;
}

const tarn_op tarn_op_gather = {
    .name = "gather",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer,
    .differentiable = 1,
    .reads = TARN_READS_IN(1),
    .onnx = "Gather",
};

tarn_tensor *tarn_gather(tarn_tensor *x, tarn_tensor *index)
{
    return tarn_apply(NULL, &tarn_op_gather, 2, (tarn_tensor *[]){x, index}, NULL);
}
