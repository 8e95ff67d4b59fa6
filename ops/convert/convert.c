/* convert.c - convert: another element type.
 *
 * To bf16: the nearest float, then the nearest bf16, ties to even. From real numbers to integers: towards zero, the
 * nearest bound beyond the range, 0 for NaN. To bool: not equal to 0. i64 to i32: the nearest bound. Between f32 and
 * f64 the gradient is dy converted back; other conversions pass none. */
#include "ops/attributes.h"
#include "ops/compose.h"
#include "ops/onnx.h"
#include "ops/rows.h"
#include "ops/shape.h"
#include "runtime/autograd/step.h"

static tarn_status infer(tarn_call *call)
{
    tarn_dtype dtype = ((const tarn_convert_attrs *)call->attrs)->dtype;
    if ((unsigned)dtype >= TARN_DTYPE_COUNT) return tarn_call_error(call, "element type %d is unknown", (int)dtype);
    call->outputs = 1;
    call->out[0].dtype = dtype;
    call->out[0].ndim = call->in[0].ndim;
    for (int d = 0; d < call->in[0].ndim; d++) call->out[0].shape[d] = call->in[0].shape[d];
    return TARN_OK;
}

static tarn_status gradient(tarn_gradient_call *call)
{
    call->grad_in[0] = tarn_convert(call->grad_out, tarn_tensor_dtype(call->in[0]));
    return TARN_OK;
}

static tarn_status to_onnx(tarn_onnx_call *call)
{
    /* Also what makes a strided tensor contiguous: to its own element type. i32 is int64 in the graph. */
    static const int64_t types[TARN_DTYPE_COUNT] = {
        [TARN_F32] = 1, [TARN_F64] = 11, [TARN_BF16] = 16, [TARN_I32] = 7, [TARN_I64] = 7, [TARN_BOOL] = 9};
    int64_t from = types[call->in_shape[0].dtype], to = types[call->out_shape.dtype];
    tarn_onnx_attribute type = {"to", TARN_ONNX_INTEGER, .integer = to};
    call->out = from == to ? call->in[0] : tarn_onnx_node(call, "Cast", 1, call->in, 1, &type);
    return TARN_OK;
}

const tarn_op tarn_op_convert = {
    .name = "convert",
    .min_inputs = 1,
    .max_inputs = 1,
    .attrs_size = sizeof(tarn_convert_attrs),
    .infer = infer,
    .differentiable = 1,
    .strided = 1,
    .gradient = gradient,
    .to_onnx = to_onnx,
};

static tarn_tensor *apply(tarn_tensor *x, tarn_dtype dtype)
{
    tarn_tensor *result = tarn_apply(NULL, &tarn_op_convert, 1, &x, &(tarn_convert_attrs){dtype});
    if (result->valid && !tarn_dtype_is_real(dtype)) result->wants_gradient = false;
    return result;
}

tarn_tensor *tarn_convert(tarn_tensor *x, tarn_dtype dtype)
{
    return x && x->valid && x->view.dtype == dtype ? x : apply(x, dtype);
}

tarn_tensor *tarn_copy_contiguous(tarn_tensor *x)
{
    return apply(x, x->view.dtype);
}
