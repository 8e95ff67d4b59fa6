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

/* n standard normal values of (seed, stream, index base): Box-Muller on portable log, sqrt, sin, cos. */
void tarn_random_normal(uint64_t seed, uint64_t stream, int64_t first, int64_t n, float scale, float *out);
void tarn_random_uniform(uint64_t seed, uint64_t stream, int64_t first, int64_t n, float scale, float *out);

/* A bijection of [0, n): balanced Feistel network of 12 rounds with cycle walking. */
typedef struct tarn_permutation {
    uint64_t n, mask;
    int half_bits;
    uint32_t keys[12];
} tarn_permutation;
void tarn_permutation_init(tarn_permutation *permutation, uint64_t seed, uint64_t epoch, uint64_t n);
uint64_t tarn_permutation_at(const tarn_permutation *permutation, uint64_t position);

#endif
