/* model.c - models of a run: a logged model of MLflow 3 with its files, and its version in the registry.
 *
 * Invariants
 *  1. One model_id is one logged model and at most one version of a name, also when the process died anywhere in
 *     between: what is made is noted in the state folder, and looked for at the server (tag tarn.model, source of the
 *     version) before it is made. An event that is done is done: an alias that was moved since stays where it is.
 *  2. A model is READY only when all its files are there.
 *  3. The MLmodel file at the server names the run and the model as they are called there.
 *
 * A server of MLflow 2 knows no logged models: there the files become artifacts of the run.
 */
#include "track/mlflow/mlflow_sink.h"
#include "track/json.h"
#include "track/mlflow/registry.h"
#include "runtime/config/document.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct model {
    tarn_mlflow_sink *sink;
    const tarn_track_event *event;
    cJSON *said;          /* the event's text */
    cJSON *notes, *note;  /* of all models of the run, and of this one */
    char identity[300];   /* the same whenever the model is offered */
    char done[32];        /* the note that says that this event is done */
    const char *id;       /* of the logged model; "": none */
    const char *location; /* of its files */
} model;

/* ---- notes ------------------------------------------------------------------------------------------------------- */

static bool read_notes(model *model)
{
    tarn_path path;
    char *text =
        tarn_path_make(path, "%s/models.json", model->sink->state) ? NULL : tarn_document_read_file(path, NULL);
    cJSON *notes = text ? cJSON_Parse(text) : NULL;
    free(text);
    if (!cJSON_IsArray(notes)) {
        cJSON_Delete(notes);
        notes = cJSON_CreateArray();
    }
    model->notes = notes;
    cJSON *one;
    cJSON_ArrayForEach(one, notes) if (!strcmp(tarn_json_text(one, "model"), model->identity) &&
                                       !strcmp(tarn_json_text(one, "run_id"), model->sink->server_run)) model->note =
        one;
    if (model->note) return true;
    cJSON *note = cJSON_CreateObject();
    if (note && tarn_mlflow_add_text(note, "model", model->identity) &&
        tarn_mlflow_add_text(note, "run_id", model->sink->server_run) && cJSON_AddItemToArray(notes, note)) {
        model->note = note;
        return true;
    }
    cJSON_Delete(note);
    return false;
}

static bool note_down(model *model, const char *name, const char *value)
{
    tarn_path path, temporary;
    cJSON_DeleteItemFromObjectCaseSensitive(model->note, name);
    /* Copies the name: the caller's may be made up, unlike the literals tarn_mlflow_add_text keeps a pointer to. */
    char *text = cJSON_AddStringToObject(model->note, name, value) ? cJSON_PrintUnformatted(model->notes) : NULL;
    /* Notes save looking at the server; that they cannot be written loses nothing. */
    if (text && !tarn_path_make(path, "%s/models.json", model->sink->state) &&
        !tarn_path_make(temporary, "%s/.models.json", model->sink->state))
        (void)tarn_file_put(path, temporary, text, strlen(text));
    cJSON_free(text);
    return text != NULL;
}

/* ---- the logged model -------------------------------------------------------------------------------------------- */

static bool take(model *model, const cJSON *answer)
{
    const cJSON *info = cJSON_GetObjectItemCaseSensitive(answer, "info");
    return note_down(model, "model_id", tarn_json_text(info, "model_id")) &&
           note_down(model, "location", tarn_json_text(info, "artifact_uri"));
}

static tarn_mlflow_outcome search(model *model)
{
    tarn_mlflow_client *client = model->sink->client;
    char filter[500];
    snprintf(filter, sizeof filter, "tags.`tarn.model` = '%s' AND source_run_id = '%.64s'", model->identity,
             model->sink->server_run);
    cJSON *body = cJSON_CreateObject(), *answer = NULL;
    cJSON *experiments = body ? cJSON_AddArrayToObject(body, "experiment_ids") : NULL;
    cJSON *id = experiments ? cJSON_CreateString(model->sink->server_experiment) : NULL;
    tarn_mlflow_outcome outcome =
        id && cJSON_AddItemToArray(experiments, id) && tarn_mlflow_add_text(body, "filter", filter)
            ? tarn_mlflow_ask(client, "POST", "logged-models/search", body, &answer)
            : tarn_mlflow_no_memory(client);
    cJSON_Delete(body);
    const cJSON *found = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(answer, "models"), 0);
    if (found && !take(model, found)) outcome = tarn_mlflow_no_memory(client);
    cJSON_Delete(answer);
    return outcome;
}

/* MLflow's rule for the names of logged models. */
static void plain_name(char *out, size_t size, const char *key)
{
    snprintf(out, size, "%s", key && *key ? key : "model");
    for (; *out; out++)
        if (strchr("/:.%\"'", *out)) *out = '_';
}

static tarn_mlflow_outcome create(model *model)
{
    tarn_mlflow_client *client = model->sink->client;
    char name[256];
    plain_name(name, sizeof name, model->event->key);
    const char *type = tarn_json_text(model->said, "model_type");
    cJSON *body = cJSON_CreateObject(), *answer = NULL;
    cJSON *tags = body ? cJSON_AddArrayToObject(body, "tags") : NULL;
    cJSON *params = tags ? cJSON_AddArrayToObject(body, "params") : NULL;
    bool fine = params && tarn_mlflow_add_text(body, "experiment_id", model->sink->server_experiment) &&
                tarn_mlflow_add_text(body, "name", name) &&
                tarn_mlflow_add_text(body, "source_run_id", model->sink->server_run) &&
                (!*type || tarn_mlflow_add_text(body, "model_type", type)) &&
                tarn_mlflow_add_pair(tags, "tarn.model", model->identity);
    const cJSON *one;
    cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(model->said, "params"))
    {
        char *text = cJSON_IsString(one) ? NULL : cJSON_PrintUnformatted(one);
        fine = fine && tarn_mlflow_add_pair(params, one->string ? one->string : "",
                                            text                  ? text
                                            : cJSON_IsString(one) ? one->valuestring
                                                                  : "");
        cJSON_free(text);
    }
    tarn_mlflow_outcome outcome =
        fine ? tarn_mlflow_ask(client, "POST", "logged-models", body, &answer) : tarn_mlflow_no_memory(client);
    cJSON_Delete(body);
    if (!outcome && !take(model, cJSON_GetObjectItemCaseSensitive(answer, "model")))
        outcome = tarn_mlflow_no_memory(client);
    cJSON_Delete(answer);
    return outcome;
}

/* Finds or makes it; afterwards id and location are known. */
static tarn_mlflow_outcome place(model *model)
{
    if (!*tarn_json_text(model->note, "location")) {
        tarn_mlflow_outcome outcome = search(model);
        if (!outcome && !*tarn_json_text(model->note, "location")) outcome = create(model);
        if (outcome == TARN_MLFLOW_ABSENT) { /* MLflow 2 */
            char name[256], *location = NULL;
            plain_name(name, sizeof name, model->event->key);
            bool fine = asprintf(&location, "%s/%s", model->sink->artifacts, name) >= 0 &&
                        note_down(model, "model_id", "") && note_down(model, "location", location);
            if (fine || location) free(location);
            if (!fine) return tarn_mlflow_no_memory(model->sink->client);
            outcome = TARN_MLFLOW_OK;
        }
        if (outcome) return outcome;
    }
    model->id = tarn_json_text(model->note, "model_id");
    model->location = tarn_json_text(model->note, "location");
    if (*model->location) return TARN_MLFLOW_OK;
    snprintf(model->sink->client->problem, TARN_SINK_PROBLEM, "the MLflow server %.200s names no place for the model",
             model->sink->client->base);
    return TARN_MLFLOW_WAIT;
}

static tarn_mlflow_outcome set_status(model *model, const char *status)
{
    if (!*model->id) return TARN_MLFLOW_OK;
    tarn_mlflow_client *client = model->sink->client;
    char path[200];
    snprintf(path, sizeof path, "logged-models/%.150s", model->id);
    cJSON *body = cJSON_CreateObject();
    tarn_mlflow_outcome outcome =
        body && tarn_mlflow_add_text(body, "model_id", model->id) && tarn_mlflow_add_text(body, "status", status)
            ? tarn_mlflow_ask(client, "PATCH", path, body, NULL)
            : tarn_mlflow_no_memory(client);
    cJSON_Delete(body);
    return outcome;
}

/* ---- its files --------------------------------------------------------------------------------------------------- */

/* The MLmodel file with the names that run and model have at the server. */
static char *replace_mlmodel(void *user, const char *name, const char *path)
{
    const model *model = user;
    if (strcmp(name, "MLmodel") != 0) return NULL;
    const char *const lines[][2] = {{"artifact_path", model->location},
                                    {"run_id", model->sink->server_run},
                                    {"model_id", model->id},
                                    {"model_uuid", model->id}};
    char *text = tarn_document_read_file(path, NULL), *out = NULL;
    size_t size = 0;
    FILE *to = text ? open_memstream(&out, &size) : NULL;
    for (char *line = text, *next; to && line && *line; line = next) {
        size_t length = strcspn(line, "\n");
        next = line + length + (line[length] == '\n');
        bool ours = false;
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
            size_t key = strlen(lines[i][0]);
            ours = ours || (*lines[i][1] && key < length && line[key] == ':' && !strncmp(line, lines[i][0], key));
        }
        if (!ours) fprintf(to, "%.*s\n", (int)length, line);
    }
    for (size_t i = 0; to && i < sizeof lines / sizeof *lines; i++)
        if (*lines[i][1]) fprintf(to, "%s: %s\n", lines[i][0], lines[i][1]);
    free(text);
    if (!to) return NULL;
    if (!fclose(to)) return out;
    free(out);
    return NULL;
}

/* ---- run and registry -------------------------------------------------------------------------------------------- */

static bool is_linked(const model *model)
{
    char path[200];
    cJSON *answer;
    snprintf(path, sizeof path, "runs/get?run_id=%.150s", model->sink->server_run);
    tarn_mlflow_outcome outcome = tarn_mlflow_ask(model->sink->client, "GET", path, NULL, &answer);
    const cJSON *run = cJSON_GetObjectItemCaseSensitive(answer, "run"), *one;
    const cJSON *outputs = cJSON_GetObjectItemCaseSensitive(run, "outputs");
    bool linked = false;
    cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(outputs, "model_outputs")) linked =
        linked || !strcmp(tarn_json_text(one, "model_id"), model->id);
    cJSON_Delete(answer);
    return !outcome && linked;
}

/* Makes it an output of the run. The server takes that once only, and calls a second time a bad request. */
static tarn_mlflow_outcome link_to_run(model *model)
{
    if (!*model->id) return TARN_MLFLOW_OK;
    tarn_mlflow_client *client = model->sink->client;
    cJSON *body = cJSON_CreateObject(), *models = body ? cJSON_AddArrayToObject(body, "models") : NULL;
    cJSON *one = models ? cJSON_CreateObject() : NULL;
    bool fine = one && cJSON_AddItemToArray(models, one);
    fine = fine && tarn_mlflow_add_text(body, "run_id", model->sink->server_run) &&
           tarn_mlflow_add_text(one, "model_id", model->id) &&
           tarn_mlflow_add_integer(one, "step", tarn_json_integer(model->said, "step", model->event->step));
    tarn_mlflow_outcome outcome =
        fine ? tarn_mlflow_ask(client, "POST", "runs/outputs", body, NULL) : tarn_mlflow_no_memory(client);
    cJSON_Delete(body);
    if (outcome != TARN_MLFLOW_REFUSED && outcome != TARN_MLFLOW_EXISTS) return outcome;
    char why[TARN_SINK_PROBLEM];
    memcpy(why, client->problem, sizeof why);
    if (is_linked(model)) return TARN_MLFLOW_OK;
    memcpy(client->problem, why, sizeof why);
    return TARN_MLFLOW_REFUSED;
}

static tarn_mlflow_outcome publish(model *model)
{
    tarn_mlflow_client *client = model->sink->client;
    const char *name = tarn_json_text(model->said, "register"), *alias = tarn_json_text(model->said, "alias");
    if (!*name) return TARN_MLFLOW_OK;
    char source[PATH_MAX], version[TARN_MLFLOW_VERSION];
    snprintf(source, sizeof source, *model->id ? "models:/%s" : "%s", *model->id ? model->id : model->location);
    char of_name[300], of_alias[600];
    snprintf(of_name, sizeof of_name, "version %.260s", name);
    snprintf(of_alias, sizeof of_alias, "alias %.260s@%.260s", name, alias);
    snprintf(version, sizeof version, "%s", tarn_json_text(model->note, of_name));
    tarn_mlflow_outcome outcome = TARN_MLFLOW_OK;
    if (!*version) {
        outcome = tarn_mlflow_register(client, name, source, model->sink->server_run, model->id, version);
        if (!outcome && !note_down(model, of_name, version)) outcome = tarn_mlflow_no_memory(client);
    }
    if (outcome || !*alias) return outcome;
    outcome = tarn_mlflow_put_alias(client, name, alias, version);
    return outcome || note_down(model, of_alias, version) ? outcome : tarn_mlflow_no_memory(client);
}

bool tarn_mlflow_noted_version(const char *state, const char *model_id, const char *name, const char *alias,
                               char version[TARN_MLFLOW_VERSION])
{
    tarn_path path;
    char of_name[300], of_alias[600];
    char *text = tarn_path_make(path, "%s/models.json", state) ? NULL : tarn_document_read_file(path, NULL);
    cJSON *notes = text ? cJSON_Parse(text) : NULL;
    const cJSON *one;
    snprintf(of_name, sizeof of_name, "version %.260s", name);
    snprintf(of_alias, sizeof of_alias, "alias %.260s@%.260s", name, alias ? alias : "");
    version[0] = '\0';
    cJSON_ArrayForEach(one, notes)
    {
        const char *noted = tarn_json_text(one, of_name);
        bool fits = !strcmp(tarn_json_text(one, "model"), model_id) &&
                    (!alias || !strcmp(tarn_json_text(one, of_alias), noted));
        if (fits && *noted) snprintf(version, TARN_MLFLOW_VERSION, "%s", noted);
    }
    cJSON_Delete(notes);
    free(text);
    return *version != '\0';
}

tarn_mlflow_outcome tarn_mlflow_model(tarn_mlflow_sink *sink, const tarn_track_event *event)
{
    model model = {.sink = sink, .event = event, .said = event->text ? cJSON_Parse(event->text) : NULL};
    const char *id = tarn_json_text(model.said, "model_id");
    if (*id)
        snprintf(model.identity, sizeof model.identity, "%.250s", id);
    else
        snprintf(model.identity, sizeof model.identity, "%.250s@%lld", event->key, (long long)event->time_ms);
    snprintf(model.done, sizeof model.done, "done %lld", (long long)event->time_ms);
    tarn_mlflow_outcome outcome = TARN_MLFLOW_OK;
    if (!read_notes(&model))
        outcome = tarn_mlflow_no_memory(sink->client);
    else if (!*tarn_json_text(model.note, model.done)) {
        bool there = *tarn_json_text(model.note, "ready");
        outcome = place(&model);
        if (!outcome && !there) {
            outcome = tarn_mlflow_upload(sink->client, model.location, "", event->file, replace_mlmodel, &model);
            if (outcome == TARN_MLFLOW_REFUSED) {
                char why[TARN_SINK_PROBLEM];
                memcpy(why, sink->client->problem, sizeof why);
                (void)set_status(&model, "LOGGED_MODEL_UPLOAD_FAILED");
                memcpy(sink->client->problem, why, sizeof why);
                *sink->client->error_code = '\0';
                sink->client->code = 0;
            }
        }
        if (!outcome && !there) outcome = set_status(&model, "LOGGED_MODEL_READY");
        if (!outcome && !there) outcome = link_to_run(&model);
        if (!outcome && !there && !note_down(&model, "ready", "yes")) outcome = tarn_mlflow_no_memory(sink->client);
        if (!outcome) outcome = publish(&model);
        if (!outcome && !note_down(&model, model.done, "yes")) outcome = tarn_mlflow_no_memory(sink->client);
    }
    cJSON_Delete(model.notes);
    cJSON_Delete(model.said);
    return outcome;
}
