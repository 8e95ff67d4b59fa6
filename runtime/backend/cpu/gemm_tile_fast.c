/* gemm_tile_fast.c - the tiles of gemm_tile.h, one function for each number of rows and vectors: the compiler keeps an
 * array of sums in registers only when both are constants. */
#include "runtime/backend/cpu/gemm_tile.h"

TARN_INLINE void tile_run(const int rows, const int vectors, int64_t k, const float *a, int64_t row_step,
                          int64_t k_step, const float *b, int64_t width, const tile_target *target)
{
    vf sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            sum[i][j] = vf_zero();
            _mm_prefetch((const char *)(target->out + i * target->ld + j * VF_LANES), _MM_HINT_T0);
        }
#pragma GCC unroll 2
    for (int64_t p = 0; p < k; p++) {
        vf row[TILE_VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) row[j] = vf_load(b + j * VF_LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            vf element = vf_set1(a[i * row_step]);
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) sum[i][j] = vf_fma(element, row[j], sum[i][j]);
        }
        a += k_step;
        b += width;
    }
    int64_t tail = target->columns - (vectors - 1) * VF_LANES;
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            float *out = target->out + i * target->ld + j * VF_LANES;
            if (j < vectors - 1 || tail == VF_LANES)
                vf_store(out, target->later ? vf_add(vf_load(out), sum[i][j]) : sum[i][j]);
            else
                vf_store_partial(out, target->later ? vf_add(vf_load_partial(out, tail), sum[i][j]) : sum[i][j], tail);
        }
}

/* tile_plain_R_V and tile_packed_R_V. */
#define TILE(r, v)                                                                                                     \
    static void tile_plain_##r##_##v(int64_t k, const float *a, int64_t lda, const float *b, int64_t width,            \
                                     const tile_target *target)                                                        \
    {                                                                                                                  \
        tile_run(r, v, k, a, lda, 1, b, width, target);                                                                \
    }                                                                                                                  \
    static void tile_packed_##r##_##v(int64_t k, const float *a, int64_t lda, const float *b, int64_t width,           \
                                      const tile_target *target)                                                       \
    {                                                                                                                  \
        tile_run(r, v, k, a, 1, lda, b, width, target);                                                                \
    }
#define TILES_6(v) TILE(1, v) TILE(2, v) TILE(3, v) TILE(4, v) TILE(5, v) TILE(6, v)
#define NAMES_6(p, v)                                                                                                  \
    tile_##p##_1_##v, tile_##p##_2_##v, tile_##p##_3_##v, tile_##p##_4_##v, tile_##p##_5_##v, tile_##p##_6_##v

#if defined(TARN_ISA_IS_avx512)
#define TILES_8(v) TILES_6(v) TILE(7, v) TILE(8, v)
#define NAMES_8(p, v)                                                                                                  \
    {                                                                                                                  \
        NAMES_6(p, v), tile_##p##_7_##v, tile_##p##_8_##v                                                              \
    }
TILES_8(1)
TILES_8(2)
TILES_8(3)
tile_function *const gemm_tiles[2][TILE_VECTORS][TILE_ROWS] = {
    {NAMES_8(plain, 1), NAMES_8(plain, 2), NAMES_8(plain, 3)},
    {NAMES_8(packed, 1), NAMES_8(packed, 2), NAMES_8(packed, 3)},
};
#else
TILES_6(1)
tile_function *const gemm_tiles[2][TILE_VECTORS][TILE_ROWS] = {{{NAMES_6(plain, 1)}}, {{NAMES_6(packed, 1)}}};
#endif
