/* gemm_pack.h - packing of GEMM operands into panels that the tiles read contiguously; for *_fast.c files.
 *
 * A panel of width w holds [k][w]: element (k, j) of the panel at k * w + j, zeros beyond the matrix.
 */
#ifndef TARN_GEMM_PACK_H
#define TARN_GEMM_PACK_H

#include "runtime/backend/cpu/simd.h"

#if defined(TARN_ISA_IS_avx512)
/* Transposes a 16 x 16 block held in sixteen vectors. */
TARN_INLINE void tarn_transpose_16(vf *r)
{
    __m512 t[16];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        __m512d a = _mm512_castps_pd(t[4 * i]), b = _mm512_castps_pd(t[4 * i + 1]);
        __m512d c = _mm512_castps_pd(t[4 * i + 2]), d = _mm512_castps_pd(t[4 * i + 3]);
        r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0x88);
        t[4 + i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0xdd);
        t[8 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0x88);
        t[12 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0x88);
        r[8 + i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0xdd);
        r[4 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0x88);
        r[12 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0xdd);
    }
}
#else
TARN_INLINE void tarn_transpose_8(__m256 *r)
{
    __m256 t[8];
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[4 + i], 0x20);
        t[4 + i] = _mm256_permute2f128_ps(r[i], r[4 + i], 0x31);
    }
    for (int i = 0; i < 8; i++) r[i] = t[i];
}

TARN_INLINE void tarn_transpose_16(vf *r)
{
    __m256 quarter[4][8];
    for (int i = 0; i < 8; i++) {
        quarter[0][i] = r[i].low;
        quarter[1][i] = r[i].high;
        quarter[2][i] = r[8 + i].low;
        quarter[3][i] = r[8 + i].high;
    }
    for (int q = 0; q < 4; q++) tarn_transpose_8(quarter[q]);
    for (int i = 0; i < 8; i++) {
        r[i] = (vf){quarter[0][i], quarter[2][i]};
        r[8 + i] = (vf){quarter[1][i], quarter[3][i]};
    }
}
#endif

/* Panel of `width` (a multiple of 16) columns out of rows that run along j: from[k * ld + j], j < n. */
static inline void tarn_pack_rows(float *panel, const float *from, int64_t ld, int64_t k, int64_t n, int64_t width)
{
    for (int64_t p = 0; p < k; p++)
        for (int64_t j = 0; j < width; j += VF_LANES) {
            const float *row = from + p * ld + j;
            vf_store(panel + p * width + j, n - j >= VF_LANES ? vf_load(row) : vf_load_partial(row, n - j));
        }
}

/* The same out of rows that run along k: from[j * ld + k], j < n: a transpose. */
static inline void tarn_pack_columns(float *panel, const float *from, int64_t ld, int64_t k, int64_t n, int64_t width)
{
    for (int64_t j = 0; j < width; j += VF_LANES)
        for (int64_t p = 0; p < k; p += VF_LANES) {
            vf block[VF_LANES];
            for (int i = 0; i < VF_LANES; i++) {
                const float *row = from + (j + i) * ld + p;
                block[i] = j + i >= n ? vf_zero() : k - p >= VF_LANES ? vf_load(row) : vf_load_partial(row, k - p);
                if (j + i < n) _mm_prefetch((const char *)(row + 4 * VF_LANES), _MM_HINT_T0);
            }
            tarn_transpose_16(block);
            int64_t rows = k - p < VF_LANES ? k - p : VF_LANES;
            for (int64_t i = 0; i < rows; i++) vf_store(panel + (p + i) * width + j, block[i]);
        }
}

#endif
