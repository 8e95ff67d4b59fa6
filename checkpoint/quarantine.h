/* quarantine.h - setting a checkpoint aside that a run keeps failing from, so that the next start takes the one before.
 *
 * For the supervisor: it needs neither a context nor MPI. No lock is taken: call it while no run writes to the
 * directory.
 */
#ifndef TARN_CHECKPOINT_QUARANTINE_H
#define TARN_CHECKPOINT_QUARANTINE_H

#include "checkpoint/problem.h"

/* Renames the checkpoint of `step` (ckpt-<step>.h5, or ckpt-<step>/ in parts) to quarantined-<step>.h5 or
 * quarantined-<step>/, with -2, -3, ... behind the step where that name is taken, and syncs the directory. False, and
 * nothing is changed, when there is no such checkpoint or when no other one of the directory is valid: a run must not
 * be left with nothing to go on from (all others are verified whole until a valid one is found). *problem then says
 * which. False too when the rename or its sync failed; error_number is errno's then. */
bool tarn_checkpoint_quarantine(const char *directory, int64_t step, tarn_problem *problem);

#endif
