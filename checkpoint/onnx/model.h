/* model.h - the parts of an export: the graph from two traces, the file from the graph. */
#ifndef TARN_CHECKPOINT_ONNX_MODEL_H
#define TARN_CHECKPOINT_ONNX_MODEL_H

#include "checkpoint/onnx/trace.h"
#include "checkpoint/problem.h"
#include "runtime/onnx/graph.h"

/* What goes into a file beside the graph. */
typedef struct tarn_onnx_model {
    tarn_onnx_graph *graph; /* owned */
    tarn_onnx_input input;
    tarn_onnx_shape input_shape, output_shape;
    const char *kind;               /* of the module; names the graph */
    const tarn_onnx_origin *origin; /* may be NULL */
} tarn_onnx_model;

/* Runs the module twice and builds the graph. Frees nothing of a failure's but the graph: model->graph is NULL then. */
tarn_status tarn_onnx_model_make(tarn_onnx_model *model, tarn_context *context, tarn_module *module,
                                 const tarn_onnx_options *options);
void tarn_onnx_model_free(tarn_onnx_model *model);
/* The IR version that goes with an opset; 0 for one that is not written. */
int tarn_onnx_ir_version(int opset);
/* Writes it, atomically. */
bool tarn_onnx_model_write(const tarn_onnx_model *model, const char *path, int64_t most_inline,
                           tarn_onnx_written *written, tarn_problem *problem);

#endif
