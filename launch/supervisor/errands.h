/* errands.h - a thread that does, one after the other, what may have to wait for a disk or a terminal, so that the
 * thread that serves the ranks never does.
 *
 * Invariants
 *  1. Giving and collecting never wait for an errand under way.
 *  2. Errands are done in the order in which they were given; what one touches belongs to the errand thread from the
 *     giving to the collecting.
 *  3. The thread takes no signal, starts no process and holds no lock while it works.
 *  4. Where no thread can be had errands are done at once by who gives them: later, never not at all.
 */
#ifndef TARN_SUPERVISOR_ERRANDS_H
#define TARN_SUPERVISOR_ERRANDS_H

#include <pthread.h>
#include <stdbool.h>

/* The first member of what an errand is about, which malloc made. */
typedef struct tarn_errand {
    void (*work)(struct tarn_errand *errand); /* by the thread; may wait */
    void (*done)(struct tarn_errand *errand); /* by who collects, and frees it; NULL: the thread frees it after work */
    struct tarn_errand *next;
} tarn_errand;

typedef struct tarn_errands {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    tarn_errand *first, *last, *finished, *last_finished;
    int open; /* given and not yet done */
    int wake; /* eventfd that becomes readable when one is done; -1 */
    bool started, quit;
} tarn_errands;

/* `name`: of the thread, at most 15 bytes. */
void tarn_errands_start(tarn_errands *errands, const char *name);
void tarn_errands_give(tarn_errands *errands, tarn_errand *errand);
/* Calls `done` of those that were done, in their order. */
void tarn_errands_collect(tarn_errands *errands);
/* How many are not yet done. */
int tarn_errands_open(tarn_errands *errands);
/* Ends the thread. One that still works is left as it is, with all it has: false, and the process is to end. */
bool tarn_errands_end(tarn_errands *errands);

#endif
