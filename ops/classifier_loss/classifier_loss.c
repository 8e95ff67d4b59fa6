/* classifier_loss.c - classifier_loss: cross_entropy(x weight^T, targets), the classifier tied to the token embedding.
 *
 *   in   x (..., C), weight (V, C), targets (...) i32; a negative target is ignored: no loss, zero gradient
 *   out  loss, a scalar; e^(logit - m) of every row (rows, V rounded up to 16, the rest +0); 1 / s (rows)
 *
 * The logits are the product of runtime/backend/cpu/gemm.h; m, s and the loss are those of cross_entropy; the logits'
 * memory then holds e^(logit - m), so backward needs no exponentials. Ignored rows hold +0 and 1 / s = 0.
 * Backward, d = dloss, in chunks of TARN_CLASSIFIER_CHUNK classes in order, so that a chunk of dlogits stays in the
 * cache: dlogits = e (d (1 / s)), then dlogits[target] = dlogits[target] - d dweight[chunk] = dlogits^T x;  dx =
 * dlogits weight[chunk], added to what the chunks before it gave
 */
#include "ops/classifier_loss/chunk.h"
#include "ops/fused.h"
#include "ops/rows.h"
#include <tarn/ops.h>

static tarn_status infer(tarn_call *call)
{
    const tarn_view *weight = &call->in[1];
    int64_t rows = tarn_rows(&call->in[0]), width = tarn_width(&call->in[0]);
    tarn_status status = tarn_infer_fused(call);
    if (status) return status;
    if (weight->ndim != 2 || weight->shape[1] != width)
        return tarn_call_error(call, "the weight (in[1]) must be a matrix (classes, %lld): x is %lld wide",
                               (long long)width, (long long)width);
    status = tarn_infer_operand(call, 1, "weight", weight->shape[0], width);
    if (!status) status = tarn_infer_targets(call, 2, weight->shape[0]);
    if (status) return status;
    tarn_infer_out(call, 0, 0, 0, 0, 0);
    tarn_infer_out(call, 1, 2, rows, tarn_classifier_stride(weight->shape[0]), 0);
    tarn_infer_out(call, 2, 1, rows, 0, 0);
    call->outputs = 3;
    return TARN_OK;
}

const tarn_op tarn_op_classifier_loss = {
    .name = "classifier_loss",
    .min_inputs = 3,
    .max_inputs = 3,
    .infer = infer,
    .differentiable = 3,
    .reads = TARN_READS_IN(0) | TARN_READS_IN(1) | TARN_READS_IN(2) | TARN_READS_OUT(1) | TARN_READS_OUT(2),
    .onnx = NULL, /* a loss */
};

tarn_tensor *tarn_classifier_loss(tarn_tensor *x, tarn_tensor *weight, tarn_tensor *targets)
{
    return tarn_apply(NULL, &tarn_op_classifier_loss, 3, (tarn_tensor *[]){x, weight, targets}, NULL);
}
