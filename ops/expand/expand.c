/* expand.c - expand: x seen with the shape it broadcasts to, with stride 0 along what was 1. A view that gradients are
 * composed of. Backward: tarn_reduce_to. */
#include "ops/attributes.h"
#include "ops/compose.h"
#include "ops/onnx.h"
#include "ops/rows.h"
#include "runtime/autograd/step.h"

static tarn_status infer(tarn_call *call)
{
    const tarn_shape_attrs *attrs = call->attrs;
    const tarn_view *x = &call->in[0];
    int extra = attrs->ndim - x->ndim;
    if (extra < 0 || attrs->ndim > TARN_MAX_DIMS)
        return tarn_call_error(call, "%d dimensions asked for: %d to %d", attrs->ndim, x->ndim, TARN_MAX_DIMS);
    call->outputs = 1;
    tarn_view *out = &call->out[0];
    *out = (tarn_view){.data = x->data, .dtype = x->dtype, .ndim = attrs->ndim};
    for (int d = 0; d < attrs->ndim; d++) {
        int64_t size = d < extra ? 1 : x->shape[d - extra];
        if (size != 1 && size != attrs->shape[d])
            return tarn_call_error(call, "size %lld does not broadcast to %lld in dimension %d", (long long)size,
                                   (long long)attrs->shape[d], d);
        out->shape[d] = attrs->shape[d];
        out->stride[d] = size == attrs->shape[d] && d >= extra ? x->stride[d - extra] : 0;
    }
    return TARN_OK;
}

static tarn_status gradient(tarn_gradient_call *call)
{
    call->grad_in[0] = tarn_reduce_to(call->grad_out, call->in[0]);
    return TARN_OK;
}

static tarn_status to_onnx(tarn_onnx_call *call)
{
    const char *shape = tarn_onnx_sizes(call, call->out_shape.ndim, call->out_shape.size);
    call->out = tarn_onnx_binary(call, "Expand", call->in[0], shape);
    return TARN_OK;
}

const tarn_op tarn_op_expand = {
    .name = "expand",
    .min_inputs = 1,
    .max_inputs = 1,
    .attrs_size = sizeof(tarn_shape_attrs),
    .infer = infer,
    .differentiable = 1,
    .view = true,
    .gradient = gradient,
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_expand(tarn_tensor *x, const tarn_tensor *like)
{
    tarn_shape_attrs attrs = {.ndim = like->view.ndim};
    for (int d = 0; d < attrs.ndim; d++) attrs.shape[d] = like->view.shape[d];
    return tarn_apply(NULL, &tarn_op_expand, 1, &x, &attrs);
}
