/* registry.c - see registry.h. */
#include "track/mlflow/registry.h"
#include "track/json.h"
#include "track/mlflow/mlflow_sink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool tarn_mlflow_is_address(const char *store)
{
    return store && (!strncasecmp(store, "http://", 7) || !strncasecmp(store, "https://", 8));
}

/* ---- with a client ----------------------------------------------------------------------------------------------- */

/* An object of texts: name, value, ... NULL. NULL when memory is short. */
static cJSON *object_of(const char *name, ...)
{
    cJSON *object = cJSON_CreateObject();
    va_list arguments;
    va_start(arguments, name);
    for (; object && name; name = va_arg(arguments, const char *))
        if (!tarn_mlflow_add_text(object, name, va_arg(arguments, const char *))) {
            cJSON_Delete(object);
            object = NULL;
        }
    va_end(arguments);
    return object;
}

static tarn_mlflow_outcome ask(tarn_mlflow_client *client, const char *method, const char *path, cJSON *body,
                               cJSON **answer)
{
    tarn_mlflow_outcome outcome =
        body ? tarn_mlflow_ask(client, method, path, body, answer) : tarn_mlflow_no_memory(client);
    if (!body && answer) *answer = NULL;
    cJSON_Delete(body);
    return outcome;
}

/* The version of that source, made by an attempt whose answer never came; "" when there is none. */
static tarn_mlflow_outcome find_version(tarn_mlflow_client *client, const char *name, const char *source,
                                        const char *run_id, char version[TARN_MLFLOW_VERSION])
{
    char *filter = NULL, *escaped = NULL, *path = NULL;
    version[0] = '\0';
    if (asprintf(&filter, "run_id='%s'", run_id) < 0) filter = NULL;
    if (filter) escaped = tarn_mlflow_escape(filter, "");
    if (!escaped || asprintf(&path, "model-versions/search?max_results=1000&filter=%s", escaped) < 0) path = NULL;
    cJSON *answer = NULL;
    tarn_mlflow_outcome outcome =
        path ? tarn_mlflow_ask(client, "GET", path, NULL, &answer) : tarn_mlflow_no_memory(client);
    const cJSON *one;
    cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(answer, "model_versions"))
    {
        if (!strcmp(tarn_json_text(one, "source"), source) && !strcmp(tarn_json_text(one, "name"), name))
            snprintf(version, TARN_MLFLOW_VERSION, "%s", tarn_json_text(one, "version"));
    }
    cJSON_Delete(answer);
    free(filter);
    free(escaped);
    free(path);
    return outcome;
}

tarn_mlflow_outcome tarn_mlflow_register(tarn_mlflow_client *client, const char *name, const char *source,
                                         const char *run_id, const char *model_id, char version[TARN_MLFLOW_VERSION])
{
    version[0] = '\0';
    tarn_mlflow_outcome outcome = ask(client, "POST", "registered-models/create", object_of("name", name, NULL), NULL);
    if (outcome == TARN_MLFLOW_EXISTS) outcome = find_version(client, name, source, run_id, version);
    if (outcome || *version) return outcome;
    cJSON *body = object_of("name", name, "source", source, "run_id", run_id, *model_id ? "model_id" : NULL, model_id,
                            NULL),
          *answer;
    outcome = ask(client, "POST", "model-versions/create", body, &answer);
    const cJSON *made = cJSON_GetObjectItemCaseSensitive(answer, "model_version");
    snprintf(version, TARN_MLFLOW_VERSION, "%s", tarn_json_text(made, "version"));
    cJSON_Delete(answer);
    if (!outcome && !*version) {
        snprintf(client->problem, sizeof client->problem,
                 "the MLflow server %.200s made a version of %.100s without a "
                 "number",
                 client->base, name);
        return TARN_MLFLOW_WAIT;
    }
    return outcome;
}

tarn_mlflow_outcome tarn_mlflow_put_alias(tarn_mlflow_client *client, const char *name, const char *alias,
                                          const char *version)
{
    return ask(client, "POST", "registered-models/alias",
               object_of("name", name, "alias", alias, "version", version, NULL), NULL);
}

static tarn_mlflow_outcome look_up_alias(tarn_mlflow_client *client, const char *name, const char *alias,
                                         char version[TARN_MLFLOW_VERSION])
{
    char *escaped[] = {tarn_mlflow_escape(name, ""), tarn_mlflow_escape(alias, "")}, *path = NULL;
    if (!escaped[0] || !escaped[1] ||
        asprintf(&path, "registered-models/alias?name=%s&alias=%s", escaped[0], escaped[1]) < 0)
        path = NULL;
    cJSON *answer = NULL;
    tarn_mlflow_outcome outcome =
        path ? tarn_mlflow_ask(client, "GET", path, NULL, &answer) : tarn_mlflow_no_memory(client);
    snprintf(version, TARN_MLFLOW_VERSION, "%s",
             tarn_json_text(cJSON_GetObjectItemCaseSensitive(answer, "model_version"), "version"));
    cJSON_Delete(answer);
    free(escaped[0]);
    free(escaped[1]);
    free(path);
    return outcome;
}

/* ---- with an address --------------------------------------------------------------------------------------------- */

static tarn_status status_of(tarn_mlflow_client *client, tarn_mlflow_outcome outcome, char problem[TARN_SINK_PROBLEM])
{
    if (outcome) memcpy(problem, client->problem, TARN_SINK_PROBLEM);
    tarn_mlflow_client_close(client);
    if (!outcome) return TARN_OK;
    return outcome == TARN_MLFLOW_WAIT || outcome == TARN_MLFLOW_ABSENT ? TARN_ERROR_IO : TARN_ERROR_ARGUMENT;
}

static tarn_status open_client(tarn_mlflow_client **client, const char *address, char problem[TARN_SINK_PROBLEM])
{
    char notice[TARN_SINK_PROBLEM];
    return tarn_mlflow_client_open(client, address, notice, problem);
}

tarn_status tarn_mlflow_set_alias(const char *address, const char *name, const char *alias, const char *version,
                                  char problem[TARN_SINK_PROBLEM])
{
    tarn_mlflow_client *client;
    tarn_status status = open_client(&client, address, problem);
    return status ? status : status_of(client, tarn_mlflow_put_alias(client, name, alias, version), problem);
}

tarn_status tarn_mlflow_get_alias(const char *address, const char *name, const char *alias,
                                  char version[TARN_MLFLOW_VERSION], char problem[TARN_SINK_PROBLEM])
{
    tarn_mlflow_client *client;
    tarn_status status = open_client(&client, address, problem);
    return status ? status : status_of(client, look_up_alias(client, name, alias, version), problem);
}

tarn_status tarn_mlflow_delete_alias(const char *address, const char *name, const char *alias,
                                     char problem[TARN_SINK_PROBLEM])
{
    tarn_mlflow_client *client;
    tarn_status status = open_client(&client, address, problem);
    return status ? status
                  : status_of(client,
                              ask(client, "DELETE", "registered-models/alias",
                                  object_of("name", name, "alias", alias, NULL), NULL),
                              problem);
}
