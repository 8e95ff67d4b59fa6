/* sum_all.c - sum_all: the sum of all elements as one row (16 lanes, blocks of 4096). Backward: dx = dy, composed. */
#include "ops/compose.h"
#include "ops/onnx.h"
#include "ops/rows.h"
#include "ops/shape.h"

static tarn_status infer(tarn_call *call)
{
    tarn_status status = tarn_infer_same(call);
    call->out[0].ndim = 0;
    return status;
}

static tarn_status gradient(tarn_gradient_call *call)
{
    call->grad_in[0] = tarn_expand(call->grad_out, call->in[0]);
    return TARN_OK;
}

static tarn_status to_onnx(tarn_onnx_call *call)
{
    tarn_onnx_attribute keep = {"keepdims", TARN_ONNX_INTEGER, .integer = 0};
    call->out = tarn_onnx_node(call, "ReduceSum", 1, call->in, 1, &keep);
    return TARN_OK;
}

const tarn_op tarn_op_sum_all = {
    .name = "sum_all",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer,
    .differentiable = 1,
    .gradient = gradient,
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_sum_all(tarn_tensor *x)
{
    return tarn_apply(NULL, &tarn_op_sum_all, 1, &x, NULL);
}
