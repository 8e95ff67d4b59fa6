/* onnx.h - what ONNX rules of several ops share: activations, products with a weight, reductions over one dimension. */
#ifndef TARN_OPS_ONNX_H
#define TARN_OPS_ONNX_H

#include <tarn/ops.h>
#include <tarn/sys/onnx.h>

/* activation(x); x itself for TARN_NO_ACTIVATION. */
const char *tarn_onnx_activation(tarn_onnx_call *call, const char *x, tarn_activation activation);
/* x weight^T + bias; x has ndim dimensions, bias may be NULL. */
const char *tarn_onnx_linear(tarn_onnx_call *call, const char *x, int ndim, const char *weight, const char *bias);
/* A Reduce operator over dimension d, which may count from the end. ReduceSum takes it as an input since opset 13, the
 * others since 18. */
const char *tarn_onnx_reduce(tarn_onnx_call *call, const char *operator_type, const char *x, int d, bool keep);
/* The rule of an op whose attributes are tarn_reduce_attrs. */
tarn_status tarn_onnx_reduce_rule(tarn_onnx_call *call, const char *operator_type);
/* The rule of an operator along the last dimension: axis -1, which is always written, since its default was another one
 * before opset 13. */
tarn_status tarn_onnx_rows_rule(tarn_onnx_call *call, const char *operator_type);

#endif
