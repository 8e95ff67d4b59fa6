/* update_loops.h - the loops of update.h, included by update_scalar.c (the definition) and update_fast.c (once per
 * ISA).
 *
 * Why one text: every operation is one IEEE operation on one element, so a compiler that vectorises the loop cannot
 * change a bit, and a pass of 28 bytes a value is bound by memory whatever the instructions are.
 */
#include "optim/update.h"

#include <stddef.h>

#define XXH_INLINE_ALL /* compiled for this file's ISA; every variant of XXH3 gives the same hash */
#include <xxhash.h>

static void adamw_loop(const tarn_adamw_factors *factors, int64_t n, float *restrict values, float *restrict m,
                       float *restrict v, const float *restrict gradient)
{
    const tarn_adamw_factors f = *factors; /* a copy: the stores below cannot change it */
    for (int64_t i = 0; i < n; i++) {
        float g = gradient[i] * f.scale;
        float first = __builtin_fmaf(f.one_minus_beta1, g, f.beta1 * m[i]);
        float second = __builtin_fmaf(f.one_minus_beta2 * g, g, f.beta2 * v[i]);
        float root = __builtin_fmaf(__builtin_sqrtf(second), f.inverse_root, f.epsilon);
        m[i] = first;
        v[i] = second;
        values[i] = __builtin_fmaf(first / root, -f.step_size, values[i] * f.keep);
    }
}

static void sgd_plain_loop(const tarn_sgd_factors *factors, int64_t n, float *restrict values,
                           const float *restrict gradient)
{
    const tarn_sgd_factors f = *factors;
    for (int64_t i = 0; i < n; i++) {
        float g = __builtin_fmaf(f.decay, values[i], gradient[i] * f.scale);
        values[i] = __builtin_fmaf(-f.lr, g, values[i]);
    }
}

static void sgd_momentum_loop(const tarn_sgd_factors *factors, int64_t n, float *restrict values,
                              float *restrict momentum, const float *restrict gradient)
{
    const tarn_sgd_factors f = *factors;
    for (int64_t i = 0; i < n; i++) {
        float g = __builtin_fmaf(f.decay, values[i], gradient[i] * f.scale);
        float velocity = __builtin_fmaf(f.momentum, momentum[i], g);
        momentum[i] = velocity;
        values[i] = __builtin_fmaf(-f.lr, velocity, values[i]);
    }
}

static void sgd_nesterov_loop(const tarn_sgd_factors *factors, int64_t n, float *restrict values,
                              float *restrict momentum, const float *restrict gradient)
{
    const tarn_sgd_factors f = *factors;
    for (int64_t i = 0; i < n; i++) {
        float g = __builtin_fmaf(f.decay, values[i], gradient[i] * f.scale);
        float velocity = __builtin_fmaf(f.momentum, momentum[i], g);
        momentum[i] = velocity;
        values[i] = __builtin_fmaf(-f.lr, __builtin_fmaf(f.momentum, velocity, g), values[i]);
    }
}

static void sgd_loop(const tarn_sgd_factors *factors, int64_t n, float *values, float *momentum, const float *gradient)
{
    if (!momentum)
        sgd_plain_loop(factors, n, values, gradient);
    else if (factors->nesterov)
        sgd_nesterov_loop(factors, n, values, momentum, gradient);
    else
        sgd_momentum_loop(factors, n, values, momentum, gradient);
}

static uint64_t hash_values(const float *values, int64_t n)
{
    return XXH3_64bits(values, (size_t)n * sizeof *values);
}
