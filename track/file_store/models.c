/* models.c - logged models in a file store; see catalog.h. */
#include "track/file_store/catalog.h"
#include "runtime/config/document.h"
#include "track/address.h"
#include "track/json.h"
#include "track/record.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READY = 2 }; /* mlflow.entities.LoggedModelStatus */

/* What is wrong with the name of a logged model by MLflow's rules, or NULL. */
static const char *name_problem(const char *name)
{
    if (!name || !*name) return "it is empty";
    if (strpbrk(name, "/:.%\"'")) return "it must not have any of / : . % \" '";
    return strlen(name) > 250 ? "it is longer than 250 bytes" : NULL;
}

typedef struct copying {
    const char *from, *to;
} copying;

static int copy_one(void *user, const char *name)
{
    const copying *copy = user;
    tarn_path from, to, temporary;
    if (tarn_path_make(from, "%s/%s", copy->from, name) || tarn_path_make(to, "%s/%s", copy->to, name) ||
        tarn_path_make(temporary, "%s.tarn-new", to) || tarn_path_make_parents(to))
        return -1;
    int file = open(from, O_RDONLY | O_CLOEXEC);
    if (file < 0) return -1;
    int result = tarn_file_put_copy(to, temporary, file), error = errno;
    close(file);
    errno = error;
    return result;
}

static int put_text(const char *folder, const char *name, const char *text)
{
    tarn_path path, temporary;
    if (tarn_path_make(path, "%s/%s", folder, name) || tarn_path_make_parents(path) ||
        tarn_path_make(temporary, "%s/.new", folder))
        return -1;
    return tarn_file_put(path, temporary, text, strlen(text));
}

/* What a model is called and where, for the files that name it. */
typedef struct model {
    const char *id, *name, *type, *experiment, *run_id;
    tarn_path path, location; /* its folder, its files */
    int64_t time_ms, step;
} model;

static int put_meta(const model *model, const char *folder)
{
    char *location = tarn_document_quote(model->location), *name = tarn_document_quote(model->name), *meta = NULL,
         *type = model->type ? tarn_document_quote(model->type) : strdup("null");
    int length = !location || !name || !type
                     ? -1
                     : asprintf(&meta,
                                "artifact_location: %s\ncreation_timestamp: %lld\nexperiment_id: '%s'\n"
                                "last_updated_timestamp: %lld\nlifecycle_stage: active\nmodel_id: %s\nmodel_type: %s\n"
                                "name: %s\nsource_run_id: '%s'\nstatus: %d\nstatus_message: null\n",
                                location, (long long)model->time_ms, model->experiment, (long long)model->time_ms,
                                model->id, type, name, model->run_id, READY);
    int result = -1;
    if (length < 0)
        errno = ENOMEM;
    else {
        result = put_text(folder, "meta.yaml", meta);
        free(meta);
    }
    free(location);
    free(name);
    free(type);
    return result;
}

/* Params that are no keys to MLflow are left out: they would make the model unreadable. */
static int put_params(const cJSON *params, const char *folder)
{
    tarn_path parent, path;
    if (tarn_path_make(parent, "%s/params", folder) || tarn_path_make(path, "%s/metrics/", folder) ||
        tarn_path_make_parents(path) || tarn_path_make(path, "%s/", parent) || tarn_path_make_parents(path))
        return -1;
    for (const cJSON *item = params ? params->child : NULL; item; item = item->next)
        if (cJSON_IsString(item) && !tarn_track_key_problem(item->string) &&
            put_text(parent, item->string, item->valuestring))
            return -1;
    return 0;
}

static int put_model(const char *run, const model *model, const cJSON *about, const char *files)
{
    tarn_path folder, artifacts;
    if (!access(model->path, F_OK)) return 0;
    if (tarn_new_folder_begin(folder, run)) return -1;
    copying copy = {.from = files, .to = artifacts};
    int result = tarn_path_make(artifacts, "%s/artifacts", folder);
    if (!result) result = tarn_files_walk(files, copy_one, &copy);
    if (!result) result = put_params(cJSON_GetObjectItemCaseSensitive(about, "params"), folder);
    if (!result) result = put_meta(model, folder);
    if (!result) return tarn_new_folder_end(folder, model->path) < 0 ? -1 : 0;
    int error = errno;
    tarn_folder_remove(folder);
    errno = error;
    return -1;
}

static int put_output(const char *run, const model *model)
{
    tarn_path folder, path;
    char meta[512];
    if (tarn_path_make(path, "%s/outputs/%s", run, model->id)) return -1;
    if (!access(path, F_OK)) return 0;
    if (tarn_new_folder_begin(folder, run)) return -1;
    snprintf(meta, sizeof meta,
             "destination_id: %s\ndestination_type: MODEL_OUTPUT\nsource_id: %s\nsource_type: RUN_OUTPUT\nstep: %lld\n"
             "tags: {}\n",
             model->id, model->id, (long long)model->step);
    if (!put_text(folder, "meta.yaml", meta)) return tarn_new_folder_end(folder, path) < 0 ? -1 : 0;
    int error = errno;
    tarn_folder_remove(folder);
    errno = error;
    return -1;
}

static bool is_model_id(const char *id)
{
    return id && !strncmp(id, "m-", 2) && tarn_track_is_run_id(id + 2); /* the same digits behind it */
}

static int register_model(const char *root, const char *run, const model *model, const cJSON *about,
                          char problem[TARN_SINK_PROBLEM])
{
    const char *name = tarn_json_string(about, "register"), *alias = tarn_json_string(about, "alias");
    int64_t version;
    if (!name || !*name) return 0;
    tarn_registry_entry entry = {.name = name,
                                 .model_id = model->id,
                                 .run_id = model->run_id,
                                 .location = model->location,
                                 .time_ms = model->time_ms};
    if (tarn_registry_add(root, run, &entry, &version, problem)) return -1;
    return alias && *alias ? tarn_registry_alias(root, name, alias, version, model->time_ms, problem) : 0;
}

int tarn_file_store_model(const char *run, const tarn_track_event *event, char problem[TARN_SINK_PROBLEM])
{
    tarn_path experiment_path, experiment_name, run_name, root_path;
    *problem = '\0';
    if (tarn_path_make(experiment_path, "%s", run)) return -1;
    const char *experiment = dirname(experiment_path);
    if (tarn_path_make(experiment_name, "%s", experiment) || tarn_path_make(root_path, "%s", experiment) ||
        tarn_path_make(run_name, "%s", run))
        return -1;
    cJSON *about = event->text ? cJSON_Parse(event->text) : NULL;
    model model = {.id = tarn_json_string(about, "model_id"),
                   .name = event->key,
                   .type = tarn_json_string(about, "model_type"),
                   .experiment = basename(experiment_name),
                   .run_id = basename(run_name),
                   .time_ms = event->time_ms,
                   .step = tarn_json_integer(about, "step", event->step)};
    const char *wrong = name_problem(model.name);
    int result = -1;
    errno = EILSEQ;
    if (!is_model_id(model.id) || wrong)
        snprintf(problem, TARN_SINK_PROBLEM, "model \"%.100s\": %s", model.name,
                 wrong ? wrong : "its id is not m- and 32 hex digits");
    else if (tarn_path_make(model.path, "%s/models/%s", experiment, model.id) ||
             tarn_path_make(model.location, "%s/artifacts", model.path) || put_model(run, &model, about, event->file) ||
             put_output(run, &model))
        snprintf(problem, TARN_SINK_PROBLEM, "model \"%.100s\" of run %.300s: %s", model.name, run, strerror(errno));
    else
        result = register_model(dirname(root_path), run, &model, about, problem);
    int error = errno;
    cJSON_Delete(about);
    errno = error;
    return result;
}
