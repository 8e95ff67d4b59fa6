/* pod.c - see pod.h. */
#include "launch/render/pod.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_string(cJSON *list, const char *text)
{
    cJSON_AddItemToArray(list, cJSON_CreateString(text));
}

static void add_number(cJSON *list, int64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)number);
    add_string(list, text);
}

/* {"name": ..., "namespace": ..., "labels": ...}; suffix is put after the name of the run. */
static cJSON *metadata_of(const tarn_render *render, const char *suffix)
{
    char name[80];
    snprintf(name, sizeof name, "%s%s", render->name, suffix);
    cJSON *metadata = cJSON_CreateObject();
    cJSON_AddStringToObject(metadata, "name", name);
    if (render->name_space) cJSON_AddStringToObject(metadata, "namespace", render->name_space);
    cJSON *labels = cJSON_AddObjectToObject(metadata, "labels");
    cJSON_AddStringToObject(labels, "app.kubernetes.io/name", "tarn");
    cJSON_AddStringToObject(labels, "app.kubernetes.io/instance", render->name);
    return metadata;
}

cJSON *tarn_render_job(const tarn_render *render, const char *version, const char *kind)
{
    cJSON *job = cJSON_CreateObject();
    cJSON_AddStringToObject(job, "apiVersion", version);
    cJSON_AddStringToObject(job, "kind", kind);
    cJSON_AddItemToObject(job, "metadata", metadata_of(render, ""));
    return job;
}

cJSON *tarn_render_config_map(const tarn_render *render)
{
    cJSON *map = cJSON_CreateObject();
    cJSON_AddStringToObject(map, "apiVersion", "v1");
    cJSON_AddStringToObject(map, "kind", "ConfigMap");
    cJSON_AddItemToObject(map, "metadata", metadata_of(render, "-run"));
    cJSON_AddStringToObject(cJSON_AddObjectToObject(map, "data"), "run.yaml", render->run_text);
    return map;
}

cJSON *tarn_render_command(const tarn_render *render, const char *hostfile)
{
    cJSON *command = cJSON_CreateArray();
    add_string(command, "tarn");
    add_string(command, "run");
    add_string(command, "-n");
    add_number(command, render->ranks);
    if (hostfile) {
        add_string(command, "-hostfile");
        add_string(command, hostfile);
        add_string(command, "--rsh-agent"); /* pods have names of their own each time, and no keys anybody knows */
        add_string(command, "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
                            "-o LogLevel=ERROR -o ConnectionAttempts=30");
    }
    add_string(command, "--min-ranks");
    add_number(command, render->ranks);
    add_string(command, "--grace");
    add_number(command, render->grace);
    add_string(command, "--");
    add_string(command, "tarn");
    add_string(command, "train");
    add_string(command, TARN_RENDER_FOLDER "/run.yaml");
    add_string(command, "--expect-ranks");
    add_number(command, render->ranks);
    bool placed = false, recorded = false;
    for (int i = 0; i < render->overrides; i++) {
        add_string(command, render->override[i]);
        placed |= !strncmp(render->override[i], "checkpoint.dir=", 15);
        recorded |= !strncmp(render->override[i], "track.store=", 12);
    }
    /* What the run writes goes to the claim: a pod's own files go with it. */
    char path[1200];
    if (!placed) {
        snprintf(path, sizeof path, "checkpoint.dir=%.1000s/%s", render->mount, render->name);
        add_string(command, path);
    }
    const char *store = tarn_config_string(render->config, "track.store");
    if (!recorded && store && *store != '/' && !strstr(store, "://")) {
        snprintf(path, sizeof path, "track.store=%.1000s/mlruns", render->mount);
        add_string(command, path);
    }
    return command;
}

/* ---- the pod ----------------------------------------------------------------------------------------------------- */

static void add_mount(cJSON *pod, cJSON *container, const char *name, const char *path, bool read_only, cJSON *source,
                      const char *kind)
{
    cJSON *volume = cJSON_CreateObject();
    cJSON_AddStringToObject(volume, "name", name);
    cJSON_AddItemToObject(volume, kind, source);
    cJSON_AddItemToArray(cJSON_GetObjectItem(pod, "volumes"), volume);
    cJSON *mount = cJSON_CreateObject();
    cJSON_AddStringToObject(mount, "name", name);
    cJSON_AddStringToObject(mount, "mountPath", path);
    if (read_only) cJSON_AddTrueToObject(mount, "readOnly");
    cJSON_AddItemToArray(cJSON_GetObjectItem(container, "volumeMounts"), mount);
}

static void add_claim(cJSON *pod, cJSON *container, const char *name, const char *claim, const char *path,
                      bool read_only)
{
    cJSON *source = cJSON_CreateObject();
    cJSON_AddStringToObject(source, "claimName", claim);
    if (read_only) cJSON_AddTrueToObject(source, "readOnly");
    add_mount(pod, container, name, path, read_only, source, "persistentVolumeClaim");
}

static void add_volumes(const tarn_render *render, cJSON *pod, cJSON *container)
{
    char name[32];
    cJSON_AddArrayToObject(container, "volumeMounts");
    cJSON_AddArrayToObject(pod, "volumes");
    cJSON *map = cJSON_CreateObject();
    snprintf(name, sizeof name, "run");
    char map_name[80];
    snprintf(map_name, sizeof map_name, "%s-run", render->name);
    cJSON_AddStringToObject(map, "name", map_name);
    add_mount(pod, container, name, TARN_RENDER_FOLDER, true, map, "configMap");
    add_claim(pod, container, "checkpoints", render->claim, render->mount, false);
    for (int i = 0; i < render->volumes.count; i++) {
        const tarn_render_pair *volume = &render->volumes.pair[i];
        snprintf(name, sizeof name, "volume-%d", i + 1);
        add_claim(pod, container, name, volume->key, volume->value, volume->extra != NULL);
    }
    /* Open MPI's ranks of one host meet in /dev/shm, of which a container has 64 MiB by default. */
    cJSON *memory = cJSON_CreateObject();
    cJSON_AddStringToObject(memory, "medium", "Memory");
    add_mount(pod, container, "shared-memory", "/dev/shm", false, memory, "emptyDir");
}

static void add_resources(const tarn_render *render, cJSON *container, int ranks)
{
    char text[32];
    cJSON *resources = cJSON_AddObjectToObject(container, "resources");
    cJSON *requests = cJSON_AddObjectToObject(resources, "requests");
    snprintf(text, sizeof text, "%d", ranks ? ranks * render->cpus : 1);
    cJSON_AddStringToObject(requests, "cpu", text);
    if (!ranks) {
        cJSON_AddStringToObject(requests, "memory", "512Mi");
        return;
    }
    cJSON *limits = cJSON_AddObjectToObject(resources, "limits");
    cJSON_AddStringToObject(limits, "cpu", text);
    if (render->memory) {
        snprintf(text, sizeof text, "%lldMi", (long long)(render->memory >> 20));
        cJSON_AddStringToObject(requests, "memory", text);
        cJSON_AddStringToObject(limits, "memory", text);
    }
    if (render->gpus) {
        snprintf(text, sizeof text, "%d", render->gpus);
        cJSON_AddStringToObject(limits, "nvidia.com/gpu", text);
    }
}

static cJSON *tolerations(const tarn_render *render)
{
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < render->tolerations.count; i++) {
        const tarn_render_pair *pair = &render->tolerations.pair[i];
        cJSON *toleration = cJSON_CreateObject();
        cJSON_AddStringToObject(toleration, "key", pair->key);
        cJSON_AddStringToObject(toleration, "operator", pair->value ? "Equal" : "Exists");
        if (pair->value) cJSON_AddStringToObject(toleration, "value", pair->value);
        if (pair->extra) cJSON_AddStringToObject(toleration, "effect", pair->extra);
        cJSON_AddItemToArray(list, toleration);
    }
    return list;
}

/* Appends {"name": ..., "value": ...} to a container's env. */
static void add_variable(cJSON *container, const char *name, const char *value)
{
    cJSON *list = cJSON_GetObjectItem(container, "env");
    if (!list) list = cJSON_AddArrayToObject(container, "env");
    cJSON *variable = cJSON_CreateObject();
    cJSON_AddStringToObject(variable, "name", name);
    cJSON_AddStringToObject(variable, "value", value);
    cJSON_AddItemToArray(list, variable);
}

cJSON *tarn_render_container(cJSON *pod)
{
    return cJSON_GetArrayItem(cJSON_GetObjectItem(cJSON_GetObjectItem(pod, "spec"), "containers"), 0);
}

cJSON *tarn_render_pod(const tarn_render *render, const char *name, cJSON *command, int ranks)
{
    cJSON *template = cJSON_CreateObject(), *pod = cJSON_AddObjectToObject(template, "spec");
    cJSON *container = cJSON_CreateObject();
    cJSON_AddItemToArray(cJSON_AddArrayToObject(pod, "containers"), container);
    cJSON_AddStringToObject(container, "name", name);
    cJSON_AddStringToObject(container, "image", render->image);
    cJSON_AddItemToObject(container, "command", command);
    add_variable(container, "OMPI_ALLOW_RUN_AS_ROOT", "1");
    add_variable(container, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    add_variable(container, "PRTE_ALLOW_RUN_AS_ROOT", "1");
    add_variable(container, "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    for (int i = 0; i < render->environment.count; i++)
        add_variable(container, render->environment.pair[i].key, render->environment.pair[i].value);
    add_resources(render, container, ranks);
    add_volumes(render, pod, container);
    /* The save after SIGTERM, and the time the supervisor takes to notice. */
    cJSON_AddNumberToObject(pod, "terminationGracePeriodSeconds", render->grace + 10);
    cJSON_AddStringToObject(pod, "restartPolicy", "Never");
    if (render->selector.count) {
        cJSON *selector = cJSON_AddObjectToObject(pod, "nodeSelector");
        for (int i = 0; i < render->selector.count; i++)
            cJSON_AddStringToObject(selector, render->selector.pair[i].key, render->selector.pair[i].value);
    }
    if (render->tolerations.count) cJSON_AddItemToObject(pod, "tolerations", tolerations(render));
    return template;
}

void tarn_render_add_mpi(cJSON *container, const char *hostfile)
{
    add_variable(container, "OMPI_MCA_orte_default_hostfile", hostfile);
    add_variable(container, "PRTE_MCA_prte_default_hostfile", hostfile);
    add_variable(container, "OMPI_MCA_orte_keep_fqdn_hostnames", "true");
    add_variable(container, "PRTE_MCA_prte_keep_fqdn_hostnames", "true");
}
