/* test_simd.c - the elementary functions: accuracy of the scalar definition, AVX-512 vectors equal to it, and the
 * portable double functions. test_simd_avx2.c holds the AVX2 vectors to the same. */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include "runtime/backend/cpu/reference_math.h"
#include "runtime/base/portable_math.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c")
#define TARN_ISA_NAME      avx512
#define TARN_ISA_IS_avx512 1
#include "simd_checks.h"
static __attribute__((noinline)) int check_all(void)
{
    return simd_check_functions() + simd_check_rows() + simd_check_lanes();
}
#pragma GCC pop_options

Test(simd, avx512_equals_scalar)
{
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512dq")) cr_skip_test("no AVX-512 here");
    cr_assert_eq(check_all(), 0);
}

typedef double wide_function(double x);

/* Largest error in ulp of the float result, over every 509th float with low <= |x| <= high of both signs. */
static double largest_error(int function, wide_function *exact, float low, float high)
{
    double largest = 0;
    for (int sign = 0; sign < 2; sign++)
        for (uint32_t bits = tarn_float_bits(low); bits <= tarn_float_bits(high); bits += 509) {
            float x = tarn_bits_float(bits | (uint32_t)sign << 31), y = simd_scalar(function, x);
            if (function == 1 && sign) break;
            double expected = exact(x), ulp;
            if (fabs(expected) > FLT_MAX || y != y) continue;
            int exponent;
            frexp(expected, &exponent);
            ulp = ldexp(1.0, exponent - 24 < -149 ? -149 : exponent - 24);
            double error = fabs((double)y - expected) / ulp;
            if (!(error <= largest)) largest = error;
        }
    fprintf(stderr, "%s: %.3f ulp on [%g, %g]\n", simd_function_names[function], largest, (double)low, (double)high);
    return largest;
}

Test(simd, accuracy)
{
    cr_expect_leq(largest_error(0, exp, 0x1p-149f, 88.7228f), 1.0);
    cr_expect_leq(largest_error(0, exp, 87.0f, 104.0f), 1.0);
    cr_expect_leq(largest_error(1, log, 0x1p-149f, FLT_MAX), 1.0);
    cr_expect_leq(largest_error(2, tanh, 0x1p-149f, 20.0f), 2.0);
    cr_expect_leq(largest_error(3, erf, 0x1p-149f, 20.0f), 2.0);
    double worst = 0;
    for (float x = -1e4f; x < 1e4f; x += 0.0371f) {
        worst = fmax(worst, fabs(real_sin(x) - sin((double)x)));
        worst = fmax(worst, fabs(real_cos(x) - cos((double)x)));
    }
    fprintf(stderr, "sin, cos: %.2e absolute on [-1e4, 1e4]\n", worst);
    cr_expect_leq(worst, 1e-7);
    cr_expect_leq(largest_error(4, sin, 0x1p-149f, 1.5f), 1.5);
    cr_expect_leq(largest_error(5, cos, 0x1p-149f, 1.5f), 1.5);
}

Test(simd, special_values)
{
    cr_expect_eq(real_exp(-INFINITY), 0.0f);
    cr_expect_eq(real_exp(-104.0f), 0.0f);
    cr_expect_eq(real_exp(0.0f), 1.0f);
    cr_expect_eq(real_exp(89.0f), INFINITY);
    cr_expect_eq(real_exp(-103.5f), 0x1p-149f);
    cr_expect(isnan(real_exp(NAN)) && isnan(real_log(NAN)) && isnan(real_tanh(NAN)) && isnan(real_erf(NAN)));
    cr_expect(isnan(real_sin(INFINITY)) && isnan(real_cos(-INFINITY)) && isnan(real_log(-1.0f)));
    cr_expect(isnan(real_log(-INFINITY)));
    cr_expect_eq(real_log(0.0f), -INFINITY);
    cr_expect_eq(real_log(-0.0f), -INFINITY);
    cr_expect_eq(real_log(INFINITY), INFINITY);
    cr_expect_eq(real_log(1.0f), 0.0f);
    cr_expect_eq(real_tanh(INFINITY), 1.0f);
    cr_expect_eq(real_erf(-INFINITY), -1.0f);
    cr_expect(signbit(real_tanh(-0.0f)) && signbit(real_erf(-0.0f)));
    cr_expect(isnan(real_activation(TARN_RELU, NAN)));
    cr_expect_eq(real_activation(TARN_GELU_TANH, -100.0f), 0.0f);
    cr_expect_eq(real_activation(TARN_GELU, 100.0f), 100.0f);
}

/* Derivatives against central differences of the same formulas in float: loose, to catch a wrong formula. */
Test(simd, activation_gradients)
{
    for (int kind = TARN_NO_ACTIVATION; kind <= TARN_SIGMOID; kind++)
        for (float x = -5.03f; x < 5; x += 0.21f) {
            float h = 0x1p-6f;
            if (kind == TARN_RELU && fabsf(x) < h) continue; /* the kink */
            double slope = ((double)real_activation((tarn_activation)kind, x + h) -
                            (double)real_activation((tarn_activation)kind, x - h)) /
                           (2.0 * (double)h);
            cr_expect_float_eq(real_activation_gradient((tarn_activation)kind, x), slope, 3e-4, "kind %d at %g", kind,
                               (double)x);
        }
}

Test(simd, portable_doubles)
{
    double worst_exp = 0, worst_cos = 0;
    for (double x = -700; x < 700; x += 0.01237) {
        worst_exp = fmax(worst_exp, fabs(tarn_math_exp(x) / exp(x) - 1));
        worst_cos = fmax(worst_cos, fabs(tarn_math_cos(x) - cos(x)));
    }
    fprintf(stderr, "double: exp %.1e relative; cos %.1e absolute\n", worst_exp, worst_cos);
    cr_expect_leq(worst_exp, 1e-14);
    cr_expect_leq(worst_cos, 1e-15);
    cr_expect_eq(tarn_math_exp(-800), 0.0);
    cr_expect(isinf(tarn_math_exp(800)) && isnan(tarn_math_exp(NAN)));
    cr_expect(isnan(tarn_math_cos(INFINITY)) && isnan(tarn_math_cos(NAN)));
    cr_expect_eq(tarn_math_pow_int(0.5, 10), 0x1p-10);
    cr_expect_eq(tarn_math_pow_int(2.0, -3), 0.125);
    cr_expect_eq(tarn_math_pow_int(0.9, 0), 1.0);
    cr_expect_float_eq(tarn_math_pow_int(0.999, 12345), pow(0.999, 12345), 1e-17);
    cr_expect_eq(tarn_math_sqrt(2.0), sqrt(2.0));
}
