/* fused.c - see fused.h. */
#include "ops/fused.h"

void tarn_infer_out(tarn_call *call, int o, int ndim, int64_t n0, int64_t n1, int64_t n2)
{
    call->out[o].dtype = call->in[0].dtype;
    call->out[o].ndim = ndim;
    const int64_t shape[3] = {n0, n1, n2};
    for (int d = 0; d < ndim; d++) call->out[o].shape[d] = shape[d];
}

tarn_status tarn_infer_fused(tarn_call *call)
{
    if (!tarn_dtype_is_real(call->in[0].dtype))
        return tarn_call_error(call, "in[0] is %s; the op works on f32 (and f64 for checks): use tarn_convert",
                               tarn_dtype_name(call->in[0].dtype));
    if (call->in[0].ndim < 1) return tarn_call_error(call, "in[0] is a scalar; it needs at least one dimension");
    for (int i = 0; i < call->inputs; i++)
        if (tarn_is_present(call, i) && tarn_view_numel(&call->in[i]) == 0)
            return tarn_call_error(call, "in[%d] has no elements", i);
    return TARN_OK;
}

tarn_status tarn_infer_operand(tarn_call *call, int i, const char *name, int64_t rows, int64_t columns)
{
    if (!tarn_is_present(call, i)) return TARN_OK;
    const tarn_view *x = &call->in[i];
    if (x->dtype != call->in[0].dtype)
        return tarn_call_error(call, "the %s (in[%d]) is %s and in[0] is %s; both must have one element type", name, i,
                               tarn_dtype_name(x->dtype), tarn_dtype_name(call->in[0].dtype));
    if (rows && (x->ndim != 2 || x->shape[0] != rows || x->shape[1] != columns))
        return tarn_call_error(call, "the %s (in[%d]) must be a matrix (%lld, %lld)", name, i, (long long)rows,
                               (long long)columns);
    if (!rows && (x->ndim != 1 || x->shape[0] != columns))
        return tarn_call_error(call, "the %s (in[%d]) must be a vector (%lld)", name, i, (long long)columns);
    return TARN_OK;
}

static bool same_leading(const tarn_view *a, const tarn_view *b)
{
    if (a->ndim != b->ndim) return false;
    for (int d = 0; d + 1 < a->ndim; d++)
        if (a->shape[d] != b->shape[d]) return false;
    return true;
}

tarn_status tarn_infer_residual(tarn_call *call, int i, int64_t width)
{
    if (!tarn_is_present(call, i)) return TARN_OK;
    const tarn_view *x = &call->in[i];
    if (x->dtype != call->in[0].dtype || !same_leading(x, &call->in[0]) || tarn_width(x) != width)
        return tarn_call_error(call,
                               "the residual (in[%d]) must have the shape of the result: in[0]'s leading dimensions "
                               "and %lld last, of in[0]'s element type",
                               i, (long long)width);
    return TARN_OK;
}

void tarn_infer_rows_of(tarn_call *call, int64_t width)
{
    tarn_view *out = &call->out[0];
    out->dtype = call->in[0].dtype;
    out->ndim = call->in[0].ndim;
    for (int d = 0; d + 1 < out->ndim; d++) out->shape[d] = call->in[0].shape[d];
    out->shape[out->ndim - 1] = width;
}

tarn_status tarn_infer_targets(tarn_call *call, int i, int64_t classes)
{
    const tarn_view *x = &call->in[0], *targets = &call->in[i];
    if (targets->dtype != TARN_I32)
        return tarn_call_error(call, "the targets (in[%d]) are %s; they must be i32", i,
                               tarn_dtype_name(targets->dtype));
    bool same = targets->ndim == x->ndim - 1;
    for (int d = 0; same && d < targets->ndim; d++) same = targets->shape[d] == x->shape[d];
    if (!same)
        return tarn_call_error(call,
                               "the targets (in[%d]) must have in[0]'s shape without its last dimension: one a row", i);
    const int32_t *values = targets->data;
    int64_t rows = tarn_rows(x);
    for (int64_t row = 0; row < rows; row++)
        if (values[row] >= classes)
            return tarn_call_error(call,
                                   "target %d of row %lld: there are %lld classes, [0, %lld); negative targets are "
                                   "ignored",
                                   (int)values[row], (long long)row, (long long)classes, (long long)classes);
    return TARN_OK;
}

tarn_status tarn_infer_activation(tarn_call *call, tarn_activation activation)
{
    if ((int)activation < TARN_NO_ACTIVATION || activation > TARN_SIGMOID)
        return tarn_call_error(call, "activation %d does not exist; see tarn_activation in tarn/ops.h",
                               (int)activation);
    return TARN_OK;
}
