/* random.c - Philox4x32-10, normal and uniform fills, permutations.
 *
 * Invariants
 *  1. No state: every value is a pure function of its arguments.
 *  2. Additions, multiplications, divisions and square roots of doubles only, each rounded once in the order written,
 *     so the bits are the same on every machine.
 */
#include "runtime/random/random.h"

#include <string.h>

#define ELEMENTS_PER_BLOCK 4

void tarn_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xD2511F53u * c0, product1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)product1;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)product0;
        k0 += 0x9E3779B9u; /* golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* The four words of elements 4 * block .. 4 * block + 3 of a stream. */
static void stream_block(uint64_t seed, uint64_t stream, uint64_t block, uint32_t words[4])
{
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    tarn_philox(counter, key, words);
}

/* -ln((word + 1) / 2^32), in [0, 22.2]. x = 2^e m with m in [sqrt(1/2), sqrt(2)), ln m = 2 artanh((m - 1) / (m + 1)) by
 * its series to s^19: an error below 1e-15. Horner with constants, since portable_math.h's divisions would be a third
 * of a small model's start. */
static double minus_log(uint32_t word)
{
    double x = ((double)word + 1.0) * 0x1p-32;
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int64_t exponent = (bits - 0x3fe6a09e667f3bcd) >> 52; /* m >= sqrt(1/2) */
    bits -= (int64_t)((uint64_t)exponent << 52);
    double m;
    memcpy(&m, &bits, sizeof m);
    double s = (m - 1.0) / (m + 1.0), q = s * s;
    double sum = 1.0 / 19;
    sum = sum * q + 1.0 / 17;
    sum = sum * q + 1.0 / 15;
    sum = sum * q + 1.0 / 13;
    sum = sum * q + 1.0 / 11;
    sum = sum * q + 1.0 / 9;
    sum = sum * q + 1.0 / 7;
    sum = sum * q + 1.0 / 5;
    sum = sum * q + 1.0 / 3;
    double log_m = 2.0 * s + 2.0 * s * (sum * q);
    return -((double)exponent * 0.69314718055994530942 + log_m);
}

/* cos and sin of 2 pi word / 2^32. The two top bits (after adding an eighth of a turn) are the quadrant: the reduction
 * to [-pi/4, pi/4) is exact. Taylor to r^16 and r^15: an error below 1e-16. */
static void turn(uint32_t word, double *cosine, double *sine)
{
    uint32_t shifted = word + 0x20000000u;
    uint32_t quadrant = shifted >> 30;
    double r = (double)((int32_t)(shifted & 0x3fffffffu) - 0x20000000) * (1.57079632679489661923 * 0x1p-30);
    double q = r * r;
    double c = 1.0 / 20922789888000.0;
    c = c * q - 1.0 / 87178291200.0;
    c = c * q + 1.0 / 479001600.0;
    c = c * q - 1.0 / 3628800.0;
    c = c * q + 1.0 / 40320.0;
    c = c * q - 1.0 / 720.0;
    c = c * q + 1.0 / 24.0;
    c = c * q - 0.5;
    c = c * q + 1.0;
    double s = -1.0 / 1307674368000.0;
    s = s * q + 1.0 / 6227020800.0;
    s = s * q - 1.0 / 39916800.0;
    s = s * q + 1.0 / 362880.0;
    s = s * q - 1.0 / 5040.0;
    s = s * q + 1.0 / 120.0;
    s = s * q - 1.0 / 6.0;
    s = r + r * (q * s);
    double x = quadrant & 1 ? -s : c, y = quadrant & 1 ? c : s;
    *cosine = quadrant & 2 ? -x : x;
    *sine = quadrant & 2 ? -y : y;
}

/* Box and Muller 1958: two words, two independent normal values. */
static void normal_block(const uint32_t words[4], float scale, float out[4])
{
    for (int pair = 0; pair < 2; pair++) {
        double cosine, sine;
        double radius = __builtin_sqrt(2.0 * minus_log(words[2 * pair]));
        turn(words[2 * pair + 1], &cosine, &sine);
        out[2 * pair] = (float)(radius * cosine * (double)scale);
        out[2 * pair + 1] = (float)(radius * sine * (double)scale);
    }
}

static void uniform_block(const uint32_t words[4], float scale, float out[4])
{
    for (int i = 0; i < 4; i++) out[i] = (float)((int32_t)(words[i] >> 8) - (1 << 23)) * 0x1p-23f * scale;
}

typedef void block_function(const uint32_t words[4], float scale, float out[4]);

static void fill(block_function *make, uint64_t seed, uint64_t stream, int64_t first, int64_t n, float scale,
                 float *out)
{
    uint32_t words[4];
    float values[ELEMENTS_PER_BLOCK];
    for (int64_t done = 0; done < n;) {
        uint64_t index = (uint64_t)(first + done);
        int offset = (int)(index % ELEMENTS_PER_BLOCK);
        int64_t take = ELEMENTS_PER_BLOCK - offset;
        if (take > n - done) take = n - done;
        stream_block(seed, stream, index / ELEMENTS_PER_BLOCK, words);
        make(words, scale, values);
        memcpy(out + done, values + offset, (size_t)take * sizeof(float));
        done += take;
    }
}

void tarn_random_normal(uint64_t seed, uint64_t stream, int64_t first, int64_t n, float scale, float *out)
{
    fill(normal_block, seed, stream, first, n, scale, out);
}

void tarn_random_uniform(uint64_t seed, uint64_t stream, int64_t first, int64_t n, float scale, float *out)
{
    fill(uniform_block, seed, stream, first, n, scale, out);
}

/* The round function: murmur3's finaliser of the keyed half. The low bits are used, where the high ones end up. */
static uint32_t mix(uint32_t half, uint32_t key)
{
    uint32_t x = half ^ key;
    x *= 0x85ebca6bu;
    x ^= x >> 13;
    x *= 0xc2b2ae35u;
    return x ^ (x >> 16);
}

void tarn_permutation_init(tarn_permutation *permutation, uint64_t seed, uint64_t epoch, uint64_t n)
{
    int bits = 1;
    while (bits < 64 && ((uint64_t)1 << bits) < n) bits++;
    permutation->n = n;
    permutation->half_bits = (bits + 1) / 2;
    permutation->mask = ((uint64_t)1 << permutation->half_bits) - 1;
    for (uint64_t i = 0; i < 3; i++) stream_block(seed, TARN_STREAM_ORDER, epoch * 3 + i, permutation->keys + 4 * i);
}

uint64_t tarn_permutation_at(const tarn_permutation *permutation, uint64_t position)
{
    if (permutation->n <= 1) return 0;
    uint64_t x = position;
    do { /* the network permutes a power of four; leave the values outside [0, n) by walking on */
        uint64_t left = x >> permutation->half_bits, right = x & permutation->mask;
        for (int round = 0; round < 12; round++) {
            uint64_t next = left ^ (mix((uint32_t)right, permutation->keys[round]) & permutation->mask);
            left = right;
            right = next;
        }
        x = left << permutation->half_bits | right;
    } while (x >= permutation->n);
    return x;
}
