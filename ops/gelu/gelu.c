/* gelu.c - gelu: x Phi(x), Phi the distribution function of the normal law. Backward: dx = dy (Phi(x) + x phi(x)). */
#include "ops/rows.h"
#include "ops/shape.h"
#include <tarn/ops.h>

const tarn_op tarn_op_gelu = {
    .name = "gelu",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = tarn_infer_same,
    .differentiable = 1,
    .reads = TARN_READS_IN(0),
    .onnx = "Gelu",
};

tarn_tensor *tarn_gelu(tarn_tensor *x)
{
    return tarn_apply(NULL, &tarn_op_gelu, 1, &x, NULL);
}
