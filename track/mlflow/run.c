/* run.c - the run at the MLflow server: found again or made, set going, ended; its data sets.
 *
 * Invariants
 *  1. One run here is one run there, also when the process died between making it and noting its id: it is looked for
 *     by its tag tarn.run_id before one is made.
 *  2. The id noted in the state folder counts only for the server it was noted for.
 */
#include "track/mlflow/mlflow_sink.h"
#include "track/environment.h"
#include "track/json.h"
#include "runtime/config/document.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DIGEST_CHARACTERS = 36 }; /* MLflow's limit */

/* ---- the note ---------------------------------------------------------------------------------------------------- */

void tarn_mlflow_run_clear(tarn_mlflow_sink *sink)
{
    free(sink->server_experiment);
    free(sink->server_run);
    free(sink->artifacts);
    sink->server_experiment = sink->server_run = sink->artifacts = NULL;
    sink->open = sink->made = false;
}

static bool take(tarn_mlflow_sink *sink, const char *experiment, const char *run, const char *artifacts)
{
    char *copies[] = {strdup(experiment), strdup(run), strdup(artifacts)};
    if (!copies[0] || !copies[1] || !copies[2]) {
        for (int i = 0; i < 3; i++) free(copies[i]);
        return false;
    }
    tarn_mlflow_run_clear(sink);
    sink->server_experiment = copies[0];
    sink->server_run = copies[1];
    sink->artifacts = copies[2];
    return true;
}

/* The run as noted by an earlier process. */
static bool read_note(tarn_mlflow_sink *sink)
{
    tarn_path path;
    if (tarn_path_make(path, "%s/run.json", sink->state)) return false;
    char *text = tarn_document_read_file(path, NULL);
    cJSON *note = text ? cJSON_Parse(text) : NULL;
    const char *run = tarn_json_text(note, "run_id"), *experiment = tarn_json_text(note, "experiment_id");
    const char *artifacts = tarn_json_text(note, "artifact_uri");
    bool fits = *run && *experiment && *artifacts && !strcmp(tarn_json_text(note, "server"), sink->client->base) &&
                take(sink, experiment, run, artifacts);
    cJSON_Delete(note);
    free(text);
    return fits;
}

/* A note that cannot be written costs one search at the next start. */
static void write_note(const tarn_mlflow_sink *sink)
{
    tarn_path path, temporary;
    cJSON *note = cJSON_CreateObject();
    char *text = note && cJSON_AddStringToObject(note, "server", sink->client->base) &&
                         cJSON_AddStringToObject(note, "experiment_id", sink->server_experiment) &&
                         cJSON_AddStringToObject(note, "run_id", sink->server_run) &&
                         cJSON_AddStringToObject(note, "artifact_uri", sink->artifacts)
                     ? cJSON_PrintUnformatted(note)
                     : NULL;
    if (text && !tarn_path_make(path, "%s/run.json", sink->state) &&
        !tarn_path_make(temporary, "%s/.run.json", sink->state))
        (void)tarn_file_put(path, temporary, text, strlen(text));
    cJSON_free(text);
    cJSON_Delete(note);
}

void tarn_mlflow_run_forget(tarn_mlflow_sink *sink)
{
    tarn_path path;
    tarn_mlflow_run_clear(sink);
    if (!tarn_path_make(path, "%s/run.json", sink->state)) unlink(path);
}

/* ---- finding and making ------------------------------------------------------------------------------------------ */

static tarn_mlflow_outcome strange(tarn_mlflow_client *client, const char *what)
{
    snprintf(
        client->problem, sizeof client->problem,
        "the MLflow server %.200s answers %s without what belongs there: is it an MLflow server? check track.store "
        "or MLFLOW_TRACKING_URI",
        client->base, what);
    return TARN_MLFLOW_WAIT;
}

/* The experiment's id, to be freed. */
static tarn_mlflow_outcome find_experiment(tarn_mlflow_client *client, const char *name, char **id)
{
    char *escaped = tarn_mlflow_escape(name, ""), *path = NULL;
    if (!escaped || asprintf(&path, "experiments/get-by-name?experiment_name=%s", escaped) < 0) path = NULL;
    free(escaped);
    if (!path) return tarn_mlflow_no_memory(client);
    tarn_mlflow_outcome outcome = TARN_MLFLOW_WAIT;
    *id = NULL;
    for (int tries = 0; tries < 2 && !*id; tries++) {
        cJSON *answer;
        outcome = tarn_mlflow_ask(client, "GET", path, NULL, &answer);
        if (outcome == TARN_MLFLOW_MISSING) {
            cJSON *body = cJSON_CreateObject();
            outcome = body && tarn_mlflow_add_text(body, "name", name)
                          ? tarn_mlflow_ask(client, "POST", "experiments/create", body, &answer)
                          : tarn_mlflow_no_memory(client);
            cJSON_Delete(body);
            if (!outcome && !(*id = strdup(tarn_json_text(answer, "experiment_id"))))
                outcome = tarn_mlflow_no_memory(client);
            cJSON_Delete(answer);
            if (outcome == TARN_MLFLOW_EXISTS) continue; /* another process was faster */
            break;
        }
        const cJSON *experiment = cJSON_GetObjectItemCaseSensitive(answer, "experiment");
        if (!outcome && !strcmp(tarn_json_text(experiment, "lifecycle_stage"), "deleted")) {
            snprintf(client->problem, sizeof client->problem,
                     "the experiment \"%.100s\" was deleted from the MLflow server %.150s: restore it (mlflow "
                     "experiments restore --experiment-id %.40s), or choose another name with track.experiment",
                     name, client->base, tarn_json_text(experiment, "experiment_id"));
            outcome = TARN_MLFLOW_WAIT;
        } else if (!outcome && !(*id = strdup(tarn_json_text(experiment, "experiment_id"))))
            outcome = tarn_mlflow_no_memory(client);
        cJSON_Delete(answer);
        break;
    }
    free(path);
    if (!outcome && !**id) {
        free(*id);
        *id = NULL;
        outcome = strange(client, "for an experiment");
    }
    return outcome;
}

/* Takes the run that an answer describes. */
static tarn_mlflow_outcome take_run(tarn_mlflow_sink *sink, const cJSON *run)
{
    const cJSON *info = cJSON_GetObjectItemCaseSensitive(run, "info");
    const char *id = tarn_json_text(info, "run_id"), *experiment = tarn_json_text(info, "experiment_id");
    if (!*id || !*experiment) return strange(sink->client, "for a run");
    if (!take(sink, experiment, id, tarn_json_text(info, "artifact_uri"))) return tarn_mlflow_no_memory(sink->client);
    return TARN_MLFLOW_OK;
}

static tarn_mlflow_outcome find_by_tag(tarn_mlflow_sink *sink, const char *experiment)
{
    tarn_mlflow_client *client = sink->client;
    char filter[300];
    snprintf(filter, sizeof filter, "tags.`tarn.run_id` = '%.200s'", sink->run_id);
    cJSON *body = cJSON_CreateObject(), *answer = NULL;
    cJSON *experiments = body ? cJSON_AddArrayToObject(body, "experiment_ids") : NULL;
    cJSON *id = experiments ? cJSON_CreateString(experiment) : NULL;
    tarn_mlflow_outcome outcome = TARN_MLFLOW_OK;
    if (!id || !cJSON_AddItemToArray(experiments, id) || !tarn_mlflow_add_text(body, "filter", filter) ||
        !tarn_mlflow_add_integer(body, "max_results", 1))
        outcome = tarn_mlflow_no_memory(client);
    if (!outcome) outcome = tarn_mlflow_ask(client, "POST", "runs/search", body, &answer);
    cJSON_Delete(body);
    const cJSON *run = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(answer, "runs"), 0);
    if (!outcome && run) outcome = take_run(sink, run);
    cJSON_Delete(answer);
    return outcome;
}

/* GET of a run; *run belongs to *answer. */
static tarn_mlflow_outcome get_run(tarn_mlflow_client *client, const char *id, cJSON **answer, const cJSON **run)
{
    char *escaped = tarn_mlflow_escape(id, ""), *path = NULL;
    if (!escaped || asprintf(&path, "runs/get?run_id=%s", escaped) < 0) path = NULL;
    free(escaped);
    *answer = NULL;
    tarn_mlflow_outcome outcome =
        path ? tarn_mlflow_ask(client, "GET", path, NULL, answer) : tarn_mlflow_no_memory(client);
    free(path);
    *run = cJSON_GetObjectItemCaseSensitive(*answer, "run");
    return outcome;
}

/* The run that MLFLOW_RUN_ID or track.run_id names. */
static tarn_mlflow_outcome find_wanted(tarn_mlflow_sink *sink)
{
    cJSON *answer;
    const cJSON *run;
    tarn_mlflow_outcome outcome = get_run(sink->client, sink->wanted, &answer, &run);
    if (!outcome) outcome = take_run(sink, run);
    cJSON_Delete(answer);
    /* An id that is none at the server: the local one of a run that is new there. */
    if (outcome == TARN_MLFLOW_MISSING || outcome == TARN_MLFLOW_REFUSED) return TARN_MLFLOW_OK;
    /* The next process finds it by its tag. */
    return outcome || !sink->server_run ? outcome : tarn_mlflow_run_probe(sink);
}

static bool add_tag(cJSON *tags, const char *key, const char *value)
{
    return !*value || tarn_mlflow_add_pair(tags, key, value);
}

static tarn_mlflow_outcome make_run(tarn_mlflow_sink *sink, const char *experiment, const cJSON *begin, int64_t start)
{
    char made[64];
    snprintf(made, sizeof made, "tarn-%.8s", sink->run_id);
    const char *said = tarn_json_text(begin, "name");
    const char *name = *said ? said : sink->name ? sink->name : made;
    cJSON *body = cJSON_CreateObject(), *answer = NULL;
    cJSON *tags = body ? cJSON_AddArrayToObject(body, "tags") : NULL;
    tarn_mlflow_outcome outcome = TARN_MLFLOW_OK;
    if (!tags || !tarn_mlflow_add_text(body, "experiment_id", experiment) ||
        !tarn_mlflow_add_text(body, "run_name", name) || !tarn_mlflow_add_integer(body, "start_time", start) ||
        !tarn_mlflow_add_text(body, "user_id", tarn_json_text(begin, "user")) ||
        !add_tag(tags, "mlflow.user", tarn_json_text(begin, "user")) ||
        !add_tag(tags, "mlflow.source.name", tarn_json_text(begin, "source")) ||
        !add_tag(tags, "mlflow.source.type", "LOCAL") ||
        !add_tag(tags, "mlflow.source.git.commit", tarn_json_text(begin, "commit")) ||
        !add_tag(tags, "mlflow.runName", name) || !add_tag(tags, "tarn.run_id", sink->run_id))
        outcome = tarn_mlflow_no_memory(sink->client);
    if (!outcome) outcome = tarn_mlflow_ask(sink->client, "POST", "runs/create", body, &answer);
    cJSON_Delete(body);
    if (!outcome) outcome = take_run(sink, cJSON_GetObjectItemCaseSensitive(answer, "run"));
    cJSON_Delete(answer);
    if (!outcome) sink->made = true;
    return outcome;
}

static tarn_mlflow_outcome find_or_make(tarn_mlflow_sink *sink, const tarn_track_event *first)
{
    const char *text = first->kind == TARN_TRACK_BEGIN ? first->text : sink->begin;
    cJSON *begin = text ? cJSON_Parse(text) : NULL;
    const char *said = tarn_json_text(begin, "experiment");
    char *experiment = NULL;
    const char *number = tarn_environment_variable("MLFLOW_EXPERIMENT_ID"),
               *name = tarn_environment_variable("MLFLOW_EXPERIMENT_NAME");
    tarn_mlflow_outcome outcome = sink->wanted ? find_wanted(sink) : TARN_MLFLOW_OK;
    if (!outcome && !sink->server_run) {
        /* As mlflow: an id stands in for a name, and only where no name is given. */
        if (number && !name && !strcmp(sink->experiment, "Default"))
            outcome = (experiment = strdup(number)) ? TARN_MLFLOW_OK : tarn_mlflow_no_memory(sink->client);
        else
            outcome = find_experiment(sink->client, *said ? said : sink->experiment, &experiment);
        if (!outcome) outcome = find_by_tag(sink, experiment);
    }
    if (!outcome && !sink->server_run) {
        outcome = make_run(sink, experiment, begin, first->time_ms);
        if (!outcome && sink->named)
            snprintf(sink->notice, sizeof sink->notice,
                     "the MLflow server %.200s does not hold run %.64s: its record begins anew, as run %.64s",
                     sink->client->base, sink->wanted ? sink->wanted : sink->run_id, sink->server_run);
        sink->named = false;
    }
    free(experiment);
    cJSON_Delete(begin);
    return outcome;
}

tarn_mlflow_outcome tarn_mlflow_run_open(tarn_mlflow_sink *sink, const tarn_track_event *first)
{
    if (sink->open) return TARN_MLFLOW_OK;
    if (!read_note(sink)) {
        tarn_mlflow_outcome outcome = find_or_make(sink, first);
        /* Without a run nothing can be recorded: whatever the server says, it is asked again. */
        if (outcome) return TARN_MLFLOW_WAIT;
        write_note(sink);
    }
    sink->open = true;
    return TARN_MLFLOW_OK;
}

/* ---- its life ---------------------------------------------------------------------------------------------------- */

static tarn_mlflow_outcome update(tarn_mlflow_sink *sink, const char *status, int64_t end, const char *name)
{
    cJSON *body = cJSON_CreateObject();
    tarn_mlflow_outcome outcome = TARN_MLFLOW_OK;
    if (!body || !tarn_mlflow_add_text(body, "run_id", sink->server_run) ||
        !tarn_mlflow_add_text(body, "status", status) ||
        (end >= 0 && !tarn_mlflow_add_integer(body, "end_time", end)) ||
        (*name && !tarn_mlflow_add_text(body, "run_name", name)))
        outcome = tarn_mlflow_no_memory(sink->client);
    if (!outcome) outcome = tarn_mlflow_ask(sink->client, "POST", "runs/update", body, NULL);
    cJSON_Delete(body);
    return outcome;
}

tarn_mlflow_outcome tarn_mlflow_run_begin(tarn_mlflow_sink *sink, const tarn_track_event *event)
{
    if (sink->made) {
        sink->made = false;
        return TARN_MLFLOW_OK;
    }
    cJSON *begin = event->text ? cJSON_Parse(event->text) : NULL;
    tarn_mlflow_outcome outcome = update(sink, "RUNNING", -1, tarn_json_text(begin, "name"));
    cJSON_Delete(begin);
    return outcome;
}

tarn_mlflow_outcome tarn_mlflow_run_end(tarn_mlflow_sink *sink, const tarn_track_event *event)
{
    const char *text = event->text ? event->text : "";
    return update(sink, !strcmp(text, "FINISHED") || !strcmp(text, "KILLED") ? text : "FAILED", event->time_ms, "");
}

tarn_mlflow_outcome tarn_mlflow_run_input(tarn_mlflow_sink *sink, const tarn_track_event *event)
{
    static const char *const optional[] = {"schema", "profile"};
    cJSON *said = event->text ? cJSON_Parse(event->text) : NULL, *body = cJSON_CreateObject();
    cJSON *datasets = body ? cJSON_AddArrayToObject(body, "datasets") : NULL;
    cJSON *input = cJSON_CreateObject();
    bool fine = datasets && input && cJSON_AddItemToArray(datasets, input);
    if (!fine) cJSON_Delete(input);
    cJSON *tags = fine ? cJSON_AddArrayToObject(input, "tags") : NULL;
    cJSON *dataset = fine ? cJSON_AddObjectToObject(input, "dataset") : NULL;
    char digest[DIGEST_CHARACTERS + 1];
    snprintf(digest, sizeof digest, "%s", tarn_json_text(said, "digest"));
    const char *source = tarn_json_text(said, "source"), *type = tarn_json_text(said, "source_type");
    const char *context = tarn_json_text(said, "context");
    /* MLflow reads a source as JSON, by its type. */
    const char *member = !strcmp(type, "http") ? "url" : "uri";
    cJSON *place = *source == '{' ? NULL : cJSON_CreateObject();
    char *wrapped = place && tarn_mlflow_add_text(place, member, source) ? cJSON_PrintUnformatted(place) : NULL;
    cJSON_Delete(place);
    fine = fine && tags && dataset && (*source == '{' || wrapped) &&
           tarn_mlflow_add_text(body, "run_id", sink->server_run) &&
           tarn_mlflow_add_text(dataset, "name", event->key) && tarn_mlflow_add_text(dataset, "digest", digest) &&
           tarn_mlflow_add_text(dataset, "source_type", *type ? type : "local") &&
           tarn_mlflow_add_text(dataset, "source", wrapped ? wrapped : source) &&
           (!*context || tarn_mlflow_add_pair(tags, "mlflow.data.context", context));
    for (int i = 0; fine && i < 2; i++) {
        const char *text = tarn_json_text(said, optional[i]);
        fine = !*text || tarn_mlflow_add_text(dataset, optional[i], text);
    }
    tarn_mlflow_outcome outcome = fine ? tarn_mlflow_ask(sink->client, "POST", "runs/log-inputs", body, NULL)
                                       : tarn_mlflow_no_memory(sink->client);
    cJSON_free(wrapped);
    cJSON_Delete(body);
    cJSON_Delete(said);
    return outcome;
}

tarn_mlflow_outcome tarn_mlflow_run_check(tarn_mlflow_sink *sink)
{
    cJSON *answer;
    const cJSON *run;
    tarn_mlflow_outcome outcome = get_run(sink->client, sink->server_run, &answer, &run);
    const cJSON *info = cJSON_GetObjectItemCaseSensitive(run, "info");
    if (!outcome && !strcmp(tarn_json_text(info, "lifecycle_stage"), "deleted")) {
        snprintf(sink->client->problem, sizeof sink->client->problem,
                 "the run %.64s was deleted from the MLflow server %.200s: restore it (mlflow runs restore --run-id "
                 "%.64s) to have the rest recorded",
                 sink->server_run, sink->client->base, sink->server_run);
        outcome = TARN_MLFLOW_WAIT;
    }
    cJSON_Delete(answer);
    return outcome;
}

tarn_mlflow_outcome tarn_mlflow_run_probe(tarn_mlflow_sink *sink)
{
    cJSON *body = cJSON_CreateObject();
    cJSON *tags = body ? cJSON_AddArrayToObject(body, "tags") : NULL;
    tarn_mlflow_outcome outcome = tags && tarn_mlflow_add_text(body, "run_id", sink->server_run) &&
                                          tarn_mlflow_add_pair(tags, "tarn.run_id", sink->run_id)
                                      ? tarn_mlflow_ask(sink->client, "POST", "runs/log-batch", body, NULL)
                                      : tarn_mlflow_no_memory(sink->client);
    cJSON_Delete(body);
    return outcome;
}
