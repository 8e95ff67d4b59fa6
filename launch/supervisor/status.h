/* status.h - the status file: what the supervisor does, for people, for programs, and for the next supervisor.
 *
 * JSON. "state": starting, running, restarting, waiting, stopping, finished, stopped, failed; "reason" of the end;
 * ranks, hosts, step, highest_step, saved_step, restarts, stalled; "events", the last of them, each with time, what,
 * rank, step, message.
 *
 * Invariants
 *  1. The file is whole at any moment for who reads it: temporary file, rename. It is synced to the disk only at the
 *     end; after a loss of power the file may be an older one or none, which costs only what is told.
 *  2. One supervisor has it: it holds a lock on the file itself, handed on from each file to the one that replaces it.
 *     The lock ends with the supervisor, however it ends.
 *  3. A file that cannot be written is told once and costs nothing else.
 *  4. tarn_status_file_* wait for the disk, and touch nothing but the tarn_status_file: while ranks live the thread of
 *     errands alone calls them (record.c). tarn_run_status_* touch no file.
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
    char path[4096]; /* "" while no file is claimed: nothing is written */
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

/* The file that is claimed. */
typedef struct tarn_status_file {
    char path[4096]; /* "" none */
    int lock;        /* the file of `path`, -1 */
} tarn_status_file;

typedef enum tarn_status_claim { TARN_STATUS_CLAIMED, TARN_STATUS_HELD, TARN_STATUS_BROKEN } tarn_status_claim;

void tarn_run_status_start(tarn_run_status *status, char *const *program);
/* Adds an event (the oldest one goes). */
void tarn_run_status_event(tarn_run_status *status, const char *what, int rank, int64_t step, const char *message);
/* Takes over what a supervisor before left in the file just claimed: highest step; where that one was killed, its
 * stalled restarts too. A text that is no status file changes nothing. */
void tarn_run_status_inherit(tarn_run_status *status, const char *text);
/* Writes into `problem` who holds the file whose text this is. */
void tarn_run_status_name_holder(const char *path, const char *text, char *problem, size_t size);
/* The text of the file; freed by the caller. NULL: no memory. */
char *tarn_run_status_print(const tarn_run_status *status);

/* Takes the file at `path`, made where it is not there. *text gets what is in it, also of one that is held (NULL:
 * nothing); freed by the caller. HELD: another supervisor lives. BROKEN: cannot be opened or created, errno in *error.
 */
tarn_status_claim tarn_status_file_claim(tarn_status_file *file, const char *path, char **text, int *error);
/* Puts a new text in its place. `durable`: synced to the disk, with its folder. False with errno in *error. */
bool tarn_status_file_replace(tarn_status_file *file, const char *text, bool durable, int *error);
/* Gives it up. */
void tarn_status_file_close(tarn_status_file *file);

#endif
