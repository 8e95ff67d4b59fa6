/* mpi.c - the comm over MPI. The only file that includes mpi.h, benchmarks apart.
 *
 * Invariants
 *  1. Every MPI call is made by one thread (MPI_THREAD_FUNNELED: the main thread).
 *  2. Errors are returned, not fatal, and become statuses that name this rank, the peer and what was waited for.
 *  3. Counts never exceed an int: longer messages travel in pieces, which MPI keeps in order.
 */
#include "runtime/base/context.h"
#include "runtime/comm/comm.h"
#include "runtime/monitor/monitor.h"
#include "runtime/worker/worker.h"

#include <limits.h>
#include <mpi.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of one piece of a long message. */
#define TARN_MPI_PIECE ((size_t)1 << 30)

/* An operation under way. Most have one request; `more` holds the others of a long one. */
typedef struct mpi_operation {
    MPI_Request first;
    MPI_Request *more;
    int *counts; /* of a gather; MPI reads them until it is done */
    int requests, done;
    int peer; /* -1: a collective */
    const char *name;
    int next_free; /* index + 1 */
    bool used;
} mpi_operation;

/* What every rank tells the others at the start. */
typedef struct mpi_place {
    char host[MPI_MAX_PROCESSOR_NAME];
    cpu_set_t cores;
} mpi_place;

typedef struct mpi_comm {
    tarn_comm face;
    MPI_Comm world;    /* a duplicate: programs may use MPI_COMM_WORLD themselves */
    bool joined;       /* world is there */
    mpi_place *places; /* by rank; only while the ranks tell each other. MPI writes to them until it is done */
    bool finalize;     /* we made MPI_Init, so we end it */
    mpi_operation *operations;
    int capacity, free_list; /* index + 1, 0 = none */
} mpi_comm;

static tarn_status mpi_error(const mpi_comm *comm, int code, const char *name, int peer)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    const char *label = comm->face.label ? comm->face.label : "a message";
    if (peer >= 0)
        return tarn_fail(comm->face.context, TARN_ERROR_COMM, TARN_HERE, "rank %d, %s, %s with rank %d: %s",
                         comm->face.rank, label, name, peer, text);
    return tarn_fail(comm->face.context, TARN_ERROR_COMM, TARN_HERE, "rank %d, %s, %s of all ranks: %s",
                     comm->face.rank, label, name, text);
}

/* A free operation with room for `requests` requests; *handle is its number. */
static mpi_operation *operation_get(mpi_comm *comm, int requests, const char *name, int peer, tarn_request *handle)
{
    *handle = 0;
    MPI_Request *more = NULL;
    if (requests > 1 && !(more = malloc(sizeof *more * (size_t)requests))) goto no_memory;
    if (!comm->free_list) {
        int capacity = comm->capacity ? 2 * comm->capacity : 64;
        mpi_operation *grown = realloc(comm->operations, sizeof *grown * (size_t)capacity);
        if (!grown) goto no_memory;
        for (int i = capacity - 1; i >= comm->capacity; i--) {
            grown[i] = (mpi_operation){.next_free = comm->free_list};
            comm->free_list = i + 1;
        }
        comm->operations = grown;
        comm->capacity = capacity;
    }
    *handle = (tarn_request)comm->free_list;
    mpi_operation *operation = &comm->operations[comm->free_list - 1];
    comm->free_list = operation->next_free;
    *operation = (mpi_operation){.first = MPI_REQUEST_NULL, .more = more, .peer = peer, .name = name, .used = true};
    return operation;
no_memory:
    free(more);
    tarn_fail(comm->face.context, TARN_ERROR_MEMORY, TARN_HERE, "no memory to start %s", name);
    return NULL;
}

static void operation_put(mpi_comm *comm, tarn_request *handle)
{
    mpi_operation *operation = &comm->operations[*handle - 1];
    free(operation->more);
    free(operation->counts);
    *operation = (mpi_operation){.next_free = comm->free_list};
    comm->free_list = (int)*handle;
    *handle = 0;
}

static MPI_Request *request_at(mpi_operation *operation, int index)
{
    return operation->more ? &operation->more[index] : &operation->first;
}

/* After a failed start: what has been started already is left to MPI, the run is over. */
static tarn_status start_failed(mpi_comm *comm, int code, tarn_request *handle)
{
    mpi_operation *operation = &comm->operations[*handle - 1];
    tarn_status status = mpi_error(comm, code, operation->name, operation->peer);
    *handle = 0;
    return status;
}

static int pieces_of(size_t bytes)
{
    return bytes ? (int)((bytes + TARN_MPI_PIECE - 1) / TARN_MPI_PIECE) : 1;
}

/* Sends or receives in pieces. */
static tarn_status message(mpi_comm *comm, bool sending, char *data, size_t bytes, int peer, int tag,
                           tarn_request *handle)
{
    int pieces = pieces_of(bytes);
    mpi_operation *operation = operation_get(comm, pieces, sending ? "sending" : "receiving", peer, handle);
    if (!operation) return TARN_ERROR_MEMORY;
    for (int i = 0; i < pieces; i++) {
        size_t begin = (size_t)i * TARN_MPI_PIECE;
        int length = (int)(bytes - begin < TARN_MPI_PIECE ? bytes - begin : TARN_MPI_PIECE);
        int code = sending
                       ? MPI_Isend(data + begin, length, MPI_BYTE, peer, tag, comm->world, request_at(operation, i))
                       : MPI_Irecv(data + begin, length, MPI_BYTE, peer, tag, comm->world, request_at(operation, i));
        if (code != MPI_SUCCESS) return start_failed(comm, code, handle);
        operation->requests = i + 1;
    }
    return TARN_OK;
}

static tarn_status mpi_send(tarn_comm *face, const void *data, size_t bytes, int peer, int tag, tarn_request *request)
{
    return message((mpi_comm *)face, true, (char *)data, bytes, peer, tag, request);
}

static tarn_status mpi_receive(tarn_comm *face, void *data, size_t bytes, int peer, int tag, tarn_request *request)
{
    return message((mpi_comm *)face, false, data, bytes, peer, tag, request);
}

static tarn_status mpi_or_all(tarn_comm *face, uint64_t *data, int count, tarn_request *request)
{
    mpi_comm *comm = (mpi_comm *)face;
    mpi_operation *operation = operation_get(comm, 1, "bitwise or", -1, request);
    if (!operation) return TARN_ERROR_MEMORY;
    int code = MPI_Iallreduce(MPI_IN_PLACE, data, count, MPI_UINT64_T, MPI_BOR, comm->world, &operation->first);
    if (code != MPI_SUCCESS) return start_failed(comm, code, request);
    operation->requests = 1;
    return TARN_OK;
}

static tarn_status mpi_broadcast(tarn_comm *face, void *data, size_t bytes, int root, tarn_request *request)
{
    mpi_comm *comm = (mpi_comm *)face;
    int pieces = pieces_of(bytes);
    mpi_operation *operation = operation_get(comm, pieces, "broadcast", -1, request);
    if (!operation) return TARN_ERROR_MEMORY;
    for (int i = 0; i < pieces; i++) {
        size_t begin = (size_t)i * TARN_MPI_PIECE;
        int length = (int)(bytes - begin < TARN_MPI_PIECE ? bytes - begin : TARN_MPI_PIECE);
        int code = MPI_Ibcast((char *)data + begin, length, MPI_BYTE, root, comm->world, request_at(operation, i));
        if (code != MPI_SUCCESS) return start_failed(comm, code, request);
        operation->requests = i + 1;
    }
    return TARN_OK;
}

/* Displacements are ints: what does not fit goes as one broadcast in pieces per rank. */
static tarn_status gather_by_broadcasts(mpi_comm *comm, char *data, const int64_t *offset, tarn_request *request)
{
    int ranks = comm->face.ranks, pieces = 0;
    for (int rank = 0; rank < ranks; rank++) pieces += pieces_of((size_t)(offset[rank + 1] - offset[rank]));
    mpi_operation *operation = operation_get(comm, pieces, "gathering", -1, request);
    if (!operation) return TARN_ERROR_MEMORY;
    for (int rank = 0; rank < ranks; rank++) {
        size_t bytes = (size_t)(offset[rank + 1] - offset[rank]);
        for (size_t begin = 0; begin < bytes; begin += TARN_MPI_PIECE) {
            int length = (int)(bytes - begin < TARN_MPI_PIECE ? bytes - begin : TARN_MPI_PIECE);
            int code = MPI_Ibcast(data + offset[rank] + begin, length, MPI_BYTE, rank, comm->world,
                                  request_at(operation, operation->requests));
            if (code != MPI_SUCCESS) return start_failed(comm, code, request);
            operation->requests++;
        }
    }
    return TARN_OK;
}

static tarn_status mpi_gather_all(tarn_comm *face, void *data, const int64_t *offset, tarn_request *request)
{
    mpi_comm *comm = (mpi_comm *)face;
    int ranks = face->ranks;
    char *base = (char *)data + offset[0];
    if (offset[ranks] - offset[0] > INT_MAX) return gather_by_broadcasts(comm, data, offset, request);
    mpi_operation *operation = operation_get(comm, 1, "gathering", -1, request);
    if (!operation) return TARN_ERROR_MEMORY;
    operation->counts = malloc(sizeof(int) * 2 * (size_t)ranks);
    if (!operation->counts) {
        operation_put(comm, request);
        return tarn_fail(face->context, TARN_ERROR_MEMORY, TARN_HERE, "no memory to start gathering");
    }
    for (int rank = 0; rank < ranks; rank++) {
        operation->counts[rank] = (int)(offset[rank + 1] - offset[rank]);
        operation->counts[ranks + rank] = (int)(offset[rank] - offset[0]);
    }
    int code = MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_BYTE, base, operation->counts, operation->counts + ranks, MPI_BYTE,
                               comm->world, &operation->first);
    if (code != MPI_SUCCESS) return start_failed(comm, code, request);
    operation->requests = 1;
    return TARN_OK;
}

static tarn_status mpi_test(tarn_comm *face, tarn_request *request, bool *done)
{
    mpi_comm *comm = (mpi_comm *)face;
    *done = true;
    if (!*request) return TARN_OK;
    if (*request > (tarn_request)comm->capacity || !comm->operations[*request - 1].used)
        return tarn_fail(face->context, TARN_ERROR_INTERNAL, TARN_HERE, "comm: request %llu is not under way",
                         (unsigned long long)*request);
    mpi_operation *operation = &comm->operations[*request - 1];
    for (; operation->done < operation->requests; operation->done++) {
        int flag = 0;
        int code = MPI_Test(request_at(operation, operation->done), &flag, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS) return mpi_error(comm, code, operation->name, operation->peer);
        if (!flag) {
            *done = false;
            return TARN_OK;
        }
    }
    operation_put(comm, request);
    return TARN_OK;
}

static void mpi_abort(tarn_comm *face, int exit_code)
{
    (void)face; /* its own duplicate may not exist yet */
    MPI_Abort(MPI_COMM_WORLD, exit_code);
}

static void mpi_destroy(tarn_comm *face)
{
    mpi_comm *comm = (mpi_comm *)face;
    tarn_context *context = face->context;
    /* Ranks that work on alone after training are waited for here; one that died is not, for ever. */
    tarn_monitor_blocking(context, tarn_comm_start_timeout(context), "the other ranks at: MPI_Finalize");
    if (comm->joined) MPI_Comm_free(&comm->world);
    if (comm->finalize) MPI_Finalize();
    tarn_monitor_blocking(context, 0, NULL);
    for (int i = 0; i < comm->capacity; i++) {
        free(comm->operations[i].more);
        free(comm->operations[i].counts);
    }
    free(comm->operations);
    free(comm->places);
    free(comm);
}

/* Waits with the deadline for what MPI has just started. */
static tarn_status wait_for_start(mpi_comm *comm, int code, tarn_request *handle)
{
    if (code != MPI_SUCCESS) return start_failed(comm, code, handle);
    comm->operations[*handle - 1].requests = 1;
    return tarn_comm_wait(&comm->face, handle, comm->face.label);
}

/* A duplicate of MPI_COMM_WORLD. A rank that never comes ends the wait, not the patience of the user. */
static tarn_status join(mpi_comm *comm)
{
    tarn_request handle;
    mpi_operation *operation = operation_get(comm, 1, "set-up", -1, &handle);
    if (!operation) return TARN_ERROR_MEMORY;
    tarn_status status = wait_for_start(comm, MPI_Comm_idup(MPI_COMM_WORLD, &comm->world, &operation->first), &handle);
    if (status) return status;
    comm->joined = true;
    MPI_Comm_set_errhandler(comm->world, MPI_ERRORS_RETURN);
    return TARN_OK;
}

/* Local ranks and the union of their affinity masks. MPI_Comm_split_type would say who is local too, but it blocks. */
static tarn_status look_around(mpi_comm *comm)
{
    tarn_comm *face = &comm->face;
    mpi_place *places = comm->places = calloc((size_t)face->ranks, sizeof *places);
    if (!places)
        return tarn_fail(face->context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for the places of %d ranks",
                         face->ranks);
    tarn_request handle;
    mpi_operation *operation = operation_get(comm, 1, "set-up", -1, &handle);
    if (!operation) return TARN_ERROR_MEMORY;
    mpi_place *mine = &places[face->rank];
    int length = 0;
    MPI_Get_processor_name(mine->host, &length);
    sched_getaffinity(0, sizeof mine->cores, &mine->cores);
    tarn_status status = wait_for_start(comm,
                                        MPI_Iallgather(MPI_IN_PLACE, 0, MPI_BYTE, places, (int)sizeof *places, MPI_BYTE,
                                                       comm->world, &operation->first),
                                        &handle);
    if (status) return status;
    cpu_set_t together;
    CPU_ZERO(&together);
    face->local_ranks = 0;
    for (int rank = 0; rank < face->ranks; rank++) {
        if (strncmp(places[rank].host, mine->host, sizeof mine->host)) continue;
        if (rank == face->rank) face->local_rank = face->local_ranks;
        face->local_ranks++;
        CPU_OR(&together, &together, &places[rank].cores);
    }
    int cores = CPU_COUNT(&together);
    face->local_cores = cores > 0 ? cores : tarn_allowed_cores();
    comm->places = NULL;
    free(places);
    return TARN_OK;
}

tarn_status tarn_comm_mpi_create(tarn_comm **out, tarn_context *context, int *argc, char ***argv)
{
    *out = NULL;
    mpi_comm *comm = calloc(1, sizeof *comm);
    if (!comm) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for the comm");
    int there = 0, provided = MPI_THREAD_SINGLE;
    MPI_Initialized(&there);
    if (there) {
        MPI_Query_thread(&provided);
    } else {
        tarn_monitor_enter(context, "joining the ranks");
        tarn_monitor_blocking(context, tarn_comm_start_timeout(context), "the other ranks at: MPI_Init");
        int code = MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
        tarn_monitor_blocking(context, 0, NULL);
        if (code != MPI_SUCCESS) {
            free(comm);
            return tarn_fail(
                context, TARN_ERROR_COMM, TARN_HERE,
                "MPI_Init_thread failed with code %d: start the run with the mpirun of the MPI that Tarn was "
                "built with, or without mpirun on one rank",
                code);
        }
        comm->finalize = true;
    }
    comm->face = (tarn_comm){.name = "mpi",
                             .ranks = 1,
                             .local_ranks = 1,
                             .label = "joining the ranks",
                             .context = context,
                             .send = mpi_send,
                             .receive = mpi_receive,
                             .or_all = mpi_or_all,
                             .gather_all = mpi_gather_all,
                             .broadcast = mpi_broadcast,
                             .test = mpi_test,
                             .abort = mpi_abort,
                             .destroy = mpi_destroy};
    *out = &comm->face; /* even after a failure: tarn_exit aborts the other ranks through it */
    /* Known before anything can fail: a rank that believes it is alone would leave the others waiting. */
    MPI_Comm_rank(MPI_COMM_WORLD, &comm->face.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &comm->face.ranks);
    /* Until the duplicate has a handler of its own, errors go to MPI_COMM_WORLD's, which would end the process. */
    MPI_Errhandler before;
    MPI_Comm_get_errhandler(MPI_COMM_WORLD, &before);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    tarn_status status = join(comm);
    if (!status) status = look_around(comm);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, before);
    MPI_Errhandler_free(&before);
    comm->face.label = NULL;
    if (status) return status;
    if (provided < MPI_THREAD_FUNNELED)
        return tarn_fail(context, TARN_ERROR_UNSUPPORTED, TARN_HERE,
                         "this MPI gives a process with threads no support (MPI_THREAD_FUNNELED is needed)");
    return TARN_OK;
}
