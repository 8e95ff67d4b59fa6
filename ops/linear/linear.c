/* linear.c - linear: y = residual + activation(x weight^T + bias), one matrix product with everything in its epilogue.
 *
 *   in   x (..., K), weight (N, K), bias (N) or none, residual (..., N) or none
 *   out  y (..., N); the pre-activation (rows, N), only when there is an activation
 *
 * The bits are those of runtime/backend/cpu/gemm.h, forward and backward, in this order:
 *   du = dy * activation'(pre)       (du = dy without activation; always dy of the result, whatever the residual)
 *   dx = du weight;  dweight = du^T x;  dbias = the row sums of du^T
 * The residual's gradient is dy itself: the engine hands the buffer on.
 */
#include "ops/fused.h"
#include "ops/onnx.h"
#include "ops/rows.h"
#include <tarn/ops.h>

static tarn_status infer(tarn_call *call)
{
    const tarn_activation_attrs *attrs = call->attrs;
    const tarn_view *weight = &call->in[1];
    tarn_status status = tarn_infer_fused(call);
    if (!status) status = tarn_infer_activation(call, attrs->activation);
    if (status) return status;
    int64_t width = tarn_width(&call->in[0]);
    if (weight->ndim != 2)
        return tarn_call_error(call, "the weight (in[1]) must be a matrix (outputs, %lld)", (long long)width);
    if (weight->shape[1] != width)
        return tarn_call_error(call, "x (in[0]) is %lld wide but the weight (in[1]) takes %lld inputs",
                               (long long)width, (long long)weight->shape[1]);
    status = tarn_infer_operand(call, 1, "weight", weight->shape[0], width);
    if (!status) status = tarn_infer_operand(call, 2, "bias", 0, weight->shape[0]);
    if (!status) status = tarn_infer_residual(call, 3, weight->shape[0]);
    if (status) return status;
    tarn_infer_rows_of(call, weight->shape[0]);
    call->outputs = 1;
    if (attrs->activation != TARN_NO_ACTIVATION) {
        tarn_infer_out(call, 1, 2, tarn_rows(&call->in[0]), weight->shape[0], 0);
        call->outputs = 2;
    }
    return TARN_OK;
}

static tarn_status to_onnx(tarn_onnx_call *call)
{
    tarn_activation activation = ((const tarn_activation_attrs *)call->attrs)->activation;
    const char *y = tarn_onnx_linear(call, call->in[0], call->in_shape[0].ndim, call->in[1], call->in[2]);
    y = tarn_onnx_activation(call, y, activation);
    call->out = call->in[3] ? tarn_onnx_binary(call, "Add", y, call->in[3]) : y;
    return TARN_OK;
}

const tarn_op tarn_op_linear = {
    .name = "linear",
    .min_inputs = 2,
    .max_inputs = 4,
    .attrs_size = sizeof(tarn_activation_attrs),
    .infer = infer,
    .differentiable = 0xf,
    .reads = TARN_READS_IN(0) | TARN_READS_IN(1) | TARN_READS_OUT(1),
    .passes_gradient = 4,
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_linear(tarn_tensor *x, tarn_tensor *weight, tarn_tensor *bias, tarn_tensor *residual,
                         tarn_activation activation)
{
    tarn_activation_attrs attrs = {activation};
    return tarn_apply(NULL, &tarn_op_linear, 4, (tarn_tensor *[]){x, weight, bias, residual}, &attrs);
}
