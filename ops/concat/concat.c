/* concat.c - concat: parts joined along a dimension. Backward: slices of dy, composed. Bytes are copied, so any element
 * type will do; gradients are of f32 and f64. */
#include "ops/attributes.h"
#include "ops/onnx.h"
#include "ops/rows.h"
#include "ops/shape.h"
#include <tarn/ops.h>

static tarn_status infer(tarn_call *call)
{
    const tarn_view *first = &call->in[0];
    int d = tarn_dimension(((const tarn_concat_attrs *)call->attrs)->d, first->ndim);
    if (d < 0)
        return tarn_call_error(call, "dimension %d of tensors with %d dimensions",
                               ((const tarn_concat_attrs *)call->attrs)->d, first->ndim);
    call->outputs = 1;
    tarn_view *out = &call->out[0];
    out->dtype = first->dtype;
    out->ndim = first->ndim;
    for (int i = 0; i < first->ndim; i++) out->shape[i] = first->shape[i];
    for (int part = 1; part < call->inputs; part++) {
        const tarn_view *x = &call->in[part];
        bool fits = x->dtype == first->dtype && x->ndim == first->ndim;
        for (int i = 0; fits && i < x->ndim; i++) fits = i == d || x->shape[i] == first->shape[i];
        if (!fits)
            return tarn_call_error(call, "part %d differs from part 0 in more than the size of dimension %d", part, d);
        out->shape[d] += x->shape[d];
    }
    return TARN_OK;
}

static tarn_status gradient(tarn_gradient_call *call)
{
    int d = ((const tarn_concat_attrs *)call->attrs)->d;
    int64_t begin = 0;
    for (int part = 0; part < call->inputs; part++) {
        int64_t end = begin + tarn_tensor_dim(call->in[part], d);
        if (call->wants[part]) call->grad_in[part] = tarn_slice(call->grad_out, d, begin, end);
        begin = end;
    }
    return TARN_OK;
}

static tarn_status to_onnx(tarn_onnx_call *call)
{
    tarn_onnx_attribute axis = {"axis", TARN_ONNX_INTEGER, .integer = ((const tarn_concat_attrs *)call->attrs)->d};
    call->out = tarn_onnx_node(call, "Concat", call->inputs, call->in, 1, &axis);
    return TARN_OK;
}

const tarn_op tarn_op_concat = {
    .name = "concat",
    .min_inputs = 1,
    .max_inputs = TARN_MAX_OPERANDS,
    .attrs_size = sizeof(tarn_concat_attrs),
    .infer = infer,
    .differentiable = (1u << TARN_MAX_OPERANDS) - 1,
    .gradient = gradient,
    .to_onnx = to_onnx,
};

/* A call takes at most TARN_MAX_OPERANDS parts: more are joined in turns. */
tarn_tensor *tarn_concat(int count, tarn_tensor *const *parts, int d)
{
    tarn_concat_attrs attrs = {d};
    int taken = count < TARN_MAX_OPERANDS ? count : TARN_MAX_OPERANDS;
    tarn_tensor *joined = tarn_apply(NULL, &tarn_op_concat, taken, parts, &attrs);
    while (taken < count) {
        tarn_tensor *next[TARN_MAX_OPERANDS] = {joined};
        int used = 1;
        while (used < TARN_MAX_OPERANDS && taken < count) next[used++] = parts[taken++];
        joined = tarn_apply(NULL, &tarn_op_concat, used, next, &attrs);
    }
    return joined;
}
