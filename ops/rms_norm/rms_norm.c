/* rms_norm.c - rms_norm: y = x / sqrt(mean(x^2) + epsilon) * weight along the last dimension (Zhang and Sennrich 2019).
 *
 *   in   x (..., C), weight (C) or none
 *   out  y (..., C); r = 1 / sqrt(sum(x^2) / C + epsilon) of each row (rows)
 *
 * Sums along a row are real_sum (16 lanes, blocks of 4096). h = x r; y = h weight. Backward, g = dy weight:
 *   dx = fma(-h, sum(g h) / C, g) r, added to a gradient that is there
 *   dweight: each column over the rows in order, w = fma(dy, h, w), in blocks of 4096 rows as in layer_norm.
 */
#include "ops/fused.h"
#include "ops/onnx.h"
#include "ops/rows.h"
#include <tarn/ops.h>

static tarn_status infer(tarn_call *call)
{
    int64_t width = tarn_width(&call->in[0]);
    tarn_status status = tarn_infer_fused(call);
    if (!status) status = tarn_infer_operand(call, 1, "weight", 0, width);
    if (status) return status;
    tarn_infer_rows_of(call, width);
    tarn_infer_out(call, 1, 1, tarn_rows(&call->in[0]), 0, 0);
    call->outputs = 2;
    return TARN_OK;
}

/* An operator since opset 23; before, its parts. */
static tarn_status to_onnx(tarn_onnx_call *call)
{
    const char *x = call->in[0];
    float epsilon = ((const tarn_norm_attrs *)call->attrs)->epsilon;
    const char *mean = tarn_onnx_reduce(call, "ReduceMean", tarn_onnx_binary(call, "Mul", x, x), -1, true);
    const char *sum = tarn_onnx_binary(call, "Add", mean, tarn_onnx_number(call, epsilon));
    call->out = tarn_onnx_binary(call, "Div", x, tarn_onnx_unary(call, "Sqrt", sum));
    if (call->in[1]) call->out = tarn_onnx_binary(call, "Mul", call->out, call->in[1]);
    return TARN_OK;
}

const tarn_op tarn_op_rms_norm = {
    .name = "rms_norm",
    .min_inputs = 1,
    .max_inputs = 2,
    .attrs_size = sizeof(tarn_norm_attrs),
    .infer = infer,
    .differentiable = 3,
    .reads = TARN_READS_IN(0) | TARN_READS_IN(1) | TARN_READS_OUT(1),
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_rms_norm(tarn_tensor *x, tarn_tensor *weight, float epsilon)
{
    tarn_norm_attrs attrs = {epsilon};
    return tarn_apply(NULL, &tarn_op_rms_norm, 2, (tarn_tensor *[]){x, weight}, &attrs);
}
