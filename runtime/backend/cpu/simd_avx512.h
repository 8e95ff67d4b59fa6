/* simd_avx512.h - the types and primitive operations of simd.h on AVX-512. Include simd.h, never this. */
#ifndef TARN_SIMD_AVX512_H
#define TARN_SIMD_AVX512_H

typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;

TARN_INLINE vm vm_first(int64_t n)
{
    return n >= 16 ? (vm)0xffff : n <= 0 ? (vm)0 : (vm)((1u << n) - 1u);
}

TARN_INLINE vm vm_and(vm a, vm b)
{
    return (vm)(a & b);
}
TARN_INLINE vm vm_or(vm a, vm b)
{
    return (vm)(a | b);
}
TARN_INLINE vm vm_not(vm a)
{
    return (vm)~a;
}
TARN_INLINE int vm_any(vm a)
{
    return a != 0;
}

TARN_INLINE vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
TARN_INLINE void vf_store(float *p, vf x)
{
    _mm512_storeu_ps(p, x);
}
TARN_INLINE vf vf_load_partial(const float *p, int64_t n)
{
    return _mm512_maskz_loadu_ps(vm_first(n), p);
}
TARN_INLINE void vf_store_partial(float *p, vf x, int64_t n)
{
    _mm512_mask_storeu_ps(p, vm_first(n), x);
}
TARN_INLINE vf vf_set1(float x)
{
    return _mm512_set1_ps(x);
}
TARN_INLINE vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
TARN_INLINE vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
TARN_INLINE vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
TARN_INLINE vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
/* a * b + c rounded once */
TARN_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
TARN_INLINE vf vf_sqrt(vf x)
{
    return _mm512_sqrt_ps(x);
}
/* a > b ? a : b, a < b ? a : b: b when either is NaN or both are zero */
TARN_INLINE vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
TARN_INLINE vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
/* Comparisons are false with NaN, but for ne. */
TARN_INLINE vm vf_gt(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}
TARN_INLINE vm vf_ge(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}
TARN_INLINE vm vf_eq(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
TARN_INLINE vm vf_ne(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ);
}
/* m ? a : b */
TARN_INLINE vf vf_select(vm m, vf a, vf b)
{
    return _mm512_mask_blend_ps(m, b, a);
}
TARN_INLINE vi vi_select(vm m, vi a, vi b)
{
    return _mm512_mask_blend_epi32(m, b, a);
}

TARN_INLINE vi vi_load(const void *p)
{
    return _mm512_loadu_si512(p);
}
TARN_INLINE void vi_store(void *p, vi x)
{
    _mm512_storeu_si512(p, x);
}
TARN_INLINE vi vi_load_partial(const void *p, int64_t n)
{
    return _mm512_maskz_loadu_epi32(vm_first(n), p);
}
TARN_INLINE void vi_store_partial(void *p, vi x, int64_t n)
{
    _mm512_mask_storeu_epi32(p, vm_first(n), x);
}
TARN_INLINE vi vi_set1(int32_t x)
{
    return _mm512_set1_epi32(x);
}
/* 0, 1, ..., 15 */
TARN_INLINE vi vi_lane_index(void)
{
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
TARN_INLINE vi vi_add(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}
TARN_INLINE vi vi_sub(vi a, vi b)
{
    return _mm512_sub_epi32(a, b);
}
TARN_INLINE vi vi_and(vi a, vi b)
{
    return _mm512_and_si512(a, b);
}
TARN_INLINE vi vi_or(vi a, vi b)
{
    return _mm512_or_si512(a, b);
}
TARN_INLINE vi vi_xor(vi a, vi b)
{
    return _mm512_xor_si512(a, b);
}
TARN_INLINE vi vi_shl(vi a, int n)
{
    return _mm512_slli_epi32(a, (unsigned)n);
}
/* logical and arithmetic shift right */
TARN_INLINE vi vi_shr(vi a, int n)
{
    return _mm512_srli_epi32(a, (unsigned)n);
}
TARN_INLINE vi vi_sar(vi a, int n)
{
    return _mm512_srai_epi32(a, (unsigned)n);
}
/* low and high half of the unsigned 64-bit product */
TARN_INLINE vi vi_mul_lo(vi a, vi b)
{
    return _mm512_mullo_epi32(a, b);
}
TARN_INLINE vi vi_mul_hi(vi a, vi b)
{
    __m512i even = _mm512_srli_epi64(_mm512_mul_epu32(a, b), 32);
    __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32));
    return _mm512_mask_blend_epi32(0xaaaa, even, odd);
}
TARN_INLINE vm vi_eq(vi a, vi b)
{
    return _mm512_cmpeq_epi32_mask(a, b);
}
TARN_INLINE vm vi_gt(vi a, vi b)
{
    return _mm512_cmpgt_epi32_mask(a, b);
}

TARN_INLINE vi vf_bits(vf x)
{
    return _mm512_castps_si512(x);
}
TARN_INLINE vf vf_from_bits(vi x)
{
    return _mm512_castsi512_ps(x);
}
/* signed integer to float (nearest even); float to integer toward zero */
TARN_INLINE vf vi_to_vf(vi x)
{
    return _mm512_cvtepi32_ps(x);
}
TARN_INLINE vi vf_to_vi(vf x)
{
    return _mm512_cvttps_epi32(x);
}

/* Sum of the lanes, combined 8-4-2-1 (real_lanes_combine). */
TARN_INLINE float vf_sum(vf x)
{
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#endif
