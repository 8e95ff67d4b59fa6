/* trace.h - one forward pass of a module, looked at: which ops were applied to which values.
 *
 * Invariants
 *  1. Values are numbered in order of appearance, the input first; an application uses only values before its result.
 *  2. The pass runs in a step without gradients, so dropout is not part of it.
 *  3. Parameters are borrowed from the module. What else an op took that no op made is a constant, copied.
 */
#ifndef TARN_CHECKPOINT_ONNX_TRACE_H
#define TARN_CHECKPOINT_ONNX_TRACE_H

#include "checkpoint/onnx/input.h"
#include <tarn/sys/op.h>

typedef enum tarn_onnx_value_kind {
    TARN_ONNX_INPUT,
    TARN_ONNX_PARAMETER,
    TARN_ONNX_CONSTANT,
    TARN_ONNX_RESULT
} tarn_onnx_value_kind;

typedef struct tarn_onnx_value {
    tarn_onnx_value_kind kind;
    const tarn_tensor *tensor; /* identity alone: the step is gone when the trace is there */
    const char *name;          /* of a parameter */
    tarn_view view;            /* data: of a parameter its values, of a constant a contiguous copy; else NULL */
} tarn_onnx_value;

typedef struct tarn_onnx_application {
    const tarn_op *op;
    void *attrs;
    char *module; /* path of the module whose forward applied it */
    int inputs;
    int in[TARN_MAX_OPERANDS]; /* values; -1 = absent */
    int out;
} tarn_onnx_application;

typedef struct tarn_onnx_trace {
    int64_t batch, length; /* of the input; length 1 when it has none */
    tarn_onnx_value *values;
    int value_count, value_room;
    tarn_onnx_application *applications;
    int application_count, application_room;
    int output;  /* the value that forward returned */
    bool failed; /* memory ran out */
} tarn_onnx_trace;

/* Runs the module on an input of that size. The trace is freed whatever the status. */
tarn_status tarn_onnx_trace_run(tarn_onnx_trace *trace, tarn_context *context, tarn_module *module,
                                const tarn_onnx_input *input, int64_t batch, int64_t length);
void tarn_onnx_trace_free(tarn_onnx_trace *trace);

#endif
