/* spot.h - spot machines: watching for the notice that this one will be taken away, and whether a checkpoint can be
 * written in the time it leaves.
 *
 *   spot.c    which service is watched, the watcher thread, what a notice does
 *   budget.c  how long a checkpoint takes, the warning when the grace is too short for it
 *
 * Invariants
 *  1. Where nothing is watched, nothing happens: no thread, no request, no libcurl. "auto" decides by files alone.
 *  2. The first rank of each host watches, on a thread that blocks all signals and makes no call of the comm.
 *  3. A notice only asks for the stop, which reaches the other ranks in the control word: all of them save the same
 *     step.
 *  4. A metadata service that fails changes nothing but the log: training goes on, and so does the polling.
 *  5. The end of the trainer does not wait for the service.
 */
#ifndef TARN_TRAIN_SPOT_SPOT_H
#define TARN_TRAIN_SPOT_SPOT_H

#include <tarn/train.h>

typedef struct tarn_spot tarn_spot;

/* Checks options->spot, spot_endpoint and spot_grace, and what TARN_SPOT and TARN_SPOT_ENDPOINT say. Not collective. */
tarn_status tarn_spot_check(tarn_context *context, const tarn_train_options *options);
/* Starts watching. *spot stays NULL on ranks that have no part in it. Collective: all ranks call it, with checkpoints
 * or all without (then nothing is watched, since nothing could be saved). A watcher that cannot start is a warning. */
tarn_status tarn_spot_start(tarn_spot **spot, tarn_trainer *trainer);
/* Ends the watcher; NULL is fine. */
void tarn_spot_end(tarn_spot *spot);

/* Tells what a step took, and the last real checkpoint (0: none yet, the probe's time counts). A step and two
 * checkpoints (one that is being written, the last one) that do not fit into the grace give one warning. */
void tarn_spot_step_done(tarn_spot *spot, double step_seconds, double persist_seconds);

#endif
