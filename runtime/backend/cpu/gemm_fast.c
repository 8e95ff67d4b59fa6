/* gemm_fast.c - the matrix product on AVX2 and AVX-512: one source, tiles of registers over packed panels.
 *
 * B is packed into panels of TILE_COLUMNS, a transposed A into panels of 16 rows; a row-major A is read in place. A tile
 * sums one block of K in registers; the epilogue runs while the tile lies in the first-level cache. For few rows times a
 * transposed B (weights), the roles are swapped: the weights are broadcast in place and the activations are packed.
 *
 * Invariant: every output element is the sum gemm.h defines; blocking, packing and threads decide nothing else.
 */
#include "runtime/backend/cpu/gemm.h"
#include "runtime/backend/cpu/gemm_pack.h"

#include <stdlib.h>
#include <string.h>

#if defined(TARN_ISA_IS_avx512)
enum { TILE_ROWS = 8, TILE_VECTORS = 3, PACKED_TILE_ROWS = 8 };
#else
enum { TILE_ROWS = 6, TILE_VECTORS = 1, PACKED_TILE_ROWS = 4 };
#endif
enum {
    TILE_COLUMNS = TILE_VECTORS * VF_LANES,
    A_PANEL = 16,         /* rows of a packed panel of A */
    ROW_BLOCK = 480,      /* rows of A whose block of K stays in the second-level cache */
    COLUMN_BLOCK = 3072,  /* columns of B packed at once; a multiple of TILE_COLUMNS */
    LONGEST_BLOCK = 512,  /* of K */
    FEW_ROWS = 144        /* up to here the weights are the broadcast operand */
};

/* ---- the tile ------------------------------------------------------------------------------------------------------- */

/* sum[rows][vectors] of one block of K. Element (i, k) of A: a[i * row_step + k * k_step]. */
TARN_INLINE void tile_sum(const int rows, const int vectors, int64_t k, const float *a, int64_t row_step, int64_t k_step,
                          const float *b, int64_t width, vf sum[TILE_ROWS][TILE_VECTORS])
{
    vf s[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) s[i][j] = vf_zero();
    for (int64_t p = 0; p < k; p++) {
        vf bv[TILE_VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) bv[j] = vf_load(b + j * VF_LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            vf av = vf_set1(a[i * row_step]);
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) s[i][j] = vf_fma(av, bv[j], s[i][j]);
        }
        a += k_step;
        b += width;
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) sum[i][j] = s[i][j];
}

/* What becomes of a tile: written to out (stride ld) or added to what an earlier block left there. */
typedef struct tile_target {
    float *out;
    int64_t ld, columns; /* columns: of the last vector only those that exist */
    bool later;          /* not the first block of K */
} tile_target;

TARN_INLINE void tile_run(const int rows, const int vectors, int64_t k, const float *a, int64_t row_step, int64_t k_step,
                          const float *b, int64_t width, const tile_target *target)
{
    vf sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            _mm_prefetch((const char *)(target->out + i * target->ld + j * VF_LANES), _MM_HINT_T0);
    tile_sum(rows, vectors, k, a, row_step, k_step, b, width, sum);
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

#define TILE_CASE(r, v, step_name, row_step, k_step)                                                                   \
    static __attribute__((noinline)) void tile_##step_name##_##r##_##v(int64_t k, const float *a, int64_t lda,         \
                                                                       const float *b, int64_t width,                  \
                                                                       const tile_target *target)                      \
    {                                                                                                                  \
        (void)lda;                                                                                                     \
        tile_run(r, v, k, a, row_step, k_step, b, width, target);                                                      \
    }
#define TILE_ROW_CASES(v, name, row_step, k_step)                                                                      \
    TILE_CASE(1, v, name, row_step, k_step)                                                                            \
    TILE_CASE(2, v, name, row_step, k_step)                                                                            \
    TILE_CASE(3, v, name, row_step, k_step)                                                                            \
    TILE_CASE(4, v, name, row_step, k_step)                                                                            \
    TILE_CASE(5, v, name, row_step, k_step)                                                                            \
    TILE_CASE(6, v, name, row_step, k_step)                                                                            \
    TILE_CASE(7, v, name, row_step, k_step)                                                                            \
    TILE_CASE(8, v, name, row_step, k_step)
#define TILE_ROW_TABLE(v, name)                                                                                        \
    {                                                                                                                  \
        tile_##name##_1_##v, tile_##name##_2_##v, tile_##name##_3_##v, tile_##name##_4_##v, tile_##name##_5_##v,        \
            tile_##name##_6_##v, tile_##name##_7_##v, tile_##name##_8_##v                                              \
    }
typedef void tile_function(int64_t k, const float *a, int64_t lda, const float *b, int64_t width,
                           const tile_target *target);
#if defined(TARN_ISA_IS_avx512)
TILE_ROW_CASES(1, plain, lda, 1)
TILE_ROW_CASES(2, plain, lda, 1)
TILE_ROW_CASES(3, plain, lda, 1)
TILE_ROW_CASES(1, packed, 1, lda)
TILE_ROW_CASES(2, packed, 1, lda)
TILE_ROW_CASES(3, packed, 1, lda)
/* [A packed][vectors - 1][rows - 1] */
static tile_function *const tiles[2][TILE_VECTORS][8] = {
    {TILE_ROW_TABLE(1, plain), TILE_ROW_TABLE(2, plain), TILE_ROW_TABLE(3, plain)},
    {TILE_ROW_TABLE(1, packed), TILE_ROW_TABLE(2, packed), TILE_ROW_TABLE(3, packed)}};
#else
#define TILE_6_CASES(v, name, row_step, k_step)                                                                        \
    TILE_CASE(1, v, name, row_step, k_step)                                                                            \
    TILE_CASE(2, v, name, row_step, k_step)                                                                            \
    TILE_CASE(3, v, name, row_step, k_step)                                                                            \
    TILE_CASE(4, v, name, row_step, k_step)                                                                            \
    TILE_CASE(5, v, name, row_step, k_step)                                                                            \
    TILE_CASE(6, v, name, row_step, k_step)
#define TILE_6_TABLE(v, name)                                                                                          \
    {                                                                                                                  \
        tile_##name##_1_##v, tile_##name##_2_##v, tile_##name##_3_##v, tile_##name##_4_##v, tile_##name##_5_##v,        \
            tile_##name##_6_##v                                                                                        \
    }
TILE_6_CASES(1, plain, lda, 1)
TILE_6_CASES(1, packed, 1, lda)
static tile_function *const tiles[2][TILE_VECTORS][TILE_ROWS] = {{TILE_6_TABLE(1, plain)}, {TILE_6_TABLE(1, packed)}};
#endif

/* ---- epilogue --------------------------------------------------------------------------------------------------------- */

static bool has_epilogue(const tarn_gemm_f32 *g)
{
    return g->bias || g->pre || g->residual || g->gate || g->activation != TARN_NO_ACTIVATION || g->add;
}

TARN_INLINE void epilogue_loop(const tarn_gemm_f32 *g, const tarn_activation activation, const float *from, int64_t ld,
                               int64_t i0, int64_t j0, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j += VF_LANES) {
            int64_t n = columns - j, row = i0 + i, column = j0 + j;
            vf v = vf_load_partial(from + i * ld + j, n);
            if (g->gate) {
                vf gate = vf_load_partial(g->gate + row * g->ld_gate + column, n);
                if (g->activated)
                    vf_store_partial(g->activated + row * g->ld_activated + column, vf_activation(activation, gate), n);
                v = vf_mul(v, vf_activation_gradient(activation, gate));
            } else {
                if (g->bias) v = vf_add(v, vf_load_partial(g->bias + column, n));
                if (g->pre) vf_store_partial(g->pre + row * g->ld_pre + column, v, n);
                v = vf_activation(activation, v);
                if (g->residual) v = vf_add(v, vf_load_partial(g->residual + row * g->ld_residual + column, n));
            }
            float *c = g->c + row * g->ldc + column;
            vf_store_partial(c, g->add ? vf_add(vf_load_partial(c, n), v) : v, n);
        }
}

/* from holds finished sums (and may be C itself). */
static void epilogue(const tarn_gemm_f32 *g, const float *from, int64_t ld, int64_t i0, int64_t j0, int64_t rows,
                     int64_t columns)
{
    switch (g->activation) {
    case TARN_NO_ACTIVATION: epilogue_loop(g, TARN_NO_ACTIVATION, from, ld, i0, j0, rows, columns); break;
    case TARN_RELU: epilogue_loop(g, TARN_RELU, from, ld, i0, j0, rows, columns); break;
    case TARN_GELU: epilogue_loop(g, TARN_GELU, from, ld, i0, j0, rows, columns); break;
    case TARN_GELU_TANH: epilogue_loop(g, TARN_GELU_TANH, from, ld, i0, j0, rows, columns); break;
    case TARN_SILU: epilogue_loop(g, TARN_SILU, from, ld, i0, j0, rows, columns); break;
    case TARN_TANH: epilogue_loop(g, TARN_TANH, from, ld, i0, j0, rows, columns); break;
    case TARN_SIGMOID: epilogue_loop(g, TARN_SIGMOID, from, ld, i0, j0, rows, columns); break;
    }
}

/* ---- packed operands and loops ------------------------------------------------------------------------------------------ */

/* A^T of one block of K into panels of 16 rows; adds the block to the row sums on the way. */
static void pack_a(const tarn_gemm_f32 *g, float *packed, int64_t k0, int64_t k, int64_t i0, int64_t rows, bool sum)
{
    for (int64_t i = 0; i < rows; i += A_PANEL, packed += k * A_PANEL) {
        int64_t n = rows - i;
        const float *from = g->a + k0 * g->lda + i0 + i;
        vf total = vf_zero();
        for (int64_t p = 0; p < k; p++) {
            vf row = n >= VF_LANES ? vf_load(from + p * g->lda) : vf_load_partial(from + p * g->lda, n);
            vf_store(packed + p * A_PANEL, row);
            total = vf_add(total, row);
        }
        if (!sum) continue;
        float *out = g->row_sum + i0 + i;
        vf_store_partial(out, k0 ? vf_add(vf_load_partial(out, n), total) : total, n);
    }
}

typedef struct work {
    float *b, *a, *partial, *row_sum;
} work;

static size_t work_floats(const tarn_gemm_f32 *g, size_t part[4])
{
    int64_t block = tarn_gemm_block(g->k), columns = g->n < COLUMN_BLOCK ? g->n : COLUMN_BLOCK;
    int64_t rows = g->m < ROW_BLOCK ? g->m : ROW_BLOCK;
    columns = (columns + TILE_COLUMNS - 1) / TILE_COLUMNS * TILE_COLUMNS;
    rows = (rows + A_PANEL - 1) / A_PANEL * A_PANEL;
    part[0] = (size_t)(columns * block);
    part[1] = g->transpose_a ? (size_t)(rows * block) : 0;
    part[2] = g->add && g->k > block ? (size_t)(g->m * columns) : 0;
    part[3] = g->add_row_sum ? (size_t)((g->m + 15) / 16 * 16) : 0;
    return part[0] + part[1] + part[2] + part[3] + 64;
}

/* All tiles of rows [i0, i0 + rows) x columns [j0, j0 + columns) for one block of K. */
static void run_tiles(const tarn_gemm_f32 *g, const work *w, int64_t k0, int64_t k, int64_t i0, int64_t rows, int64_t j0,
                      int64_t columns, int64_t ld_partial)
{
    bool last = k0 + k >= g->k, finishing = last && has_epilogue(g);
    bool single = k0 == 0 && last;
    const int step = g->transpose_a ? PACKED_TILE_ROWS : TILE_ROWS;
    float tile[TILE_ROWS * TILE_COLUMNS];
    for (int64_t j = 0; j < columns; j += TILE_COLUMNS) {
        int64_t n = columns - j < TILE_COLUMNS ? columns - j : TILE_COLUMNS, vectors = (n + VF_LANES - 1) / VF_LANES;
        for (int64_t i = 0; i < rows;) {
            int64_t r = rows - i < step ? rows - i : step;
            if (g->transpose_a && i / A_PANEL != (i + r - 1) / A_PANEL) r = A_PANEL - i % A_PANEL;
            const float *a;
            int64_t lda;
            if (g->transpose_a) {
                a = w->a + i / A_PANEL * A_PANEL * k + i % A_PANEL;
                lda = A_PANEL;
            } else {
                a = g->a + (i0 + i) * g->lda + k0;
                lda = g->lda;
            }
            /* Sums of several blocks wait in C, or aside when C's old values are still needed. */
            tile_target target = {.columns = n, .later = k0 > 0};
            if (single && finishing) {
                target.out = tile;
                target.ld = TILE_COLUMNS;
            } else if (w->partial) {
                target.out = w->partial + (i0 + i) * ld_partial + j;
                target.ld = ld_partial;
            } else {
                target.out = g->c + (i0 + i) * g->ldc + j0 + j;
                target.ld = g->ldc;
            }
            tiles[g->transpose_a][vectors - 1][r - 1](k, a, lda, w->b + j * k, vectors * VF_LANES, &target);
            if (finishing) epilogue(g, target.out, target.ld, i0 + i, j0 + j, r, n);
            i += r;
        }
    }
}

static void pack_b(const tarn_gemm_f32 *g, float *packed, int64_t k0, int64_t k, int64_t j0, int64_t columns)
{
    for (int64_t j = 0; j < columns; j += TILE_COLUMNS) {
        int64_t n = columns - j < TILE_COLUMNS ? columns - j : TILE_COLUMNS;
        int64_t width = (n + VF_LANES - 1) / VF_LANES * VF_LANES;
        if (g->transpose_b) tarn_pack_columns(packed + j * k, g->b + (j0 + j) * g->ldb + k0, g->ldb, k, n, width);
        else tarn_pack_rows(packed + j * k, g->b + k0 * g->ldb + j0 + j, g->ldb, k, n, width);
    }
}

static void run(const tarn_gemm_f32 *gemm, float *memory)
{
    size_t part[4];
    work_floats(gemm, part);
    work w = {.b = memory, .a = memory + part[0], .partial = part[2] ? memory + part[0] + part[1] : NULL};
    w.row_sum = part[3] ? memory + part[0] + part[1] + part[2] : NULL;
    tarn_gemm_f32 g = *gemm;
    if (w.row_sum) g.row_sum = w.row_sum; /* summed aside, added at the end */
    int64_t block = tarn_gemm_block(g.k);
    for (int64_t j0 = 0; j0 < g.n; j0 += COLUMN_BLOCK) {
        int64_t columns = g.n - j0 < COLUMN_BLOCK ? g.n - j0 : COLUMN_BLOCK;
        int64_t ld_partial = (columns + TILE_COLUMNS - 1) / TILE_COLUMNS * TILE_COLUMNS;
        for (int64_t k0 = 0; k0 < g.k; k0 += block) {
            int64_t k = g.k - k0 < block ? g.k - k0 : block;
            pack_b(&g, w.b, k0, k, j0, columns);
            for (int64_t i0 = 0; i0 < g.m; i0 += ROW_BLOCK) {
                int64_t rows = g.m - i0 < ROW_BLOCK ? g.m - i0 : ROW_BLOCK;
                if (g.transpose_a) pack_a(&g, w.a, k0, k, i0, rows, j0 == 0 && g.row_sum);
                run_tiles(&g, &w, k0, k, i0, rows, j0, columns, ld_partial);
            }
        }
    }
    if (w.row_sum)
        for (int64_t i = 0; i < g.m; i++) gemm->row_sum[i] = gemm->row_sum[i] + w.row_sum[i];
}

/* ---- few rows: weights in place ----------------------------------------------------------------------------------------- */

static bool few_rows(const tarn_gemm_f32 *g)
{
    return !g->transpose_a && g->transpose_b && g->m <= FEW_ROWS && g->n >= g->m && !g->row_sum && g->k >= VF_LANES;
}

enum { FEW_STRIDE = (FEW_ROWS + TILE_COLUMNS - 1) / TILE_COLUMNS * TILE_COLUMNS + VF_LANES };

static size_t few_rows_floats(const tarn_gemm_f32 *g)
{
    int64_t width = (g->m + TILE_COLUMNS - 1) / TILE_COLUMNS * TILE_COLUMNS, k = (g->k + 15) / 16 * 16;
    return (size_t)(width * k + 16 * FEW_STRIDE + 64);
}

/* C^T = B A^T, 16 rows of it (columns of C) at a time: all blocks of K, transposed back, then the epilogue. */
static void run_few_rows(const tarn_gemm_f32 *g, float *memory)
{
    int64_t block = tarn_gemm_block(g->k);
    float *packed = memory, *sums = memory + few_rows_floats(g) - 16 * FEW_STRIDE - 64 + 16;
    sums = (float *)((uintptr_t)sums & ~(uintptr_t)63);
    for (int64_t k0 = 0; k0 < g->k; k0 += block) {
        int64_t k = g->k - k0 < block ? g->k - k0 : block;
        for (int64_t i = 0; i < g->m; i += TILE_COLUMNS) {
            int64_t n = g->m - i < TILE_COLUMNS ? g->m - i : TILE_COLUMNS;
            int64_t width = (n + VF_LANES - 1) / VF_LANES * VF_LANES;
            tarn_pack_columns(packed + k0 * ((g->m + TILE_COLUMNS - 1) / TILE_COLUMNS * TILE_COLUMNS) + i * k,
                              g->a + i * g->lda + k0, g->lda, k, n, width);
        }
    }
    int64_t stride = (g->m + TILE_COLUMNS - 1) / TILE_COLUMNS * TILE_COLUMNS;
    for (int64_t j = 0; j < g->n; j += 16) {
        int64_t columns = g->n - j < 16 ? g->n - j : 16;
        for (int64_t k0 = 0; k0 < g->k; k0 += block) {
            int64_t k = g->k - k0 < block ? g->k - k0 : block;
            for (int64_t r0 = 0; r0 < columns; r0 += TILE_ROWS) {
                int64_t rows = columns - r0 < TILE_ROWS ? columns - r0 : TILE_ROWS;
                const float *weights = g->b + (j + r0) * g->ldb + k0;
                for (int64_t r = 0; r < rows && j + 16 + r0 + r < g->n; r++)
                    for (int64_t p = 0; p < k; p += VF_LANES)
                        _mm_prefetch((const char *)(weights + (16 + r) * g->ldb + p), _MM_HINT_T1);
                for (int64_t i = 0; i < g->m; i += TILE_COLUMNS) {
                    int64_t n = g->m - i < TILE_COLUMNS ? g->m - i : TILE_COLUMNS;
                    int64_t vectors = (n + VF_LANES - 1) / VF_LANES;
                    tile_target target = {.out = sums + r0 * FEW_STRIDE + i, .ld = FEW_STRIDE,
                                          .columns = vectors * VF_LANES, .later = k0 > 0};
                    tiles[0][vectors - 1][rows - 1](k, weights, g->ldb, packed + k0 * stride + i * k, vectors * VF_LANES,
                                                    &target);
                }
            }
        }
        for (int64_t i = 0; i < g->m; i += 16) {
            int64_t rows = g->m - i < 16 ? g->m - i : 16;
            vf square[16];
            float out[16 * 16];
            for (int r = 0; r < 16; r++) square[r] = r < columns ? vf_load(sums + r * FEW_STRIDE + i) : vf_zero();
            tarn_transpose_16(square);
            for (int r = 0; r < 16; r++) vf_store(out + 16 * r, square[r]);
            epilogue(g, out, 16, i, j, rows, columns);
        }
    }
}

/* ---- entry ---------------------------------------------------------------------------------------------------------------- */

static size_t floats_for(const tarn_gemm_f32 *g)
{
    size_t part[4];
    return few_rows(g) ? few_rows_floats(g) : work_floats(g, part);
}

static void run_one(const tarn_gemm_f32 *g, float *memory)
{
    if (few_rows(g)) run_few_rows(g, memory);
    else run(g, memory);
}

typedef struct split {
    const tarn_gemm_f32 *gemm;
    float *memory;
    size_t floats; /* per member */
    bool by_rows;
} split;

/* The product of a range of rows or columns: a smaller product of the same kind. */
static tarn_gemm_f32 part_of(const tarn_gemm_f32 *gemm, bool by_rows, int64_t begin, int64_t end)
{
    tarn_gemm_f32 g = *gemm;
    int64_t i = by_rows ? begin : 0, j = by_rows ? 0 : begin;
    if (by_rows) g.m = end - begin;
    else g.n = end - begin;
    g.a += g.transpose_a ? i : i * g.lda;
    g.b += g.transpose_b ? j * g.ldb : j;
    g.c += i * g.ldc + j;
    if (g.bias) g.bias += j;
    if (g.pre) g.pre += i * g.ld_pre + j;
    if (g.residual) g.residual += i * g.ld_residual + j;
    if (g.gate) g.gate += i * g.ld_gate + j;
    if (g.activated) g.activated += i * g.ld_activated + j;
    if (g.row_sum) g.row_sum = !by_rows && begin > 0 ? NULL : g.row_sum + i;
    if (!g.row_sum) g.add_row_sum = false;
    return g;
}

static void run_part(void *argument, int64_t begin, int64_t end, int member)
{
    const split *s = argument;
    tarn_gemm_f32 g = part_of(s->gemm, s->by_rows, begin, end);
    run_one(&g, s->memory + (size_t)member * s->floats);
}

/* K = 0: sums are zero, the epilogue still holds. */
static void run_empty(const tarn_gemm_f32 *g)
{
    static const float zeros[VF_LANES];
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j += VF_LANES)
            epilogue(g, zeros, 0, i, j, 1, g->n - j < VF_LANES ? g->n - j : VF_LANES);
    for (int64_t i = 0; g->row_sum && i < g->m; i++) g->row_sum[i] = g->add_row_sum ? g->row_sum[i] + 0.0f : 0.0f;
}

void TARN_ISA_FN(tarn_gemm)(const tarn_gemm_f32 *gemm, tarn_team *team, tarn_scratch *scratch)
{
    if (gemm->m <= 0) return;
    if (gemm->n <= 0 || gemm->k <= 0 || (gemm->row_sum && !gemm->transpose_a)) {
        /* Shapes no training step has: the definition itself. */
        if (gemm->k <= 0 && gemm->n > 0) run_empty(gemm);
        else tarn_gemm_reference_f32(gemm, team, scratch);
        return;
    }
    int members = team ? tarn_team_size(team) : 1;
    bool by_rows = gemm->m >= gemm->n;
    size_t floats = (floats_for(gemm) + 31) / 16 * 16;
    if (members > 1) {
        /* A part may take the other path, with other needs. */
        size_t part[4], most = work_floats(gemm, part), few = few_rows_floats(gemm);
        floats = most;
        if (gemm->m / members <= FEW_ROWS || gemm->m <= FEW_ROWS) floats = most > few ? most : few;
        floats = (floats + 31) / 16 * 16;
    }
    size_t bytes = floats * (size_t)members * sizeof(float);
    float *memory = scratch ? tarn_scratch_get(scratch, bytes) : aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!memory) {
        if (!scratch) tarn_gemm_reference_f32(gemm, NULL, NULL);
        return;
    }
    if (members > 1) {
        split s = {gemm, memory, floats, by_rows};
        tarn_team_for(team, by_rows ? gemm->m : gemm->n, by_rows ? A_PANEL : TILE_COLUMNS, run_part, &s);
    } else {
        run_one(gemm, memory);
    }
    if (!scratch) free(memory);
}

void TARN_ISA_FN(tarn_small_gemm)(const tarn_small_gemm *gemm)
{
    /* Unpacked: B's rows are contiguous; tiles read them in place. */
    int64_t block = tarn_gemm_block(gemm->k);
    const int step = gemm->transpose_a ? PACKED_TILE_ROWS : TILE_ROWS;
    float tile[TILE_ROWS * TILE_COLUMNS];
    tarn_gemm_f32 sink = {.m = gemm->m, .n = gemm->n, .c = gemm->c, .ldc = gemm->ldc, .add = gemm->add};
    if (gemm->k <= 0) run_empty(&sink);
    for (int64_t j = 0; j < gemm->n && gemm->k > 0; j += TILE_COLUMNS) {
        int64_t n = gemm->n - j < TILE_COLUMNS ? gemm->n - j : TILE_COLUMNS, vectors = (n + VF_LANES - 1) / VF_LANES;
        bool ragged = n % VF_LANES != 0; /* the last vector may not be read past the row's end */
        for (int64_t i = 0; i < gemm->m; i += step) {
            int64_t r = gemm->m - i < step ? gemm->m - i : step;
            for (int64_t k0 = 0; k0 < gemm->k; k0 += block) {
                int64_t k = gemm->k - k0 < block ? gemm->k - k0 : block;
                const float *a = gemm->transpose_a ? gemm->a + k0 * gemm->lda + i : gemm->a + i * gemm->lda + k0;
                const float *b = gemm->b + k0 * gemm->ldb + j;
                bool aside = gemm->add;
                tile_target target = {.out = aside ? tile : gemm->c + i * gemm->ldc + j,
                                      .ld = aside ? TILE_COLUMNS : gemm->ldc, .columns = n, .later = k0 > 0};
                if (ragged) {
                    float panel[LONGEST_BLOCK * TILE_COLUMNS];
                    tarn_pack_rows(panel, b, gemm->ldb, k, n, vectors * VF_LANES);
                    tiles[gemm->transpose_a][vectors - 1][r - 1](k, a, gemm->lda, panel, vectors * VF_LANES, &target);
                } else {
                    tiles[gemm->transpose_a][vectors - 1][r - 1](k, a, gemm->lda, b, gemm->ldb, &target);
                }
            }
            if (gemm->add) epilogue(&sink, tile, TILE_COLUMNS, i, j, r, n);
        }
    }
}
