/* graph.c - see graph.h: names, constants, nodes. */
#include "runtime/onnx/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char nothing[] = ""; /* what comes back after a failure */

tarn_onnx_graph *tarn_onnx_graph_create(int opset)
{
    tarn_onnx_graph *graph = calloc(1, sizeof *graph);
    if (!graph) return NULL;
    graph->opset = opset;
    graph->scope = "";
    graph->batch = graph->length = -1;
    return graph;
}

void tarn_onnx_graph_destroy(tarn_onnx_graph *graph)
{
    if (!graph) return;
    for (int i = 0; i < graph->node_count; i++) tarn_protobuf_free(&graph->nodes[i].attributes);
    for (int i = 0; i < graph->initializer_count; i++) free(graph->initializers[i].owned);
    for (int i = 0; i < graph->name_count; i++) free(graph->names[i]);
    free(graph->nodes);
    free(graph->initializers);
    free(graph->names);
    free(graph);
}

int tarn_onnx_type(tarn_dtype dtype)
{
    static const int types[TARN_DTYPE_COUNT] = {
        [TARN_F32] = TARN_ONNX_FLOAT32, [TARN_F64] = TARN_ONNX_FLOAT64, [TARN_BF16] = TARN_ONNX_BFLOAT16,
        [TARN_I32] = TARN_ONNX_INT64,   [TARN_I64] = TARN_ONNX_INT64,   [TARN_BOOL] = TARN_ONNX_BOOL};
    return types[dtype];
}

int tarn_onnx_opset(const tarn_onnx_call *call)
{
    return call->graph->opset;
}

tarn_status tarn_onnx_refuse(tarn_onnx_call *call, const char *format, ...)
{
    tarn_onnx_graph *graph = call->graph;
    if (graph->status) return graph->status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(graph->message, sizeof graph->message, format, arguments);
    va_end(arguments);
    return graph->status = TARN_ERROR_UNSUPPORTED;
}

/* Room for one more; false when memory is out. */
static bool grow(tarn_onnx_graph *graph, void **list, int count, int *room, size_t size)
{
    if (graph->failed) return false;
    if (count < *room) return true;
    int more = *room ? 2 * *room : 32;
    void *grown = realloc(*list, (size_t)more * size);
    if (!grown) {
        graph->failed = true;
        return false;
    }
    *list = grown;
    *room = more;
    return true;
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

const char *tarn_onnx_reserve(tarn_onnx_graph *graph, const char *name)
{
    for (int i = 0; i < graph->name_count; i++)
        if (!strcmp(graph->names[i], name)) return NULL;
    if (!grow(graph, (void **)&graph->names, graph->name_count, &graph->name_room, sizeof *graph->names)) return NULL;
    char *copy = strdup(name);
    if (!copy) {
        graph->failed = true;
        return NULL;
    }
    return graph->names[graph->name_count++] = copy;
}

/* "scope/what", with a number behind it where that is taken. */
static const char *new_name(tarn_onnx_graph *graph, const char *what)
{
    char text[512];
    for (int number = 1; !graph->failed; number++) {
        const char *slash = *graph->scope ? "/" : "";
        if (number == 1)
            snprintf(text, sizeof text, "%s%s%s", graph->scope, slash, what);
        else
            snprintf(text, sizeof text, "%s%s%s_%d", graph->scope, slash, what, number);
        const char *name = tarn_onnx_reserve(graph, text);
        if (name) return name;
    }
    return nothing;
}

/* ---- constants -------------------------------------------------------------------------------------------------- */

static tarn_onnx_initializer *add_initializer(tarn_onnx_graph *graph, const char *name, int type, int ndim,
                                              const int64_t *shape)
{
    if (!grow(graph, (void **)&graph->initializers, graph->initializer_count, &graph->initializer_room,
              sizeof *graph->initializers))
        return NULL;
    tarn_onnx_initializer *initializer = &graph->initializers[graph->initializer_count++];
    *initializer = (tarn_onnx_initializer){.name = name, .type = type, .ndim = ndim};
    for (int d = 0; d < ndim; d++) initializer->shape[d] = shape[d];
    return initializer;
}

void tarn_onnx_parameter(tarn_onnx_graph *graph, const char *reserved, int ndim, const int64_t *shape,
                         const float *values)
{
    tarn_onnx_initializer *initializer = add_initializer(graph, reserved, TARN_ONNX_FLOAT32, ndim, shape);
    if (!initializer) return;
    initializer->data = values;
    initializer->bytes = (int64_t)sizeof(float);
    for (int d = 0; d < ndim; d++) initializer->bytes *= shape[d];
}

static bool is_constant(const tarn_onnx_initializer *x, int type, int ndim, const int64_t *shape, const void *data,
                        size_t bytes)
{
    return x->owned && x->type == type && x->ndim == ndim && x->bytes == (int64_t)bytes &&
           (!ndim || !memcmp(x->shape, shape, (size_t)ndim * sizeof *shape)) && !memcmp(x->data, data, bytes);
}

const char *tarn_onnx_constant(tarn_onnx_graph *graph, tarn_dtype dtype, int ndim, const int64_t *shape,
                               const void *data)
{
    int64_t count = 1;
    for (int d = 0; d < ndim; d++) count *= shape[d];
    size_t size = dtype == TARN_I32 ? sizeof(int64_t) : tarn_dtype_size(dtype), bytes = (size_t)count * size;
    char *copy = malloc(bytes + 1); /* + 1: a tensor without elements has its place, too */
    if (!copy) {
        graph->failed = true;
        return nothing;
    }
    if (dtype == TARN_I32)
        for (int64_t i = 0; i < count; i++) ((int64_t *)(void *)copy)[i] = ((const int32_t *)data)[i];
    else if (bytes)
        memcpy(copy, data, bytes);
    int type = tarn_onnx_type(dtype);
    for (int i = 0; i < graph->initializer_count; i++)
        if (is_constant(&graph->initializers[i], type, ndim, shape, copy, bytes)) {
            free(copy);
            return graph->initializers[i].name;
        }
    const char *scope = graph->scope;
    graph->scope = ""; /* it is shared by nodes of all modules */
    const char *name = new_name(graph, "constant");
    graph->scope = scope;
    tarn_onnx_initializer *initializer = add_initializer(graph, name, type, ndim, shape);
    if (!initializer) {
        free(copy);
        return nothing;
    }
    initializer->data = initializer->owned = copy;
    initializer->bytes = (int64_t)bytes;
    return name;
}

const char *tarn_onnx_number(tarn_onnx_call *call, float value)
{
    return tarn_onnx_constant(call->graph, TARN_F32, 0, NULL, &value);
}

const char *tarn_onnx_integers(tarn_onnx_call *call, int count, const int64_t *values)
{
    return tarn_onnx_constant(call->graph, TARN_I64, 1, (int64_t[]){count}, values);
}

const char *tarn_onnx_integer(tarn_onnx_call *call, int64_t value)
{
    return tarn_onnx_constant(call->graph, TARN_I64, 0, NULL, &value);
}

/* ---- nodes ------------------------------------------------------------------------------------------------------ */

/* AttributeProto: name 1, f 2, i 3, ints 8, type 20 (FLOAT 1, INT 2, INTS 7); NodeProto.attribute is field 5. */
static void add_attribute(tarn_protobuf *to, const tarn_onnx_attribute *attribute)
{
    tarn_protobuf message = {0};
    tarn_protobuf_string(&message, 1, attribute->name);
    switch (attribute->kind) {
    case TARN_ONNX_FLOAT:
        tarn_protobuf_float(&message, 2, attribute->number);
        tarn_protobuf_integer(&message, 20, 1);
        break;
    case TARN_ONNX_INTEGER:
        tarn_protobuf_integer(&message, 3, attribute->integer);
        tarn_protobuf_integer(&message, 20, 2);
        break;
    case TARN_ONNX_INTEGERS:
        for (int64_t i = 0; i < attribute->integer; i++) tarn_protobuf_integer(&message, 8, attribute->integers[i]);
        tarn_protobuf_integer(&message, 20, 7);
        break;
    }
    tarn_protobuf_message(to, 5, &message);
    tarn_protobuf_free(&message);
}

static bool same_node(const tarn_onnx_node_record *node, const char *type, int inputs, const char *const *in,
                      const tarn_protobuf *attributes)
{
    if (strcmp(node->type, type) || node->inputs != inputs || node->attributes.used != attributes->used) return false;
    for (int i = 0; i < inputs; i++)
        if (node->in[i] != in[i]) return false;
    return !attributes->used || !memcmp(node->attributes.bytes, attributes->bytes, attributes->used);
}

const char *tarn_onnx_node(tarn_onnx_call *call, const char *operator_type, int inputs, const char *const *in,
                           int attributes, const tarn_onnx_attribute *attribute)
{
    tarn_onnx_graph *graph = call->graph;
    tarn_protobuf fields = {0};
    while (inputs && !in[inputs - 1]) inputs--; /* absent trailing inputs are not written */
    for (int i = 0; i < attributes; i++) add_attribute(&fields, &attribute[i]);
    if (fields.failed || inputs > 2 * TARN_MAX_OPERANDS) graph->failed = true;
    for (int i = 0; !graph->failed && i < graph->node_count; i++)
        if (same_node(&graph->nodes[i], operator_type, inputs, in, &fields)) {
            tarn_protobuf_free(&fields);
            return graph->nodes[i].out;
        }
    const char *name = new_name(graph, operator_type);
    if (!grow(graph, (void **)&graph->nodes, graph->node_count, &graph->node_room, sizeof *graph->nodes)) {
        tarn_protobuf_free(&fields);
        return nothing;
    }
    tarn_onnx_node_record *node = &graph->nodes[graph->node_count++];
    *node = (tarn_onnx_node_record){
        .type = operator_type, .name = name, .out = name, .inputs = inputs, .attributes = fields};
    for (int i = 0; i < inputs; i++) node->in[i] = in[i];
    return name;
}

const char *tarn_onnx_unary(tarn_onnx_call *call, const char *operator_type, const char *x)
{
    return tarn_onnx_node(call, operator_type, 1, &x, 0, NULL);
}

const char *tarn_onnx_binary(tarn_onnx_call *call, const char *operator_type, const char *a, const char *b)
{
    return tarn_onnx_node(call, operator_type, 2, (const char *[]){a, b}, 0, NULL);
}

const char *tarn_onnx_permute(tarn_onnx_call *call, const char *x, int ndim, const int64_t *order)
{
    tarn_onnx_attribute perm = {"perm", TARN_ONNX_INTEGERS, .integer = ndim, .integers = order};
    return tarn_onnx_node(call, "Transpose", 1, &x, 1, &perm);
}

/* ---- sizes ------------------------------------------------------------------------------------------------------ */

int64_t tarn_onnx_size_in(const tarn_onnx_call *call, tarn_onnx_size size, int trace)
{
    const tarn_onnx_graph *graph = call->graph;
    return size.factor * (size.batch ? graph->batches[trace] : 1) * (size.length ? graph->lengths[trace] : 1);
}

/* The batch or the length as a tensor of one element. */
static const char *symbol(tarn_onnx_call *call, int d)
{
    tarn_onnx_attribute range[] = {{"end", TARN_ONNX_INTEGER, .integer = d + 1},
                                   {"start", TARN_ONNX_INTEGER, .integer = d}};
    return tarn_onnx_node(call, "Shape", 1, &call->graph->input, 2, range);
}

static const char *one_size(tarn_onnx_call *call, tarn_onnx_size size)
{
    const char *value = NULL;
    if (size.batch) value = symbol(call, call->graph->batch);
    if (size.length) {
        const char *length = symbol(call, call->graph->length);
        value = value ? tarn_onnx_binary(call, "Mul", value, length) : length;
    }
    if (value && size.factor == 1) return value;
    const char *factor = tarn_onnx_integers(call, 1, &size.factor);
    return value ? tarn_onnx_binary(call, "Mul", value, factor) : factor;
}

const char *tarn_onnx_sizes(tarn_onnx_call *call, int count, const tarn_onnx_size *sizes)
{
    int64_t numbers[2 * TARN_MAX_DIMS] = {0};
    const char *parts[2 * TARN_MAX_DIMS];
    bool constant = true;
    for (int i = 0; i < count; i++) {
        if (sizes[i].factor < 0) {
            tarn_onnx_refuse(call, "one of its sizes depends on the batch or the length in a way that is no product");
            return nothing;
        }
        numbers[i] = sizes[i].factor;
        constant = constant && !sizes[i].batch && !sizes[i].length;
    }
    if (constant) return tarn_onnx_integers(call, count, numbers);
    for (int i = 0; i < count; i++) parts[i] = one_size(call, sizes[i]);
    if (count == 1) return parts[0];
    tarn_onnx_attribute axis = {"axis", TARN_ONNX_INTEGER, .integer = 0};
    return tarn_onnx_node(call, "Concat", count, parts, 1, &axis);
}

const char *tarn_onnx_reshape(tarn_onnx_call *call, const char *x, int from_ndim, const tarn_onnx_size *from, int ndim,
                              const tarn_onnx_size *sizes)
{
    int64_t numbers[TARN_MAX_DIMS] = {0};
    int open = 0;
    for (int d = 0; d < ndim; d++) {
        bool constant = sizes[d].factor > 0 && !sizes[d].batch && !sizes[d].length;
        bool copied = !constant && d < from_ndim && tarn_onnx_same_size(sizes[d], from[d]);
        numbers[d] = constant ? sizes[d].factor : copied ? 0 : -1; /* 0 copies the size of x there */
        open += numbers[d] < 0;
    }
    const char *shape = open <= 1 ? tarn_onnx_integers(call, ndim, numbers) : tarn_onnx_sizes(call, ndim, sizes);
    return tarn_onnx_binary(call, "Reshape", x, shape);
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

tarn_status tarn_onnx_apply(tarn_onnx_call *call, const char **out)
{
    tarn_onnx_graph *graph = call->graph;
    *out = nothing;
    call->out = NULL;
    if (call->op->to_onnx) {
        tarn_status status = call->op->to_onnx(call);
        if (status && !graph->status) tarn_onnx_refuse(call, "its rule for ONNX failed");
    } else if (call->op->onnx) {
        call->out = tarn_onnx_node(call, call->op->onnx, call->inputs, call->in, 0, NULL);
    } else {
        tarn_onnx_refuse(call, "it has no mapping to ONNX: its row names no operator (onnx) and no rule (to_onnx)");
    }
    if (!graph->status && !call->out) tarn_onnx_refuse(call, "its rule for ONNX gave no result");
    if (call->out) *out = call->out;
    return graph->status;
}

void tarn_onnx_name_output(tarn_onnx_graph *graph, const char *value, const char *name)
{
    const char *reserved = tarn_onnx_reserve(graph, name);
    if (!reserved) return;
    bool made = false;
    for (int i = 0; i < graph->node_count; i++) {
        tarn_onnx_node_record *node = &graph->nodes[i];
        if (node->out == value) {
            node->out = reserved;
            made = true;
        }
        for (int k = 0; k < node->inputs; k++)
            if (node->in[k] == value && made) node->in[k] = reserved;
    }
    if (made) return;
    tarn_onnx_call call = {.graph = graph};
    tarn_onnx_unary(&call, "Identity", value);
    if (!graph->failed) graph->nodes[graph->node_count - 1].out = reserved;
}

void tarn_onnx_mark_used(tarn_onnx_graph *graph)
{
    for (int i = 0; i < graph->initializer_count; i++) graph->initializers[i].used = false;
    for (int n = 0; n < graph->node_count; n++)
        for (int k = 0; k < graph->nodes[n].inputs; k++)
            for (int i = 0; i < graph->initializer_count; i++)
                if (graph->initializers[i].name == graph->nodes[n].in[k]) graph->initializers[i].used = true;
}
