/* export.c - see export.h. */
#include "launch/export.h"
#include "checkpoint/load.h"
#include "launch/run.h"
#include "runtime/dist/control.h"
#include "track/environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What data/idx.c does to a sample. */
static const char idx_preprocessing[] =
    "{\"input\": \"pixels of an image, row by row\", \"divide_by\": 255, \"flatten\": true}";

/* Chooses one checkpoint, so that everything is read from the same even while a run writes newer ones. */
static tarn_status choose(tarn_export_source *source, tarn_context *context, const char *path)
{
    tarn_checkpoint_found *found = calloc(1, sizeof *found);
    tarn_checkpoint_reader *reader = NULL;
    tarn_problem problem;
    tarn_status status = found ? tarn_checkpoint_open_path(&reader, found, context, path)
                               : tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "checkpoint: out of memory");
    uint8_t digest[TARN_SHA256_BYTES];
    if (!status && found->parts && !tarn_checkpoint_compute_digest(reader, digest, &problem))
        status = tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "checkpoint: %s: %s", found->path, problem.text);
    if (!status) {
        snprintf(source->path, sizeof source->path, "%s", found->path);
        tarn_sha256_hex(found->parts ? digest : found->header.state_digest, source->digest);
        source->origin.checkpoint_digest = source->digest;
        source->origin.step = found->header.step;
    }
    tarn_checkpoint_reader_close(reader);
    free(found);
    return status;
}

/* Class k is label k of the file. */
static bool name_classes(char classes[TARN_EXPORT_CLASSES], int64_t count)
{
    size_t used = 0;
    if (count < 1 || count > 256) return false;
    for (int64_t i = 0; i < count; i++)
        used +=
            (size_t)snprintf(classes + used, TARN_EXPORT_CLASSES - used, "%s\"%lld\"", i ? ", " : "[", (long long)i);
    snprintf(classes + used, TARN_EXPORT_CLASSES - used, "]");
    return true;
}

void tarn_export_describe_data(tarn_onnx_origin *origin, const tarn_config *config, char classes[TARN_EXPORT_CLASSES])
{
    const char *kind = tarn_config_string(config, "data.kind");
    const int64_t *sizes;
    int count = tarn_config_integers(config, "model.sizes", &sizes);
    if (!kind || strcmp(kind, "idx") != 0) return;
    origin->preprocessing = idx_preprocessing;
    if (count > 1 && name_classes(classes, sizes[count - 1])) origin->classes = classes;
}

static void describe(tarn_export_source *source, const char *run_id)
{
    tarn_onnx_origin *origin = &source->origin;
    if (run_id && *run_id) {
        snprintf(source->run_id, sizeof source->run_id, "%s", run_id);
        origin->run_id = source->run_id;
    }
    tarn_environment_commit(source->git_revision);
    if (*source->git_revision) origin->git_revision = source->git_revision;
    if (source->tokenizer && *source->tokenizer) origin->tokenizer = source->tokenizer;
    if (source->vocabulary && *source->vocabulary) origin->vocabulary = source->vocabulary;
    tarn_export_describe_data(origin, source->config, source->classes);
}

static tarn_status make_model(tarn_export_source *source, tarn_context *context)
{
    tarn_tokenizer *tokenizer = NULL;
    tarn_status status = TARN_OK;
    int64_t vocabulary = 0;
    if (!strcmp(tarn_config_string(source->config, "model.kind"), "gpt")) {
        bool characters = source->vocabulary && *source->vocabulary;
        status = tarn_tokenizer_create(&tokenizer, context, characters ? TARN_TOKENIZE_CHARACTERS : TARN_TOKENIZE_BYTES,
                                       source->vocabulary);
        if (!status) vocabulary = tarn_tokenizer_size(tokenizer);
        tarn_tokenizer_destroy(tokenizer);
    }
    if (!status) status = tarn_run_model(&source->model, context, source->config, vocabulary);
    return status ? status : tarn_module_build(source->model, 0);
}

tarn_status tarn_export_open(tarn_export_source *source, tarn_context *context, const char *path)
{
    char *run_id = NULL;
    *source = (tarn_export_source){.origin = {.step = -1}};
    tarn_status status = choose(source, context, path);
    if (!status)
        status = tarn_run_from_checkpoint(&source->config, &source->vocabulary, context, source->path, 0, NULL);
    if (!status) status = tarn_checkpoint_peek(context, source->path, "text/tokenizer", &source->tokenizer);
    if (!status) status = tarn_checkpoint_peek(context, source->path, "text/run_id", &run_id);
    if (!status) status = make_model(source, context);
    if (!status) describe(source, run_id);
    free(run_id);
    status = tarn_agree(context, status, "reading the checkpoint");
    return status ? status : tarn_module_init_from(source->model, source->path, true, NULL);
}

void tarn_export_close(tarn_export_source *source)
{
    tarn_module_destroy(source->model);
    tarn_config_destroy(source->config);
    free(source->vocabulary);
    free(source->tokenizer);
    *source = (tarn_export_source){0};
}
