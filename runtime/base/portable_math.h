/* portable_math.h - double-precision exp, cos, sqrt and integer powers for everything outside the kernels:
 * schedules, initialisers, Adam's beta^t. Header only.
 *
 * Invariants: additions, multiplications, divisions and square roots only, each rounded once in the order written here
 * (-ffp-contract=off), so the bits are the same on every machine and with every libm. Errors below 1e-14 relative
 * (exp), 1e-15 absolute (cos for |x| <= 1e5); not meant for inner loops.
 * The names say math because tarn_exp and tarn_sqrt are ops on tensors.
 */
#ifndef TARN_PORTABLE_MATH_H
#define TARN_PORTABLE_MATH_H

#include <stdint.h>
#include <string.h>

static inline double tarn_math_from_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* IEEE square root: one instruction, correctly rounded. */
static inline double tarn_math_sqrt(double x)
{
    return __builtin_sqrt(x);
}

/* Nearest integer to |x| < 2^51, ties to even. */
static inline double tarn_math_round(double x)
{
    const double shift = 6755399441055744.0; /* 1.5 * 2^52 */
    return (x + shift) - shift;
}

/* e^x: 0 below -746, infinity above 709.8, subnormal results rounded once. NaN gives NaN.
 * e^x = 2^n e^r, |r| <= ln(2)/2, e^r by its series to r^13. */
static inline double tarn_math_exp(double x)
{
    if (x != x) return x;
    if (x > 710.0) return tarn_math_from_bits(0x7ff0000000000000u);
    if (x < -746.0) return 0.0;
    double n = tarn_math_round(x * 1.4426950408889634);
    double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    double sum = 1.0;
    for (int k = 13; k >= 1; k--) sum = 1.0 + sum * r / (double)k;
    int64_t whole = (int64_t)n, half = whole / 2; /* in two steps: 2^n itself may overflow or be subnormal */
    sum *= tarn_math_from_bits((uint64_t)(half + 1023) << 52);
    return sum * tarn_math_from_bits((uint64_t)(whole - half + 1023) << 52);
}

/* The sine a quarter turn on: x = n pi/2 + r with pi/2 in three parts of 33 bits, then series to r^18. */
static inline double tarn_math_cos(double x)
{
    double n = tarn_math_round(x * 0.63661977236758134308);
    if (!(n < 4e15 && n > -4e15)) return x - x; /* NaN for infinities and NaN; beyond 1e5 accuracy is lost anyway */
    double r = ((x - n * 1.57079632673412561417e+00) - n * 6.07710050630396597660e-11) - n * 2.02226624879595063154e-21;
    int64_t quadrant = ((int64_t)n + 1) & 3;
    double square = r * r, sum = 1.0;
    if (quadrant & 1) {
        for (int k = 18; k >= 2; k -= 2) sum = 1.0 - sum * square / (double)(k * (k - 1));
    } else {
        for (int k = 17; k >= 3; k -= 2) sum = 1.0 - sum * square / (double)(k * (k - 1));
        sum *= r;
    }
    return quadrant & 2 ? -sum : sum;
}

/* x^n by squaring; x^0 = 1. */
static inline double tarn_math_pow_int(double x, int64_t n)
{
    uint64_t left = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    double result = 1.0;
    for (double power = x; left != 0; left >>= 1, power *= power)
        if (left & 1) result *= power;
    return n < 0 ? 1.0 / result : result;
}

#endif
