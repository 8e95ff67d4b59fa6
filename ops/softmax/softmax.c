/* softmax.c - softmax along the last dimension: y = e^(x - m) * (1 / s), m the largest element of the row (NaN when
 * there is one), s the sum of the exponentials. A row of -infinity only gives NaN. Backward: dx = y (dy - sum(dy y)).
 */
#include "ops/onnx.h"
#include "ops/rows.h"
#include "ops/shape.h"
#include <tarn/ops.h>

static tarn_status to_onnx(tarn_onnx_call *call)
{
    return tarn_onnx_rows_rule(call, "Softmax");
}

const tarn_op tarn_op_softmax = {
    .name = "softmax",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = tarn_infer_rows,
    .differentiable = 1,
    .reads = TARN_READS_OUT(0),
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_softmax(tarn_tensor *x)
{
    return tarn_apply(NULL, &tarn_op_softmax, 1, &x, NULL);
}
