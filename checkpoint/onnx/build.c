/* build.c - two traces of a model, of different batch and length, become one ONNX graph.
 *
 * Invariants
 *  1. Both traces apply the same ops to the same values; where they do not, the model's computation depends on the size
 *     of its input, which no graph can say, and the export is refused.
 *  2. A size that is equal in both traces is a constant. One that grew as the batch, the length or their product did is
 *     that, times a constant. The sizes of the traces are chosen such that no two of these can be confused; anything
 *     else is refused as soon as an op needs it.
 *  3. What the model computes with (parameters, constants) is the same in both traces.
 */
#include "checkpoint/onnx/model.h"
#include "nn/module.h"
#include "runtime/tensor/view.h"

#include <stdlib.h>
#include <string.h>

/* Batches and lengths of the two traces: the ratios 7/5, 11/3 and 77/15 are those of no other pair of small sizes. */
static const int64_t batches[2] = {5, 7}, lengths[2] = {3, 11};

static const int opsets[][2] = {{17, 8}, {18, 8}, {19, 9}, {20, 9}, {21, 10}}; /* and their IR versions */

/* ---- sizes ------------------------------------------------------------------------------------------------------ */

/* What a size is that was `a` in the first trace and `b` in the second. */
static tarn_onnx_size size_of(const tarn_onnx_trace *first, const tarn_onnx_trace *second, int64_t a, int64_t b)
{
    if (a == b) return (tarn_onnx_size){.factor = a};
    for (int what = 1; what < 4; what++) {
        bool batch = what & 1, length = what & 2;
        int64_t m = (batch ? first->batch : 1) * (length ? first->length : 1);
        int64_t n = (batch ? second->batch : 1) * (length ? second->length : 1);
        if (m != n && a % m == 0 && b % n == 0 && a / m == b / n) return (tarn_onnx_size){a / m, batch, length};
    }
    return (tarn_onnx_size){.factor = -1};
}

static tarn_onnx_shape shape_of(const tarn_onnx_trace *first, const tarn_onnx_trace *second, int value)
{
    const tarn_view *a = &first->values[value].view, *b = &second->values[value].view;
    tarn_onnx_shape shape = {.dtype = a->dtype, .ndim = a->ndim};
    for (int d = 0; d < a->ndim; d++) shape.size[d] = size_of(first, second, a->shape[d], b->shape[d]);
    return shape;
}

/* ---- are the traces the same? ----------------------------------------------------------------------------------- */

static bool same_value(const tarn_onnx_value *a, const tarn_onnx_value *b)
{
    if (a->kind != b->kind || a->view.dtype != b->view.dtype || a->view.ndim != b->view.ndim) return false;
    if (a->kind == TARN_ONNX_PARAMETER) return a->tensor == b->tensor;
    if (a->kind != TARN_ONNX_CONSTANT) return true;
    return tarn_view_same_shape(&a->view, &b->view) && !memcmp(a->view.data, b->view.data, tarn_view_bytes(&a->view));
}

static bool same_application(const tarn_onnx_application *a, const tarn_onnx_application *b)
{
    return a->op == b->op && a->inputs == b->inputs && a->out == b->out &&
           !memcmp(a->in, b->in, (size_t)a->inputs * sizeof *a->in);
}

static tarn_status compare(tarn_context *context, const tarn_onnx_trace *a, const tarn_onnx_trace *b)
{
    bool same = a->application_count == b->application_count && a->value_count == b->value_count;
    int least = a->application_count < b->application_count ? a->application_count : b->application_count;
    for (int i = 0; i < least; i++) {
        const tarn_onnx_application *one = &a->applications[i], *other = &b->applications[i];
        bool values = true;
        for (int k = 0; k < one->inputs && same_application(one, other); k++)
            values = values && (one->in[k] < 0 || same_value(&a->values[one->in[k]], &b->values[one->in[k]]));
        if (same_application(one, other) && values) continue;
        return tarn_fail(context, TARN_ERROR_UNSUPPORTED, TARN_HERE,
                         "ONNX: in module %s, op %s: %s; a graph can only say what is the same for every input",
                         one->module, one->op->name,
                         values ? "the ops of a forward pass depend on the size of the batch or the length"
                                : "a constant made inside the module depends on the size of the batch or the length");
    }
    if (same && a->output == b->output && a->output >= 0) return TARN_OK;
    return tarn_fail(
        context, TARN_ERROR_UNSUPPORTED, TARN_HERE,
        "ONNX: the number of ops of a forward pass depends on the size of the batch or the length; a graph "
        "can only say what is the same for every input");
}

/* ---- the graph -------------------------------------------------------------------------------------------------- */

typedef struct build {
    tarn_context *context;
    tarn_onnx_graph *graph;
    const tarn_onnx_trace *first, *second;
    const char **names; /* of the traces' values */
} build;

static tarn_status reserve_names(build *b)
{
    const tarn_onnx_trace *trace = b->first;
    b->graph->input = tarn_onnx_reserve(b->graph, "input");
    for (int i = 0; i < trace->value_count; i++) {
        const tarn_onnx_value *value = &trace->values[i];
        if (value->kind == TARN_ONNX_INPUT) b->names[i] = b->graph->input;
        if (value->kind != TARN_ONNX_PARAMETER) continue;
        b->names[i] = strcmp(value->name, "output") ? tarn_onnx_reserve(b->graph, value->name) : NULL;
        if (!b->names[i] && !b->graph->failed)
            return tarn_fail(b->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                             "ONNX: a parameter is called \"%s\", which is the name of the model's; rename it",
                             value->name);
        if (value->view.dtype != TARN_F32)
            return tarn_fail(b->context, TARN_ERROR_UNSUPPORTED, TARN_HERE, "ONNX: parameter %s is %s", value->name,
                             tarn_dtype_name(value->view.dtype));
        tarn_onnx_parameter(b->graph, b->names[i], value->view.ndim, value->view.shape, value->view.data);
    }
    for (int i = 0; i < trace->value_count; i++)
        if (trace->values[i].kind == TARN_ONNX_CONSTANT)
            b->names[i] = tarn_onnx_constant(b->graph, trace->values[i].view.dtype, trace->values[i].view.ndim,
                                             trace->values[i].view.shape, trace->values[i].view.data);
    return TARN_OK;
}

/* What the nodes of an application are named after: the path of the first parameter's owner ("blocks.0.norm1" of
 * blocks.0.norm1.weight), else the module whose forward ran. The root's nodes have no prefix. */
static void scope_of(const build *b, const tarn_onnx_application *application, char *out, size_t size)
{
    for (int i = 0; i < application->inputs; i++) {
        if (application->in[i] < 0) continue;
        const tarn_onnx_value *value = &b->first->values[application->in[i]];
        const char *dot = value->kind == TARN_ONNX_PARAMETER ? strrchr(value->name, '.') : NULL;
        if (!dot || (size_t)(dot - value->name) >= size) continue;
        memcpy(out, value->name, (size_t)(dot - value->name));
        out[dot - value->name] = '\0';
        return;
    }
    *out = '\0';
    if (strlen(application->module) < size) strcpy(out, application->module);
}

static tarn_status add_nodes(const build *b, int index)
{
    const tarn_onnx_application *application = &b->first->applications[index];
    char scope[512];
    scope_of(b, application, scope, sizeof scope);
    b->graph->scope = scope;
    tarn_onnx_call call = {.graph = b->graph,
                           .op = application->op,
                           .attrs = application->attrs,
                           .attrs_again = b->second->applications[index].attrs,
                           .inputs = application->inputs,
                           .out_shape = shape_of(b->first, b->second, application->out)};
    bool real = true;
    for (int i = 0; i < application->inputs; i++) {
        if (application->in[i] < 0) continue;
        call.in[i] = b->names[application->in[i]];
        call.in_shape[i] = shape_of(b->first, b->second, application->in[i]);
        real = real && call.in_shape[i].dtype != TARN_F64 && call.in_shape[i].dtype != TARN_BF16;
    }
    if (!real && strcmp(application->op->name, "convert") != 0)
        tarn_onnx_refuse(&call, "it works on f64 or bf16; models are exported in f32: use tarn_convert");
    tarn_status status = b->graph->status;
    if (!status) status = tarn_onnx_apply(&call, &b->names[application->out]);
    b->graph->scope = "";
    if (!status) return TARN_OK;
    return tarn_fail(b->context, status, TARN_HERE, "ONNX: op %s of module %s cannot be exported: %s",
                     application->op->name, *application->module ? application->module : scope, b->graph->message);
}

static tarn_status fill(build *b)
{
    tarn_status status = reserve_names(b);
    for (int i = 0; i < b->first->application_count && !status; i++) status = add_nodes(b, i);
    if (status) return status;
    tarn_onnx_name_output(b->graph, b->names[b->first->output], "output");
    tarn_onnx_mark_used(b->graph);
    if (b->graph->failed) return tarn_fail(b->context, TARN_ERROR_MEMORY, TARN_HERE, "ONNX: no memory for the graph");
    return TARN_OK;
}

/* ---- the model -------------------------------------------------------------------------------------------------- */

static tarn_status build_graph(tarn_onnx_model *model, tarn_context *context, const tarn_onnx_trace *first,
                               const tarn_onnx_trace *second, int opset)
{
    build b = {.context = context, .graph = tarn_onnx_graph_create(opset), .first = first, .second = second};
    b.names = calloc((size_t)first->value_count + 1, sizeof *b.names);
    tarn_status status = TARN_OK;
    if (!b.graph || !b.names) {
        status = tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "ONNX: no memory for the graph");
    } else {
        b.graph->batch = 0;
        b.graph->length = tarn_onnx_length_dimension(&model->input);
        b.graph->batches[0] = first->batch, b.graph->batches[1] = second->batch;
        b.graph->lengths[0] = first->length, b.graph->lengths[1] = second->length;
        status = fill(&b);
    }
    if (!status) {
        model->input_shape = shape_of(first, second, 0);
        model->output_shape = shape_of(first, second, first->output);
        model->graph = b.graph;
    } else {
        tarn_onnx_graph_destroy(b.graph);
    }
    free(b.names);
    return status;
}

static tarn_status check_opset(tarn_context *context, int opset)
{
    for (size_t i = 0; i < sizeof opsets / sizeof *opsets; i++)
        if (opsets[i][0] == opset) return TARN_OK;
    return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                     "ONNX: opset %d; 17 (LayerNormalization came with it) to 21 are written", opset);
}

int tarn_onnx_ir_version(int opset)
{
    for (size_t i = 0; i < sizeof opsets / sizeof *opsets; i++)
        if (opsets[i][0] == opset) return opsets[i][1];
    return 0;
}

tarn_status tarn_onnx_model_make(tarn_onnx_model *model, tarn_context *context, tarn_module *module,
                                 const tarn_onnx_options *options)
{
    *model = (tarn_onnx_model){.kind = tarn_module_kind(module), .origin = options->origin};
    tarn_status status = check_opset(context, options->opset ? options->opset : 17);
    if (!status) status = tarn_onnx_input_of(context, module, options, &model->input);
    if (status) return status;
    /* A model that takes less than 11 in a row is looked at with what it takes. */
    int64_t most = model->input.longest > 0 && model->input.longest < lengths[1] ? model->input.longest : lengths[1];
    int64_t least = most > lengths[0] ? lengths[0] : most > 1 ? most - 1 : 1;
    bool has_length = tarn_onnx_length_dimension(&model->input) > 0;
    tarn_onnx_trace first, second = {0};
    status = tarn_onnx_trace_run(&first, context, module, &model->input, batches[0], has_length ? least : 1);
    if (!status)
        status = tarn_onnx_trace_run(&second, context, module, &model->input, batches[1], has_length ? most : 1);
    if (!status) status = compare(context, &first, &second);
    if (!status) status = build_graph(model, context, &first, &second, options->opset ? options->opset : 17);
    tarn_onnx_trace_free(&first);
    tarn_onnx_trace_free(&second);
    return status;
}

void tarn_onnx_model_free(tarn_onnx_model *model)
{
    tarn_onnx_graph_destroy(model->graph);
    model->graph = NULL;
}
