/* watch.h - who hangs: a pure function of what the ranks last said and of the time.
 *
 * Invariants
 *  1. SILENT: nothing arrived for `hang` seconds: the process is stopped, or its host or the way to it is gone.
 *  2. STUCK: it reports, but has done no work for the larger of `hang` and ten median steps, and does not wait for
 *     others. Who waits for others is never blamed while somebody is silent or stuck.
 *  3. DEADLOCK: all ranks wait, and none has done any work for that long: all are named.
 *  4. MISSING: not all ranks said hello within the start limit.
 *  5. A rank that said bye hangs only when others are still there and do nothing (then those are named).
 */
#ifndef TARN_SUPERVISOR_WATCH_H
#define TARN_SUPERVISOR_WATCH_H

#include "launch/supervisor/hub.h"

typedef enum tarn_watch_verdict {
    TARN_WATCH_FINE,
    TARN_WATCH_SILENT,
    TARN_WATCH_STUCK,
    TARN_WATCH_DEADLOCK,
    TARN_WATCH_MISSING
} tarn_watch_verdict;

typedef struct tarn_watch_limits {
    double hang, start;  /* seconds; 0: no limit */
    double step_seconds; /* median step, 0 unknown */
    double started;      /* tarn_seconds of the launch */
} tarn_watch_limits;

/* What is wrong at time `now`; *rank is the lowest rank concerned (-1: none), message names all of them (a sentence
 * without a full stop): rank, host, step, what it does. */
tarn_watch_verdict tarn_watch(const tarn_hub_rank *ranks, int count, const tarn_watch_limits *limits, double now,
                              int *rank, char *message, size_t size);

#endif
