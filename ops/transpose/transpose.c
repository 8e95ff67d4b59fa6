/* transpose.c - transpose: two dimensions swapped, a view. Backward: the same swap of dy. */
#include "ops/attributes.h"
#include "ops/onnx.h"
#include "ops/rows.h"
#include "ops/shape.h"
#include <tarn/ops.h>

static tarn_status infer(tarn_call *call)
{
    const tarn_transpose_attrs *attrs = call->attrs;
    const tarn_view *x = &call->in[0];
    int d0 = tarn_dimension(attrs->d0, x->ndim), d1 = tarn_dimension(attrs->d1, x->ndim);
    if (d0 < 0 || d1 < 0)
        return tarn_call_error(call, "dimensions %d and %d of a tensor with %d dimensions", attrs->d0, attrs->d1,
                               x->ndim);
    call->outputs = 1;
    tarn_view *out = &call->out[0];
    *out = *x;
    out->shape[d0] = x->shape[d1];
    out->shape[d1] = x->shape[d0];
    out->stride[d0] = x->stride[d1];
    out->stride[d1] = x->stride[d0];
    return TARN_OK;
}

static tarn_status gradient(tarn_gradient_call *call)
{
    const tarn_transpose_attrs *attrs = call->attrs;
    call->grad_in[0] = tarn_transpose(call->grad_out, attrs->d0, attrs->d1);
    return TARN_OK;
}

static tarn_status to_onnx(tarn_onnx_call *call)
{
    const tarn_transpose_attrs *attrs = call->attrs;
    int ndim = call->in_shape[0].ndim, d0 = tarn_dimension(attrs->d0, ndim), d1 = tarn_dimension(attrs->d1, ndim);
    int64_t order[TARN_MAX_DIMS];
    for (int d = 0; d < ndim; d++) order[d] = d == d0 ? d1 : d == d1 ? d0 : d;
    call->out = tarn_onnx_permute(call, call->in[0], ndim, order);
    return TARN_OK;
}

const tarn_op tarn_op_transpose = {
    .name = "transpose",
    .min_inputs = 1,
    .max_inputs = 1,
    .attrs_size = sizeof(tarn_transpose_attrs),
    .infer = infer,
    .differentiable = 1,
    .view = true,
    .gradient = gradient,
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_transpose(tarn_tensor *x, int d0, int d1)
{
    return tarn_apply(NULL, &tarn_op_transpose, 1, &x, &(tarn_transpose_attrs){d0, d1});
}
