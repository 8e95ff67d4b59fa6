/* hub.h - the supervisor's end of the channel to the ranks: a TCP server that every rank of a launch says hello to.
 *
 * Lines of UTF-8, fields separated by single blanks, the last field may hold blanks.
 *   rank -> hub   hello TOKEN 1 RANK RANKS PID HOST | at STEP PROGRESS WAITING SECONDS WHAT | directory PATH |
 *                 resumed STEP | saved STEP | stopping REASON | stack LINE (the last is "stack .") |
 *                 failed STATUS MESSAGE | bye CODE
 *   hub -> rank   ok (answers each `at`) | claimed (answers `directory`, once its status file is claimed, or cannot be)
 *                 | stop | stacks
 *
 * Invariants
 *  1. Who does not begin with this launch's token is closed and changes nothing; each launch has a token of its own, so
 *     that a rank of an earlier launch cannot be taken for one of this.
 *  2. Nothing a rank sends can make the hub wait, grow without limit or end: sockets do not block, lines are cut, the
 *     number of connections is bounded.
 *  3. A rank is lost exactly when its connection ends without `bye`.
 *  4. What a stopped supervisor has not read yet is read before anybody is judged silent (the caller serves, then
 *     looks).
 */
#ifndef TARN_SUPERVISOR_HUB_H
#define TARN_SUPERVISOR_HUB_H

#include "runtime/base/median.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { TARN_HUB_MESSAGE = 2048, TARN_HUB_TOKEN = 32 };

typedef struct tarn_hub_rank {
    bool known;     /* said hello in this launch */
    bool connected; /* and its connection stands */
    bool bye;       /* ended regularly, with bye_code */
    bool lost;      /* its connection ended without bye */
    bool failed;    /* told of an error: status name and message */
    bool waiting;   /* waits for other ranks */
    bool stacks_complete;
    int bye_code;
    pid_t pid;
    int64_t step, progress; /* -1 before the first step */
    double heard, moved;    /* tarn_seconds of the last line and of the last change of progress */
    double failed_at;
    char host[256], what[256], status[32], message[TARN_HUB_MESSAGE];
    char *stacks; /* lines received since the last request, NULL when none */
    size_t stacks_bytes;
} tarn_hub_rank;

typedef struct tarn_hub_connection tarn_hub_connection;

typedef struct tarn_hub {
    int listener, port;
    bool every_interface;
    char token[TARN_HUB_TOKEN + 1];
    int rank_count;
    tarn_hub_rank *rank;
    tarn_hub_connection *connection;
    int connection_count;
    bool stop_sent; /* ranks that say hello later are told to stop, too */
    /* what the launch told, -1 or "" while unknown */
    char directory[4096];
    bool directory_told; /* and not answered */
    int64_t reached, resumed, saved;
    char stopping[512];
    double first_lost; /* tarn_seconds of the first lost rank, 0 when none */
    int first_lost_rank;
    tarn_median step_seconds; /* seconds per step of the last reports of rank 0 */
    int64_t timed_step;
    double timed_at;
} tarn_hub;

/* Listens on a free port of the loopback, or of every interface. False with errno. */
bool tarn_hub_open(tarn_hub *hub, bool every_interface);
/* Forgets the ranks of the launch before, closes their connections, and makes a new token. False: no memory. */
bool tarn_hub_begin(tarn_hub *hub, int ranks);
/* The value of TARN_SUPERVISOR for the ranks: "ADDRESS[,ADDRESS...]:PORT/TOKEN". */
void tarn_hub_address(const tarn_hub *hub, char *out, size_t size);
/* Accepts, reads and answers until nothing more is there; waits at most `milliseconds` for the first of it or for
 * `other` (a descriptor, -1 for none) to become readable. */
void tarn_hub_serve(tarn_hub *hub, int other, int milliseconds);
/* Sends `stop` to every rank, those that say hello later included. */
void tarn_hub_stop(tarn_hub *hub);
/* Answers `directory`. */
void tarn_hub_claimed(tarn_hub *hub);
/* Asks every connected rank for its stacks, forgetting earlier ones. */
void tarn_hub_ask_stacks(tarn_hub *hub);
/* Ranks that said hello, and those of them that still are there or left regularly. */
int tarn_hub_known(const tarn_hub *hub);
void tarn_hub_close(tarn_hub *hub);

#endif
