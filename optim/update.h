/* update.h - the update kernels of one instruction set, over one stretch of the flat buffers.
 *
 * Element i (all in float, one rounding an operation, fma where written):
 *   g = gradient[i] * scale
 *   AdamW (Loshchilov and Hutter 2019):
 *     m[i] = fma(one_minus_beta1, g, beta1 * m[i])
 *     v[i] = fma(one_minus_beta2 * g, g, beta2 * v[i])
 *     values[i] = fma(m[i] / fma(sqrt(v[i]), inverse_root, epsilon), -step_size, values[i] * keep)
 *   SGD:
 *     g = fma(decay, values[i], g)
 *     momentum[i] = g = fma(beta, momentum[i], g), and with nesterov the step takes fma(beta, momentum[i], g before)
 *     values[i] = fma(-lr, g, values[i])
 * Zeros with a zero gradient stay +0 (padding).
 */
#ifndef TARN_OPTIM_UPDATE_H
#define TARN_OPTIM_UPDATE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct tarn_adamw_factors {
    float scale;
    float beta1, one_minus_beta1, beta2, one_minus_beta2;
    float inverse_root; /* 1 / sqrt(1 - beta2^t) */
    float epsilon;
    float step_size; /* lr / (1 - beta1^t) */
    float keep;      /* 1 - lr * weight_decay; 1 where nothing decays */
} tarn_adamw_factors;

typedef struct tarn_sgd_factors {
    float scale;
    float decay; /* weight decay; 0 where nothing decays */
    float momentum;
    float lr;
    bool nesterov;
} tarn_sgd_factors;

/* Buffers do not overlap. Any n, any alignment. */
typedef struct tarn_update_kernels {
    void (*adamw)(const tarn_adamw_factors *factors, int64_t n, float *values, float *m, float *v,
                  const float *gradient);
    /* momentum NULL: plain SGD. */
    void (*sgd)(const tarn_sgd_factors *factors, int64_t n, float *values, float *momentum, const float *gradient);
    uint64_t (*hash)(const float *values, int64_t n); /* XXH3, 64 bits */
} tarn_update_kernels;

extern const tarn_update_kernels tarn_update_scalar, tarn_update_avx2, tarn_update_avx512;

#endif
