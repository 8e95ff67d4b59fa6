/* log_e.c - log_e: natural logarithm: -infinity at 0, NaN below. Backward: dx = dy / x. Composed of other ops. */
#include "ops/rows.h"
#include "ops/shape.h"
#include <tarn/ops.h>

static tarn_status gradient(tarn_gradient_call *call)
{
    call->grad_in[0] = tarn_divide(call->grad_out, call->in[0]);
    return TARN_OK;
}

const tarn_op tarn_op_log_e = {
    .name = "log_e",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = tarn_infer_same,
    .differentiable = 1,
    .reads = TARN_READS_IN(0),
    .gradient = gradient,
    .onnx = "Log",
};

tarn_tensor *tarn_log_e(tarn_tensor *x)
{
    return tarn_apply(NULL, &tarn_op_log_e, 1, &x, NULL);
}
