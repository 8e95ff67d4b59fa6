/* embedding.c - embedding: y[b, t] = token_weight[ids[b, t]] + position_weight[t].
 *
 *   in   ids (B, T) i32, token_weight (V, C), position_weight (at least T, C) or none
 *   out  y (B, T, C)
 *
 * Ids must lie in [0, V): infer looks at every one.
 * Backward: dtoken_weight and dposition_weight start at +0 (unless a gradient is there, then with it) and the rows of
 * dy are added one by one in index order (b, then t).
 */
#include "ops/fused.h"
#include "ops/onnx.h"
#include "ops/rows.h"
#include <tarn/ops.h>

static tarn_status infer(tarn_call *call)
{
    const tarn_view *ids = &call->in[0], *token = &call->in[1], *position = &call->in[2];
    if (ids->dtype != TARN_I32 || ids->ndim != 2)
        return tarn_call_error(call, "the ids (in[0]) must be a matrix (batch, time) of i32; got %d dimensions of %s",
                               ids->ndim, tarn_dtype_name(ids->dtype));
    if (!tarn_dtype_is_real(token->dtype) || token->ndim != 2)
        return tarn_call_error(call, "the token weight (in[1]) must be a matrix (vocabulary, width) of f32");
    if (!tarn_view_numel(ids) || !tarn_view_numel(token)) return tarn_call_error(call, "an input has no elements");
    if (tarn_is_present(call, 2)) {
        if (position->dtype != token->dtype || position->ndim != 2 || position->shape[1] != token->shape[1])
            return tarn_call_error(call, "the position weight (in[2]) must be a matrix (positions, %lld) of %s",
                                   (long long)token->shape[1], tarn_dtype_name(token->dtype));
        if (position->shape[0] < ids->shape[1])
            return tarn_call_error(call,
                                   "ids (in[0]) are %lld positions long, the position weight (in[2]) has %lld: shorten "
                                   "the input or make the model with a longer context",
                                   (long long)ids->shape[1], (long long)position->shape[0]);
    }
    const int32_t *values = ids->data;
    for (int64_t i = 0; i < tarn_view_numel(ids); i++)
        if (values[i] < 0 || values[i] >= token->shape[0])
            return tarn_call_error(call, "id %d at sample %lld, position %lld: the vocabulary has %lld ids, from 0 on",
                                   (int)values[i], (long long)(i / ids->shape[1]), (long long)(i % ids->shape[1]),
                                   (long long)token->shape[0]);
    tarn_infer_out(call, 0, 3, ids->shape[0], ids->shape[1], token->shape[1]);
    call->out[0].dtype = token->dtype;
    call->outputs = 1;
    return TARN_OK;
}

static tarn_status to_onnx(tarn_onnx_call *call)
{
    tarn_onnx_attribute rows = {"axis", TARN_ONNX_INTEGER, .integer = 0};
    call->out = tarn_onnx_node(call, "Gather", 2, (const char *[]){call->in[1], call->in[0]}, 1, &rows);
    if (!call->in[2]) return TARN_OK;
    const int64_t zero = 0;
    const char *begin = tarn_onnx_integers(call, 1, &zero), *end = tarn_onnx_sizes(call, 1, &call->in_shape[0].size[1]);
    const char *positions = tarn_onnx_node(call, "Slice", 4, (const char *[]){call->in[2], begin, end, begin}, 0, NULL);
    call->out = tarn_onnx_binary(call, "Add", call->out, positions);
    return TARN_OK;
}

const tarn_op tarn_op_embedding = {
    .name = "embedding",
    .min_inputs = 2,
    .max_inputs = 3,
    .infer = infer,
    .differentiable = 6,
    .reads = TARN_READS_IN(0),
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_embedding(tarn_tensor *ids, tarn_tensor *token_weight, tarn_tensor *position_weight)
{
    return tarn_apply(NULL, &tarn_op_embedding, 3, (tarn_tensor *[]){ids, token_weight, position_weight}, NULL);
}
