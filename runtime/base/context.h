/* context.h - the inside of a tarn_context: what the rooms share. Made by tarn_init, ended by tarn_exit.
 *
 * Invariants
 *  1. The first error stays until it is cleared.
 *  2. Every field but the error and the log is written by the main thread outside steps only.
 */
#ifndef TARN_RUNTIME_CONTEXT_H
#define TARN_RUNTIME_CONTEXT_H

#include "runtime/base/clock.h"

#include <pthread.h>
#include <signal.h>
#include <tarn/sys/op.h>

struct tarn_comm;
struct tarn_workers;
struct tarn_registry;
struct tarn_monitor;

/* Asks a thread for its stack (runtime/monitor/stacks.c): the one signal that tarn_block_signals lets through. */
#define TARN_STACK_SIGNAL (SIGRTMAX - 5)

struct tarn_context {
    struct tarn_comm *comm;       /* never NULL after a successful tarn_init */
    struct tarn_workers *workers; /* made at the first use, see tarn_context_workers */
    struct tarn_registry *registry;
    struct tarn_monitor *monitor;  /* NULL where nobody watches, see runtime/monitor/monitor.h */
    _Atomic double health_timeout; /* seconds without progress after which a rank is hung; 0: the default */
    tarn_isa isa;
    int threads;          /* 0: not yet chosen */
    double start_seconds; /* monotonic clock at tarn_init */

    pthread_mutex_t lock; /* guards what follows */
    bool failed;
    bool agreed; /* every rank knows of the error: finalising is safe */
    tarn_error error;
    char message[2048];
    tarn_log_level log_level;
    tarn_log_function *log;
    void *log_user;
    pthread_mutex_t tee_lock; /* held while the tee is called: who takes it away may free what it writes to */
    tarn_log_function *tee;
    void *tee_user;
};

/* tarn_init without the built-in ops, which belong to a higher room (ops/init.c). */
tarn_status tarn_context_open(tarn_context **context, int *argc, char ***argv);
/* Every log line also goes to this function, wherever tarn_set_log sends it; NULL ends that, and no call is under way
 * when it returns. The function must not log. */
void tarn_context_tee(tarn_context *context, tarn_log_function *function, void *user);
/* The workers, created on first use; NULL after recording an error. */
struct tarn_workers *tarn_context_workers(tarn_context *context);
/* Marks the recorded error as known to all ranks (the control word carried it). */
void tarn_error_agree(tarn_context *context);
/* Records an error with a message made elsewhere, by rank `rank`. The first one stays. */
tarn_status tarn_error_record(tarn_context *context, tarn_status status, int rank, const char *file, int line,
                              const char *message);
/* The best ISA this processor runs, whatever TARN_ISA says. */
tarn_isa tarn_isa_best(void);
/* For the threads that Tarn starts: signals are for the main thread, the one that asks for a stack apart. *before gets
 * the mask to give back. */
void tarn_block_signals(sigset_t *before);
/* 2 for what the user wrote (argument, shape, config, unreadable input), 75 for TARN_STOPPED, 0 for TARN_OK, else 1. */
int tarn_status_exit_code(tarn_status status);

#endif
