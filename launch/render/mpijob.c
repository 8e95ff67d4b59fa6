/* mpijob.c - an MPIJob of the MPI operator (kubeflow.org/v2beta1): a launcher with the supervisor, and a worker a node.
 */
#include "launch/render/pod.h"

#define HOSTFILE "/etc/mpi/hostfile"

static cJSON *replica(int replicas, const char *restart_policy, cJSON *pod)
{
    cJSON *replica = cJSON_CreateObject();
    cJSON_AddNumberToObject(replica, "replicas", replicas);
    cJSON_AddStringToObject(replica, "restartPolicy", restart_policy);
    /* The operator sets the pod's from the replica's, and minds one that is there already. */
    cJSON_DeleteItemFromObject(cJSON_GetObjectItem(pod, "spec"), "restartPolicy");
    cJSON_AddItemToObject(replica, "template", pod);
    return replica;
}

tarn_status tarn_render_mpijob(tarn_context *context, const tarn_render *render, char **text)
{
    cJSON *job = tarn_render_job(render, "kubeflow.org/v2beta1", "MPIJob");
    cJSON *spec = cJSON_AddObjectToObject(job, "spec");
    cJSON_AddNumberToObject(spec, "slotsPerWorker", render->ranks / render->nodes);
    cJSON_AddStringToObject(spec, "mpiImplementation", "OpenMPI");
    cJSON_AddStringToObject(spec, "sshAuthMountPath", "/root/.ssh");
    cJSON_AddStringToObject(spec, "launcherCreationPolicy", "WaitForWorkersReady");
    cJSON *policy = cJSON_AddObjectToObject(spec, "runPolicy");
    cJSON_AddStringToObject(policy, "cleanPodPolicy", "Running");
    cJSON_AddNumberToObject(policy, "backoffLimit", render->restarts);
    if (render->seconds) cJSON_AddNumberToObject(policy, "activeDeadlineSeconds", (double)render->seconds);

    cJSON *launcher = tarn_render_pod(render, "launcher", tarn_render_command(render, HOSTFILE), 0);
    tarn_render_add_mpi(tarn_render_container(launcher), HOSTFILE);
    static const char *const sshd[] = {"/usr/sbin/sshd", "-De"};
    cJSON *worker = tarn_render_pod(render, "worker", cJSON_CreateStringArray(sshd, 2), render->ranks / render->nodes);
    cJSON *replicas = cJSON_AddObjectToObject(spec, "mpiReplicaSpecs");
    /* The launcher's failures count against backoffLimit; a worker that is gone comes back by itself. */
    cJSON_AddItemToObject(replicas, "Launcher", replica(1, "OnFailure", launcher));
    cJSON_AddItemToObject(replicas, "Worker", replica(render->nodes, "OnFailure", worker));
    cJSON *documents = cJSON_CreateArray();
    cJSON_AddItemToArray(documents, tarn_render_config_map(render));
    cJSON_AddItemToArray(documents, job);
    tarn_status status = tarn_render_yaml(context, render, documents, text);
    cJSON_Delete(documents);
    return status;
}
