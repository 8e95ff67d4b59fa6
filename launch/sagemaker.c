/* sagemaker.c - see sagemaker.h. SageMaker sends SIGTERM 120 s before it stops a job or takes a spot machine away: the
 * handlers of tarn train do the rest.
 */
#include "launch/sagemaker.h"
#include "runtime/config/document.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *root(void)
{
    const char *path = getenv("TARN_SAGEMAKER_ROOT");
    return path && *path ? path : "/opt/ml";
}

bool tarn_sagemaker_detected(void)
{
    return getenv("TRAINING_JOB_NAME") || getenv("SM_TRAINING_ENV");
}

/* "optim-lr", from tools that take names for options of a program, is optim.lr: no key of a run file has a dash. */
static char *as_override(const char *name, const char *value)
{
    char *text = NULL;
    if (asprintf(&text, "%s=%s", name, value) < 0) return NULL;
    for (char *at = text; *at && *at != '='; at++)
        if (*at == '-') *at = '.';
    return text;
}

/* SageMaker's Python tools encode values as JSON once more: "adamw" with its quotes. */
static char *plain_value(const char *value)
{
    if (*value != '"') return strdup(value);
    cJSON *inner = cJSON_Parse(value);
    char *text = strdup(cJSON_IsString(inner) ? inner->valuestring : value);
    cJSON_Delete(inner);
    return text;
}

static bool has_key(char *const *overrides, int count, const char *key)
{
    size_t length = strlen(key);
    for (int i = 0; i < count; i++)
        if (overrides[i] && !strncmp(overrides[i], key, length) && overrides[i][length] == '=') return true;
    return false;
}

static tarn_status read_parameters(tarn_context *context, const char *path, cJSON **parameters)
{
    char *text = tarn_document_read_file(path, NULL);
    *parameters = NULL;
    if (!text && errno == ENOENT) return TARN_OK;
    if (!text) return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: %s", path, strerror(errno));
    *parameters = cJSON_Parse(text);
    free(text);
    tarn_status status = TARN_OK;
    if (!cJSON_IsObject(*parameters))
        status = tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                           "%s: expected a JSON object of names and strings: {\"train.steps\": \"100\"}", path);
    for (const cJSON *item = status ? NULL : (*parameters)->child; item && !status; item = item->next)
        if (!cJSON_IsString(item))
            status = tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                               "%s: the value of \"%s\" is no string: SageMaker's hyper-parameters are strings", path,
                               item->string);
    return status;
}

tarn_status tarn_sagemaker_overrides(tarn_context *context, char ***overrides, int *count)
{
    static const char *const places[][2] = {{"checkpoint.dir", "checkpoints"}, {"track.store", "checkpoints/mlruns"}};
    char path[4096];
    cJSON *parameters;
    *overrides = NULL;
    *count = 0;
    snprintf(path, sizeof path, "%.4000s/input/config/hyperparameters.json", root());
    tarn_status status = read_parameters(context, path, &parameters);
    char **list = calloc((size_t)cJSON_GetArraySize(parameters) + 2, sizeof *list);
    bool whole = list != NULL;
    for (const cJSON *item = status || !parameters ? NULL : parameters->child; item && whole; item = item->next) {
        if (!strncmp(item->string, "sagemaker_", 10)) continue;
        char *value = plain_value(item->valuestring);
        list[*count] = value ? as_override(item->string, value) : NULL;
        whole = list[(*count)++] != NULL;
        free(value);
    }
    for (size_t i = 0; i < sizeof places / sizeof *places && whole && !status; i++) {
        if (has_key(list, *count, places[i][0])) continue;
        const char *address = getenv("MLFLOW_TRACKING_URI"); /* the job was given a server */
        if (!strcmp(places[i][0], "track.store") && address && *address) continue;
        snprintf(path, sizeof path, "%.4000s/%s", root(), places[i][1]);
        list[*count] = as_override(places[i][0], path);
        whole = list[(*count)++] != NULL;
    }
    cJSON_Delete(parameters);
    *overrides = list;
    if (!status && !whole)
        status = tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for the hyper-parameters");
    return status;
}

void tarn_sagemaker_free(char **overrides, int count)
{
    for (int i = 0; overrides && i < count; i++) free(overrides[i]);
    free(overrides);
}

void tarn_sagemaker_tell_failure(const tarn_context *context)
{
    const tarn_error *error = tarn_get_error(context);
    if (!error || error->status == TARN_STOPPED) return;
    char path[4096];
    snprintf(path, sizeof path, "%.4000s/output/failure", root());
    FILE *file = fopen(path, "w");
    if (!file) return; /* the message is on stderr as well */
    fprintf(file, "%s\n", error->message);
    fclose(file);
}
