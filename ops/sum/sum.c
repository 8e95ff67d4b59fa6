/* sum.c - sum: the sum over one dimension; order in reduce_reference.h. Backward: dx = dy, broadcast. Composed of other
 * ops. */
#include "ops/attributes.h"
#include "ops/compose.h"
#include "ops/onnx.h"
#include "ops/rows.h"
#include "ops/shape.h"

static tarn_status gradient(tarn_gradient_call *call)
{
    const tarn_reduce_attrs *attrs = call->attrs;
    call->grad_in[0] = tarn_expand_reduced(call->grad_out, call->in[0], attrs->d);
    return TARN_OK;
}

static tarn_status to_onnx(tarn_onnx_call *call)
{
    return tarn_onnx_reduce_rule(call, "ReduceSum");
}

const tarn_op tarn_op_sum = {
    .name = "sum",
    .min_inputs = 1,
    .max_inputs = 1,
    .attrs_size = sizeof(tarn_reduce_attrs),
    .infer = tarn_infer_reduce,
    .differentiable = 1,
    .gradient = gradient,
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_sum(tarn_tensor *x, int d, bool keep)
{
    return tarn_apply(NULL, &tarn_op_sum, 1, &x, &(tarn_reduce_attrs){.d = d, .keep = keep});
}
