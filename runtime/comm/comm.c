/* comm.c - which comm a process gets, and waiting with a deadline.
 *
 * Invariant: no wait is endless. A peer that died, hangs or took another way shows as an error that names what was
 * waited for, after the seconds of tarn_comm_timeout.
 */
#include "runtime/comm/comm.h"
#include "runtime/base/context.h"
#include "runtime/comm/agree.h"
#include "runtime/monitor/monitor.h"
#include "runtime/worker/park.h"
#include "runtime/worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int environment_number(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? atoi(value) : 0;
}

/* Ranks that the launcher says it started, 0 when it says nothing we know. */
static int launched_ranks(void)
{
    int ranks = environment_number("OMPI_COMM_WORLD_SIZE");
    if (!ranks) ranks = environment_number("PMI_SIZE");
    if (!ranks) ranks = environment_number("SLURM_STEP_NUM_TASKS");
    return ranks;
}

tarn_status tarn_comm_open(tarn_comm **out, tarn_context *context, int *argc, char ***argv)
{
    *out = NULL;
    bool pmi = getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK") || getenv("PMI_RANK");
    int ranks = launched_ranks();
    if (!pmi) {
        /* Each task of such a step would train alone and write over the others' files. */
        if (getenv("SLURM_PROCID") && ranks > 1)
            return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                             "this SLURM step has %d tasks but no PMI, so they cannot find each other: start it with "
                             "srun --mpi=pmix, or with mpirun",
                             ranks);
        return tarn_comm_self_create(out, context);
    }
    tarn_status status = tarn_comm_mpi_create(out, context, argc, argv);
    if (!status && ranks > (*out)->ranks)
        return tarn_fail(
            context, TARN_ERROR_CONFIG, TARN_HERE,
            "the launcher started %d processes but MPI knows %d: launcher and MPI library do not fit together; "
            "start with the mpirun of the MPI that Tarn was built with, or with srun --mpi=pmix",
            ranks, (*out)->ranks);
    return status;
}

void tarn_comm_check_binding(tarn_context *context, int threads)
{
    const tarn_comm *comm = context->comm;
    if (!comm || strcmp(comm->name, "mpi") || comm->local_rank != 0) return;
    int allowed = tarn_allowed_cores();
    bool bound = environment_number("OMPI_MCA_orte_bound_at_launch") || allowed < comm->local_cores;
    if (!bound) return;
    long host = sysconf(_SC_NPROCESSORS_ONLN);
    int wanted = threads > 0 ? threads : (int)(host / comm->local_ranks);
    if (allowed >= wanted) return;
    if (threads > 0)
        tarn_log(
            context, TARN_LOG_WARN,
            "mpirun bound rank %d to %d core%s, so its %d threads take turns there: start with mpirun --bind-to none",
            comm->rank, allowed, allowed == 1 ? "" : "s", threads);
    else
        tarn_log(context, TARN_LOG_WARN,
                 "mpirun bound rank %d to %d core%s of the host's %ld, which limits it to as many threads: start with "
                 "mpirun "
                 "--bind-to none for more",
                 comm->rank, allowed, allowed == 1 ? "" : "s", host);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static double timeout_of_environment(void)
{
    const char *value = getenv("TARN_COMM_TIMEOUT");
    double seconds = value ? strtod(value, NULL) : 0;
    return seconds > 0 ? seconds : 0;
}

double tarn_comm_timeout(const tarn_context *context, bool *fixed)
{
    double seconds = timeout_of_environment();
    if (fixed) *fixed = seconds > 0;
    if (seconds > 0) return seconds;
    return (tarn_monitor_supervised(context) ? 1.5 : 1.0) * tarn_monitor_hang_seconds(context);
}

double tarn_comm_start_timeout(const tarn_context *context)
{
    double seconds = timeout_of_environment();
    return seconds > 0 ? seconds : tarn_monitor_supervised(context) ? 0 : 300;
}

bool tarn_comm_too_long(tarn_comm_patience *patience, const char *label, double *seconds)
{
    enum { STOPPED = 5 }; /* seconds between two looks at the clock in which this process cannot have run */
    double now = tarn_seconds();
    if (patience->begin == 0) {
        patience->begin = now;
        patience->limit = tarn_comm_timeout(patience->context, &patience->fixed);
        tarn_monitor_waiting(patience->context, true, label);
    } else if (now - patience->last > STOPPED)
        patience->begin += now - patience->last;
    patience->last = now;
    *seconds = now - patience->begin;
    if (*seconds <= patience->limit) return false;
    return patience->fixed || tarn_monitor_peers_idle(patience->context) > tarn_monitor_hang_seconds(patience->context);
}

void tarn_comm_waited(tarn_comm_patience *patience)
{
    if (patience->begin > 0) tarn_monitor_waiting(patience->context, false, NULL);
    patience->begin = 0;
}

void tarn_comm_pause(const tarn_comm *comm, unsigned *waited)
{
    unsigned spins = comm->local_ranks > comm->local_cores ? 8 : 200;
    unsigned count = ++*waited;
    if (count < spins) {
        tarn_cpu_relax();
    } else if (count < 100000) {
        sched_yield();
    } else {
        /* The peer computes for long (an evaluation, a checkpoint): leave it the core. */
        tarn_sleep(50e-6);
    }
}

tarn_status tarn_comm_wait(tarn_comm *comm, tarn_request *request, const char *label)
{
    if (!*request) return TARN_OK;
    const char *before = comm->label;
    comm->label = label;
    tarn_status status;
    bool done = false;
    unsigned waited = 0;
    double seconds;
    char peers[32] = "the other ranks", whom[128];
    tarn_comm_patience patience = {.context = comm->context};
    while (!(status = comm->test(comm, request, &done)) && !done) {
        tarn_comm_pause(comm, &waited);
        if (waited % 64) continue;
        if (patience.begin == 0 && comm->ranks == 2) snprintf(peers, sizeof peers, "rank %d", 1 - comm->rank);
        if (patience.begin == 0) snprintf(whom, sizeof whom, "%s at: %s", peers, label);
        if (!tarn_comm_too_long(&patience, whom, &seconds)) continue;
        status =
            tarn_fail(comm->context, TARN_ERROR_COMM, TARN_HERE,
                      "rank %d waited %.0f s for %s at: %s. A rank has died, hangs, or took another way; a run with "
                      "longer pauses sets TARN_COMM_TIMEOUT (seconds)",
                      comm->rank, seconds, peers, label);
        break;
    }
    tarn_comm_waited(&patience);
    comm->label = before;
    return status;
}

tarn_status tarn_comm_broadcast(tarn_comm *comm, void *data, size_t bytes, int root, const char *label)
{
    tarn_request request = 0;
    tarn_status status = tarn_comm_announce(comm, label);
    if (!status) status = comm->broadcast(comm, data, bytes, root, &request);
    return status ? status : tarn_comm_wait(comm, &request, label);
}

tarn_status tarn_comm_or_all(tarn_comm *comm, uint64_t *data, int count, const char *label)
{
    tarn_request request = 0;
    tarn_status status = tarn_comm_announce(comm, label);
    if (!status) status = comm->or_all(comm, data, count, &request);
    return status ? status : tarn_comm_wait(comm, &request, label);
}

tarn_status tarn_comm_barrier(tarn_comm *comm, const char *label)
{
    return tarn_comm_announce(comm, label); /* the announcement is a barrier */
}
