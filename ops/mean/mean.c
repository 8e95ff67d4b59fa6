/* mean.c - mean: the sum over one dimension divided by its size (none: NaN). Backward: dx = dy * (1 / n), broadcast.
 * Composed of other ops. */
#include "ops/attributes.h"
#include "ops/compose.h"
#include "ops/onnx.h"
#include "ops/rows.h"
#include "ops/shape.h"

static tarn_status gradient(tarn_gradient_call *call)
{
    const tarn_reduce_attrs *attrs = call->attrs;
    int64_t n = tarn_tensor_dim(call->in[0], attrs->d);
    call->grad_in[0] =
        tarn_expand_reduced(tarn_scale_exactly(call->grad_out, 1.0 / (double)n, 0.0), call->in[0], attrs->d);
    return TARN_OK;
}

static tarn_status to_onnx(tarn_onnx_call *call)
{
    return tarn_onnx_reduce_rule(call, "ReduceMean");
}

const tarn_op tarn_op_mean = {
    .name = "mean",
    .min_inputs = 1,
    .max_inputs = 1,
    .attrs_size = sizeof(tarn_reduce_attrs),
    .infer = tarn_infer_reduce,
    .differentiable = 1,
    .gradient = gradient,
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_mean(tarn_tensor *x, int d, bool keep)
{
    return tarn_apply(NULL, &tarn_op_mean, 1, &x, &(tarn_reduce_attrs){.d = d, .keep = keep});
}
