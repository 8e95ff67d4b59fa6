/* simd.h - sixteen floats at a time on either ISA, so that one kernel source gives one order of operations.
 *
 * Compiled per ISA with TARN_ISA_NAME=avx2|avx512 and TARN_ISA_IS_avx2 or TARN_ISA_IS_avx512 (cmake/TarnKernels.cmake).
 * Types: vf, 16 floats (one zmm, or two ymm); vi, 16 32-bit integers; vm, 16 truth values. Use the functions only: the
 * types differ between ISAs. Lane l of a row's vector i holds element 16 i + l.
 *
 * Invariants: every function equals its namesake real_* of reference_math.h in float bit for bit (any NaN equals any
 * NaN; tests/test_simd.c). Partial loads fill with +0 and touch no byte beyond n elements; pointers need no alignment.
 */
#ifndef TARN_SIMD_H
#define TARN_SIMD_H

#include <immintrin.h>
#include <stdint.h>

#define TARN_ISA_PASTE_(name, isa) name##_##isa
#define TARN_ISA_PASTE(name, isa)  TARN_ISA_PASTE_(name, isa)
/* TARN_ISA_FN(tarn_gemm) is tarn_gemm_avx2 or tarn_gemm_avx512. */
#define TARN_ISA_FN(name) TARN_ISA_PASTE(name, TARN_ISA_NAME)

#define TARN_INLINE static inline __attribute__((always_inline))

enum { VF_LANES = 16 };

#if defined(TARN_ISA_IS_avx512)
#include "runtime/backend/cpu/simd_avx512.h"
#elif defined(TARN_ISA_IS_avx2)
#include "runtime/backend/cpu/simd_avx2.h"
#else
#error "simd.h is for files compiled per ISA (kernel.c, *_fast.c); scalar code includes reference_math.h"
#endif

/* ---- made of the above, the same for both ISAs ------------------------------------------------------------------- */

TARN_INLINE vf vf_zero(void)
{
    return vf_set1(0.0f);
}

TARN_INLINE vi vi_zero(void)
{
    return vi_set1(0);
}

TARN_INLINE vf vf_neg(vf x)
{
    return vf_from_bits(vi_xor(vf_bits(x), vi_set1(INT32_MIN)));
}

TARN_INLINE vf vf_abs(vf x)
{
    return vf_from_bits(vi_and(vf_bits(x), vi_set1(INT32_MAX)));
}

TARN_INLINE vf vf_copy_sign(vf magnitude, vf sign)
{
    vi bits = vi_and(vf_bits(magnitude), vi_set1(INT32_MAX));
    return vf_from_bits(vi_or(bits, vi_and(vf_bits(sign), vi_set1(INT32_MIN))));
}

TARN_INLINE vm vf_lt(vf a, vf b)
{
    return vf_gt(b, a);
}

TARN_INLINE vm vf_le(vf a, vf b)
{
    return vf_ge(b, a);
}

TARN_INLINE vm vf_is_nan(vf x)
{
    return vf_ne(x, x);
}

/* Lanes below n keep x, the others become +0. */
TARN_INLINE vf vf_first(vf x, int64_t n)
{
    return vf_select(vm_first(n), x, vf_zero());
}

/* NaN where either is NaN; else vf_max, vf_min. */
TARN_INLINE vf vf_max_nan(vf a, vf b)
{
    return vf_select(vf_is_nan(a), a, vf_max(a, b));
}

TARN_INLINE vf vf_min_nan(vf a, vf b)
{
    return vf_select(vf_is_nan(a), a, vf_min(a, b));
}

/* Largest lane by max_nan, combined 8-4-2-1: ends real_lane_max. */
TARN_INLINE float vf_max_all(vf x)
{
    float lane[VF_LANES];
    vf_store(lane, x);
    for (int half = VF_LANES / 2; half >= 1; half /= 2)
        for (int l = 0; l < half; l++) {
            float a = lane[l], b = lane[l + half];
            lane[l] = a != a ? a : a > b ? a : b;
        }
    return lane[0];
}

/* ---- sums of rows: real_sum of reference_math.h, a vector of terms at a time ------------------------------------- */

/*     vf_row_sum sum; vf_row_sum_start(&sum);
 *     for (i = 0; i < n; i += 16) vf_row_sum_add(&sum, vf_load_partial(x + i, n - i));
 *     result = vf_row_sum_end(&sum);
 * Terms of lanes beyond the row's end must be +0 (vf_first). */
typedef struct vf_row_sum {
    vf lanes;
    float total;
    int32_t vectors;
} vf_row_sum;

TARN_INLINE void vf_row_sum_start(vf_row_sum *sum)
{
    sum->lanes = vf_zero();
    sum->total = 0.0f;
    sum->vectors = 0;
}

TARN_INLINE void vf_row_sum_count(vf_row_sum *sum)
{
    if (++sum->vectors == 4096 / VF_LANES) {
        sum->total = sum->total + vf_sum(sum->lanes);
        sum->lanes = vf_zero();
        sum->vectors = 0;
    }
}

TARN_INLINE void vf_row_sum_add(vf_row_sum *sum, vf terms)
{
    sum->lanes = vf_add(sum->lanes, terms);
    vf_row_sum_count(sum);
}

TARN_INLINE void vf_row_sum_fma(vf_row_sum *sum, vf a, vf b)
{
    sum->lanes = vf_fma(a, b, sum->lanes);
    vf_row_sum_count(sum);
}

TARN_INLINE float vf_row_sum_end(vf_row_sum *sum)
{
    if (sum->vectors != 0) sum->total = sum->total + vf_sum(sum->lanes);
    return sum->total;
}

/* real_lane_sum, real_lane_dot, real_lane_max. */
TARN_INLINE float vf_lane_sum(const float *x, int64_t n)
{
    vf_row_sum sum;
    vf_row_sum_start(&sum);
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES) vf_row_sum_add(&sum, vf_load(x + i));
    if (i < n) vf_row_sum_add(&sum, vf_load_partial(x + i, n - i));
    return vf_row_sum_end(&sum);
}

TARN_INLINE float vf_lane_dot(const float *x, const float *y, int64_t n)
{
    vf_row_sum sum;
    vf_row_sum_start(&sum);
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES) vf_row_sum_fma(&sum, vf_load(x + i), vf_load(y + i));
    if (i < n) vf_row_sum_fma(&sum, vf_load_partial(x + i, n - i), vf_load_partial(y + i, n - i));
    return vf_row_sum_end(&sum);
}

TARN_INLINE float vf_lane_max(const float *x, int64_t n)
{
    vf lowest = vf_set1(-__builtin_inff()), lanes = lowest;
    int64_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES) lanes = vf_max_nan(lanes, vf_load(x + i));
    if (i < n) lanes = vf_select(vm_first(n - i), vf_max_nan(lanes, vf_load_partial(x + i, n - i)), lanes);
    return vf_max_all(lanes);
}

#include "runtime/backend/cpu/simd_math.h"

#endif
