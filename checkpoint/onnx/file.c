/* file.c - an ONNX model as bytes: a ModelProto whose parameters are streamed from where they lie, in the file or, when
 * a protobuf could not hold them (2 GiB), in a second one beside it.
 *
 * Invariants
 *  1. Every length is known before the first byte is written, so nothing of the parameters is copied.
 *  2. A file takes its name when it is whole and synced: the parameters' first, then the model's, then the directory is
 *     synced. The parameters' file is named after its contents (FILE.<16 hex digits>.data), so a model that is replaced
 *     keeps its own until the new one has its name; after that those of older models are removed.
 *  3. A failure removes what it wrote.
 */
#include "checkpoint/onnx/model.h"
#include "checkpoint/files.h"
#include "runtime/base/sha256.h"
#include "runtime/base/write.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    DATA_ALIGNMENT = 4096, /* of a tensor in the second file: it can be mapped */
    LEAST_OUTSIDE = 1024,  /* bytes of a tensor that is worth a place there */
    DIGEST_SHOWN = 16
};

typedef struct placement { /* of one initializer */
    bool outside;
    int64_t offset;
    tarn_protobuf head; /* the TensorProto but for the bytes of raw_data */
} placement;

typedef struct writing {
    const tarn_onnx_model *model;
    placement *placements;
    char directory[PATH_MAX], base[NAME_MAX + 1]; /* of the model's path */
    char model_temporary[PATH_MAX], data_temporary[PATH_MAX], data_path[PATH_MAX];
    const char *data_name; /* what the model calls the second file; NULL: there is none */
    int64_t model_bytes, data_bytes;
    tarn_problem *problem;
} writing;

/* ---- protobuf --------------------------------------------------------------------------------------------------- */

/* StringStringEntryProto */
static void add_pair(tarn_protobuf *to, int field, const char *key, const char *value)
{
    if (!value) return;
    tarn_protobuf pair = {0};
    tarn_protobuf_string(&pair, 1, key);
    tarn_protobuf_string(&pair, 2, value);
    tarn_protobuf_message(to, field, &pair);
    tarn_protobuf_free(&pair);
}

static void add_nodes(tarn_protobuf *graph, const tarn_onnx_graph *from)
{
    tarn_protobuf node = {0};
    for (int i = 0; i < from->node_count; i++) {
        const tarn_onnx_node_record *record = &from->nodes[i];
        tarn_protobuf_clear(&node);
        for (int k = 0; k < record->inputs; k++) tarn_protobuf_string(&node, 1, record->in[k] ? record->in[k] : "");
        tarn_protobuf_string(&node, 2, record->out);
        tarn_protobuf_string(&node, 3, record->name);
        tarn_protobuf_string(&node, 4, record->type);
        tarn_protobuf whole = {0}; /* the attributes are fields of the node already: one after the other */
        whole.bytes = malloc(node.used + record->attributes.used + 1);
        whole.failed = !whole.bytes || node.failed;
        if (whole.bytes) {
            memcpy(whole.bytes, node.bytes, node.used);
            if (record->attributes.used)
                memcpy(whole.bytes + node.used, record->attributes.bytes, record->attributes.used);
            whole.used = node.used + record->attributes.used;
        }
        tarn_protobuf_message(graph, 1, &whole);
        tarn_protobuf_free(&whole);
    }
    tarn_protobuf_free(&node);
}

/* ValueInfoProto { name 1, type 2 { tensor_type 1 { elem_type 1, shape 2 { dim 1 { value 1 | param 2 }}}}} */
static void add_value_info(tarn_protobuf *graph, int field, const char *name, const tarn_onnx_shape *shape)
{
    tarn_protobuf dims = {0}, dim = {0}, tensor = {0}, type = {0}, info = {0};
    for (int d = 0; d < shape->ndim; d++) {
        tarn_onnx_size size = shape->size[d];
        char own[64];
        snprintf(own, sizeof own, "%s_%d", name, d);
        tarn_protobuf_clear(&dim);
        if (size.factor >= 0 && !size.batch && !size.length)
            tarn_protobuf_integer(&dim, 1, size.factor);
        else if (size.factor == 1 && size.batch != size.length)
            tarn_protobuf_string(&dim, 2, size.batch ? "batch" : "sequence");
        else
            tarn_protobuf_string(&dim, 2, own);
        tarn_protobuf_message(&dims, 1, &dim);
    }
    tarn_protobuf_integer(&tensor, 1, tarn_onnx_type(shape->dtype));
    tarn_protobuf_message(&tensor, 2, &dims);
    tarn_protobuf_message(&type, 1, &tensor);
    tarn_protobuf_string(&info, 1, name);
    tarn_protobuf_message(&info, 2, &type);
    tarn_protobuf_message(graph, field, &info);
    tarn_protobuf_free(&dims);
    tarn_protobuf_free(&dim);
    tarn_protobuf_free(&tensor);
    tarn_protobuf_free(&type);
    tarn_protobuf_free(&info);
}

/* All of the graph but the initializers, which follow it in the file. */
static void graph_head(tarn_protobuf *graph, const tarn_onnx_model *model)
{
    add_nodes(graph, model->graph);
    tarn_protobuf_string(graph, 2, model->kind);
    add_value_info(graph, 11, "input", &model->input_shape);
    add_value_info(graph, 12, "output", &model->output_shape);
}

/* All of the model but the graph, which is its last field. */
static void model_head(tarn_protobuf *head, const tarn_onnx_model *model)
{
    int opset = model->graph->opset;
    tarn_protobuf version = {0};
    tarn_protobuf_integer(head, 1, tarn_onnx_ir_version(opset));
    tarn_protobuf_string(head, 2, "tarn");
    tarn_protobuf_string(head, 3, TARN_VERSION_STRING);
    tarn_protobuf_string(&version, 1, "");
    tarn_protobuf_integer(&version, 2, opset);
    tarn_protobuf_message(head, 8, &version);
    tarn_protobuf_free(&version);
    add_pair(head, 14, "framework", "tarn");
    add_pair(head, 14, "framework_version", TARN_VERSION_STRING);
    const tarn_onnx_origin *origin = model->origin;
    if (!origin) return;
    char step[32];
    snprintf(step, sizeof step, "%" PRId64, origin->step);
    add_pair(head, 14, "checkpoint_sha256", origin->checkpoint_digest);
    add_pair(head, 14, "step", origin->step >= 0 ? step : NULL);
    add_pair(head, 14, "run_id", origin->run_id);
    add_pair(head, 14, "git_revision", origin->git_revision);
    add_pair(head, 14, "tokenizer", origin->tokenizer);
    add_pair(head, 14, "vocabulary", origin->vocabulary);
    add_pair(head, 14, "classes", origin->classes);
    add_pair(head, 14, "preprocessing", origin->preprocessing);
}

/* TensorProto: dims 1, data_type 2, name 8, raw_data 9, external_data 13, data_location 14 (1 = external). */
static void tensor_head(placement *at, const tarn_onnx_initializer *tensor, const char *data_name)
{
    tarn_protobuf_clear(&at->head);
    for (int d = 0; d < tensor->ndim; d++) tarn_protobuf_integer(&at->head, 1, tensor->shape[d]);
    tarn_protobuf_integer(&at->head, 2, tensor->type);
    tarn_protobuf_string(&at->head, 8, tensor->name);
    if (!at->outside) {
        tarn_protobuf_head(&at->head, 9, (uint64_t)tensor->bytes);
        return;
    }
    char number[32];
    add_pair(&at->head, 13, "location", data_name);
    snprintf(number, sizeof number, "%" PRId64, at->offset);
    add_pair(&at->head, 13, "offset", number);
    snprintf(number, sizeof number, "%" PRId64, tensor->bytes);
    add_pair(&at->head, 13, "length", number);
    tarn_protobuf_integer(&at->head, 14, 1);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static bool system_problem(writing *w, const char *what, const char *path)
{
    int number = errno;
    return tarn_problem_set(w->problem, number, "%s %s: %s", what, path, strerror(number));
}

static bool paths_of(writing *w, const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    snprintf(w->directory, sizeof w->directory, "%.*s", slash ? (slash == path ? 1 : (int)(slash - path)) : 1,
             slash ? path : ".");
    bool fits = *base && strlen(path) + 64 < PATH_MAX && strlen(base) + 32 < NAME_MAX;
    if (!fits) return tarn_problem_set(w->problem, 0, "%s is no name for a file", *path ? path : "\"\"");
    snprintf(w->base, sizeof w->base, "%s", base);
    snprintf(w->model_temporary, sizeof w->model_temporary, "%s.tmp-%ld", path, (long)getpid());
    snprintf(w->data_temporary, sizeof w->data_temporary, "%s.data.tmp-%ld", path, (long)getpid());
    return true;
}

static int create(writing *w, const char *path)
{
    unlink(path); /* of a process of the same number that was killed */
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0) system_problem(w, "cannot write", path);
    return file;
}

static bool finish(writing *w, int file, bool done, const char *path)
{
    if (done && fsync(file)) done = system_problem(w, "syncing", path);
    if (close(file) && done) done = system_problem(w, "closing", path);
    return done;
}

static bool put(writing *w, int file, const void *bytes, size_t count, const char *path)
{
    return tarn_write_all(file, bytes, count) || system_problem(w, "writing", path);
}

/* The parameters that go outside, each at a multiple of 4096. Gives them their offsets, and the file its name. */
static bool write_data(writing *w)
{
    static const unsigned char zeros[DATA_ALIGNMENT];
    const tarn_onnx_graph *graph = w->model->graph;
    uint8_t digest[TARN_SHA256_BYTES];
    char text[65];
    int file = create(w, w->data_temporary);
    if (file < 0) return false;
    tarn_sha256 *sha = tarn_sha256_create();
    bool done = sha || tarn_problem_set(w->problem, ENOMEM, "out of memory");
    for (int i = 0; done && i < graph->initializer_count; i++) {
        const tarn_onnx_initializer *tensor = &graph->initializers[i];
        if (!w->placements[i].outside) continue;
        size_t gap = (size_t)(-w->data_bytes & (DATA_ALIGNMENT - 1));
        w->placements[i].offset = w->data_bytes + (int64_t)gap;
        tarn_sha256_update(sha, zeros, gap);
        tarn_sha256_update(sha, tensor->data, (size_t)tensor->bytes);
        done = put(w, file, zeros, gap, w->data_temporary) &&
               put(w, file, tensor->data, (size_t)tensor->bytes, w->data_temporary);
        w->data_bytes += (int64_t)gap + tensor->bytes;
    }
    if (!tarn_sha256_finish(sha, digest) && done) done = tarn_problem_set(w->problem, ENOMEM, "SHA-256 failed");
    done = finish(w, file, done, w->data_temporary);
    if (!done) return false;
    tarn_sha256_hex(digest, text);
    if (snprintf(w->data_path, sizeof w->data_path, "%s/%s.%.*s.data", w->directory, w->base, DIGEST_SHOWN, text) >=
        (int)sizeof w->data_path)
        return tarn_problem_set(w->problem, ENAMETOOLONG, "%s is too long a name", w->base);
    w->data_name = strrchr(w->data_path, '/') + 1;
    return true;
}

/* Bytes of the initializers in the model's file; -1: no memory. */
static int64_t measure(writing *w)
{
    const tarn_onnx_graph *graph = w->model->graph;
    int64_t total = 0;
    for (int i = 0; i < graph->initializer_count; i++) {
        if (!graph->initializers[i].used) continue;
        tensor_head(&w->placements[i], &graph->initializers[i], w->data_name ? w->data_name : "");
        if (w->placements[i].head.failed) return -1;
        uint64_t bytes =
            w->placements[i].head.used + (w->placements[i].outside ? 0 : (uint64_t)graph->initializers[i].bytes);
        total += (int64_t)(1 + tarn_protobuf_varint_size(bytes) + bytes);
    }
    return total;
}

static bool write_initializers(writing *w, int file)
{
    const tarn_onnx_graph *graph = w->model->graph;
    tarn_protobuf head = {0};
    bool done = true;
    for (int i = 0; done && i < graph->initializer_count; i++) {
        const tarn_onnx_initializer *tensor = &graph->initializers[i];
        const placement *at = &w->placements[i];
        if (!tensor->used) continue;
        size_t inside = at->outside ? 0 : (size_t)tensor->bytes;
        tarn_protobuf_clear(&head);
        tarn_protobuf_head(&head, 5, at->head.used + inside);
        done = (!head.failed || tarn_problem_set(w->problem, ENOMEM, "out of memory")) &&
               put(w, file, head.bytes, head.used, w->model_temporary) &&
               put(w, file, at->head.bytes, at->head.used, w->model_temporary) &&
               put(w, file, tensor->data, inside, w->model_temporary);
    }
    tarn_protobuf_free(&head);
    return done;
}

static bool write_model(writing *w, tarn_protobuf *head, const tarn_protobuf *graph, int64_t initializers)
{
    tarn_protobuf_head(head, 7, graph->used + (uint64_t)initializers);
    if (head->failed || graph->failed) return tarn_problem_set(w->problem, ENOMEM, "out of memory");
    int file = create(w, w->model_temporary);
    if (file < 0) return false;
    bool done = put(w, file, head->bytes, head->used, w->model_temporary) &&
                put(w, file, graph->bytes, graph->used, w->model_temporary) && write_initializers(w, file);
    w->model_bytes = (int64_t)head->used + (int64_t)graph->used + initializers;
    return finish(w, file, done, w->model_temporary);
}

/* Parameters' files of models that had this name before. */
static void remove_older_data(const writing *w)
{
    DIR *directory = opendir(w->directory);
    size_t length = strlen(w->base);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        const char *name = entry->d_name;
        if (strncmp(name, w->base, length) != 0 || name[length] != '.' || (w->data_name && !strcmp(name, w->data_name)))
            continue;
        if (strspn(name + length + 1, "0123456789abcdef") != DIGEST_SHOWN ||
            strcmp(name + length + 1 + DIGEST_SHOWN, ".data") != 0)
            continue;
        unlinkat(dirfd(directory), name, 0);
    }
    if (directory) closedir(directory);
}

static bool rename_all(writing *w, const char *path)
{
    if (w->data_name && rename(w->data_temporary, w->data_path)) return system_problem(w, "renaming to", w->data_path);
    if (rename(w->model_temporary, path)) return system_problem(w, "renaming to", path);
    remove_older_data(w);
    return tarn_checkpoint_sync_directory(w->directory, w->problem);
}

static bool write_files(writing *w, const char *path, int64_t most_inline)
{
    const tarn_onnx_graph *graph = w->model->graph;
    tarn_protobuf head = {0}, nodes = {0};
    model_head(&head, w->model);
    graph_head(&nodes, w->model);
    int64_t initializers = measure(w), most = most_inline > 0 && most_inline < INT32_MAX ? most_inline : INT32_MAX;
    bool done = initializers >= 0 || tarn_problem_set(w->problem, ENOMEM, "out of memory");
    /* + 16: the head of the graph's own field. */
    if (done && (int64_t)head.used + (int64_t)nodes.used + initializers + 16 > most) {
        for (int i = 0; i < graph->initializer_count; i++)
            w->placements[i].outside = graph->initializers[i].used && graph->initializers[i].bytes >= LEAST_OUTSIDE;
        done = write_data(w);
        initializers = measure(w);
        if (done && (initializers < 0 || (int64_t)nodes.used + initializers > INT32_MAX))
            done = tarn_problem_set(w->problem, 0, "the graph alone is larger than the 2 GiB of a protobuf");
    }
    done = done && write_model(w, &head, &nodes, initializers) && rename_all(w, path);
    tarn_protobuf_free(&head);
    tarn_protobuf_free(&nodes);
    return done;
}

bool tarn_onnx_model_write(const tarn_onnx_model *model, const char *path, int64_t most_inline,
                           tarn_onnx_written *written, tarn_problem *problem)
{
    const tarn_onnx_graph *graph = model->graph;
    *written = (tarn_onnx_written){.opset = graph->opset, .nodes = graph->node_count};
    writing *w = calloc(1, sizeof *w);
    placement *placements = calloc((size_t)graph->initializer_count + 1, sizeof *placements);
    bool done = w && placements;
    if (!done) tarn_problem_set(problem, ENOMEM, "out of memory");
    if (done) {
        w->model = model;
        w->placements = placements;
        w->problem = problem;
        done = paths_of(w, path) && write_files(w, path, most_inline);
    }
    if (done) {
        written->bytes = w->model_bytes + w->data_bytes;
        if (w->data_name) snprintf(written->data_file, sizeof written->data_file, "%s", w->data_path);
        for (int i = 0; i < graph->initializer_count; i++)
            written->parameters += graph->initializers[i].used && !graph->initializers[i].owned;
    } else if (w && *w->model_temporary) {
        unlink(w->model_temporary);
        unlink(w->data_temporary);
    }
    for (int i = 0; placements && i < graph->initializer_count; i++) tarn_protobuf_free(&placements[i].head);
    free(placements);
    free(w);
    return done;
}
