/* volcano.c - a Job of Volcano (batch.volcano.sh/v1alpha1): all pods or none, a master with the supervisor, workers. */
#include "launch/render/pod.h"

#include <stdio.h>
#include <stdlib.h>

#define HOSTFILE "/tmp/hostfile"

static cJSON *policy(const char *event, int code, const char *action)
{
    cJSON *policy = cJSON_CreateObject();
    if (event)
        cJSON_AddStringToObject(policy, "event", event);
    else
        cJSON_AddNumberToObject(policy, "exitCode", code);
    cJSON_AddStringToObject(policy, "action", action);
    return policy;
}

static cJSON *task(const char *name, int replicas, cJSON *pod)
{
    cJSON *task = cJSON_CreateObject();
    cJSON_AddStringToObject(task, "name", name);
    cJSON_AddNumberToObject(task, "replicas", replicas);
    cJSON_AddItemToObject(task, "template", pod);
    return task;
}

/* The plugin svc writes the workers' names, one a line; their slots have to be added, in a file of our own. */
static cJSON *master_command(const tarn_render *render)
{
    cJSON *words = tarn_render_command(render, HOSTFILE);
    char *line = NULL;
    if (asprintf(&line, "sed 's/$/ slots=%d/' /etc/volcano/worker.host >" HOSTFILE " && exec",
                 render->ranks / render->nodes) < 0)
        line = NULL;
    for (cJSON *word = words ? words->child : NULL; word && line; word = word->next) {
        char *quoted = tarn_render_shell_word(word->valuestring), *longer = NULL;
        if (!quoted || asprintf(&longer, "%s %s", line, quoted) < 0) longer = NULL;
        free(quoted);
        free(line);
        line = longer;
    }
    cJSON_Delete(words);
    cJSON *command = NULL;
    if (line) command = cJSON_CreateStringArray((const char *const[]){"/bin/sh", "-c", line}, 3);
    free(line);
    return command;
}

tarn_status tarn_render_volcano(tarn_context *context, const tarn_render *render, char **text)
{
    cJSON *job = tarn_render_job(render, "batch.volcano.sh/v1alpha1", "Job");
    cJSON *spec = cJSON_AddObjectToObject(job, "spec");
    cJSON_AddStringToObject(spec, "schedulerName", "volcano");
    if (render->queue) cJSON_AddStringToObject(spec, "queue", render->queue);
    cJSON_AddNumberToObject(spec, "minAvailable", render->nodes + 1);
    cJSON_AddNumberToObject(spec, "maxRetry", render->restarts);
    cJSON *plugins = cJSON_AddObjectToObject(spec, "plugins");
    cJSON_AddItemToObject(plugins, "ssh", cJSON_CreateArray());
    cJSON_AddItemToObject(plugins, "svc", cJSON_CreateArray());
    cJSON *policies = cJSON_AddArrayToObject(spec, "policies");
    cJSON_AddItemToArray(policies, policy("PodEvicted", 0, "RestartJob"));

    cJSON *master_pod = tarn_render_pod(render, "master", master_command(render), 0);
    tarn_render_add_mpi(tarn_render_container(master_pod), HOSTFILE);
    cJSON *master = task("master", 1, master_pod);
    policies = cJSON_AddArrayToObject(master, "policies");
    cJSON_AddItemToArray(policies, policy("TaskCompleted", 0, "CompleteJob"));
    cJSON_AddItemToArray(policies, policy(NULL, 75, "RestartJob"));
    cJSON_AddItemToArray(policies, policy(NULL, 2, "AbortJob"));
    cJSON_AddItemToArray(policies, policy("PodFailed", 0, "RestartJob"));
    /* sshd wants a folder that images seldom have. */
    static const char *const sshd[] = {"/bin/sh", "-c", "mkdir -p /run/sshd && exec /usr/sbin/sshd -De"};
    cJSON *worker =
        task("worker", render->nodes,
             tarn_render_pod(render, "worker", cJSON_CreateStringArray(sshd, 3), render->ranks / render->nodes));
    cJSON_AddItemToArray(cJSON_AddArrayToObject(worker, "policies"), policy("PodFailed", 0, "RestartJob"));
    cJSON *tasks = cJSON_AddArrayToObject(spec, "tasks");
    cJSON_AddItemToArray(tasks, master);
    cJSON_AddItemToArray(tasks, worker);
    cJSON *documents = cJSON_CreateArray();
    cJSON_AddItemToArray(documents, tarn_render_config_map(render));
    cJSON_AddItemToArray(documents, job);
    tarn_status status = tarn_render_yaml(context, render, documents, text);
    cJSON_Delete(documents);
    return status;
}
