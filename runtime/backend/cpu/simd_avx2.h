/* simd_avx2.h - the types and primitive operations of simd.h on AVX2: two halves of eight lanes. Include simd.h, never
 * this. What each function means stands in simd_avx512.h. */
#ifndef TARN_SIMD_AVX2_H
#define TARN_SIMD_AVX2_H

typedef struct vf {
    __m256 low, high;
} vf;
typedef struct vi {
    __m256i low, high;
} vi;
typedef struct vm {
    __m256 low, high; /* all bits of a true lane are set */
} vm;

/* Sixteen ones, sixteen zeros: a window of it is the mask of the first n lanes. */
static const int32_t tarn_mask_window[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

TARN_INLINE vi tarn_mask_first(int64_t n)
{
    const int32_t *window = tarn_mask_window + 16 - (n >= 16 ? 16 : n <= 0 ? 0 : n);
    return (vi){_mm256_loadu_si256((const void *)window), _mm256_loadu_si256((const void *)(window + 8))};
}

TARN_INLINE vm vm_first(int64_t n)
{
    vi mask = tarn_mask_first(n);
    return (vm){_mm256_castsi256_ps(mask.low), _mm256_castsi256_ps(mask.high)};
}

/* Each half goes through the same instruction. */
#define TARN_HALVES_1(type, name, from, instruction)                                                                   \
    TARN_INLINE type name(from a)                                                                                      \
    {                                                                                                                  \
        return (type){instruction(a.low), instruction(a.high)};                                                        \
    }
#define TARN_HALVES_2(type, name, from, instruction)                                                                   \
    TARN_INLINE type name(from a, from b)                                                                              \
    {                                                                                                                  \
        return (type){instruction(a.low, b.low), instruction(a.high, b.high)};                                         \
    }
#define TARN_HALVES_COMPARE(name, predicate)                                                                           \
    TARN_INLINE vm name(vf a, vf b)                                                                                    \
    {                                                                                                                  \
        return (vm){_mm256_cmp_ps(a.low, b.low, predicate), _mm256_cmp_ps(a.high, b.high, predicate)};                 \
    }
#define TARN_HALVES_SHIFT(name, instruction)                                                                           \
    TARN_INLINE vi name(vi a, int n)                                                                                   \
    {                                                                                                                  \
        return (vi){instruction(a.low, n), instruction(a.high, n)};                                                    \
    }

TARN_HALVES_2(vm, vm_and, vm, _mm256_and_ps)
TARN_HALVES_2(vm, vm_or, vm, _mm256_or_ps)
TARN_INLINE vm vm_not(vm a)
{
    __m256 ones = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    return (vm){_mm256_xor_ps(a.low, ones), _mm256_xor_ps(a.high, ones)};
}
TARN_INLINE int vm_any(vm a)
{
    return (_mm256_movemask_ps(a.low) | _mm256_movemask_ps(a.high)) != 0;
}

TARN_INLINE vf vf_load(const float *p)
{
    return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
TARN_INLINE void vf_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x.low);
    _mm256_storeu_ps(p + 8, x.high);
}
TARN_INLINE vf vf_load_partial(const float *p, int64_t n)
{
    vi mask = tarn_mask_first(n);
    return (vf){_mm256_maskload_ps(p, mask.low), _mm256_maskload_ps(p + 8, mask.high)};
}
TARN_INLINE void vf_store_partial(float *p, vf x, int64_t n)
{
    vi mask = tarn_mask_first(n);
    _mm256_maskstore_ps(p, mask.low, x.low);
    _mm256_maskstore_ps(p + 8, mask.high, x.high);
}
TARN_INLINE vf vf_set1(float x)
{
    __m256 half = _mm256_set1_ps(x);
    return (vf){half, half};
}
TARN_HALVES_2(vf, vf_add, vf, _mm256_add_ps)
TARN_HALVES_2(vf, vf_sub, vf, _mm256_sub_ps)
TARN_HALVES_2(vf, vf_mul, vf, _mm256_mul_ps)
TARN_HALVES_2(vf, vf_div, vf, _mm256_div_ps)
TARN_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return (vf){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
TARN_HALVES_1(vf, vf_sqrt, vf, _mm256_sqrt_ps)
TARN_HALVES_2(vf, vf_max, vf, _mm256_max_ps)
TARN_HALVES_2(vf, vf_min, vf, _mm256_min_ps)
TARN_HALVES_COMPARE(vf_gt, _CMP_GT_OQ)
TARN_HALVES_COMPARE(vf_ge, _CMP_GE_OQ)
TARN_HALVES_COMPARE(vf_eq, _CMP_EQ_OQ)
TARN_HALVES_COMPARE(vf_ne, _CMP_NEQ_UQ)
TARN_INLINE vf vf_select(vm m, vf a, vf b)
{
    return (vf){_mm256_blendv_ps(b.low, a.low, m.low), _mm256_blendv_ps(b.high, a.high, m.high)};
}

TARN_INLINE vi vi_load(const void *p)
{
    return (vi){_mm256_loadu_si256(p), _mm256_loadu_si256((const __m256i *)p + 1)};
}
TARN_INLINE void vi_store(void *p, vi x)
{
    _mm256_storeu_si256(p, x.low);
    _mm256_storeu_si256((__m256i *)p + 1, x.high);
}
TARN_INLINE vi vi_load_partial(const void *p, int64_t n)
{
    vi mask = tarn_mask_first(n);
    return (vi){_mm256_maskload_epi32(p, mask.low), _mm256_maskload_epi32((const int *)p + 8, mask.high)};
}
TARN_INLINE void vi_store_partial(void *p, vi x, int64_t n)
{
    vi mask = tarn_mask_first(n);
    _mm256_maskstore_epi32(p, mask.low, x.low);
    _mm256_maskstore_epi32((int *)p + 8, mask.high, x.high);
}
TARN_INLINE vi vi_set1(int32_t x)
{
    __m256i half = _mm256_set1_epi32(x);
    return (vi){half, half};
}
TARN_INLINE vi vi_lane_index(void)
{
    return (vi){_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}
TARN_HALVES_2(vi, vi_add, vi, _mm256_add_epi32)
TARN_HALVES_2(vi, vi_sub, vi, _mm256_sub_epi32)
TARN_HALVES_2(vi, vi_and, vi, _mm256_and_si256)
TARN_HALVES_2(vi, vi_or, vi, _mm256_or_si256)
TARN_HALVES_2(vi, vi_xor, vi, _mm256_xor_si256)
TARN_HALVES_2(vi, vi_mul_lo, vi, _mm256_mullo_epi32)
TARN_HALVES_SHIFT(vi_shl, _mm256_slli_epi32)
TARN_HALVES_SHIFT(vi_shr, _mm256_srli_epi32)
TARN_HALVES_SHIFT(vi_sar, _mm256_srai_epi32)
TARN_INLINE __m256i tarn_mul_hi_8(__m256i a, __m256i b)
{
    __m256i even = _mm256_srli_epi64(_mm256_mul_epu32(a, b), 32);
    __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32));
    return _mm256_blend_epi32(even, odd, 0xaa);
}
TARN_HALVES_2(vi, vi_mul_hi, vi, tarn_mul_hi_8)
TARN_INLINE vm vi_eq(vi a, vi b)
{
    return (vm){_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.low, b.low)),
                _mm256_castsi256_ps(_mm256_cmpeq_epi32(a.high, b.high))};
}
TARN_INLINE vm vi_gt(vi a, vi b)
{
    return (vm){_mm256_castsi256_ps(_mm256_cmpgt_epi32(a.low, b.low)),
                _mm256_castsi256_ps(_mm256_cmpgt_epi32(a.high, b.high))};
}

TARN_HALVES_1(vi, vf_bits, vf, _mm256_castps_si256)
TARN_HALVES_1(vf, vf_from_bits, vi, _mm256_castsi256_ps)
TARN_HALVES_1(vf, vi_to_vf, vi, _mm256_cvtepi32_ps)
TARN_HALVES_1(vi, vf_to_vi, vf, _mm256_cvttps_epi32)

TARN_INLINE vi vi_select(vm m, vi a, vi b)
{
    return vf_bits(vf_select(m, vf_from_bits(a), vf_from_bits(b)));
}

TARN_INLINE float vf_sum(vf x)
{
    __m256 eight = _mm256_add_ps(x.low, x.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#endif
