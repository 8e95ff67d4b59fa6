/* reshape.c - reshape: the same elements in row-major order under another shape. A view of contiguous memory; an input
 * with gaps or swapped dimensions is copied first. Backward: dy reshaped back. */
#include "ops/attributes.h"
#include "ops/compose.h"
#include "ops/onnx.h"
#include "ops/rows.h"
#include "runtime/autograd/step.h"
#include "runtime/tensor/view.h"

static tarn_status infer(tarn_call *call)
{
    const tarn_shape_attrs *attrs = call->attrs;
    const tarn_view *x = &call->in[0];
    int64_t numel = tarn_view_numel(x), known = 1;
    int open = -1;
    if (attrs->ndim < 0 || attrs->ndim > TARN_MAX_DIMS)
        return tarn_call_error(call, "%d dimensions asked for: at most %d", attrs->ndim, TARN_MAX_DIMS);
    if (!tarn_view_is_contiguous(x)) return tarn_call_error(call, "the memory is not contiguous: use tarn_reshape");
    call->outputs = 1;
    tarn_view *out = &call->out[0];
    *out = (tarn_view){.data = x->data, .dtype = x->dtype, .ndim = attrs->ndim};
    for (int d = 0; d < attrs->ndim; d++) {
        out->shape[d] = attrs->shape[d];
        if (attrs->shape[d] == -1 && open < 0)
            open = d;
        else if (attrs->shape[d] < 0)
            return tarn_call_error(call, "size %lld in dimension %d: sizes are not negative, and one may be -1",
                                   (long long)attrs->shape[d], d);
        else
            known *= attrs->shape[d];
    }
    if (open >= 0) {
        if (known == 0 || numel % known)
            return tarn_call_error(call, "%lld elements do not fill the dimension -1: the others make %lld",
                                   (long long)numel, (long long)known);
        out->shape[open] = numel / known;
    } else if (known != numel)
        return tarn_call_error(call, "%lld elements do not fit a shape of %lld", (long long)numel, (long long)known);
    tarn_view_set_contiguous(out);
    return TARN_OK;
}

static tarn_status gradient(tarn_gradient_call *call)
{
    const tarn_view *x = &call->in[0]->view;
    call->grad_in[0] = tarn_reshape(call->grad_out, x->ndim, x->shape);
    return TARN_OK;
}

static tarn_status to_onnx(tarn_onnx_call *call)
{
    const tarn_onnx_shape *x = &call->in_shape[0], *y = &call->out_shape;
    call->out = tarn_onnx_reshape(call, call->in[0], x->ndim, x->size, y->ndim, y->size);
    return TARN_OK;
}

const tarn_op tarn_op_reshape = {
    .name = "reshape",
    .min_inputs = 1,
    .max_inputs = 1,
    .attrs_size = sizeof(tarn_shape_attrs),
    .infer = infer,
    .differentiable = 1,
    .view = true,
    .gradient = gradient,
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_reshape(tarn_tensor *x, int ndim, const int64_t *shape)
{
    tarn_shape_attrs attrs = {.ndim = ndim};
    for (int d = 0; d < ndim && d < TARN_MAX_DIMS; d++) attrs.shape[d] = shape[d];
    if (x && x->valid && !tarn_view_is_contiguous(&x->view)) x = tarn_copy_contiguous(x);
    return tarn_apply(NULL, &tarn_op_reshape, 1, &x, &attrs);
}
