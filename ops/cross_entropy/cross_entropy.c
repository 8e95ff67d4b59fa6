/* cross_entropy.c - cross_entropy: the sum over rows of -log softmax(logits)[target].
 *
 *   in   logits (..., V), targets (...) i32; a negative target is ignored: no loss, zero gradient
 *   out  loss, a scalar; of each row the largest logit m and 1 / s (rows, 2); 0, 0 for ignored rows
 *
 * m is real_lane_max, s the real_sum of e^(x - m), the row's loss log(s) + (m - x[target]). Infer refuses
 * targets of V and beyond. The rows' losses are added in order in double and rounded once.
 * Backward, d = dloss: dx[j] = e^(x[j] - m) (d (1 / s)); then dx[target] = dx[target] - d.
 */
#include "ops/fused.h"
#include "ops/rows.h"
#include <tarn/ops.h>

static tarn_status infer(tarn_call *call)
{
    tarn_status status = tarn_infer_fused(call);
    if (!status) status = tarn_infer_targets(call, 1, tarn_width(&call->in[0]));
    if (status) return status;
    tarn_infer_out(call, 0, 0, 0, 0, 0);
    tarn_infer_out(call, 1, 2, tarn_rows(&call->in[0]), 2, 0);
    call->outputs = 2;
    return TARN_OK;
}

const tarn_op tarn_op_cross_entropy = {
    .name = "cross_entropy",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer,
    .differentiable = 1,
    .reads = TARN_READS_IN(0) | TARN_READS_IN(1) | TARN_READS_OUT(1),
    .onnx = NULL, /* a loss */
};

tarn_tensor *tarn_cross_entropy(tarn_tensor *logits, tarn_tensor *targets)
{
    return tarn_apply(NULL, &tarn_op_cross_entropy, 2, (tarn_tensor *[]){logits, targets}, NULL);
}
