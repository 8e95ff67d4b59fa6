/* reference_math.h - the scalar definition of Tarn's numerics: elementary functions, activations and sums of rows.
 *
 * Compiled with TARN_REAL_IS_DOUBLE 0 (float: the definition of the bits; simd.h equals it bit for bit, test_simd
 * proves it) or 1 (double: for checks against finite differences; there libm may be called). Undefined means 0.
 *
 * Invariants (float): additions, multiplications, fma, divisions and square roots, each rounded once, in the order
 * written; no libm but fmaf and sqrtf, which IEEE defines. Errors are measured by tests/test_simd.c against libm in
 * double, in ulp of the float result. Subnormals are kept; NaN in gives NaN out (payloads are not defined).
 */
#ifndef TARN_REFERENCE_MATH_H
#define TARN_REFERENCE_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#include <tarn/ops.h>
#include "runtime/backend/cpu/math_constants.h"

#ifndef TARN_REAL_IS_DOUBLE
#define TARN_REAL_IS_DOUBLE 0
#endif
#if TARN_REAL_IS_DOUBLE
typedef double real;
#define REAL(name)      name##_f64
#define TARN_REAL_DTYPE TARN_F64
#else
typedef float real;
#define REAL(name)      name##_f32
#define TARN_REAL_DTYPE TARN_F32
#endif

/* A sum of a row: this many strided lanes, blocks of this many elements. */
#define TARN_LANES     16
#define TARN_SUM_BLOCK 4096

/* ---- IEEE operations --------------------------------------------------------------------------------------------- */

/* a * b + c rounded once. */
static inline real real_fma(real a, real b, real c)
{
    return TARN_REAL_IS_DOUBLE ? (real)fma(a, b, c) : (real)fmaf((float)a, (float)b, (float)c);
}

static inline real real_sqrt(real x)
{
    return TARN_REAL_IS_DOUBLE ? (real)__builtin_sqrt(x) : (real)__builtin_sqrtf((float)x);
}

/* b when either is NaN and when both are zero (the rule of x86's MAXPS): so real_max(m, x) takes up a NaN in x, but a
 * NaN in m is lost; use real_max_nan where a NaN must stay. */
static inline real real_max(real a, real b)
{
    return a > b ? a : b;
}

static inline real real_min(real a, real b)
{
    return a < b ? a : b;
}

/* NaN when either is NaN. */
static inline real real_max_nan(real a, real b)
{
    return a != a ? a : real_max(a, b);
}

static inline real real_min_nan(real a, real b)
{
    return a != a ? a : real_min(a, b);
}

static inline real real_abs(real x)
{
    return TARN_REAL_IS_DOUBLE ? (real)__builtin_fabs(x) : (real)__builtin_fabsf((float)x);
}

/* |magnitude| with the sign of `sign`. */
static inline real real_copy_sign(real magnitude, real sign)
{
    return TARN_REAL_IS_DOUBLE ? (real)__builtin_copysign(magnitude, sign)
                               : (real)__builtin_copysignf((float)magnitude, (float)sign);
}

static inline uint32_t tarn_float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float tarn_bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* ---- elementary functions ---------------------------------------------------------------------------------------- */

#if TARN_REAL_IS_DOUBLE

static inline real real_exp(real x)
{
    return exp(x);
}
static inline real real_log(real x)
{
    return log(x);
}
static inline real real_tanh(real x)
{
    return tanh(x);
}
static inline real real_erf(real x)
{
    return erf(x);
}
static inline real real_sin(real x)
{
    return sin(x);
}
static inline real real_cos(real x)
{
    return cos(x);
}

#else

/* Horner's rule in fma: coefficients from the highest power down. */
static inline float tarn_polynomial(float x, const float *coefficients, int count)
{
    float sum = coefficients[0];
    for (int i = 1; i < count; i++) sum = fmaf(sum, x, coefficients[i]);
    return sum;
}

/* e^x within 1 ulp. Overflows to infinity above 88.7229, underflows gradually to 0 below -103.97; e^-inf = 0.
 * e^x = 2^n e^r, n = round(x / ln 2); 2^n in two factors, so that a subnormal result is rounded once. */
static inline float real_exp(float x)
{
    x = x > TARN_EXP_HIGHEST ? TARN_EXP_HIGHEST : x;
    x = x < TARN_EXP_LOWEST ? TARN_EXP_LOWEST : x;
    float shifted = fmaf(x, TARN_LOG2_E, TARN_ROUND_SHIFT), n = shifted - TARN_ROUND_SHIFT;
    float r = fmaf(n, -TARN_LN2_LOW, fmaf(n, -TARN_LN2_HIGH, x));
    float y = tarn_polynomial(r, tarn_exp_coefficients, 7);
    int32_t whole = (int32_t)(tarn_float_bits(shifted) - TARN_ROUND_SHIFT_BITS), half = whole >> 1;
    y *= tarn_bits_float(((uint32_t)half + 127u) << 23);
    return y * tarn_bits_float(((uint32_t)whole - (uint32_t)half + 127u) << 23);
}

/* Natural logarithm within 1 ulp. 0 and -0 give -infinity, below 0 NaN, +infinity itself. */
static inline float real_log(float x)
{
    uint32_t small = x < 0x1p-126f ? 0xffffffffu : 0u;
    float scaled = small ? x * 0x1p23f : x;
    uint32_t bits = tarn_float_bits(scaled) + (0x3f800000u - TARN_LOG_SPLIT);
    float e = (float)(int32_t)((uint32_t)((int32_t)bits >> 23) - 127u - (small & 23u));
    float f = tarn_bits_float((bits & 0x007fffffu) + TARN_LOG_SPLIT) - 1.0f;
    float square = f * f;
    float y = tarn_polynomial(f, tarn_log_coefficients, 9) * (f * square);
    y = fmaf(e, TARN_LN2_LOW, y);
    y = fmaf(square, -0.5f, y);
    float result = fmaf(e, TARN_LN2_HIGH, f + y);
    result = x == 0.0f ? -INFINITY : result;
    result = x < 0.0f ? NAN : result;
    return x < INFINITY ? result : x; /* infinity and NaN; -infinity went above */
}

/* Within 2 ulp; +-1 at the infinities, the sign of zero is kept. */
static inline float real_tanh(float x)
{
    float t = real_abs(x), square = t * t;
    float small = fmaf(tarn_polynomial(square, tarn_tanh_coefficients, 5) * square, t, t);
    float large = 1.0f - 2.0f / (real_exp(t + t) + 1.0f);
    return real_copy_sign(t < 0.625f ? small : large, x);
}

/* Within 2 ulp; +-1 from |x| = 4 on, the sign of zero is kept. */
static inline float real_erf(float x)
{
    float t = real_abs(x);
    t = t > 4.0f ? 4.0f : t;
    float small = fmaf(tarn_polynomial(t * t, tarn_erf_small_coefficients, 6), t, t);
    float large = 1.0f - real_exp(fmaf(tarn_polynomial(t, tarn_erf_large_coefficients, 7), t, -t));
    return real_copy_sign(t < 0.93f ? small : large, x);
}

/* sin (quarter_turns 0), cos (1): absolute error below 1e-7 for |x| <= 1e4; less and less accurate beyond, always the
 * same bits; infinities give NaN. */
static inline float tarn_sin_cos(float x, uint32_t quarter_turns)
{
    float shifted = fmaf(x, TARN_TWO_OVER_PI, TARN_ROUND_SHIFT), n = shifted - TARN_ROUND_SHIFT;
    float r = fmaf(n, -TARN_HALF_PI_3, fmaf(n, -TARN_HALF_PI_2, fmaf(n, -TARN_HALF_PI_1, x)));
    uint32_t quadrant = tarn_float_bits(shifted) - TARN_ROUND_SHIFT_BITS + quarter_turns;
    float square = r * r;
    float sine = fmaf(tarn_polynomial(square, tarn_sin_coefficients, 3) * square, r, r);
    float cosine = fmaf(fmaf(tarn_polynomial(square, tarn_cos_coefficients, 3), square, -0.5f), square, 1.0f);
    float result = quadrant & 1u ? cosine : sine;
    return tarn_bits_float(tarn_float_bits(result) ^ ((quadrant & 2u) << 30));
}

static inline float real_sin(float x)
{
    return tarn_sin_cos(x, 0);
}
static inline float real_cos(float x)
{
    return tarn_sin_cos(x, 1);
}

#endif

/* ---- activations ------------------------------------------------------------------------------------------------- */

/* 1 / (1 + e^-x). */
static inline real real_sigmoid(real x)
{
    return (real)1 / ((real)1 + real_exp(-x));
}

/* The factor s(x) by which GELU (tanh form) multiplies x: sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)). */
static inline real tarn_gelu_tanh_factor(real x)
{
    real z = x * real_fma(x * x, (real)-TARN_GELU_CUBIC, (real)-TARN_GELU_LINEAR);
    return (real)1 / ((real)1 + real_exp(z));
}

/* Phi(x) = (1 + erf(x / sqrt 2)) / 2. */
static inline real tarn_normal_distribution(real x)
{
    return real_fma((real)0.5, real_erf(x * (real)TARN_SQRT_HALF), (real)0.5);
}

/* relu: 0 > x ? 0 : x, so NaN and -0 pass. gelu: x Phi(x). gelu_tanh: x s(x). silu: x sigmoid(x).
 * At -infinity gelu, gelu_tanh and silu give NaN (0 times infinity). */
static inline real real_activation(tarn_activation kind, real x)
{
    switch (kind) {
    case TARN_RELU:
        return real_max((real)0, x);
    case TARN_GELU:
        return x * tarn_normal_distribution(x);
    case TARN_GELU_TANH:
        return x * tarn_gelu_tanh_factor(x);
    case TARN_SILU:
        return x * real_sigmoid(x);
    case TARN_TANH:
        return real_tanh(x);
    case TARN_SIGMOID:
        return real_sigmoid(x);
    default:
        return x;
    }
}

/* The derivative at x, the activation's argument. relu: 1 where x > 0, else 0 (also at NaN). The gelu and silu
 * derivatives are exact formulas of the same s and Phi; gelu_tanh overflows to NaN beyond |x| = 1e19. */
static inline real real_activation_gradient(tarn_activation kind, real x)
{
    real s;
    switch (kind) {
    case TARN_RELU:
        return x > (real)0 ? (real)1 : (real)0;
    case TARN_GELU:
        s = real_exp(x * x * (real)-0.5) * (real)TARN_GAUSS_DENSITY;
        return real_fma(x, s, tarn_normal_distribution(x));
    case TARN_GELU_TANH:
        s = tarn_gelu_tanh_factor(x);
        return real_fma((x * s) * ((real)1 - s), real_fma(x * x, (real)TARN_GELU_CUBIC_3, (real)TARN_GELU_LINEAR), s);
    case TARN_SILU:
        s = real_sigmoid(x);
        return real_fma(x * s, (real)1 - s, s);
    case TARN_TANH:
        s = real_tanh(x);
        return real_fma(-s, s, (real)1);
    case TARN_SIGMOID:
        s = real_sigmoid(x);
        return s * ((real)1 - s);
    default:
        return (real)1;
    }
}

/* ---- sums of rows ------------------------------------------------------------------------------------------------ */

/* The order of every sum along a row: element i goes to lane i % 16 (lanes start at +0); after each 4096 elements the
 * lanes are combined 8-4-2-1 and added to the total, which starts at +0.
 *
 *     real_sum sum; real_sum_start(&sum);
 *     for (i = 0; i < n; i++) real_sum_fma(&sum, x[i], x[i]);
 *     result = real_sum_end(&sum);
 */
typedef struct real_sum {
    real lane[TARN_LANES];
    real total;
    int64_t count;
} real_sum;

/* lane[l] op= lane[l + 8], then + 4, + 2, + 1. */
static inline real real_lanes_combine(const real *lanes)
{
    real lane[TARN_LANES];
    memcpy(lane, lanes, sizeof lane);
    for (int half = TARN_LANES / 2; half >= 1; half /= 2)
        for (int l = 0; l < half; l++) lane[l] = lane[l] + lane[l + half];
    return lane[0];
}

static inline void real_sum_start(real_sum *sum)
{
    memset(sum, 0, sizeof *sum);
}

static inline void real_sum_flush(real_sum *sum)
{
    sum->total = sum->total + real_lanes_combine(sum->lane);
    memset(sum->lane, 0, sizeof sum->lane);
}

/* Adds the next term. */
static inline void real_sum_add(real_sum *sum, real term)
{
    int l = (int)(sum->count % TARN_LANES);
    sum->lane[l] = sum->lane[l] + term;
    if (++sum->count % TARN_SUM_BLOCK == 0) real_sum_flush(sum);
}

/* Adds the next term a * b with one rounding. */
static inline void real_sum_fma(real_sum *sum, real a, real b)
{
    int l = (int)(sum->count % TARN_LANES);
    sum->lane[l] = real_fma(a, b, sum->lane[l]);
    if (++sum->count % TARN_SUM_BLOCK == 0) real_sum_flush(sum);
}

static inline real real_sum_end(real_sum *sum)
{
    if (sum->count % TARN_SUM_BLOCK != 0) real_sum_flush(sum);
    return sum->total;
}

/* Sum of x[0..n). */
static inline real real_lane_sum(const real *x, int64_t n)
{
    real_sum sum;
    real_sum_start(&sum);
    for (int64_t i = 0; i < n; i++) real_sum_add(&sum, x[i]);
    return real_sum_end(&sum);
}

/* Sum of x[i] * y[i], each product added with one rounding. */
static inline real real_lane_dot(const real *x, const real *y, int64_t n)
{
    real_sum sum;
    real_sum_start(&sum);
    for (int64_t i = 0; i < n; i++) real_sum_fma(&sum, x[i], y[i]);
    return real_sum_end(&sum);
}

/* Largest of x[0..n) by real_max_nan: NaN when there is one; -infinity when n is 0. When +0 and -0 tie, which one is
 * returned follows from the lanes: lane l = real_max_nan(lane l, x[i]), lanes start at -infinity, combined 8-4-2-1. */
static inline real real_lane_max(const real *x, int64_t n)
{
    real lane[TARN_LANES];
    for (int l = 0; l < TARN_LANES; l++) lane[l] = -(real)INFINITY;
    for (int64_t i = 0; i < n; i++) lane[i % TARN_LANES] = real_max_nan(lane[i % TARN_LANES], x[i]);
    for (int half = TARN_LANES / 2; half >= 1; half /= 2)
        for (int l = 0; l < half; l++) lane[l] = real_max_nan(lane[l], lane[l + half]);
    return lane[0];
}

#endif
