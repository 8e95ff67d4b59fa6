/* gemm_few_fast.c - products of few rows (activations) with transposed weights: C^T = B A^T.
 *
 * Packing the weights would cost as much as using them once. So the roles are swapped: the weights are read in place,
 * an element at a time, as the broadcast operand; the activations, small, are packed once. 16 columns of C at a time
 * are summed over all blocks of K, transposed back and finished. Same sums, same order: fma is symmetric in its
 * factors.
 */
#include "runtime/backend/cpu/gemm_tile.h"

static int64_t padded_rows(int64_t m)
{
    return (m + VF_LANES - 1) / VF_LANES * VF_LANES;
}

/* Row length of the 16 rows of sums; the odd vector keeps rows out of the same cache set. */
static int64_t sums_stride(int64_t m)
{
    return padded_rows(m) + VF_LANES;
}

size_t gemm_few_rows_floats(const tarn_gemm_f32 *g)
{
    return (size_t)(padded_rows(g->m) * g->k + VF_LANES * sums_stride(g->m) + 2 * VF_LANES);
}

/* The sums of columns [j, j + columns) of C, columns <= 16, as rows of `sums`. */
static void sum_columns(const tarn_gemm_f32 *g, const float *packed, float *sums, int64_t j, int64_t columns)
{
    int64_t block = tarn_gemm_block(g->k), padded = padded_rows(g->m), stride = sums_stride(g->m);
    for (int64_t k0 = 0; k0 < g->k; k0 += block) {
        int64_t k = g->k - k0 < block ? g->k - k0 : block;
        for (int64_t r0 = 0; r0 < columns; r0 += TILE_ROWS) {
            int64_t rows = columns - r0 < TILE_ROWS ? columns - r0 : TILE_ROWS;
            const float *weights = g->b + (j + r0) * g->ldb + k0;
            for (int64_t r = TILE_ROWS; r < 2 * TILE_ROWS && j + r0 + r < g->n; r++)
                for (int64_t p = 0; p < k; p += VF_LANES)
                    _mm_prefetch((const char *)(weights + r * g->ldb + p), _MM_HINT_T1);
            for (int64_t i = 0; i < g->m; i += TILE_COLUMNS) {
                int64_t width = padded - i < TILE_COLUMNS ? padded - i : TILE_COLUMNS;
                tile_target target = {.out = sums + r0 * stride + i, .ld = stride, .columns = width, .later = k0 > 0};
                gemm_tiles[0][width / VF_LANES - 1][rows - 1](k, weights, g->ldb, packed + k0 * padded + i * k, width,
                                                              &target);
            }
        }
    }
}

void gemm_few_rows(const tarn_gemm_f32 *g, float *memory)
{
    int64_t block = tarn_gemm_block(g->k), padded = padded_rows(g->m), stride = sums_stride(g->m);
    float *sums = memory, *packed = memory + VF_LANES * stride;
    for (int64_t k0 = 0; k0 < g->k; k0 += block) {
        int64_t k = g->k - k0 < block ? g->k - k0 : block;
        for (int64_t i = 0; i < g->m; i += TILE_COLUMNS) {
            int64_t n = g->m - i < TILE_COLUMNS ? g->m - i : TILE_COLUMNS;
            tarn_pack_columns(packed + k0 * padded + i * k, g->a + i * g->lda + k0, g->lda, k, n,
                              (n + VF_LANES - 1) / VF_LANES * VF_LANES);
        }
    }
    for (int64_t j = 0; j < g->n; j += VF_LANES) {
        int64_t columns = g->n - j < VF_LANES ? g->n - j : VF_LANES;
        sum_columns(g, packed, sums, j, columns);
        for (int64_t i = 0; i < g->m; i += VF_LANES) {
            int64_t rows = g->m - i < VF_LANES ? g->m - i : VF_LANES;
            vf square[VF_LANES];
            float out[VF_LANES * VF_LANES];
            for (int r = 0; r < VF_LANES; r++) square[r] = r < columns ? vf_load(sums + r * stride + i) : vf_zero();
            tarn_transpose_16(square);
            for (int r = 0; r < VF_LANES; r++) vf_store(out + VF_LANES * r, square[r]);
            gemm_epilogue(g, out, VF_LANES, i, j, rows, columns);
        }
    }
}
