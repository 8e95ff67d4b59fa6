/* kubernetes.c - a batch/v1 Job of one pod: the supervisor and its ranks. */
#include "launch/render/pod.h"

static cJSON *failure_policy(void)
{
    static const struct {
        const char *action;
        int code;
    } rules[] = {{"FailJob", 2}, {"Ignore", 75}};
    cJSON *policy = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(policy, "rules");
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        cJSON *rule = cJSON_CreateObject(), *codes;
        cJSON_AddStringToObject(rule, "action", rules[i].action);
        codes = cJSON_AddObjectToObject(rule, "onExitCodes");
        cJSON_AddStringToObject(codes, "containerName", "train");
        cJSON_AddStringToObject(codes, "operator", "In");
        cJSON_AddItemToObject(codes, "values", cJSON_CreateIntArray(&rules[i].code, 1));
        cJSON_AddItemToArray(list, rule);
    }
    /* A node that is drained, pre-empted or lost: no failure of the run either. */
    cJSON *rule = cJSON_CreateObject(), *condition = cJSON_CreateObject();
    cJSON_AddStringToObject(rule, "action", "Ignore");
    cJSON_AddStringToObject(condition, "type", "DisruptionTarget");
    cJSON_AddStringToObject(condition, "status", "True");
    cJSON_AddItemToArray(cJSON_AddArrayToObject(rule, "onPodConditions"), condition);
    cJSON_AddItemToArray(list, rule);
    return policy;
}

tarn_status tarn_render_kubernetes(tarn_context *context, const tarn_render *render, char **text)
{
    cJSON *job = tarn_render_job(render, "batch/v1", "Job");
    cJSON *spec = cJSON_AddObjectToObject(job, "spec");
    cJSON_AddNumberToObject(spec, "backoffLimit", render->restarts);
    if (render->seconds) cJSON_AddNumberToObject(spec, "activeDeadlineSeconds", (double)render->seconds);
    cJSON_AddItemToObject(spec, "podFailurePolicy", failure_policy());
    cJSON_AddItemToObject(spec, "template",
                          tarn_render_pod(render, "train", tarn_render_command(render, NULL), render->ranks));
    cJSON *documents = cJSON_CreateArray();
    cJSON_AddItemToArray(documents, tarn_render_config_map(render));
    cJSON_AddItemToArray(documents, job);
    tarn_status status = tarn_render_yaml(context, render, documents, text);
    cJSON_Delete(documents);
    return status;
}
