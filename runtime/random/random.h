/* random.h - randomness without state: Philox4x32-10 (Salmon et al. 2011) and a permutation of [0, n).
 */
#ifndef TARN_RUNTIME_RANDOM_H
#define TARN_RUNTIME_RANDOM_H

#include <stdint.h>

/* Four random words of counter c under key k. */
void tarn_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/* [0, 1) with 24 bits, and its use for floats in kernels: (word >> 8) * 2^-24. */
static inline float tarn_random_unit(uint32_t word)
{
    return (float)(word >> 8) * 0x1p-24f;
}
/* Streams of one seed that must not meet. */
enum { TARN_STREAM_INIT = 1, TARN_STREAM_ORDER = 2, TARN_STREAM_SAMPLE = 3, TARN_STREAM_DROPOUT = 16 };

/* Elements first .. first + n - 1 of the endless sequence (seed, stream): element i depends on (seed, stream, i) alone,
 * so a tensor may be filled in parts, in any order, by any thread. Counter = (i / 4, stream), word i % 4. normal: scale
 * * a standard normal value, Box-Muller (1958), no libm. |value| <= 6.67 * scale (32-bit words). uniform: scale * a
 * multiple of 2^-23 in [-1, 1). */
void tarn_random_normal(uint64_t seed, uint64_t stream, int64_t first, int64_t n, float scale, float *out);
void tarn_random_uniform(uint64_t seed, uint64_t stream, int64_t first, int64_t n, float scale, float *out);

/* A bijection of [0, n), another for each (seed, epoch): balanced Feistel network of 12 rounds with cycle walking
 * (Black and Rogaway 2002), at most 4 walks on average. n up to 2^63; n 0 and 1 map everything to 0. Positions must be
 * below n. */
typedef struct tarn_permutation {
    uint64_t n, mask;
    int half_bits;
    uint32_t keys[12];
} tarn_permutation;
void tarn_permutation_init(tarn_permutation *permutation, uint64_t seed, uint64_t epoch, uint64_t n);
uint64_t tarn_permutation_at(const tarn_permutation *permutation, uint64_t position);

#endif
