/* log_softmax.c - logarithm of softmax along the last dimension: y = (x - m) - log s, m and s as in softmax.
 * Backward: dx = dy - e^y sum(dy), the product and the difference rounded once. */
#include "ops/onnx.h"
#include "ops/rows.h"
#include "ops/shape.h"
#include <tarn/ops.h>

static tarn_status to_onnx(tarn_onnx_call *call)
{
    return tarn_onnx_rows_rule(call, "LogSoftmax");
}

const tarn_op tarn_op_log_softmax = {
    .name = "log_softmax",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = tarn_infer_rows,
    .differentiable = 1,
    .reads = TARN_READS_OUT(0),
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_log_softmax(tarn_tensor *x)
{
    return tarn_apply(NULL, &tarn_op_log_softmax, 1, &x, NULL);
}
