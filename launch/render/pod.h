/* pod.h - the parts that Job, MPIJob and Volcano share: the run file, the command, the pod. Memory that runs out leaves
 * holes in the tree; command_launch.c watches cJSON's allocations and writes no such manifest.
 */
#ifndef TARN_LAUNCH_RENDER_POD_H
#define TARN_LAUNCH_RENDER_POD_H

#include "launch/render/render.h"

#define TARN_RENDER_FOLDER "/etc/tarn" /* where the run file is mounted */

/* The beginning of a job: its kind and, named after the run, its metadata. */
cJSON *tarn_render_job(const tarn_render *render, const char *version, const char *kind);
/* The ConfigMap NAME-run with the run file. */
cJSON *tarn_render_config_map(const tarn_render *render);
/* tarn run -n N ... -- tarn train RUN.yaml ..., as a list of words. hostfile: NULL for one host. */
cJSON *tarn_render_command(const tarn_render *render, const char *hostfile);
/* A pod template: one container of that name and command with the run file and the volumes. ranks: how many share its
 * resources, 0 for a pod that only launches. */
cJSON *tarn_render_pod(const tarn_render *render, const char *container, cJSON *command, int ranks);
/* The container of a pod template, to add to. */
cJSON *tarn_render_container(cJSON *pod);
/* What mpirun of Open MPI 4 and 5 needs to find the hosts of a hostfile, whose names are long. */
void tarn_render_add_mpi(cJSON *container, const char *hostfile);

#endif
