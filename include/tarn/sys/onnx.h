/* sys/onnx.h - for those who extend Tarn with an op: how an application of it is written as ONNX nodes.
 *
 * An op that is one ONNX operator with the same inputs and no attributes names it in its row (tarn_op.onnx: "Exp").
 * Any other has a rule (tarn_op.to_onnx), which adds nodes to the graph and leaves the name of the result in call->out.
 * Sizes that depend on the batch or the length are symbols, so that the model takes any: what a rule needs of them it
 * gets by tarn_onnx_sizes, and never from attributes.
 *
 * Values are names, owned by the graph. Nothing here fails by itself: out of memory is remembered and reported at the
 * end, so rules need no checks of their own.
 */
#ifndef TARN_SYS_ONNX_H
#define TARN_SYS_ONNX_H

#include <tarn/sys/op.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_onnx_graph tarn_onnx_graph;

/* A size: factor, times the batch, times the length. factor -1: it depends on them in another way. */
typedef struct tarn_onnx_size {
    int64_t factor;
    bool batch, length;
} tarn_onnx_size;

typedef struct tarn_onnx_shape {
    tarn_dtype dtype; /* i32 is int64 in the graph: ids and indices are, in ONNX */
    int ndim;
    tarn_onnx_size size[TARN_MAX_DIMS];
} tarn_onnx_shape;

/* One application of an op. */
struct tarn_onnx_call {
    tarn_onnx_graph *graph;
    const tarn_op *op;
    const void *attrs; /* the op's attribute struct */
    const void
        *attrs_again; /* that of the same application at another batch and length: what differs depends on them */
    int inputs;
    const char *in[TARN_MAX_OPERANDS]; /* values; NULL = absent */
    tarn_onnx_shape in_shape[TARN_MAX_OPERANDS];
    tarn_onnx_shape out_shape;
    const char *out; /* the rule sets it: a value of out_shape; may be one of in */
};

typedef struct tarn_onnx_attribute {
    const char *name;
    enum { TARN_ONNX_INTEGER, TARN_ONNX_INTEGERS, TARN_ONNX_FLOAT } kind;
    int64_t integer; /* of INTEGERS their number, at most 16 */
    const int64_t *integers;
    float number;
} tarn_onnx_attribute;

/* Adds a node and returns its result. in may hold NULL, for an optional input that is absent. A node with the same
 * operator, inputs and attributes is not made twice: the one that is there is returned. */
TARN_API const char *tarn_onnx_node(tarn_onnx_call *call, const char *operator_type, int inputs, const char *const *in,
                                    int attributes, const tarn_onnx_attribute *attribute);
/* Short forms without attributes. */
TARN_API const char *tarn_onnx_unary(tarn_onnx_call *call, const char *operator_type, const char *x);
TARN_API const char *tarn_onnx_binary(tarn_onnx_call *call, const char *operator_type, const char *a, const char *b);
/* With the dimensions in another order: dimension i of the result is order[i] of x. */
TARN_API const char *tarn_onnx_permute(tarn_onnx_call *call, const char *x, int ndim, const int64_t *order);
/* A scalar f32 constant; an int64 constant of one dimension; an int64 scalar. */
TARN_API const char *tarn_onnx_number(tarn_onnx_call *call, float value);
TARN_API const char *tarn_onnx_integers(tarn_onnx_call *call, int count, const int64_t *values);
TARN_API const char *tarn_onnx_integer(tarn_onnx_call *call, int64_t value);
/* An int64 tensor of one dimension that holds sizes: constant where they are, else computed from the model's input.
 * One that depends on batch or length in a way that is no product is an error of the export that names the op. */
TARN_API const char *tarn_onnx_sizes(tarn_onnx_call *call, int count, const tarn_onnx_size *sizes);
/* x, of shape `from`, with other dimensions: a size that x has in the same place is copied from it, one other may be
 * any; else as tarn_onnx_sizes. */
TARN_API const char *tarn_onnx_reshape(tarn_onnx_call *call, const char *x, int from_ndim, const tarn_onnx_size *from,
                                       int ndim, const tarn_onnx_size *sizes);
/* What a size was in the first (0) and the second (1) of the two traces that the export looks at. */
TARN_API int64_t tarn_onnx_size_in(const tarn_onnx_call *call, tarn_onnx_size size, int trace);
/* The opset the model is written for, 17 or later. */
TARN_API int tarn_onnx_opset(const tarn_onnx_call *call);
/* Says why this application cannot be exported; the status is to be returned by the rule. */
TARN_API tarn_status tarn_onnx_refuse(tarn_onnx_call *call, const char *format, ...) TARN_PRINTF(2, 3);

static inline bool tarn_onnx_same_size(tarn_onnx_size a, tarn_onnx_size b)
{
    return a.factor >= 0 && a.factor == b.factor && a.batch == b.batch && a.length == b.length;
}

#ifdef __cplusplus
}
#endif
#endif
