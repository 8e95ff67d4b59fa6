/* silu.c - silu: x sigmoid(x). Backward: dx = dy (s + x s (1 - s)), s = sigmoid(x). */
#include "ops/onnx.h"
#include "ops/rows.h"
#include "ops/shape.h"
#include <tarn/ops.h>

static tarn_status to_onnx(tarn_onnx_call *call)
{
    call->out = tarn_onnx_activation(call, call->in[0], TARN_SILU);
    return TARN_OK;
}

const tarn_op tarn_op_silu = {
    .name = "silu",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = tarn_infer_same,
    .differentiable = 1,
    .reads = TARN_READS_IN(0),
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_silu(tarn_tensor *x)
{
    return tarn_apply(NULL, &tarn_op_silu, 1, &x, NULL);
}
