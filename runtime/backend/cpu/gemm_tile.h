/* gemm_tile.h - the innermost piece of the matrix product: a tile of sums held in registers. For *_fast.c files.
 *
 * A tile is at most TILE_ROWS rows times TILE_VECTORS vectors; it sums one block of K as gemm.h defines it (one fma
 * chain an element) and then stores the sums, or adds them to those of the blocks before.
 */
#ifndef TARN_GEMM_TILE_H
#define TARN_GEMM_TILE_H

#include "runtime/backend/cpu/gemm.h"
#include "runtime/backend/cpu/gemm_pack.h"

/* As many sums as the registers hold beside a row of B and one element of A: 24 of 32 zmm, 12 of 16 ymm. */
#if defined(TARN_ISA_IS_avx512)
enum { TILE_ROWS = 8, TILE_VECTORS = 3, A_PANEL = 16 };
#else
enum { TILE_ROWS = 6, TILE_VECTORS = 1, A_PANEL = 12 };
#endif
enum {
    TILE_COLUMNS = TILE_VECTORS * VF_LANES,
    LONGEST_BLOCK = 512 /* of K, see tarn_gemm_block */
};

/* Where a tile goes. */
typedef struct tile_target {
    float *out;
    int64_t ld;
    int64_t columns; /* of the tile; beyond them nothing is written */
    bool later;      /* not the first block of K: add to what is there */
} tile_target;

/* a: plain, element (i, k) at a[i * lda + k]; packed, at a[k * A_PANEL + i] (lda is A_PANEL, or any row length: then A
 * is a transposed matrix in place). b: element (k, j) at b[k * width + j]; whole vectors are read. */
typedef void tile_function(int64_t k, const float *a, int64_t lda, const float *b, int64_t width,
                           const tile_target *target);

/* [A packed or transposed][vectors - 1][rows - 1] */
#define gemm_tiles TARN_ISA_FN(tarn_gemm_tiles)
extern tile_function *const gemm_tiles[2][TILE_VECTORS][TILE_ROWS];

/* What follows the sums of a tile: bias, activation, residual, backward of an activation, accumulation into C; see
 * gemm.h. `from` holds the finished sums (stride ld) of rows x columns elements at (i0, j0) and may lie in C. */
#define gemm_epilogue TARN_ISA_FN(tarn_gemm_epilogue)
void gemm_epilogue(const tarn_gemm_f32 *gemm, const float *from, int64_t ld, int64_t i0, int64_t j0, int64_t rows,
                   int64_t columns);

/* Products of few rows with transposed weights, see gemm_few_fast.c. */
#define gemm_few_rows        TARN_ISA_FN(tarn_gemm_few_rows)
#define gemm_few_rows_floats TARN_ISA_FN(tarn_gemm_few_rows_floats)
size_t gemm_few_rows_floats(const tarn_gemm_f32 *gemm);
void gemm_few_rows(const tarn_gemm_f32 *gemm, float *memory);

#endif
