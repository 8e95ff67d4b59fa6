/* scale.c - scale: x * scale + offset, rounded once. Backward: dx = dy * scale, composed of itself. */
#include "ops/attributes.h"
#include "ops/compose.h"
#include "ops/rows.h"
#include "ops/shape.h"

static tarn_status gradient(tarn_gradient_call *call)
{
    const tarn_scale_attrs *attrs = call->attrs;
    call->grad_in[0] = tarn_scale_exactly(call->grad_out, attrs->scale, 0.0);
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
    .onnx = NULL, /* Mul and Add */
};

tarn_tensor *tarn_scale_exactly(tarn_tensor *x, double scale, double offset)
{
    return tarn_apply(NULL, &tarn_op_scale, 1, &x, &(tarn_scale_attrs){scale, offset});
}

tarn_tensor *tarn_scale(tarn_tensor *x, float scale, float offset)
{
    return tarn_scale_exactly(x, (double)scale, (double)offset);
}
