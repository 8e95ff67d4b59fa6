/* causal_attention.c - causal_attention: softmax(q k^T / sqrt(D), causal) v for every head of packed projections.
 *
 *   in   qkv (B, T, 3C): q, k, v of all heads, each C = heads * D wide; head h is columns [h D, (h + 1) D) of each
 *   out  y (B, T, C); log-sum-exp of each query (B, heads, T). The probabilities are recomputed in backward.
 *
 * Queries are taken in blocks of 32: rows [q0, q1) with the keys [0, q1). Products are those of gemm.h, c = 1 /
 * sqrt(D). s = q k^T (sum over D);  M = c * (real_lane_max of s over the keys j <= i);  p = e^fma(s, c, -M), +0 for j >
 * i S = real_sum of p over j <= i;  y = (p v) * (1 / S), p v the product over all keys [0, q1);  lse = M + log(S) A key
 * that is not finite therefore also shows in earlier queries of its block. Backward, per block in order: s as above;  p
 * = e^fma(s, c, -lse);  e = dy v^T (sum over D);  t = real_lane_dot(dy, y);  ds = (p c) (e - t) p and ds are +0 for j >
 * i.  dq = ds k;  dk = ds^T q, dv = p^T dy: the first block that reaches a key stores, later ones add. With a gradient
 * there already, all of it is added at the end.
 */
#include "ops/fused.h"
#include "ops/rows.h"
#include <tarn/ops.h>

static tarn_status infer(tarn_call *call)
{
    const tarn_view *qkv = &call->in[0];
    int heads = ((const tarn_attention_attrs *)call->attrs)->heads;
    tarn_status status = tarn_infer_fused(call);
    if (status) return status;
    if (qkv->ndim != 3)
        return tarn_call_error(call, "qkv (in[0]) has %d dimensions; it must be (batch, time, 3 * width)", qkv->ndim);
    int64_t width = qkv->shape[2] / 3;
    if (heads < 1 || qkv->shape[2] % 3 || width % heads)
        return tarn_call_error(
            call,
            "qkv (in[0]) is %lld wide, which is not 3 * %d heads * a whole head width: choose a width "
            "that %d divides",
            (long long)qkv->shape[2], heads, heads > 0 ? heads : 1);
    tarn_infer_out(call, 0, 3, qkv->shape[0], qkv->shape[1], width);
    tarn_infer_out(call, 1, 3, qkv->shape[0], heads, qkv->shape[1]);
    call->outputs = 2;
    return TARN_OK;
}

const tarn_op tarn_op_causal_attention = {
    .name = "causal_attention",
    .min_inputs = 1,
    .max_inputs = 1,
    .attrs_size = sizeof(tarn_attention_attrs),
    .infer = infer,
    .differentiable = 1,
    .reads = TARN_READS_IN(0) | TARN_READS_OUT(0) | TARN_READS_OUT(1),
    .onnx = "Attention",
};

tarn_tensor *tarn_causal_attention(tarn_tensor *qkv, int heads)
{
    tarn_attention_attrs attrs = {heads};
    return tarn_apply(NULL, &tarn_op_causal_attention, 1, &qkv, &attrs);
}
