/* sqrt.c - sqrt: IEEE square root. Backward: dx = dy / 2 / y. Composed of other ops. */
#include "ops/rows.h"
#include "ops/shape.h"
#include <tarn/ops.h>

static tarn_status gradient(tarn_gradient_call *call)
{
    call->grad_in[0] = tarn_divide(tarn_scale(call->grad_out, 0.5f, 0.0f), call->out[0]);
    return TARN_OK;
}

const tarn_op tarn_op_sqrt = {
    .name = "sqrt",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = tarn_infer_same,
    .differentiable = 1,
    .reads = TARN_READS_OUT(0),
    .gradient = gradient,
    .onnx = "Sqrt",
};

tarn_tensor *tarn_sqrt(tarn_tensor *x)
{
    return tarn_apply(NULL, &tarn_op_sqrt, 1, &x, NULL);
}
