/* math_constants.h - coefficients shared by the scalar definition (reference_math.h) and the vectors (simd_math.h).
 *
 * Minimax fits of this project (iteratively reweighted least squares on Chebyshev nodes; each coefficient rounded to
 * float before the next was fitted). Highest power first. The approximation error stands beside each; rounding adds to
 * it.
 */
#ifndef TARN_MATH_CONSTANTS_H
#define TARN_MATH_CONSTANTS_H

#define TARN_ROUND_SHIFT      12582912.0f /* 1.5 * 2^23: adding and subtracting it rounds |x| < 2^22 to even integers */
#define TARN_ROUND_SHIFT_BITS 0x4b400000u
#define TARN_LOG2_E           1.44269504f
#define TARN_LN2_HIGH         0x1.62ep-1f     /* 12 bits: products with |n| < 2^12 are exact */
#define TARN_LN2_LOW          0x1.0bfbe8p-15f /* ln 2 - high */
#define TARN_TWO_OVER_PI      0.63661977f
#define TARN_HALF_PI_1        0x1.921fb6p+0f
#define TARN_HALF_PI_2        -0x1.777a5cp-25f
#define TARN_HALF_PI_3        -0x1.ee59dap-50f
#define TARN_EXP_HIGHEST      89.0f       /* e^89 overflows to infinity */
#define TARN_EXP_LOWEST       -104.0f     /* e^-104 rounds to 0 */
#define TARN_LOG_SPLIT        0x3f3504f3u /* bits of sqrt(1/2): mantissas lie in [sqrt(1/2), sqrt(2)) */

/* e^r = polynomial(r), |r| <= 0.3467: 3.1e-9 relative. */
static const float tarn_exp_coefficients[7] = {
    1.3821056e-03f, 8.368675e-03f, 4.1668262e-02f, 1.6666521e-01f, 4.9999994e-01f, 1.0f, 1.0f};
/* log(1 + f) = f - f^2 / 2 + f^3 polynomial(f), f in [-0.2929, 0.4143]: 7.7e-10 relative. */
static const float tarn_log_coefficients[9] = {6.750881e-02f,   -1.1671417e-01f, 1.1883575e-01f,
                                               -1.2406035e-01f, 1.4220327e-01f,  -1.6667996e-01f,
                                               2.0002073e-01f,  -2.500001e-01f,  3.3333313e-01f};
/* tanh x = x + x^3 polynomial(x^2), |x| < 0.625: 4.6e-9 relative. */
static const float tarn_tanh_coefficients[5] = {-5.694192e-03f, 2.0629477e-02f, -5.3736784e-02f, 1.3331407e-01f,
                                                -3.333328e-01f};
/* erf x = x + x polynomial(x^2), |x| < 0.93: 1.8e-8 relative. */
static const float tarn_erf_small_coefficients[6] = {-5.959584e-04f, 4.9873525e-03f, -2.6762966e-02f,
                                                     1.1281731e-01f, -3.761249e-01f, 1.2837915e-01f};
/* erf t = 1 - exp(-t + t polynomial(t)), 0.93 <= t <= 4: 8.6e-10 relative to erf. */
static const float tarn_erf_large_coefficients[7] = {-1.0429695e-05f,  3.1483083e-04f,  -3.6102587e-03f, 2.3694444e-02f,
                                                     -1.06158964e-01f, -6.3519806e-01f, -1.2863708e-01f};
/* sin r = r + r^3 polynomial(r^2); cos r = 1 - r^2 / 2 + r^4 polynomial(r^2); |r| <= pi/4: 4e-9, 1.2e-10 relative. */
static const float tarn_sin_coefficients[3] = {-1.9518285e-04f, 8.332189e-03f, -1.6666655e-01f};
static const float tarn_cos_coefficients[3] = {2.4432564e-05f, -1.3887311e-03f, 4.1666646e-02f};

/* Activations: 2 sqrt(2/pi), that times 0.044715, three times that; sqrt(1/2); 1/sqrt(2 pi). */
#define TARN_GELU_LINEAR   1.5957691216057308
#define TARN_GELU_CUBIC    0.0713548162726002527
#define TARN_GELU_CUBIC_3  0.2140644488178007
#define TARN_SQRT_HALF     0.70710678118654752
#define TARN_GAUSS_DENSITY 0.39894228040143268

#endif
