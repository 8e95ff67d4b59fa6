/* max.c - max over one dimension. NaN when there is one. When +0 and -0 tie, the result's sign follows from the order:
 * real_lane_max along the last dimension, element after element by real_max_nan along others. No elements: -infinity.
 * Backward: dy goes to the first element that equals the result (the first NaN when it is NaN). */
#include "ops/attributes.h"
#include "ops/onnx.h"
#include "ops/rows.h"
#include "ops/shape.h"
#include <tarn/ops.h>

static tarn_status to_onnx(tarn_onnx_call *call)
{
    return tarn_onnx_reduce_rule(call, "ReduceMax");
}

const tarn_op tarn_op_max = {
    .name = "max",
    .min_inputs = 1,
    .max_inputs = 1,
    .attrs_size = sizeof(tarn_reduce_attrs),
    .infer = tarn_infer_reduce,
    .differentiable = 1,
    .reads = TARN_READS_IN(0) | TARN_READS_OUT(0),
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_max(tarn_tensor *x, int d, bool keep)
{
    return tarn_apply(NULL, &tarn_op_max, 1, &x, &(tarn_reduce_attrs){.d = d, .keep = keep});
}
