/* exp.c - exp: e^x. Backward: dx = dy y. Composed of other ops. */
#include "ops/rows.h"
#include "ops/shape.h"
#include <tarn/ops.h>

static tarn_status gradient(tarn_gradient_call *call)
{
    call->grad_in[0] = tarn_multiply(call->grad_out, call->out[0]);
    return TARN_OK;
}

const tarn_op tarn_op_exp = {
    .name = "exp",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = tarn_infer_same,
    .differentiable = 1,
    .reads = TARN_READS_OUT(0),
    .gradient = gradient,
    .onnx = "Exp",
};

tarn_tensor *tarn_exp(tarn_tensor *x)
{
    return tarn_apply(NULL, &tarn_op_exp, 1, &x, NULL);
}
