/* onnx.c - see onnx.h. The formulas are written in the forms that ONNX Runtime knows and fuses. */
#include "ops/onnx.h"
#include "ops/attributes.h"

/* 0.5 x (1 + erf(x / sqrt 2)); one operator since opset 20. */
static const char *gelu(tarn_onnx_call *call, const char *x)
{
    if (tarn_onnx_opset(call) >= 20) return tarn_onnx_unary(call, "Gelu", x);
    const char *scaled = tarn_onnx_binary(call, "Div", x, tarn_onnx_number(call, 1.41421356f));
    const char *sum = tarn_onnx_binary(call, "Add", tarn_onnx_unary(call, "Erf", scaled), tarn_onnx_number(call, 1.0f));
    return tarn_onnx_binary(call, "Mul", tarn_onnx_binary(call, "Mul", x, sum), tarn_onnx_number(call, 0.5f));
}

/* 0.5 x (1 + tanh(u)), u = sqrt(2 / pi) (x + 0.044715 x^3): the same as x sigmoid(2 u). */
static const char *gelu_tanh(tarn_onnx_call *call, const char *x)
{
    const char *cube = tarn_onnx_binary(call, "Pow", x, tarn_onnx_number(call, 3.0f));
    const char *term = tarn_onnx_binary(call, "Mul", cube, tarn_onnx_number(call, 0.044715f));
    const char *u =
        tarn_onnx_binary(call, "Mul", tarn_onnx_binary(call, "Add", x, term), tarn_onnx_number(call, 0.7978845608f));
    const char *sum = tarn_onnx_binary(call, "Add", tarn_onnx_unary(call, "Tanh", u), tarn_onnx_number(call, 1.0f));
    const char *half = tarn_onnx_binary(call, "Mul", x, tarn_onnx_number(call, 0.5f));
    return tarn_onnx_binary(call, "Mul", half, sum);
}

const char *tarn_onnx_activation(tarn_onnx_call *call, const char *x, tarn_activation activation)
{
    switch (activation) {
    case TARN_NO_ACTIVATION:
        break;
    case TARN_RELU:
        return tarn_onnx_unary(call, "Relu", x);
    case TARN_GELU:
        return gelu(call, x);
    case TARN_GELU_TANH:
        return gelu_tanh(call, x);
    case TARN_SILU:
        return tarn_onnx_binary(call, "Mul", x, tarn_onnx_unary(call, "Sigmoid", x));
    case TARN_TANH:
        return tarn_onnx_unary(call, "Tanh", x);
    case TARN_SIGMOID:
        return tarn_onnx_unary(call, "Sigmoid", x);
    }
    return x;
}

const char *tarn_onnx_linear(tarn_onnx_call *call, const char *x, int ndim, const char *weight, const char *bias)
{
    if (ndim == 2) { /* Gemm knows matrices alone */
        tarn_onnx_attribute transposed = {"transB", TARN_ONNX_INTEGER, .integer = 1};
        return tarn_onnx_node(call, "Gemm", 3, (const char *[]){x, weight, bias}, 1, &transposed);
    }
    const char *product =
        tarn_onnx_binary(call, "MatMul", x, tarn_onnx_permute(call, weight, 2, (const int64_t[]){1, 0}));
    return bias ? tarn_onnx_binary(call, "Add", product, bias) : product;
}

const char *tarn_onnx_reduce(tarn_onnx_call *call, const char *operator_type, const char *x, int d, bool keep)
{
    const int64_t axis = d;
    tarn_onnx_attribute attributes[] = {{"keepdims", TARN_ONNX_INTEGER, .integer = keep},
                                        {"axes", TARN_ONNX_INTEGERS, .integer = 1, .integers = &axis}};
    bool sum = operator_type[6] == 'S'; /* ReduceSum */
    if (!sum && tarn_onnx_opset(call) < 18) return tarn_onnx_node(call, operator_type, 1, &x, 2, attributes);
    const char *in[] = {x, tarn_onnx_integers(call, 1, &axis)};
    return tarn_onnx_node(call, operator_type, 2, in, 1, attributes);
}

tarn_status tarn_onnx_reduce_rule(tarn_onnx_call *call, const char *operator_type)
{
    const tarn_reduce_attrs *attrs = call->attrs;
    call->out = tarn_onnx_reduce(call, operator_type, call->in[0], attrs->d, attrs->keep);
    return TARN_OK;
}

tarn_status tarn_onnx_rows_rule(tarn_onnx_call *call, const char *operator_type)
{
    tarn_onnx_attribute axis = {"axis", TARN_ONNX_INTEGER, .integer = -1};
    call->out = tarn_onnx_node(call, operator_type, 1, call->in, 1, &axis);
    return TARN_OK;
}
