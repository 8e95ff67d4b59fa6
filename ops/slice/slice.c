/* slice.c - slice: elements [begin, end) of a dimension, a view. Backward: dy in its place, +0 elsewhere. */
#include "ops/attributes.h"
#include "ops/onnx.h"
#include "ops/rows.h"
#include "ops/shape.h"
#include <tarn/ops.h>

static tarn_status infer(tarn_call *call)
{
    const tarn_slice_attrs *attrs = call->attrs;
    const tarn_view *x = &call->in[0];
    int d = tarn_dimension(attrs->d, x->ndim);
    if (d < 0) return tarn_call_error(call, "dimension %d of a tensor with %d dimensions", attrs->d, x->ndim);
    int64_t begin = attrs->begin < 0 ? attrs->begin + x->shape[d] : attrs->begin;
    int64_t end = attrs->end < 0 ? attrs->end + x->shape[d] : attrs->end;
    if (begin < 0 || end > x->shape[d] || begin > end)
        return tarn_call_error(call, "elements %lld to %lld of dimension %d, which has %lld", (long long)attrs->begin,
                               (long long)attrs->end, d, (long long)x->shape[d]);
    call->outputs = 1;
    tarn_view *out = &call->out[0];
    *out = *x;
    out->shape[d] = end - begin;
    if (x->data) out->data = (char *)x->data + begin * x->stride[d] * (int64_t)tarn_dtype_size(x->dtype);
    return TARN_OK;
}

/* A place that is the same at two sizes is a constant, seen from the beginning or from the end. False: neither. */
static bool place(tarn_onnx_call *call, tarn_onnx_size size, int64_t first, int64_t again, int64_t *out)
{
    int64_t n = tarn_onnx_size_in(call, size, 0), m = tarn_onnx_size_in(call, size, 1);
    *out = first;
    if (first == again) return true;
    *out = first - n;
    if (first - n == again - m && first < n) return true;
    *out = INT64_MAX;
    return first == n && again == m;
}

static tarn_status to_onnx(tarn_onnx_call *call)
{
    const tarn_slice_attrs *attrs = call->attrs, *again = call->attrs_again;
    int64_t d = tarn_dimension(attrs->d, call->in_shape[0].ndim), begin, end;
    tarn_onnx_size size = call->in_shape[0].size[d];
    if (!place(call, size, attrs->begin, again->begin, &begin) || !place(call, size, attrs->end, again->end, &end))
        return tarn_onnx_refuse(call, "where it begins or ends depends on the batch or the length, and is not as far "
                                      "from one end of the dimension for all of them");
    const char *in[] = {call->in[0], tarn_onnx_integers(call, 1, &begin), tarn_onnx_integers(call, 1, &end),
                        tarn_onnx_integers(call, 1, &d)};
    call->out = tarn_onnx_node(call, "Slice", 4, in, 0, NULL);
    return TARN_OK;
}

const tarn_op tarn_op_slice = {
    .name = "slice",
    .min_inputs = 1,
    .max_inputs = 1,
    .attrs_size = sizeof(tarn_slice_attrs),
    .infer = infer,
    .differentiable = 1,
    .view = true,
    .to_onnx = to_onnx,
};

tarn_tensor *tarn_slice(tarn_tensor *x, int d, int64_t begin, int64_t end)
{
    return tarn_apply(NULL, &tarn_op_slice, 1, &x, &(tarn_slice_attrs){d, begin, end});
}
