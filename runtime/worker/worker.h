/* worker.h - the threads of a rank, and the teams that share one shard's work.
 *
 * Invariants
 *  1. Member 0 is the calling thread.
 *  2. Every worker sets MXCSR to round-to-nearest without FTZ/DAZ while it runs Tarn's work, and the caller's MXCSR is
 *     restored.
 *  3. Waiting spins briefly, then sleeps (threads may outnumber cores by far).
 *  4. Nothing here decides an order of summation.
 */
#ifndef TARN_RUNTIME_WORKER_H
#define TARN_RUNTIME_WORKER_H

#include <tarn/sys/op.h>

typedef struct tarn_workers tarn_workers;

tarn_status tarn_workers_create(tarn_workers **workers, tarn_context *context, int threads);
void tarn_workers_destroy(tarn_workers *workers);
int tarn_workers_count(const tarn_workers *workers);

/* Runs fn(argument, begin, end, member) on contiguous ranges of [0, count) at once and waits for all; pieces are
 * multiples of grain. */
void tarn_workers_for(tarn_workers *workers, int64_t count, int64_t grain, tarn_team_function *fn, void *argument);
/* Runs fn(argument, leader, team) on `leaders` threads (at most count); the remaining threads form their teams and
 * serve tarn_team_for until all leaders are done. */
void tarn_workers_run_teams(tarn_workers *workers, int leaders, void (*fn)(void *argument, int leader, tarn_team *team),
                            void *argument);

/* Cores this process may use (affinity mask). */
int tarn_allowed_cores(void);

/* Sets the floating-point environment Tarn's kernels assume and returns the caller's; give it back to restore. */
unsigned tarn_float_environment_enter(void);
void tarn_float_environment_leave(unsigned saved);

#endif
