/* scale.c - scale: x * scale + offset, rounded once. Backward: dx = dy * scale, composed of itself. */
#include "ops/attributes.h"
#include "ops/compose.h"
#include "ops/onnx.h"
#include "ops/rows.h"
#include "ops/shape.h"

static tarn_status gradient(tarn_gradient_call *call)
{
    const tarn_scale_attrs *attrs = call->attrs;
    call->grad_in[0] = tarn_scale_exactly(call->grad_out, attrs->scale, 0.0);
    return TARN_OK;
}

/* A scale that was computed from the size of the batch would be wrong for any other. */
static tarn_status to_onnx(tarn_onnx_call *call)
{
    const tarn_scale_attrs *attrs = call->attrs, *again = call->attrs_again;
    if (attrs->scale != again->scale || attrs->offset != again->offset)
        return tarn_onnx_refuse(call, "its scale or offset depends on the batch or the length");
    call->out = call->in[0];
    if (attrs->scale != 1)
        call->out = tarn_onnx_binary(call, "Mul", call->out, tarn_onnx_number(call, (float)attrs->scale));
    if (attrs->offset != 0)
        call->out = tarn_onnx_binary(call, "Add", call->out, tarn_onnx_number(call, (float)attrs->offset));
    return TARN_OK;
}

const tarn_op tarn_op_scale = {
    .name = "scale",
    .min_inputs = 1,
    .max_inputs = 1,
    .attrs_size = sizeof(tarn_scale_attrs),
    .infer = tarn_infer_same,
    .differentiable = 1,
    .gradient = gradient,
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_scale_exactly(tarn_tensor *x, double scale, double offset)
{
    return tarn_apply(NULL, &tarn_op_scale, 1, &x, &(tarn_scale_attrs){scale, offset});
}

tarn_tensor *tarn_scale(tarn_tensor *x, float scale, float offset)
{
    return tarn_scale_exactly(x, (double)scale, (double)offset);
}
