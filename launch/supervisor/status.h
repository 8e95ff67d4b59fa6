/* status.h - the status file: what the supervisor does, for people, for programs, and for the next supervisor.
 *
 * JSON. "state": starting, running, restarting, waiting, stopping, finished, stopped, failed; "reason" of the end;
 * ranks, hosts, step, highest_step, saved_step, restarts, stalled; "events", the last of them, each with time, what,
 * rank, step, message.
 *
 * Invariants
 *  1. The file is whole at any moment for who reads it: temporary file, rename. It is synced to the disk only at the
 *     end: fsync may take minutes on a busy disk, and the thread that writes is the one that answers the ranks. After
 *     a loss of power the file may be an older one or none, which costs only what is told.
 *  2. One supervisor has it: it holds a lock on the file itself, handed on from each file to the one that replaces it.
 *     The lock ends with the supervisor, however it ends.
 *  3. A file that cannot be written is told once and costs nothing else.
 */
#ifndef TARN_SUPERVISOR_STATUS_H
#define TARN_SUPERVISOR_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TARN_STATUS_EVENTS = 64 };

typedef struct tarn_status_event {
    char time[32], what[24];
    int rank;     /* -1 none */
    int64_t step; /* -1 none */
    char message[1024];
} tarn_status_event;

typedef struct tarn_run_status {
    char path[4096]; /* "" while unknown: nothing is written */
    int lock;        /* the file of `path`, -1 */
    bool complained;
    int inherited_stalled, inherited_restarts; /* of one that was killed */
    bool begun;                                /* a launch has begun to train: what follows are resumes */
    bool inherited, inherited_killed,
        inherited_begun; /* a supervisor before left a file; and it did not end by itself */
    double written;      /* tarn_seconds */
    char started[32], state[16], reason[2048], hosts[1024], workspace[64], earlier_workspace[64];
    int ranks, wanted_ranks, restarts, stalled, launches, exit_code; /* exit_code -1: not ended */
    int64_t step, highest, saved;
    char *const *program;
    tarn_status_event event[TARN_STATUS_EVENTS]; /* a ring */
    int events;
} tarn_run_status;

typedef enum tarn_status_claim { TARN_STATUS_CLAIMED, TARN_STATUS_HELD, TARN_STATUS_BROKEN } tarn_status_claim;

void tarn_run_status_start(tarn_run_status *status, char *const *program);
/* Takes the file at `path` and what a supervisor before left there: highest step; where that one was killed, its
 * stalled restarts too. HELD: another supervisor lives, `problem` names it. BROKEN: cannot be opened or created. A file
 * that is no status file is replaced. */
tarn_status_claim tarn_run_status_claim(tarn_run_status *status, const char *path, char *problem, size_t size);
/* Adds an event (the oldest one goes) without writing. */
void tarn_run_status_event(tarn_run_status *status, const char *what, int rank, int64_t step, const char *message);
/* Writes the file when its path is known; never waits for the disk. */
void tarn_run_status_write(tarn_run_status *status);
/* Writes it a last time, durably, and gives it up: only when no rank lives. */
void tarn_run_status_end(tarn_run_status *status);

#endif
