/* graph.h - an ONNX graph while it is built: nodes, constants and parameters, the names of values. What rules of ops
 * see of it is <tarn/sys/onnx.h>.
 *
 * Invariants
 *  1. Names of values are unique and live as long as the graph; two names are the same value exactly when they are the
 *     same pointer.
 *  2. Names of parameters are kept: they are reserved before the first node is made, and no node takes one.
 *  3. Nodes stand in order of dependence: a node only uses values that were there before it.
 *  4. A node is made once: the same operator with the same inputs and attributes is the same value. (The causal mask
 *     of a model thus stands in it once.)
 *  5. Parameters are borrowed and must outlive the graph; constants are copied.
 *  6. The first error stays (out of memory, a refusal); later calls return a name that means nothing.
 */
#ifndef TARN_RUNTIME_ONNX_GRAPH_H
#define TARN_RUNTIME_ONNX_GRAPH_H

#include "runtime/protobuf/protobuf.h"
#include <tarn/sys/onnx.h>

enum { /* TensorProto.DataType */
       TARN_ONNX_FLOAT32 = 1,
       TARN_ONNX_INT64 = 7,
       TARN_ONNX_BOOL = 9,
       TARN_ONNX_FLOAT64 = 11,
       TARN_ONNX_BFLOAT16 = 16
};

typedef struct tarn_onnx_initializer {
    const char *name;
    int type; /* TensorProto.DataType */
    int ndim;
    int64_t shape[TARN_MAX_DIMS];
    const void *data;
    int64_t bytes;
    void *owned; /* data, of a constant */
    bool used;   /* by a node: a parameter nobody uses is left out */
} tarn_onnx_initializer;

typedef struct tarn_onnx_node_record {
    const char *type, *name, *out;
    int inputs;
    const char *in[2 * TARN_MAX_OPERANDS];
    tarn_protobuf attributes; /* AttributeProto fields of a NodeProto */
} tarn_onnx_node_record;

struct tarn_onnx_graph {
    int opset;
    const char *scope;              /* what nodes made now are named after: "blocks.0.norm1"; borrowed */
    const char *input;              /* the model's input, "input" */
    int batch, length;              /* dimensions of the input that are symbols; -1 = none */
    int64_t batches[2], lengths[2]; /* what they were in the two traces */
    tarn_onnx_node_record *nodes;
    int node_count, node_room;
    tarn_onnx_initializer *initializers;
    int initializer_count, initializer_room;
    char **names; /* every name, owned */
    int name_count, name_room;
    bool failed; /* memory ran out */
    tarn_status status;
    char message[1024]; /* of the first refusal */
};

tarn_onnx_graph *tarn_onnx_graph_create(int opset);
void tarn_onnx_graph_destroy(tarn_onnx_graph *graph);
/* The DataType of an element type; i32 is int64. */
int tarn_onnx_type(tarn_dtype dtype);
/* Takes a name as it is; NULL when it is taken. */
const char *tarn_onnx_reserve(tarn_onnx_graph *graph, const char *name);
/* A parameter of f32, borrowed, under its own name, which was reserved. */
void tarn_onnx_parameter(tarn_onnx_graph *graph, const char *reserved, int ndim, const int64_t *shape,
                         const float *values);
/* A copied constant of any element type (i32 becomes int64): the same bytes and shape are the same value. */
const char *tarn_onnx_constant(tarn_onnx_graph *graph, tarn_dtype dtype, int ndim, const int64_t *shape,
                               const void *data);
/* Applies an op's rule: *out is its result. */
tarn_status tarn_onnx_apply(tarn_onnx_call *call, const char **out);
/* Gives a value the name of the model's output, by an Identity where it is no node's result. */
void tarn_onnx_name_output(tarn_onnx_graph *graph, const char *value, const char *name);
/* Marks what the graph uses. */
void tarn_onnx_mark_used(tarn_onnx_graph *graph);

#endif
