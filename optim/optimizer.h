/* optimizer.h - the inside of an optimizer: one pass over flat buffers, clip factor and mean folded in.
 */
#ifndef TARN_OPTIM_OPTIMIZER_H
#define TARN_OPTIM_OPTIMIZER_H

#include "runtime/worker/worker.h"
#include <tarn/optim.h>

typedef struct tarn_optimizer tarn_optimizer;

/* A stretch of the flat buffer with one treatment; stretches are ascending and cover the trainable values. */
typedef struct tarn_optim_range {
    int64_t begin, end;
    bool decay;
} tarn_optim_range;

tarn_status tarn_optimizer_create(tarn_optimizer **optimizer, tarn_context *context, const tarn_optim_options *options,
                                  int64_t count, const tarn_optim_range *ranges, int range_count);
void tarn_optimizer_destroy(tarn_optimizer *optimizer);
/* The flat state buffers a checkpoint keeps ("m", "v" or "momentum"): count values each. Returns how many. */
int tarn_optimizer_states(const tarn_optimizer *optimizer, const char *names[4], float *buffers[4]);
/* One update. gradient holds sums; `total` is the global count they are divided by; sum_of_squares belongs to the sums.
 * step is 0-based. *norm (may be NULL) receives the norm of the mean gradient before clipping. *hash (may be NULL)
 * receives a 64-bit hash of the updated values and of a sixteenth of the moments (which one follows from step), or with
 * `whole` of all of them, independent of the number of workers. */
tarn_status tarn_optimizer_update(tarn_optimizer *optimizer, tarn_workers *workers, float *values,
                                  const float *gradient, double sum_of_squares, double total, double lr, int64_t step,
                                  double *norm, uint64_t *hash, bool whole);
/* Defaults filled in. */
void tarn_optim_resolve(const tarn_optim_options *options, tarn_optim_options *resolved);

#endif
