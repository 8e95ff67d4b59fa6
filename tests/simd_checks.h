/* simd_checks.h - vectors against the scalar definition, bit for bit; included by test_simd.c (AVX-512) and
 * test_simd_avx2.c with TARN_ISA_NAME set and, around it, the target options. */
#ifndef TARN_TESTS_SIMD_CHECKS_H
#define TARN_TESTS_SIMD_CHECKS_H

#include "runtime/backend/cpu/simd.h"
#include <stdio.h>

enum { SIMD_FUNCTIONS = 9 + 2 * (TARN_SIGMOID + 1) };
static const char *const simd_function_names[9] = {"exp", "log", "tanh", "erf", "sin", "cos", "sqrt", "sigmoid", "neg"};

static vf simd_vector(int function, vf x)
{
    switch (function) {
    case 0:
        return vf_exp(x);
    case 1:
        return vf_log(x);
    case 2:
        return vf_tanh(x);
    case 3:
        return vf_erf(x);
    case 4:
        return vf_sin(x);
    case 5:
        return vf_cos(x);
    case 6:
        return vf_sqrt(x);
    case 7:
        return vf_sigmoid(x);
    case 8:
        return vf_neg(x);
    default:
        break;
    }
    int kind = (function - 9) / 2;
    return function % 2 ? vf_activation((tarn_activation)kind, x) : vf_activation_gradient((tarn_activation)kind, x);
}

static float simd_scalar(int function, float x)
{
    switch (function) {
    case 0:
        return real_exp(x);
    case 1:
        return real_log(x);
    case 2:
        return real_tanh(x);
    case 3:
        return real_erf(x);
    case 4:
        return real_sin(x);
    case 5:
        return real_cos(x);
    case 6:
        return real_sqrt(x);
    case 7:
        return real_sigmoid(x);
    case 8:
        return -x;
    default:
        break;
    }
    int kind = (function - 9) / 2;
    return function % 2 ? real_activation((tarn_activation)kind, x)
                        : real_activation_gradient((tarn_activation)kind, x);
}

static int simd_same(float a, float b)
{
    return tarn_float_bits(a) == tarn_float_bits(b) || (a != a && b != b);
}

/* Every 4001st float of all, and the special ones. Returns the number of differences; prints the first. */
static int simd_check_functions(void)
{
    static const float special[16] = {0.0f,   -0.0f,    INFINITY, -INFINITY, NAN,    0x1p-149f, -0x1p-149f, 0x1p-126f,
                                      88.72f, 88.7229f, -87.4f,   -103.97f,  -104.f, 0.625f,    0.93f,      4.0f};
    int differences = 0;
    for (int function = 0; function < SIMD_FUNCTIONS; function++) {
        for (uint64_t start = 0; start < (1ull << 32) + 16 * 4001; start += 16 * 4001) {
            float in[16], out[16];
            for (int l = 0; l < 16; l++)
                in[l] = start == 0 ? special[l] : tarn_bits_float((uint32_t)(start + (uint64_t)l * 4001));
            vf_store(out, simd_vector(function, vf_load(in)));
            for (int l = 0; l < 16; l++) {
                float expected = simd_scalar(function, in[l]);
                if (simd_same(out[l], expected)) continue;
                if (differences++ == 0)
                    fprintf(stderr, "%s %d: x = %a gives %a, scalar %a\n",
                            simd_function_names[function < 9 ? function : 8], function, (double)in[l], (double)out[l],
                            (double)expected);
            }
        }
    }
    return differences;
}

/* Sums, maxima, partial loads and stores over lengths around the block's and the vector's edges. */
static int simd_check_rows(void)
{
    static float x[9000], y[9000], guard[64];
    static const int lengths[] = {0, 1, 2, 15, 16, 17, 31, 33, 100, 4095, 4096, 4097, 8192, 8200, 8999};
    int differences = 0;
    uint32_t state = 1;
    for (int i = 0; i < 9000; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)state * 0x1p-30f;
        state = state * 1664525u + 1013904223u;
        y[i] = (float)(int32_t)state * 0x1p-28f;
    }
    for (int nan = 0; nan < 2; nan++) {
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            int n = lengths[i];
            if (nan && n == 0) continue;
            float saved = x[n / 2];
            if (nan) x[n / 2] = NAN;
            differences += !simd_same(vf_lane_sum(x, n), real_lane_sum(x, n));
            differences += !simd_same(vf_lane_dot(x, y, n), real_lane_dot(x, y, n));
            differences += !simd_same(vf_lane_max(x, n), real_lane_max(x, n));
            x[n / 2] = saved;
        }
    }
    for (int n = -1; n <= 17; n++) {
        for (int i = 0; i < 64; i++) guard[i] = -7.0f;
        vf_store_partial(guard + 3, vf_load_partial(x + 1, n), n);
        int held = n < 0 ? 0 : n > 16 ? 16 : n;
        for (int i = 0; i < 64; i++) differences += guard[i] != (i >= 3 && i < 3 + held ? x[1 + i - 3] : -7.0f);
        float lanes[16];
        vf_store(lanes, vf_load_partial(x + 1, n));
        for (int i = 0; i < 16; i++) differences += lanes[i] != (i < held ? x[1 + i] : 0.0f);
        vf_store(lanes, vf_first(vf_load(x + 1), n));
        for (int i = 0; i < 16; i++) differences += lanes[i] != (i < held ? x[1 + i] : 0.0f);
    }
    return differences;
}

/* Integers, comparisons, minima and maxima against plain C. */
static int simd_check_lanes(void)
{
    static const float values[16] = {0.0f, -0.0f, 1.0f,  -1.0f, NAN,  INFINITY, -INFINITY, 0x1p-149f,
                                     2.5f, 3.5f,  -2.5f, 1e9f,  7.0f, -7.0f,    0.5f,      100.0f};
    int differences = 0;
    for (int shift = 0; shift < 16; shift++) {
        float a[16], b[16], out[16];
        uint32_t p[16], q[16], r[16];
        for (int l = 0; l < 16; l++) {
            a[l] = values[l];
            b[l] = values[(l + shift) % 16];
            p[l] = 0x9e3779b9u * (uint32_t)(l + 1);
            q[l] = 0xd2511f53u ^ (0x85ebca6bu * (uint32_t)(l + shift));
        }
        vf va = vf_load(a), vb = vf_load(b);
#define SIMD_LANES(expression, expected)                                                                               \
    vf_store(out, expression);                                                                                         \
    for (int l = 0; l < 16; l++) differences += !simd_same(out[l], expected)
        SIMD_LANES(vf_max(va, vb), real_max(a[l], b[l]));
        SIMD_LANES(vf_min(va, vb), real_min(a[l], b[l]));
        SIMD_LANES(vf_max_nan(va, vb), real_max_nan(a[l], b[l]));
        SIMD_LANES(vf_min_nan(va, vb), real_min_nan(a[l], b[l]));
        SIMD_LANES(vf_select(vf_gt(va, vb), va, vf_zero()), (a[l] > b[l] ? a[l] : 0.0f));
        SIMD_LANES(vf_select(vf_ge(va, vb), va, vf_zero()), (a[l] >= b[l] ? a[l] : 0.0f));
        SIMD_LANES(vf_select(vf_eq(va, vb), va, vb), (a[l] == b[l] ? a[l] : b[l]));
        SIMD_LANES(vf_select(vm_not(vf_lt(va, vb)), va, vb), (!(a[l] < b[l]) ? a[l] : b[l]));
        SIMD_LANES(vf_select(vm_and(vf_le(va, vb), vm_first(5)), va, vb), (a[l] <= b[l] && l < 5 ? a[l] : b[l]));
        SIMD_LANES(vf_fma(va, vb, va), real_fma(a[l], b[l], a[l]));
        SIMD_LANES(vf_div(va, vb), (a[l] / b[l]));
        SIMD_LANES(vi_to_vf(vi_load(p)), ((float)(int32_t)p[l]));
#define SIMD_INTEGERS(expression, expected)                                                                            \
    vi_store(r, expression);                                                                                           \
    for (int l = 0; l < 16; l++) differences += r[l] != (uint32_t)(expected)
        vi vp = vi_load(p), vq = vi_load(q);
        SIMD_INTEGERS(vi_mul_hi(vp, vq), ((uint64_t)p[l] * q[l]) >> 32);
        SIMD_INTEGERS(vi_mul_lo(vp, vq), p[l] * q[l]);
        SIMD_INTEGERS(vi_add(vp, vi_lane_index()), p[l] + (uint32_t)l);
        SIMD_INTEGERS(vi_sub(vp, vq), p[l] - q[l]);
        SIMD_INTEGERS(vi_xor(vp, vq), p[l] ^ q[l]);
        SIMD_INTEGERS(vi_or(vi_shl(vp, 7), vi_shr(vq, 9)), (p[l] << 7) | (q[l] >> 9));
        SIMD_INTEGERS(vi_sar(vp, 5), (int32_t)p[l] >> 5);
        SIMD_INTEGERS(vi_select(vi_gt(vp, vq), vp, vq), (int32_t)p[l] > (int32_t)q[l] ? p[l] : q[l]);
        SIMD_INTEGERS(vf_to_vi(vf_set1(-3.7f)), -3);
    }
    return differences;
}

#endif
