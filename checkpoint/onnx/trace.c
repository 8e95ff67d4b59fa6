/* trace.c - see trace.h. */
#include "checkpoint/onnx/trace.h"
#include "nn/module.h"
#include "runtime/autograd/step.h"
#include "runtime/tensor/view.h"

#include <stdlib.h>
#include <string.h>

static bool grow(tarn_onnx_trace *trace, void **list, int count, int *room, size_t size)
{
    if (trace->failed) return false;
    if (count < *room) return true;
    int more = *room ? 2 * *room : 64;
    void *grown = realloc(*list, (size_t)more * size);
    trace->failed = !grown;
    if (!grown) return false;
    *list = grown;
    *room = more;
    return true;
}

static int add_value(tarn_onnx_trace *trace, const tarn_tensor *tensor, tarn_onnx_value_kind kind)
{
    if (!grow(trace, (void **)&trace->values, trace->value_count, &trace->value_room, sizeof *trace->values)) return -1;
    tarn_onnx_value *value = &trace->values[trace->value_count];
    *value = (tarn_onnx_value){.kind = kind, .tensor = tensor, .view = tensor->view};
    value->view.data = NULL;
    if (kind == TARN_ONNX_PARAMETER) {
        value->name = tensor->slot->name;
        value->view.data = tensor->view.data;
    } else if (kind == TARN_ONNX_CONSTANT) {
        value->view.data = malloc(tarn_view_bytes(&tensor->view) + 1);
        if (!value->view.data)
            trace->failed = true;
        else
            tarn_view_copy(&tensor->view, value->view.data);
    }
    return trace->value_count++;
}

/* The number of a value that an op takes. What nothing made is a constant. */
static int value_of(tarn_onnx_trace *trace, const tarn_tensor *tensor)
{
    for (int i = trace->value_count - 1; i >= 0; i--)
        if (trace->values[i].tensor == tensor) return i;
    return add_value(trace, tensor, tensor->slot ? TARN_ONNX_PARAMETER : TARN_ONNX_CONSTANT);
}

static void applied(void *user, const tarn_call *call, tarn_tensor *const *in, const tarn_tensor *out,
                    const char *module)
{
    tarn_onnx_trace *trace = user;
    if (!grow(trace, (void **)&trace->applications, trace->application_count, &trace->application_room,
              sizeof *trace->applications))
        return;
    tarn_onnx_application *application = &trace->applications[trace->application_count++];
    *application = (tarn_onnx_application){
        .op = call->op, .attrs = malloc(call->op->attrs_size + 1), .module = strdup(module), .inputs = call->inputs};
    if (!application->attrs || !application->module) {
        trace->failed = true;
        return;
    }
    if (call->op->attrs_size) memcpy(application->attrs, call->attrs, call->op->attrs_size);
    for (int i = 0; i < call->inputs; i++) application->in[i] = in[i] ? value_of(trace, in[i]) : -1;
    application->out = add_value(trace, out, TARN_ONNX_RESULT);
}

static tarn_status run(tarn_onnx_trace *trace, tarn_context *context, tarn_step *step, tarn_module *module,
                       const tarn_onnx_input *input, const int64_t *shape, const void *values)
{
    tarn_tensor *x = tarn_leaf(step, input->dtype, input->ndim, shape, values, false);
    if (tarn_tensor_is_valid(x)) add_value(trace, x, TARN_ONNX_INPUT);
    const tarn_tensor *y = tarn_forward(step, module, x);
    if (!tarn_step_status(step) && tarn_tensor_is_valid(y)) trace->output = value_of(trace, y);
    tarn_status status = tarn_step_close(step);
    if (!status && trace->failed)
        status = tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "ONNX: no memory for the trace of the model");
    return status;
}

tarn_status tarn_onnx_trace_run(tarn_onnx_trace *trace, tarn_context *context, tarn_module *module,
                                const tarn_onnx_input *input, int64_t batch, int64_t length)
{
    *trace = (tarn_onnx_trace){.batch = batch, .length = length, .output = -1};
    int64_t shape[TARN_MAX_DIMS], count;
    void *values = tarn_onnx_make_input(input, batch, length, 0, shape, &count);
    tarn_step *step = NULL;
    tarn_step_setup setup = {.no_gradient = true, .random = {.samples = batch}, .applied = applied, .user = trace};
    tarn_status status =
        values ? tarn_step_create(&step, context, &setup)
               : tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "ONNX: no memory for an input of the model");
    if (!status) {
        tarn_step_make_current(step);
        status = run(trace, context, step, module, input, shape, values);
    }
    free(values);
    return status;
}

void tarn_onnx_trace_free(tarn_onnx_trace *trace)
{
    for (int i = 0; i < trace->value_count; i++)
        if (trace->values[i].kind == TARN_ONNX_CONSTANT) free(trace->values[i].view.data);
    for (int i = 0; i < trace->application_count; i++) {
        free(trace->applications[i].attrs);
        free(trace->applications[i].module);
    }
    free(trace->values);
    free(trace->applications);
    *trace = (tarn_onnx_trace){.output = -1};
}
