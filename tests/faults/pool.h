/* pool.h - runs jobs in forked children, so that one that crashes or hangs is a result and not the end. */
#ifndef TARN_TESTS_FAULTS_POOL_H
#define TARN_TESTS_FAULTS_POOL_H

#include "tests/faults/subject.h"

/* Seconds after which a job counts as hung. Generous: the machine may be loaded. */
#define FAULT_JOB_SECONDS 120

/* Runs job(user, index, slot, &verdicts[index]) for every index below count in `workers` processes; slot is the number
 * of the process. Returns the verdicts (free with fault_pool_free), NULL when there is no memory. */
fault_verdict *fault_pool_run(int64_t count, int workers, void (*job)(void *, int64_t, int, fault_verdict *),
                              void *user);
void fault_pool_free(fault_verdict *verdicts, int64_t count);
/* Memory that children share. */
void *fault_shared(size_t bytes);

#endif
