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
#include "ops/onnx.h"
#include "runtime/base/portable_math.h"
#include "ops/rows.h"
#include <tarn/ops.h>

#include <math.h>

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

/* -infinity above the diagonal, 0 elsewhere: (time, time). */
static const char *causal_mask(tarn_onnx_call *call, tarn_onnx_size time)
{
    const char *shape = tarn_onnx_sizes(call, 2, (const tarn_onnx_size[]){time, time});
    const char *all = tarn_onnx_binary(call, "Expand", tarn_onnx_number(call, -INFINITY), shape);
    tarn_onnx_attribute upper = {"upper", TARN_ONNX_INTEGER, .integer = 1};
    const char *above_diagonal = tarn_onnx_integer(call, 1);
    return tarn_onnx_node(call, "Trilu", 2, (const char *[]){all, above_diagonal}, 1, &upper);
}

/* Part of (3, batch, heads, time, width of a head). */
static const char *part(tarn_onnx_call *call, const char *packed, int64_t index)
{
    tarn_onnx_attribute axis = {"axis", TARN_ONNX_INTEGER, .integer = 0};
    return tarn_onnx_node(call, "Gather", 2, (const char *[]){packed, tarn_onnx_integer(call, index)}, 1, &axis);
}

/* In elementary operators: Attention is one of opset 23. */
static tarn_status to_onnx(tarn_onnx_call *call)
{
    int heads = ((const tarn_attention_attrs *)call->attrs)->heads;
    const tarn_onnx_size *qkv = call->in_shape[0].size, batch = qkv[0], time = qkv[1];
    if (qkv[2].factor < 0 || qkv[2].batch || qkv[2].length)
        return tarn_onnx_refuse(call, "its width depends on the batch or the length");
    int64_t width = qkv[2].factor / 3, head = width / heads;
    tarn_onnx_size apart[] = {batch, time, {.factor = 3}, {.factor = heads}, {.factor = head}};
    const char *packed = tarn_onnx_reshape(call, call->in[0], 3, qkv, 5, apart);
    packed = tarn_onnx_permute(call, packed, 5, (const int64_t[]){2, 0, 3, 1, 4});
    const char *q = part(call, packed, 0), *k = part(call, packed, 1), *v = part(call, packed, 2);
    const char *scores =
        tarn_onnx_binary(call, "MatMul", q, tarn_onnx_permute(call, k, 4, (const int64_t[]){0, 1, 3, 2}));
    scores = tarn_onnx_binary(call, "Mul", scores, tarn_onnx_number(call, (float)(1.0 / tarn_math_sqrt((double)head))));
    scores = tarn_onnx_binary(call, "Add", scores, causal_mask(call, time));
    tarn_onnx_attribute last = {"axis", TARN_ONNX_INTEGER, .integer = -1};
    const char *weights = tarn_onnx_node(call, "Softmax", 1, &scores, 1, &last);
    const char *mixed =
        tarn_onnx_permute(call, tarn_onnx_binary(call, "MatMul", weights, v), 4, (const int64_t[]){0, 2, 1, 3});
    tarn_onnx_size joined[] = {batch, time, {.factor = width}};
    call->out = tarn_onnx_reshape(call, mixed, 2, joined, 3, joined);
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
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_causal_attention(tarn_tensor *qkv, int heads)
{
    tarn_attention_attrs attrs = {heads};
    return tarn_apply(NULL, &tarn_op_causal_attention, 1, &qkv, &attrs);
}
