/* layer_norm.c - layer_norm: y = (x - mean) / sqrt(variance + epsilon) * weight + bias along the last dimension.
 *
 *   in   x (..., C), weight (C) or none, bias (C) or none
 *   out  y (..., C); mean and 1 / sqrt(variance + epsilon) of each row (rows, 2)
 *
 * Sums along a row are real_sum (16 lanes, blocks of 4096).
 *   mean = sum(x) / C;  variance = sum((x - mean)^2) / C;  r = 1 / sqrt(variance + epsilon)
 *   h = (x - mean) r;   y = fma(h, weight, bias), h weight, h + bias or h, by what is there
 * Backward, g = dy weight:
 *   dx = fma(-h, sum(g h) / C, g - sum(g) / C) r;  added to a gradient that is there
 *   dweight, dbias: each column on its own over the rows in order: w = fma(dy, h, w), b = b + dy, in blocks of
 *   4096 rows that start at +0 and are added to a total that starts at +0; the total is stored or added once at the
 * end.
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
    if (!status) status = tarn_infer_operand(call, 2, "bias", 0, width);
    if (status) return status;
    tarn_infer_rows_of(call, width);
    tarn_infer_out(call, 1, 2, tarn_rows(&call->in[0]), 2, 0);
    call->outputs = 2;
    return TARN_OK;
}

/* A vector as wide as x's rows, of equal values; NULL when the width is not fixed. */
static const char *equal_values(tarn_onnx_call *call, float value)
{
    const tarn_onnx_shape *x = &call->in_shape[0];
    const char *width = tarn_onnx_sizes(call, 1, &x->size[x->ndim - 1]);
    return tarn_onnx_binary(call, "Expand", tarn_onnx_number(call, value), width);
}

static tarn_status to_onnx(tarn_onnx_call *call)
{
    tarn_onnx_attribute attributes[] = {
        {"axis", TARN_ONNX_INTEGER, .integer = -1},
        {"epsilon", TARN_ONNX_FLOAT, .number = ((const tarn_norm_attrs *)call->attrs)->epsilon}};
    /* The operator's weight is not optional. */
    const char *weight = call->in[1] ? call->in[1] : equal_values(call, 1.0f);
    call->out = tarn_onnx_node(call, "LayerNormalization", 3, (const char *[]){call->in[0], weight, call->in[2]}, 2,
                               attributes);
    return TARN_OK;
}

const tarn_op tarn_op_layer_norm = {
    .name = "layer_norm",
    .min_inputs = 1,
    .max_inputs = 3,
    .attrs_size = sizeof(tarn_norm_attrs),
    .infer = infer,
    .differentiable = 7,
    .reads = TARN_READS_IN(0) | TARN_READS_IN(1) | TARN_READS_OUT(1),
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_layer_norm(tarn_tensor *x, tarn_tensor *weight, tarn_tensor *bias, float epsilon)
{
    tarn_norm_attrs attrs = {epsilon};
    return tarn_apply(NULL, &tarn_op_layer_norm, 3, (tarn_tensor *[]){x, weight, bias}, &attrs);
}
