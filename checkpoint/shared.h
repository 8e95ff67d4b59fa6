/* shared.h - does every host see the checkpoint directory?
 *
 * A job that loses the host of rank 0, or is started with its hosts in another order, resumes from whatever the new
 * host of rank 0 finds there. In a directory of that host's own it would find nothing and begin anew in silence.
 *
 * Invariants
 *  1. Jobs on one host do no work at all.
 *  2. The check is by a file made for it, whose name nobody could have known before: an older copy of the directory, or
 *     another one of the same name, is not taken for this one.
 *  3. It leaves no file behind.
 */
#ifndef TARN_CHECKPOINT_SHARED_H
#define TARN_CHECKPOINT_SHARED_H

#include <tarn/base.h>

/* TARN_ERROR_CONFIG on all ranks, naming the hosts that do not see rank 0's directory. After the store was opened (the
 * directory exists). Collective. */
tarn_status tarn_checkpoint_check_shared(tarn_context *context, const char *directory);

#endif
