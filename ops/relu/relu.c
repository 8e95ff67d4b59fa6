/* relu.c - relu: max(0, x); NaN and -0 pass. Backward: dx = dy where x > 0, else 0 dy. */
#include "ops/rows.h"
#include "ops/shape.h"
#include <tarn/ops.h>

const tarn_op tarn_op_relu = {
    .name = "relu",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = tarn_infer_same,
    .differentiable = 1,
    .reads = TARN_READS_IN(0),
    .onnx = "Relu",
};

tarn_tensor *tarn_relu(tarn_tensor *x)
{
    return tarn_apply(NULL, &tarn_op_relu, 1, &x, NULL);
}
