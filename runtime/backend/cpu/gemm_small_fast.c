/* gemm_small_fast.c - products of small matrices for attention: B is read in place, and nothing is packed but the
 * vector of columns that ends beyond B's rows. */
#include "runtime/backend/cpu/gemm_tile.h"

/* Columns [j, j + n) of C. */
static void run_columns(const tarn_small_gemm *g, int64_t j, int64_t n)
{
    int64_t block = tarn_gemm_block(g->k), vectors = (n + VF_LANES - 1) / VF_LANES;
    bool ragged = n % VF_LANES != 0;
    float panel[LONGEST_BLOCK * VF_LANES], tile[TILE_ROWS * TILE_COLUMNS];
    const tarn_gemm_f32 sink = {.c = g->c, .ldc = g->ldc, .add = true};
    for (int64_t i = 0; i < g->m; i += TILE_ROWS) {
        int64_t rows = g->m - i < TILE_ROWS ? g->m - i : TILE_ROWS;
        /* C cannot hold the sums of earlier blocks and its old values at once. */
        tile_target target = {
            .out = g->add ? tile : g->c + i * g->ldc + j, .ld = g->add ? TILE_COLUMNS : g->ldc, .columns = n};
        for (int64_t k0 = 0; k0 < g->k; k0 += block) {
            int64_t k = g->k - k0 < block ? g->k - k0 : block;
            const float *a = g->transpose_a ? g->a + k0 * g->lda + i : g->a + i * g->lda + k0;
            const float *b = g->b + k0 * g->ldb + j;
            if (ragged && (i == 0 || g->k > block)) tarn_pack_rows(panel, b, g->ldb, k, n, VF_LANES);
            target.later = k0 > 0;
            gemm_tiles[g->transpose_a][vectors - 1][rows - 1](k, a, g->lda, ragged ? panel : b,
                                                              ragged ? VF_LANES : g->ldb, &target);
        }
        if (g->add) gemm_epilogue(&sink, tile, TILE_COLUMNS, i, j, rows, n);
    }
}

void TARN_ISA_FN(tarn_small_gemm)(const tarn_small_gemm *gemm)
{
    if (gemm->k <= 0) {
        tarn_small_gemm_reference(gemm);
        return;
    }
    int64_t whole = gemm->n / VF_LANES * VF_LANES, n;
    for (int64_t j = 0; j < whole; j += n) {
        int64_t left = whole - j;
        n = left < TILE_COLUMNS ? left : TILE_COLUMNS;
        if (TILE_VECTORS == 3 && left == 4 * VF_LANES) n = 2 * VF_LANES; /* 32 + 32 is faster than 48 + 16 */
        run_columns(gemm, j, n);
    }
    if (whole < gemm->n) run_columns(gemm, whole, gemm->n - whole);
}
