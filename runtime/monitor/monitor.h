/* monitor.h - where this process is: what the other rooms tell the monitor, for whoever watches the rank.
 *
 * Invariants
 *  1. Every call may be made whether or not a monitor runs (NULL contexts included) and never blocks, but for
 *     tarn_monitor_claim.
 *  2. Progress counters only grow, each is written by its own thread.
 *  3. Texts are copied, names of ops and files are not: they outlive the context.
 *  4. Nothing here changes what is computed.
 */
#ifndef TARN_RUNTIME_MONITOR_H
#define TARN_RUNTIME_MONITOR_H

#include <stdatomic.h>
#include <tarn/base.h>

/* ---- what a thread does: no context, no lock, a few stores ------------------------------------------------------ */

/* Of one thread, on a cache line of its own. The thread writes, the monitor reads. */
typedef struct tarn_place {
    _Alignas(64) _Atomic uint64_t progress;
    _Atomic(const char *) op;   /* being run; NULL between two ops */
    _Atomic(const char *) last; /* the op before */
    _Atomic(const char *) file; /* in the user's program, of the last call of an op or a module */
    atomic_int line;
    atomic_int shard; /* -1: none */
    atomic_bool backward;
    atomic_int thread; /* of the kernel; 0: nobody's, the next new thread may have it */
    struct tarn_place *next;
} tarn_place;

extern _Thread_local tarn_place *tarn_place_of_thread;
tarn_place *tarn_place_take(void);

/* The calling thread's place; never NULL. */
static inline tarn_place *tarn_place_here(void)
{
    return tarn_place_of_thread ? tarn_place_of_thread : tarn_place_take();
}

/* A bit of work is done: relaxed, and no read-modify-write, since only this thread writes. */
static inline void tarn_place_work(tarn_place *place)
{
    uint64_t progress = atomic_load_explicit(&place->progress, memory_order_relaxed);
    atomic_store_explicit(&place->progress, progress + 1, memory_order_relaxed);
}

/* Around the kernels of an op; `name` must outlive the context. */
static inline void tarn_place_enter_op(const char *name)
{
    tarn_place *place = tarn_place_here();
    atomic_store_explicit(&place->op, name, memory_order_relaxed);
    tarn_place_work(place);
}

static inline void tarn_place_leave_op(const char *name)
{
    tarn_place *place = tarn_place_here();
    atomic_store_explicit(&place->last, name, memory_order_relaxed);
    atomic_store_explicit(&place->op, NULL, memory_order_relaxed);
    tarn_place_work(place);
}

/* The calling thread begins shard `shard`, or has ended it (-1). */
void tarn_place_enter_shard(int shard);
/* The calling thread has begun to walk the tape backwards. */
void tarn_place_enter_backward(void);

/* ---- what the process does -------------------------------------------------------------------------------------- */

/* Main thread: the step being worked on, counted from 0; -1 outside training. */
void tarn_monitor_step(tarn_context *context, int64_t step);
/* Main thread: what it does from now on, at most 127 bytes, copied. Counts as progress. */
void tarn_monitor_enter(tarn_context *context, const char *format, ...) TARN_PRINTF(2, 3);
/* Main thread: begins or ends to wait for other ranks; label: for whom and at what ("rank 2", "the other ranks at:
 * opening the data"), copied, not read when the wait ends. Counts as progress. */
void tarn_monitor_waiting(tarn_context *context, bool waits, const char *label);
/* Main thread: like tarn_monitor_waiting, around a call that cannot be given up from inside (MPI_Init, MPI_Finalize):
 * after `seconds` the monitor ends the process with a message. 0 ends the wait. */
void tarn_monitor_blocking(tarn_context *context, double seconds, const char *label);
/* Any thread: it works. One increment of the thread's own counter. */
void tarn_monitor_progress(tarn_context *context);
/* Main thread: training begins (seconds > 0: a rank without progress for so long is hung) or ends (0). */
void tarn_monitor_watch(tarn_context *context, double seconds);
/* Any thread: queues a line to the supervisor ("saved 100"), without newline; nothing happens without one. */
void tarn_monitor_tell(tarn_context *context, const char *format, ...) TARN_PRINTF(2, 3);

/* Main thread of rank 0, before it takes the lock of the checkpoint directory: tells the supervisor where that is, and
 * waits until the supervisor has claimed it or knows that it cannot. So the ranks of a second job stop here, before
 * they touch what the first one trains. Ends at a stop, and after TARN_CLAIM_SECONDS (set by the supervisor; without
 * it, and without a supervisor, nothing is waited for). Counts as progress all the while. */
void tarn_monitor_claim(tarn_context *context, const char *directory);

/* ---- limits ----------------------------------------------------------------------------------------------------- */

/* True when a supervisor (TARN_SUPERVISOR) watches this rank. */
bool tarn_monitor_supervised(const tarn_context *context);
/* Seconds without progress after which a rank is hung: TARN_HANG_SECONDS, else health.timeout, else 60. */
double tarn_monitor_hang_seconds(const tarn_context *context);
/* Seconds since the supervisor last said that some rank is at work; infinite when it never did. */
double tarn_monitor_peers_idle(const tarn_context *context);

/* ---- life, for context.c ---------------------------------------------------------------------------------------- */

/* Starts the monitor where there is somebody to tell or somebody who would wait: under a supervisor, and in a rank of
 * several. Fails with TARN_ERROR_CONFIG when TARN_SUPERVISOR makes no sense, TARN_ERROR_MEMORY. */
tarn_status tarn_monitor_start(tarn_context *context);
/* Tells the supervisor the exit code (negative: this is no regular end), sends what is queued, for a second at most,
 * and ends the monitor. */
void tarn_monitor_end(tarn_context *context, int exit_code);

#endif
