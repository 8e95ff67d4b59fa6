/* schedule.c - the learning rate as a pure function of the step; see optim.h and docs/internals/optimizer.md.
 *
 * Invariant: additions, multiplications, divisions and portable_math.h only, so that a resumed run on another machine
 * continues with the same bits.
 */
#include "runtime/base/portable_math.h"
#include <tarn/optim.h>

#define PI            3.14159265358979323846
#define DEFAULT_GAMMA 0.1

/* 0 at the first step after warm-up, 1 at the last step of the run and later. */
static double progress(int64_t since_warmup, int64_t remaining)
{
    if (remaining < 2) return since_warmup < 1 ? 0.0 : 1.0;
    if (since_warmup >= remaining - 1) return 1.0;
    return (double)since_warmup / (double)(remaining - 1);
}

double tarn_schedule_rate(const tarn_schedule_options *options, double lr, int64_t step, int64_t steps)
{
    if (!options) return lr;
    if (step < 0) step = 0;
    int64_t warmup = options->warmup > 0 ? options->warmup : 0;
    if (step < warmup) return lr * (double)(step + 1) / (double)warmup;
    int64_t since = step - warmup;
    double last = options->final_ratio;
    switch (options->kind) {
    case TARN_CONSTANT:
        return lr;
    case TARN_COSINE: /* Loshchilov and Hutter 2017, without restarts */
        return lr * (last + (1.0 - last) * 0.5 * (1.0 + tarn_math_cos(PI * progress(since, steps - warmup))));
    case TARN_LINEAR:
        return lr * (1.0 + (last - 1.0) * progress(since, steps - warmup));
    case TARN_STEP_DECAY:
        if (options->every < 1) return lr;
        return lr * tarn_math_pow_int(options->gamma == 0 ? DEFAULT_GAMMA : options->gamma, since / options->every);
    }
    return lr;
}
