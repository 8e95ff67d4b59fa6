/* sigmoid.c - sigmoid: 1 / (1 + e^-x). Backward: dx = dy y (1 - y). Composed of other ops. */
#include "ops/rows.h"
#include "ops/shape.h"
#include <tarn/ops.h>

static tarn_status gradient(tarn_gradient_call *call)
{
    tarn_tensor *slope = tarn_multiply(call->out[0], tarn_scale(call->out[0], -1.0f, 1.0f));
    call->grad_in[0] = tarn_multiply(call->grad_out, slope);
    return TARN_OK;
}

const tarn_op tarn_op_sigmoid = {
    .name = "sigmoid",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = tarn_infer_same,
    .differentiable = 1,
    .reads = TARN_READS_OUT(0),
    .gradient = gradient,
    .onnx = "Sigmoid",
};

tarn_tensor *tarn_sigmoid(tarn_tensor *x)
{
    return tarn_apply(NULL, &tarn_op_sigmoid, 1, &x, NULL);
}
