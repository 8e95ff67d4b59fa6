/* mse.c - mse: the sum over all elements of (x - y)^2, a scalar; the order is that of one row (16 lanes, blocks of
 * 4096, each square added with one rounding). Backward: d = 2 dloss (x - y); dx = d, dy = -d. */
#include "ops/rows.h"
#include "ops/shape.h"
#include "runtime/tensor/view.h"
#include <tarn/ops.h>

static tarn_status infer(tarn_call *call)
{
    if (call->in[0].dtype != call->in[1].dtype || !tarn_view_same_shape(&call->in[0], &call->in[1]))
        return tarn_call_error(call, "both inputs must have the same shape and element type");
    tarn_status status = tarn_infer_same(call);
    call->out[0].ndim = 0;
    return status;
}

const tarn_op tarn_op_mse = {
    .name = "mse",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer,
    .differentiable = 3,
    .reads = TARN_READS_IN(0) | TARN_READS_IN(1),
    .onnx = NULL, /* a loss */
};

tarn_tensor *tarn_mse(tarn_tensor *x, tarn_tensor *y)
{
    return tarn_apply(NULL, &tarn_op_mse, 2, (tarn_tensor *[]){x, y}, NULL);
}
