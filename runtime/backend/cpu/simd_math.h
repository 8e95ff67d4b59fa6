/* simd_math.h - elementary functions and activations on vectors: the same operations in the same order as
 * reference_math.h, where accuracy and special cases are stated. Include simd.h, never this. */
#ifndef TARN_SIMD_MATH_H
#define TARN_SIMD_MATH_H

#include <tarn/ops.h>
#include "runtime/backend/cpu/math_constants.h"

TARN_INLINE vf vf_polynomial(vf x, const float *coefficients, int count)
{
    vf sum = vf_set1(coefficients[0]);
#pragma GCC unroll 16
    for (int i = 1; i < count; i++) sum = vf_fma(sum, x, vf_set1(coefficients[i]));
    return sum;
}

TARN_INLINE vf vf_exp(vf x)
{
    /* min(highest, x) is highest < x ? highest : x, so NaN passes. */
    x = vf_min(vf_set1(TARN_EXP_HIGHEST), x);
    x = vf_max(vf_set1(TARN_EXP_LOWEST), x);
    vf shifted = vf_fma(x, vf_set1(TARN_LOG2_E), vf_set1(TARN_ROUND_SHIFT));
    vf n = vf_sub(shifted, vf_set1(TARN_ROUND_SHIFT));
    vf r = vf_fma(n, vf_set1(-TARN_LN2_LOW), vf_fma(n, vf_set1(-TARN_LN2_HIGH), x));
    vf y = vf_polynomial(r, tarn_exp_coefficients, 7);
    vi whole = vi_sub(vf_bits(shifted), vi_set1(TARN_ROUND_SHIFT_BITS)), half = vi_sar(whole, 1);
    vi bias = vi_set1(127);
    y = vf_mul(y, vf_from_bits(vi_shl(vi_add(half, bias), 23)));
    return vf_mul(y, vf_from_bits(vi_shl(vi_add(vi_sub(whole, half), bias), 23)));
}

TARN_INLINE vf vf_log(vf x)
{
    vm small = vf_lt(x, vf_set1(0x1p-126f));
    vf scaled = vf_select(small, vf_mul(x, vf_set1(0x1p23f)), x);
    vi bits = vi_add(vf_bits(scaled), vi_set1((int32_t)(0x3f800000u - TARN_LOG_SPLIT)));
    vi exponent = vi_sub(vi_sar(bits, 23), vi_select(small, vi_set1(127 + 23), vi_set1(127)));
    vf e = vi_to_vf(exponent);
    bits = vi_add(vi_and(bits, vi_set1(0x007fffff)), vi_set1(TARN_LOG_SPLIT));
    vf f = vf_sub(vf_from_bits(bits), vf_set1(1.0f)), square = vf_mul(f, f);
    vf y = vf_mul(vf_polynomial(f, tarn_log_coefficients, 9), vf_mul(f, square));
    y = vf_fma(e, vf_set1(TARN_LN2_LOW), y);
    y = vf_fma(square, vf_set1(-0.5f), y);
    vf result = vf_fma(e, vf_set1(TARN_LN2_HIGH), vf_add(f, y));
    vf infinity = vf_set1(__builtin_inff());
    result = vf_select(vf_eq(x, vf_zero()), vf_neg(infinity), result);
    result = vf_select(vf_lt(x, vf_zero()), vf_set1(__builtin_nanf("")), result);
    return vf_select(vf_lt(x, infinity), result, x);
}

TARN_INLINE vf vf_tanh(vf x)
{
    vf t = vf_abs(x), square = vf_mul(t, t), one = vf_set1(1.0f);
    vf small = vf_fma(vf_mul(vf_polynomial(square, tarn_tanh_coefficients, 5), square), t, t);
    vf large = vf_sub(one, vf_div(vf_set1(2.0f), vf_add(vf_exp(vf_add(t, t)), one)));
    return vf_copy_sign(vf_select(vf_lt(t, vf_set1(0.625f)), small, large), x);
}

TARN_INLINE vf vf_erf(vf x)
{
    vf t = vf_min(vf_set1(4.0f), vf_abs(x)); /* 4 < t ? 4 : t */
    vf small = vf_fma(vf_polynomial(vf_mul(t, t), tarn_erf_small_coefficients, 6), t, t);
    vf large = vf_fma(vf_polynomial(t, tarn_erf_large_coefficients, 7), t, vf_neg(t));
    large = vf_sub(vf_set1(1.0f), vf_exp(large));
    return vf_copy_sign(vf_select(vf_lt(t, vf_set1(0.93f)), small, large), x);
}

TARN_INLINE vf vf_sin_cos(vf x, int quarter_turns)
{
    vf shifted = vf_fma(x, vf_set1(TARN_TWO_OVER_PI), vf_set1(TARN_ROUND_SHIFT));
    vf n = vf_sub(shifted, vf_set1(TARN_ROUND_SHIFT));
    vf r = vf_fma(n, vf_set1(-TARN_HALF_PI_1), x);
    r = vf_fma(n, vf_set1(-TARN_HALF_PI_2), r);
    r = vf_fma(n, vf_set1(-TARN_HALF_PI_3), r);
    vi quadrant = vi_add(vf_bits(shifted), vi_set1(quarter_turns - (int32_t)TARN_ROUND_SHIFT_BITS));
    vf square = vf_mul(r, r);
    vf sine = vf_fma(vf_mul(vf_polynomial(square, tarn_sin_coefficients, 3), square), r, r);
    vf cosine = vf_fma(vf_polynomial(square, tarn_cos_coefficients, 3), square, vf_set1(-0.5f));
    cosine = vf_fma(cosine, square, vf_set1(1.0f));
    vf result = vf_select(vi_eq(vi_and(quadrant, vi_set1(1)), vi_zero()), sine, cosine);
    return vf_from_bits(vi_xor(vf_bits(result), vi_shl(vi_and(quadrant, vi_set1(2)), 30)));
}

TARN_INLINE vf vf_sin(vf x)
{
    return vf_sin_cos(x, 0);
}

TARN_INLINE vf vf_cos(vf x)
{
    return vf_sin_cos(x, 1);
}

/* ---- activations ------------------------------------------------------------------------------------------------- */

TARN_INLINE vf vf_sigmoid(vf x)
{
    vf one = vf_set1(1.0f);
    return vf_div(one, vf_add(one, vf_exp(vf_neg(x))));
}

TARN_INLINE vf vf_gelu_tanh_factor(vf x)
{
    vf cubic = vf_set1((float)-TARN_GELU_CUBIC), linear = vf_set1((float)-TARN_GELU_LINEAR), one = vf_set1(1.0f);
    vf z = vf_mul(x, vf_fma(vf_mul(x, x), cubic, linear));
    return vf_div(one, vf_add(one, vf_exp(z)));
}

TARN_INLINE vf vf_normal_distribution(vf x)
{
    vf half = vf_set1(0.5f);
    return vf_fma(half, vf_erf(vf_mul(x, vf_set1((float)TARN_SQRT_HALF))), half);
}

TARN_INLINE vf vf_activation(tarn_activation kind, vf x)
{
    switch (kind) {
    case TARN_RELU:
        return vf_max(vf_zero(), x);
    case TARN_GELU:
        return vf_mul(x, vf_normal_distribution(x));
    case TARN_GELU_TANH:
        return vf_mul(x, vf_gelu_tanh_factor(x));
    case TARN_SILU:
        return vf_mul(x, vf_sigmoid(x));
    case TARN_TANH:
        return vf_tanh(x);
    case TARN_SIGMOID:
        return vf_sigmoid(x);
    default:
        return x;
    }
}

/* The derivative at x, and in *activated the activation of x itself, which shares most of the work. */
TARN_INLINE vf vf_activation_both(tarn_activation kind, vf x, vf *activated)
{
    vf one = vf_set1(1.0f), s;
    switch (kind) {
    case TARN_RELU:
        *activated = vf_max(vf_zero(), x);
        return vf_select(vf_gt(x, vf_zero()), one, vf_zero());
    case TARN_GELU: {
        vf distribution = vf_normal_distribution(x);
        *activated = vf_mul(x, distribution);
        s = vf_mul(vf_exp(vf_mul(vf_mul(x, x), vf_set1(-0.5f))), vf_set1((float)TARN_GAUSS_DENSITY));
        return vf_fma(x, s, distribution);
    }
    case TARN_GELU_TANH: {
        s = vf_gelu_tanh_factor(x);
        *activated = vf_mul(x, s);
        vf slope = vf_fma(vf_mul(x, x), vf_set1((float)TARN_GELU_CUBIC_3), vf_set1((float)TARN_GELU_LINEAR));
        return vf_fma(vf_mul(*activated, vf_sub(one, s)), slope, s);
    }
    case TARN_SILU:
        s = vf_sigmoid(x);
        *activated = vf_mul(x, s);
        return vf_fma(*activated, vf_sub(one, s), s);
    case TARN_TANH:
        s = *activated = vf_tanh(x);
        return vf_fma(vf_neg(s), s, one);
    case TARN_SIGMOID:
        s = *activated = vf_sigmoid(x);
        return vf_mul(s, vf_sub(one, s));
    default:
        *activated = x;
        return one;
    }
}

TARN_INLINE vf vf_activation_gradient(tarn_activation kind, vf x)
{
    vf activated;
    return vf_activation_both(kind, x, &activated);
}

#endif
