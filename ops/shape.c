/* shape.c - see shape.h. */
#include "ops/shape.h"
#include "ops/attributes.h"
#include "runtime/tensor/view.h"

int tarn_dimension(int d, int ndim)
{
    if (d < 0) d += ndim;
    return d >= 0 && d < ndim ? d : -1;
}

tarn_status tarn_infer_same(tarn_call *call)
{
    const tarn_view *x = &call->in[0];
    if (!tarn_dtype_is_real(x->dtype))
        return tarn_call_error(call, "the elements are %s: convert them with tarn_convert to f32",
                               tarn_dtype_name(x->dtype));
    call->outputs = 1;
    call->out[0].dtype = x->dtype;
    call->out[0].ndim = x->ndim;
    for (int d = 0; d < x->ndim; d++) call->out[0].shape[d] = x->shape[d];
    return TARN_OK;
}

tarn_status tarn_infer_rows(tarn_call *call)
{
    if (call->in[0].ndim < 1) return tarn_call_error(call, "works along the last dimension, a scalar has none");
    return tarn_infer_same(call);
}

tarn_status tarn_infer_broadcast(tarn_call *call)
{
    const tarn_view *a = &call->in[0], *b = &call->in[1];
    tarn_view *out = &call->out[0];
    if (!tarn_dtype_is_real(a->dtype) || a->dtype != b->dtype)
        return tarn_call_error(call, "element types %s and %s: both must be f32 or both f64, see tarn_convert",
                               tarn_dtype_name(a->dtype), tarn_dtype_name(b->dtype));
    call->outputs = 1;
    out->dtype = a->dtype;
    out->ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int d = 1; d <= out->ndim; d++) { /* d-th from the end */
        int64_t size_a = d <= a->ndim ? a->shape[a->ndim - d] : 1, size_b = d <= b->ndim ? b->shape[b->ndim - d] : 1;
        if (size_a != size_b && size_a != 1 && size_b != 1)
            return tarn_call_error(call,
                                   "sizes %lld and %lld in dimension %d from the end do not broadcast: they must be "
                                   "equal, or one of them 1",
                                   (long long)size_a, (long long)size_b, d);
        out->shape[out->ndim - d] = size_a == 1 ? size_b : size_a;
    }
    return TARN_OK;
}

tarn_status tarn_infer_reduce(tarn_call *call)
{
    const tarn_reduce_attrs *attrs = call->attrs;
    const tarn_view *x = &call->in[0];
    int d = tarn_dimension(attrs->d, x->ndim), to = 0;
    if (d < 0) return tarn_call_error(call, "dimension %d of a tensor with %d dimensions", attrs->d, x->ndim);
    if (!tarn_dtype_is_real(x->dtype))
        return tarn_call_error(call, "the elements are %s: convert them with tarn_convert to f32",
                               tarn_dtype_name(x->dtype));
    call->outputs = 1;
    call->out[0].dtype = x->dtype;
    for (int i = 0; i < x->ndim; i++) {
        if (i != d)
            call->out[0].shape[to++] = x->shape[i];
        else if (attrs->keep)
            call->out[0].shape[to++] = 1;
    }
    call->out[0].ndim = to;
    return TARN_OK;
}

tarn_cut tarn_cut_at(const tarn_view *x, int d)
{
    d = tarn_dimension(d, x->ndim);
    tarn_cut cut = {1, x->shape[d], 1};
    for (int i = 0; i < d; i++) cut.outer *= x->shape[i];
    for (int i = d + 1; i < x->ndim; i++) cut.inner *= x->shape[i];
    return cut;
}

tarn_cut tarn_cut_rows(const tarn_view *x)
{
    return x->ndim ? tarn_cut_at(x, x->ndim - 1) : (tarn_cut){1, 1, 1};
}

static int64_t broadcast_stride(const tarn_view *in, int from_end)
{
    int d = in->ndim - from_end;
    return d < 0 || in->shape[d] == 1 ? 0 : in->stride[d];
}

void tarn_broadcast_plan(tarn_broadcast *plan, const tarn_call *call)
{
    const tarn_view *out = &call->out[0];
    int64_t shape[TARN_MAX_DIMS], stride[2][TARN_MAX_DIMS];
    int dims = 0;
    /* From the last dimension outwards: a dimension joins the one inside it when both inputs walk them as one. */
    for (int from_end = 1; from_end <= out->ndim; from_end++) {
        int64_t size = out->shape[out->ndim - from_end];
        if (size == 1) continue;
        int64_t step[2] = {broadcast_stride(&call->in[0], from_end), broadcast_stride(&call->in[1], from_end)};
        if (dims && step[0] == stride[0][dims - 1] * shape[dims - 1] &&
            step[1] == stride[1][dims - 1] * shape[dims - 1]) {
            shape[dims - 1] *= size;
            continue;
        }
        shape[dims] = size;
        stride[0][dims] = step[0];
        stride[1][dims] = step[1];
        dims++;
    }
    *plan = (tarn_broadcast){.rows = 1, .n = dims ? shape[0] : 1};
    for (int side = 0; side < 2; side++) plan->stride[side] = dims ? stride[side][0] : 0;
    for (int d = 1; d < dims; d++) {
        plan->outer_shape[d - 1] = shape[d];
        plan->outer_stride[0][d - 1] = stride[0][d];
        plan->outer_stride[1][d - 1] = stride[1][d];
        plan->rows *= shape[d];
    }
    plan->outer_dims = dims ? dims - 1 : 0;
}

int64_t tarn_broadcast_offset(const tarn_broadcast *plan, int side, int64_t row)
{
    int64_t offset = 0;
    for (int d = 0; d < plan->outer_dims; d++) { /* innermost first */
        offset += row % plan->outer_shape[d] * plan->outer_stride[side][d];
        row /= plan->outer_shape[d];
    }
    return offset;
}
