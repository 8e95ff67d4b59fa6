/* sagemaker.c - the request of CreateTrainingJob, for `aws sagemaker create-training-job --cli-input-json file://...`.
 *
 * The run file is not mounted anywhere: what it sets travels as hyper-parameters, which are strings, and `tarn train
 * --sagemaker` reads them back (launch/sagemaker.c).
 */
#include "launch/render/render.h"
#include "launch/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNEL "/opt/ml/input/data/training"
enum { VOLUME_GIB = 30, WAIT_FACTOR = 2 };

static bool names_a_file(const char *key)
{
    static const char *const files[] = {"data.path", "data.images", "data.labels", "data.test_images",
                                        "data.test_labels"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (!strcmp(key, files[i])) return true;
    return false;
}

/* What the run file and the overrides set; defaults stay out. */
static cJSON *hyper_parameters(const tarn_render *render)
{
    cJSON *parameters = cJSON_CreateObject();
    for (int i = 0; i < tarn_run_schema_count; i++) {
        const tarn_config_key *key = &tarn_run_schema[i];
        const char *where = tarn_config_where(render->config, key->name);
        if (!where || !strcmp(where, "default")) continue;
        bool text = key->type == TARN_CONFIG_STRING || key->type == TARN_CONFIG_CHOICE;
        const char *value =
            text ? tarn_config_string(render->config, key->name) : tarn_config_value_text(render->config, key->name);
        char path[1200];
        if (value && render->data && names_a_file(key->name)) { /* it lies in the channel */
            const char *slash = strrchr(value, '/');
            snprintf(path, sizeof path, CHANNEL "/%.1000s", slash ? slash + 1 : value);
            value = path;
        }
        cJSON_AddStringToObject(parameters, key->name, value ? value : "null");
    }
    return parameters;
}

static void add_entrypoint(const tarn_render *render, cJSON *algorithm)
{
    char ranks[16], grace[16];
    snprintf(ranks, sizeof ranks, "%d", render->ranks);
    snprintf(grace, sizeof grace, "%d", render->grace);
    const char *words[] = {"tarn", "run",  "-n",    ranks,         "--min-ranks",    ranks, "--grace", grace,
                           "--",   "tarn", "train", "--sagemaker", "--expect-ranks", ranks};
    cJSON_AddItemToObject(algorithm, "ContainerEntrypoint",
                          cJSON_CreateStringArray(words, (int)(sizeof words / sizeof *words)));
}

static void add_channel(const tarn_render *render, cJSON *request)
{
    if (!render->data) return;
    cJSON *channel = cJSON_CreateObject();
    cJSON_AddItemToArray(cJSON_AddArrayToObject(request, "InputDataConfig"), channel);
    cJSON_AddStringToObject(channel, "ChannelName", "training");
    cJSON *source = cJSON_AddObjectToObject(cJSON_AddObjectToObject(channel, "DataSource"), "S3DataSource");
    cJSON_AddStringToObject(source, "S3DataType", "S3Prefix");
    cJSON_AddStringToObject(source, "S3Uri", render->data);
    cJSON_AddStringToObject(source, "S3DataDistributionType", "FullyReplicated");
}

tarn_status tarn_render_sagemaker(tarn_context *context, const tarn_render *render, char **text)
{
    cJSON *request = cJSON_CreateObject(), *part;
    cJSON_AddStringToObject(request, "TrainingJobName", render->name);
    cJSON_AddItemToObject(request, "HyperParameters", hyper_parameters(render));
    part = cJSON_AddObjectToObject(request, "AlgorithmSpecification");
    cJSON_AddStringToObject(part, "TrainingImage", render->image);
    cJSON_AddStringToObject(part, "TrainingInputMode", "File");
    add_entrypoint(render, part);
    cJSON_AddStringToObject(request, "RoleArn", render->role);
    add_channel(render, request);
    cJSON_AddStringToObject(cJSON_AddObjectToObject(request, "OutputDataConfig"), "S3OutputPath", render->output);
    part = cJSON_AddObjectToObject(request, "ResourceConfig");
    cJSON_AddStringToObject(part, "InstanceType", render->instance);
    cJSON_AddNumberToObject(part, "InstanceCount", 1);
    cJSON_AddNumberToObject(part, "VolumeSizeInGB", VOLUME_GIB);
    part = cJSON_AddObjectToObject(request, "StoppingCondition");
    cJSON_AddNumberToObject(part, "MaxRuntimeInSeconds", (double)render->seconds);
    if (render->spot) cJSON_AddNumberToObject(part, "MaxWaitTimeInSeconds", (double)(WAIT_FACTOR * render->seconds));
    cJSON_AddBoolToObject(request, "EnableManagedSpotTraining", render->spot);
    part = cJSON_AddObjectToObject(request, "CheckpointConfig");
    cJSON_AddStringToObject(part, "S3Uri", render->checkpoints);
    cJSON_AddStringToObject(part, "LocalPath", "/opt/ml/checkpoints");
    /* JSON has no comments: this is where the file says how it was made. */
    part = cJSON_AddObjectToObject(request, "Environment");
    char line[512];
    snprintf(line, sizeof line, "%s", render->command_line);
    cJSON_AddStringToObject(part, "TARN_MADE_BY", line);
    cJSON_AddStringToObject(part, "OMPI_ALLOW_RUN_AS_ROOT", "1");
    cJSON_AddStringToObject(part, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    cJSON_AddStringToObject(part, "PRTE_ALLOW_RUN_AS_ROOT", "1");
    cJSON_AddStringToObject(part, "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    for (int i = 0; i < render->environment.count; i++)
        cJSON_AddStringToObject(part, render->environment.pair[i].key, render->environment.pair[i].value);
    char *json = cJSON_Print(request);
    cJSON_Delete(request);
    *text = NULL;
    if (!json || asprintf(text, "%s\n", json) < 0) {
        *text = NULL;
        cJSON_free(json);
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory while writing the manifest");
    }
    cJSON_free(json);
    return TARN_OK;
}
