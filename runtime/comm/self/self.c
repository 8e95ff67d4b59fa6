/* self.c - a comm of one rank: every collective is done as soon as it is started. */
#include "runtime/base/context.h"
#include "runtime/comm/comm.h"
#include "runtime/worker/worker.h"

#include <stdlib.h>

static tarn_status no_peer(tarn_comm *comm, int peer)
{
    return tarn_fail(comm->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                     "message to or from rank %d: this run has one rank; start it with mpirun -n N for more", peer);
}

static tarn_status self_send(tarn_comm *comm, const void *data, size_t bytes, int peer, int tag, tarn_request *request)
{
    (void)data, (void)bytes, (void)tag;
    *request = 0;
    return no_peer(comm, peer);
}

static tarn_status self_receive(tarn_comm *comm, void *data, size_t bytes, int peer, int tag, tarn_request *request)
{
    (void)data, (void)bytes, (void)tag;
    *request = 0;
    return no_peer(comm, peer);
}

static tarn_status self_or_all(tarn_comm *comm, uint64_t *data, int count, tarn_request *request)
{
    (void)comm, (void)data, (void)count;
    *request = 0;
    return TARN_OK;
}

static tarn_status self_gather_all(tarn_comm *comm, void *data, const int64_t *offset, tarn_request *request)
{
    (void)comm, (void)data, (void)offset;
    *request = 0;
    return TARN_OK;
}

static tarn_status self_broadcast(tarn_comm *comm, void *data, size_t bytes, int root, tarn_request *request)
{
    (void)data, (void)bytes;
    *request = 0;
    return root == 0 ? TARN_OK : no_peer(comm, root);
}

static tarn_status self_test(tarn_comm *comm, tarn_request *request, bool *done)
{
    (void)comm;
    *request = 0;
    *done = true;
    return TARN_OK;
}

/* Nobody else has to be ended. */
static void self_abort(tarn_comm *comm, int exit_code)
{
    (void)comm, (void)exit_code;
}

static void self_destroy(tarn_comm *comm)
{
    free(comm);
}

tarn_status tarn_comm_self_create(tarn_comm **out, tarn_context *context)
{
    *out = NULL;
    tarn_comm *comm = malloc(sizeof *comm);
    if (!comm) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for the comm");
    *comm = (tarn_comm){.name = "self",
                        .rank = 0,
                        .ranks = 1,
                        .local_rank = 0,
                        .local_ranks = 1,
                        .local_cores = tarn_allowed_cores(),
                        .context = context,
                        .send = self_send,
                        .receive = self_receive,
                        .or_all = self_or_all,
                        .gather_all = self_gather_all,
                        .broadcast = self_broadcast,
                        .test = self_test,
                        .abort = self_abort,
                        .destroy = self_destroy};
    *out = comm;
    return TARN_OK;
}
