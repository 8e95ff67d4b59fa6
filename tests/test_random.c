/* test_random.c - Philox against the published vectors; fills and permutations: values, distribution, bijection.
 *
 * Everything is a pure function, so the statistical thresholds are fixed and the tests never fail by chance.
 */
#include "runtime/random/random.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* kat_vectors of Random123 1.14: philox4x32 10 rounds. */
Test(random, philox_known_answers)
{
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t v = 0; v < sizeof vectors / sizeof *vectors; v++) {
        uint32_t out[4];
        tarn_philox(vectors[v].counter, vectors[v].key, out);
        for (int i = 0; i < 4; i++)
            cr_expect_eq(out[i], vectors[v].expected[i], "vector %zu word %d: %08x", v, i, out[i]);
    }
}

/* Golden bits: changing them changes every run that was ever recorded. */
Test(random, golden_values)
{
    static const uint32_t normal[8] = {0xbe290243, 0x402b4aed, 0xbfc7a949, 0x3f4140d4,
                                       0x3fcad0b4, 0xbf24a444, 0xbec2903a, 0x3f01bc2d};
    static const uint32_t uniform[8] = {0xbef1f1c8, 0xbe75f670, 0xbe8dede0, 0xbd92ea18,
                                        0xbe8958ca, 0x3ee094a0, 0x3ea2eec6, 0xbe172434};
    float values[8];
    tarn_random_normal(1, TARN_STREAM_INIT, 0, 8, 1.0f, values);
    cr_expect_eq(memcmp(values, normal, sizeof normal), 0);
    tarn_random_uniform(1, TARN_STREAM_INIT, 0, 8, 0.5f, values);
    cr_expect_eq(memcmp(values, uniform, sizeof uniform), 0);

    static const uint64_t order[2][10] = {{2, 7, 1, 3, 4, 9, 0, 6, 5, 8}, {1, 5, 3, 7, 8, 6, 0, 9, 2, 4}};
    tarn_permutation permutation;
    for (uint64_t epoch = 0; epoch < 2; epoch++) {
        tarn_permutation_init(&permutation, 1, epoch, 10);
        for (uint64_t i = 0; i < 10; i++) cr_expect_eq(tarn_permutation_at(&permutation, i), order[epoch][i]);
    }
    static const uint64_t large[4] = {514514119, 548669051, 308059974, 108146632};
    tarn_permutation_init(&permutation, 7, 3, 1000000007);
    for (uint64_t i = 0; i < 4; i++) cr_expect_eq(tarn_permutation_at(&permutation, i), large[i]);
}

typedef void fill_function(uint64_t seed, uint64_t stream, int64_t first, int64_t n, float scale, float *out);

Test(random, fills_do_not_depend_on_how_they_are_cut)
{
    fill_function *fills[2] = {tarn_random_normal, tarn_random_uniform};
    enum { N = 203 };
    for (int f = 0; f < 2; f++) {
        float whole[N], parts[N], other[N];
        fills[f](9, 5, 1000, N, 0.02f, whole);
        for (int64_t length = 1; length <= 9; length++) {
            for (int64_t at = 0; at < N; at += length)
                fills[f](9, 5, 1000 + at, at + length < N ? length : N - at, 0.02f, parts + at);
            cr_expect_eq(memcmp(whole, parts, sizeof whole), 0, "fill %d in parts of %d", f, (int)length);
        }
        fills[f](10, 5, 1000, N, 0.02f, other);
        cr_expect_neq(memcmp(whole, other, sizeof whole), 0, "another seed");
        fills[f](9, 6, 1000, N, 0.02f, other);
        cr_expect_neq(memcmp(whole, other, sizeof whole), 0, "another stream");
        fills[f](9, 5, 1000, 0, 0.02f, NULL); /* nothing to write */
    }
}

/* Box-Muller by hand in double precision, with the logarithm, sine and cosine of libm. */
Test(random, normal_agrees_with_libm)
{
    enum { N = 4000 };
    static float values[N];
    const uint64_t seed = 0x123456789abcdef0u, stream = 0xfedcba9876543210u;
    tarn_random_normal(seed, stream, 0, N, 3.0f, values);
    for (uint32_t block = 0; block < N / 4; block++) {
        uint32_t counter[4] = {block, 0, (uint32_t)stream, (uint32_t)(stream >> 32)};
        uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, words[4];
        tarn_philox(counter, key, words);
        for (int pair = 0; pair < 2; pair++) {
            double radius = sqrt(-2.0 * log((words[2 * pair] + 1.0) * 0x1p-32));
            double angle = words[2 * pair + 1] * 0x1p-32 * 6.283185307179586;
            double expected[2] = {3 * radius * cos(angle), 3 * radius * sin(angle)};
            for (int i = 0; i < 2; i++) {
                double difference = values[4 * block + 2 * (uint32_t)pair + (uint32_t)i] - expected[i];
                double bound = 1e-7 * (expected[i] < 0 ? -expected[i] : expected[i]) + 1e-13;
                cr_assert(difference <= bound && -difference <= bound, "block %u pair %d", block, pair);
            }
        }
    }
}

Test(random, moments)
{
    enum { N = 1000000 };
    float *values = malloc(N * sizeof *values);
    cr_assert_not_null(values);
    tarn_random_normal(3, TARN_STREAM_INIT, 0, N, 1.0f, values);
    double sum = 0, square = 0, fourth = 0, neighbours = 0;
    int beyond = 0;
    for (int i = 0; i < N; i++) {
        double v = values[i];
        sum += v;
        square += v * v;
        fourth += v * v * v * v;
        if (i > 0) neighbours += v * values[i - 1];
        beyond += v > 1.959964 || v < -1.959964;
    }
    /* About four standard errors each. */
    cr_expect(sum / N < 0.004 && sum / N > -0.004, "mean %g", sum / N);
    cr_expect(square / N < 1.006 && square / N > 0.994, "variance %g", square / N);
    cr_expect(fourth / N < 3.04 && fourth / N > 2.96, "fourth moment %g", fourth / N);
    cr_expect(neighbours / N < 0.004 && neighbours / N > -0.004, "correlation %g", neighbours / N);
    cr_expect(beyond > 49100 && beyond < 50900, "%d beyond 1.96", beyond);

    tarn_random_uniform(3, TARN_STREAM_INIT, 0, N, 2.0f, values);
    sum = square = 0;
    for (int i = 0; i < N; i++) {
        cr_assert(values[i] >= -2.0f && values[i] < 2.0f);
        sum += values[i];
        square += (double)values[i] * values[i];
    }
    cr_expect(sum / N < 0.005 && sum / N > -0.005, "mean %g", sum / N);
    cr_expect(square / N < 4.0 / 3 + 0.006 && square / N > 4.0 / 3 - 0.006, "variance %g", square / N);
    free(values);
}

static void expect_bijection(uint64_t seed, uint64_t epoch, uint64_t n, uint8_t *seen)
{
    tarn_permutation permutation;
    tarn_permutation_init(&permutation, seed, epoch, n);
    memset(seen, 0, n);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = tarn_permutation_at(&permutation, i);
        cr_assert(at < n && !seen[at], "n %llu: position %llu gives %llu", (unsigned long long)n, (unsigned long long)i,
                  (unsigned long long)at);
        seen[at] = 1;
    }
}

Test(random, permutation_is_a_bijection)
{
    static uint8_t seen[1 << 20];
    for (uint64_t n = 1; n <= 2000; n++) expect_bijection(n * 77, n % 3, n, seen);
    static const uint64_t more[] = {4095, 4096, 4097, 60000, 65535, 65536, 65537, 262144, 1 << 20};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) expect_bijection(5, 1, more[i], seen);
    tarn_permutation permutation;
    tarn_permutation_init(&permutation, 1, 1, 0);
    cr_expect_eq(tarn_permutation_at(&permutation, 0), 0);
}

static int compare_words(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sampled: inside the range, no value twice among 100000 neighbours. */
Test(random, permutation_of_large_sets)
{
    enum { N = 100000 };
    uint64_t *values = malloc(N * sizeof *values);
    cr_assert_not_null(values);
    static const uint64_t sizes[] = {
        1000000007,        ((uint64_t)1 << 32) - 1,     (uint64_t)1 << 32, ((uint64_t)1 << 32) + 1,
        (uint64_t)1 << 40, ((uint64_t)1 << 62) + 12345, (uint64_t)1 << 63};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        tarn_permutation permutation;
        tarn_permutation_init(&permutation, 11, 2, sizes[s]);
        for (uint64_t i = 0; i < N; i++) {
            values[i] = tarn_permutation_at(&permutation, i < N / 2 ? i : sizes[s] - 1 - (i - N / 2));
            cr_assert_lt(values[i], sizes[s]);
        }
        qsort(values, N, sizeof *values, compare_words);
        for (int i = 1; i < N; i++) cr_assert_neq(values[i], values[i - 1], "size %zu", s);
    }
    free(values);
}

/* Over 40000 epochs each pair of positions takes each pair of values equally often: chi-square for every pair of
 * positions. z = (chi2 - freedom) / sqrt(2 freedom); the worst measured is 2.7; with 8 rounds it is 5.8, with 6 it
 * is 85. */
Test(random, permutation_pairs_are_uniform)
{
    enum { EPOCHS = 40000, MOST = 12 };
    int *counts = malloc(MOST * MOST * MOST * MOST * sizeof *counts);
    cr_assert_not_null(counts);
    for (int n = 2; n <= MOST; n++) {
        memset(counts, 0, (size_t)(n * n * n * n) * sizeof *counts);
        for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
            tarn_permutation permutation;
            tarn_permutation_init(&permutation, 5, epoch, (uint64_t)n);
            int at[MOST];
            for (int i = 0; i < n; i++) at[i] = (int)tarn_permutation_at(&permutation, (uint64_t)i);
            for (int i = 0; i < n; i++)
                for (int j = 0; j < n; j++)
                    if (i != j) counts[((i * n + j) * n + at[i]) * n + at[j]]++;
        }
        double expected = (double)EPOCHS / (n * (n - 1)), freedom = n * (n - 1) - 1;
        for (int pair = 0; pair < n * n; pair++) {
            if (pair / n == pair % n) continue;
            double chi2 = 0;
            for (int value = 0; value < n * n; value++) {
                if (value / n == value % n) continue;
                double difference = counts[pair * n * n + value] - expected;
                chi2 += difference * difference / expected;
            }
            double z = (chi2 - freedom) / sqrt(2 * freedom);
            cr_expect_lt(z, 5.0, "n %d, positions %d and %d: z = %g", n, pair / n, pair % n, z);
        }
    }
    free(counts);
}

Test(random, epochs_and_seeds_differ)
{
    enum { N = 1000 };
    tarn_permutation first, other;
    tarn_permutation_init(&first, 1, 0, N);
    for (int k = 1; k <= 50; k++) {
        tarn_permutation_init(&other, k % 2 ? 1 : 1 + (uint64_t)k, k % 2 ? (uint64_t)k : 0, N);
        int same = 0;
        for (uint64_t i = 0; i < N; i++) same += tarn_permutation_at(&first, i) == tarn_permutation_at(&other, i);
        cr_expect_leq(same, 8, "variant %d: %d of %d equal, one expected", k, same, N); /* Poisson of mean 1 */
    }
}
