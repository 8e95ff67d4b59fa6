/* mlp_block.c - mlp_block: y = residual + activation(x up_weight^T + up_bias) down_weight^T + down_bias.
 *
 *   in   x (..., C), up_weight (H, C), down_weight (C, H), up_bias (H) or none, down_bias (C) or none,
 *        residual (..., C) or none
 *   out  y (..., C); u, the pre-activation (rows, H). The activated middle is recomputed in backward.
 *
 * The bits are those of runtime/backend/cpu/gemm.h. Backward, in this order, g = activation(u):
 *   du = (dy down_weight) * activation'(u);  ddown_weight = dy^T g, ddown_bias the row sums of dy^T;
 *   dup_weight = du^T x, dup_bias the row sums of du^T;  dx = du up_weight
 * The residual's gradient is dy itself. The op equals two linears with memcmp.
 */
#include "ops/fused.h"
#include "ops/onnx.h"
#include "ops/rows.h"
#include <tarn/ops.h>

static tarn_status infer(tarn_call *call)
{
    const tarn_activation_attrs *attrs = call->attrs;
    const tarn_view *up = &call->in[1];
    tarn_status status = tarn_infer_fused(call);
    if (!status) status = tarn_infer_activation(call, attrs->activation);
    if (status) return status;
    int64_t width = tarn_width(&call->in[0]);
    if (up->ndim != 2 || up->shape[1] != width)
        return tarn_call_error(call, "the up weight (in[1]) must be a matrix (hidden, %lld): x is %lld wide",
                               (long long)width, (long long)width);
    int64_t hidden = up->shape[0];
    status = tarn_infer_operand(call, 1, "up weight", hidden, width);
    if (!status) status = tarn_infer_operand(call, 2, "down weight", width, hidden);
    if (!status) status = tarn_infer_operand(call, 3, "up bias", 0, hidden);
    if (!status) status = tarn_infer_operand(call, 4, "down bias", 0, width);
    if (!status) status = tarn_infer_residual(call, 5, width);
    if (status) return status;
    tarn_infer_rows_of(call, width);
    tarn_infer_out(call, 1, 2, tarn_rows(&call->in[0]), hidden, 0);
    call->outputs = 2;
    return TARN_OK;
}

static tarn_status to_onnx(tarn_onnx_call *call)
{
    tarn_activation activation = ((const tarn_activation_attrs *)call->attrs)->activation;
    int ndim = call->in_shape[0].ndim;
    const char *up = tarn_onnx_linear(call, call->in[0], ndim, call->in[1], call->in[3]);
    const char *y = tarn_onnx_linear(call, tarn_onnx_activation(call, up, activation), ndim, call->in[2], call->in[4]);
    call->out = call->in[5] ? tarn_onnx_binary(call, "Add", y, call->in[5]) : y;
    return TARN_OK;
}

const tarn_op tarn_op_mlp_block = {
    .name = "mlp_block",
    .min_inputs = 3,
    .max_inputs = 6,
    .attrs_size = sizeof(tarn_activation_attrs),
    .infer = infer,
    .differentiable = 0x3f,
    .reads = TARN_READS_IN(0) | TARN_READS_IN(1) | TARN_READS_IN(2) | TARN_READS_OUT(1),
    .passes_gradient = 6,
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_mlp_block(tarn_tensor *x, tarn_tensor *up_weight, tarn_tensor *up_bias, tarn_tensor *down_weight,
                            tarn_tensor *down_bias, tarn_tensor *residual, tarn_activation activation)
{
    tarn_activation_attrs attrs = {activation};
    return tarn_apply(NULL, &tarn_op_mlp_block, 6,
                      (tarn_tensor *[]){x, up_weight, down_weight, up_bias, down_bias, residual}, &attrs);
}
