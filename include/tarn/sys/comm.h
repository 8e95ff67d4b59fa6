/* sys/comm.h - how ranks talk: a vtable with implementations self (one process, no MPI), MPI, later NCCL.
 *
 * Invariants
 *  1. Every operation is started, then polled: no call blocks.
 *  2. All ranks start collectives in one order.
 *  3. One thread at a time uses a comm.
 *  4. Buffers stay untouched until the request is done.
 */
#ifndef TARN_SYS_COMM_H
#define TARN_SYS_COMM_H

#include <tarn/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_comm tarn_comm;
/* An operation under way; 0 is none. */
typedef uint64_t tarn_request;

struct tarn_comm {
    const char *name; /* "self", "mpi" */
    int rank, ranks;
    int local_rank, local_ranks; /* on this host */
    int local_cores;   /* cores that the ranks of this host may use together (union of their affinity masks) */
    const char *label; /* what this rank waits for at the moment, for messages; NULL when unknown */
    tarn_context *context;
    /* The library's own, zero at creation: the announcement of the collective call under way (runtime/comm/agree.h). */
    uint64_t sequence; /* hash of the labels of all calls so far */
    uint64_t announcement[3];
    char announced[96]; /* its label */
    tarn_request announcing_request;
    bool announcing;
    tarn_status announced_status; /* of the newest announcement that ended */
    tarn_status (*send)(tarn_comm *comm, const void *data, size_t bytes, int peer, int tag, tarn_request *request);
    tarn_status (*receive)(tarn_comm *comm, void *data, size_t bytes, int peer, int tag, tarn_request *request);
    /* data[i] = bitwise OR over all ranks. */
    tarn_status (*or_all)(tarn_comm *comm, uint64_t *data, int count, tarn_request *request);
    /* Every rank ends with the whole of data, of which it contributed the bytes [offset[rank], offset[rank + 1]). */
    tarn_status (*gather_all)(tarn_comm *comm, void *data, const int64_t *offset, tarn_request *request);
    /* Everybody gets root's data. */
    tarn_status (*broadcast)(tarn_comm *comm, void *data, size_t bytes, int root, tarn_request *request);
    /* Drives progress and tells whether the operation is done (then *request becomes 0). */
    tarn_status (*test)(tarn_comm *comm, tarn_request *request, bool *done);
    /* Ends all ranks of the job at once; does not return under MPI. For launch/ and tarn_exit only. */
    void (*abort)(tarn_comm *comm, int exit_code);
    /* Regular end; collective. */
    void (*destroy)(tarn_comm *comm);
};

/* Polls until done or until the deadline passes (TARN_ERROR_COMM; the message names `label`, the rank, the seconds).
 * The deadline is TARN_COMM_TIMEOUT seconds (environment), else health.timeout (default 60 s), 1.5 times
 * under a supervisor; time in which this process was stopped does not count. */
TARN_API tarn_status tarn_comm_wait(tarn_comm *comm, tarn_request *request, const char *label);
/* Blocking forms, for start-up and the end. Every rank makes the same calls with the same labels in the same order:
 * each call is announced to the others first, and a rank that takes another way is named (TARN_ERROR_COMM); a rank that
 * failed in between is an error on all (the failed rank's status). */
TARN_API tarn_status tarn_comm_broadcast(tarn_comm *comm, void *data, size_t bytes, int root, const char *label);
TARN_API tarn_status tarn_comm_or_all(tarn_comm *comm, uint64_t *data, int count, const char *label);
TARN_API tarn_status tarn_comm_barrier(tarn_comm *comm, const char *label);
/* The ranks of this process, borrowed from the context. */
TARN_API tarn_comm *tarn_get_comm(tarn_context *context);

#ifdef __cplusplus
}
#endif
#endif
