/* gelu_tanh.c - gelu_tanh: x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)): the tanh approximation of gelu. Backward: dx =
 * dy times the derivative of that formula. */
#include "ops/onnx.h"
#include "ops/rows.h"
#include "ops/shape.h"
#include <tarn/ops.h>

static tarn_status to_onnx(tarn_onnx_call *call)
{
    call->out = tarn_onnx_activation(call, call->in[0], TARN_GELU_TANH);
    return TARN_OK;
}

const tarn_op tarn_op_gelu_tanh = {
    .name = "gelu_tanh",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = tarn_infer_same,
    .differentiable = 1,
    .reads = TARN_READS_IN(0),
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_gelu_tanh(tarn_tensor *x)
{
    return tarn_apply(NULL, &tarn_op_gelu_tanh, 1, &x, NULL);
}
