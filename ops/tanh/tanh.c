/* tanh.c - tanh: tanh(x). Backward: dx = dy (1 - y^2). Composed of other ops. */
#include "ops/rows.h"
#include "ops/shape.h"
#include <tarn/ops.h>

static tarn_status gradient(tarn_gradient_call *call)
{
    tarn_tensor *slope = tarn_scale(tarn_multiply(call->out[0], call->out[0]), -1.0f, 1.0f);
    call->grad_in[0] = tarn_multiply(call->grad_out, slope);
    return TARN_OK;
}

const tarn_op tarn_op_tanh = {
    .name = "tanh",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = tarn_infer_same,
    .differentiable = 1,
    .reads = TARN_READS_OUT(0),
    .gradient = gradient,
    .onnx = "Tanh",
};

tarn_tensor *tarn_tanh(tarn_tensor *x)
{
    return tarn_apply(NULL, &tarn_op_tanh, 1, &x, NULL);
}
