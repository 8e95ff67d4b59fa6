/* gemm_fast.c - the matrix product on AVX2 and AVX-512: packing, the loops over blocks, splitting among a team.
 *
 * B is packed into panels of TILE_COLUMNS, a transposed A into panels of A_PANEL rows; a row-major A is read in place.
 * Tiles (gemm_tile.h) sum one block of K; the epilogue runs while the last one lies in the first-level cache. Few rows
 * times transposed weights go another way (gemm_few_fast.c).
 *
 * Invariant: every output element is the sum gemm.h defines; blocking, packing and threads decide nothing else.
 */
#include "runtime/backend/cpu/gemm_tile.h"

#include <stdlib.h>

enum {
    ROW_BLOCK = 480,     /* rows of A whose block of K stays in the second-level cache; a multiple of A_PANEL */
    COLUMN_BLOCK = 3072, /* columns of B packed at once; a multiple of TILE_COLUMNS */
    FEW_ROWS = 144       /* up to here the weights are the broadcast operand */
};

static int64_t round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- packing ----------------------------------------------------------------------------------------------------- */

/* Columns [0, n) of rows [0, k) of op(B): panels one after another, the last one as many whole vectors as it needs. */
static void pack_b(float *packed, const float *b, int64_t ldb, bool transpose_b, int64_t k, int64_t n)
{
    if (!transpose_b) {
        /* Row by row: memory is read in order. */
        int64_t full = n / TILE_COLUMNS * TILE_COLUMNS;
        for (int64_t p = 0; p < k; p++) {
            const float *row = b + p * ldb;
            for (int64_t j = 0; j < full; j += TILE_COLUMNS) {
                float *to = packed + j * k + p * TILE_COLUMNS;
                for (int v = 0; v < TILE_COLUMNS; v += VF_LANES) vf_store(to + v, vf_load(row + j + v));
            }
        }
        if (full < n) tarn_pack_rows(packed + full * k, b + full, ldb, k, n - full, round_up(n - full, VF_LANES));
        return;
    }
    for (int64_t j = 0; j < n; j += TILE_COLUMNS) {
        int64_t columns = least(n - j, TILE_COLUMNS);
        tarn_pack_columns(packed + j * k, b + j * ldb, ldb, k, columns, round_up(columns, VF_LANES));
    }
}

/* All of B: block of K after block, each as pack_b lays it out. */
size_t TARN_ISA_FN(tarn_gemm_packed_b_floats)(int64_t n, int64_t k)
{
    return n <= 0 || k <= 0 ? 0 : (size_t)(round_up(n, VF_LANES) * k);
}

void TARN_ISA_FN(tarn_gemm_pack_b)(float *packed, const float *b, int64_t ldb, bool transpose_b, int64_t n, int64_t k)
{
    int64_t block = tarn_gemm_block(k);
    for (int64_t k0 = 0; k0 < k; k0 += block)
        pack_b(packed + k0 * round_up(n, VF_LANES), transpose_b ? b + k0 : b + k0 * ldb, ldb, transpose_b,
               least(k - k0, block), n);
}

/* Rows [i0, i0 + rows) of A^T, one block of K, into panels; adds the block to the row sums on the way. Rows of a panel
 * overlap by VF_LANES - A_PANEL floats: whole vectors are stored, the next row overwrites what is too much. */
static void pack_a(const tarn_gemm_f32 *g, float *packed, int64_t k0, int64_t k, int64_t i0, int64_t rows, bool sum)
{
    for (int64_t i = 0; i < rows; i += A_PANEL, packed += k * A_PANEL) {
        int64_t n = rows - i;
        const float *from = g->a + k0 * g->lda + i0 + i;
        vf total = vf_zero();
        if (n >= VF_LANES) {
            for (int64_t p = 0; p < k; p++) {
                _mm_prefetch((const char *)(from + (p + 16) * g->lda), _MM_HINT_T0);
                vf row = vf_load(from + p * g->lda);
                vf_store(packed + p * A_PANEL, row);
                total = vf_add(total, row);
            }
        } else {
            for (int64_t p = 0; p < k; p++) {
                vf row = vf_load_partial(from + p * g->lda, n);
                vf_store(packed + p * A_PANEL, row);
                total = vf_add(total, row);
            }
        }
        if (!sum) continue;
        float *out = g->row_sum + i0 + i;
        n = least(n, A_PANEL);
        vf_store_partial(out, k0 ? vf_add(vf_load_partial(out, n), total) : total, n);
    }
}

/* ---- the loops --------------------------------------------------------------------------------------------------- */

/* Memory of one product on one thread; NULL: not needed. */
typedef struct work {
    float *b;       /* a block of columns, one block of K */
    float *a;       /* a block of rows, one block of K */
    float *partial; /* sums of earlier blocks of K, when C's old values are still needed */
    float *row_sum; /* likewise for the row sums */
    int64_t ld_partial;
} work;

/* Lays the parts out from `memory` on (NULL: only counts) and returns the floats needed. */
static size_t plan_work(const tarn_gemm_f32 *g, work *w, float *memory)
{
    int64_t block = least(tarn_gemm_block(g->k), g->k), columns = round_up(least(g->n, COLUMN_BLOCK), VF_LANES);
    size_t used = 0, part[4] = {0};
    if (!g->packed_b) part[0] = (size_t)(columns * block);
    if (g->transpose_a) part[1] = (size_t)(round_up(least(g->m, ROW_BLOCK), A_PANEL) * block);
    if (g->add && g->k > block) part[2] = (size_t)(g->m * columns);
    if (g->row_sum && g->add_row_sum) part[3] = (size_t)g->m;
    float **where[4] = {&w->b, &w->a, &w->partial, &w->row_sum};
    for (int i = 0; i < 4; i++) {
        *where[i] = part[i] && memory ? memory + used : NULL;
        /* A vector to spare: whole vectors are stored; whole lines: alignment. */
        if (part[i]) used += (size_t)round_up((int64_t)part[i] + VF_LANES, VF_LANES);
    }
    w->ld_partial = columns;
    return used;
}

static bool has_epilogue(const tarn_gemm_f32 *g)
{
    return g->bias || g->pre || g->residual || g->gate || g->activation != TARN_NO_ACTIVATION || g->add;
}

/* Brings what the epilogue of a tile reads and writes nearer while the tile is summed. */
TARN_INLINE void prefetch_tile(const float *p, int64_t ld, int64_t rows, int64_t columns)
{
    if (!p) return;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j += VF_LANES) _mm_prefetch((const char *)(p + i * ld + j), _MM_HINT_T0);
}

static void prefetch_epilogue(const tarn_gemm_f32 *g, int64_t i, int64_t j, int64_t rows, int64_t columns)
{
    prefetch_tile(g->c + i * g->ldc + j, g->ldc, rows, columns);
    if (g->residual) prefetch_tile(g->residual + i * g->ld_residual + j, g->ld_residual, rows, columns);
    if (g->gate) prefetch_tile(g->gate + i * g->ld_gate + j, g->ld_gate, rows, columns);
    if (g->pre) prefetch_tile(g->pre + i * g->ld_pre + j, g->ld_pre, rows, columns);
    if (g->activated) prefetch_tile(g->activated + i * g->ld_activated + j, g->ld_activated, rows, columns);
}

/* A block of op(A) and of op(B): rows [i0, i0 + rows), columns [j0, j0 + columns), [k0, k0 + k) of K. */
typedef struct region {
    int64_t i0, rows, j0, columns, k0, k;
    const float *b; /* panels of these columns */
} region;

static void run_tiles(const tarn_gemm_f32 *g, const work *w, const region *r)
{
    bool last = r->k0 + r->k >= g->k, finishing = last && has_epilogue(g), single = r->k0 == 0 && last;
    float tile[TILE_ROWS * TILE_COLUMNS];
    for (int64_t j = 0; j < r->columns; j += TILE_COLUMNS) {
        int64_t n = least(r->columns - j, TILE_COLUMNS), vectors = (n + VF_LANES - 1) / VF_LANES;
        for (int64_t i = 0; i < r->rows; i += TILE_ROWS) {
            int64_t rows = least(r->rows - i, TILE_ROWS), row = r->i0 + i, column = r->j0 + j, lda = g->lda;
            const float *a = g->a + row * lda + r->k0;
            if (g->transpose_a) {
                a = w->a + i / A_PANEL * A_PANEL * r->k + i % A_PANEL;
                lda = A_PANEL;
            }
            tile_target target = {.out = g->c + row * g->ldc + column, .ld = g->ldc, .columns = n, .later = r->k0 > 0};
            if (single && finishing) {
                target.out = tile;
                target.ld = TILE_COLUMNS;
            } else if (w->partial) {
                target.out = w->partial + row * w->ld_partial + j;
                target.ld = w->ld_partial;
            }
            if (finishing) prefetch_epilogue(g, row, column, rows, n);
            gemm_tiles[g->transpose_a][vectors - 1][rows - 1](r->k, a, lda, r->b + j * r->k, vectors * VF_LANES,
                                                              &target);
            if (finishing) gemm_epilogue(g, target.out, target.ld, row, column, rows, n);
        }
    }
}

/* gemm is a part of a product whose packed B, when it has one, counts from column first_column of packed_n. */
static void run(const tarn_gemm_f32 *gemm, int64_t first_column, int64_t packed_n, float *memory)
{
    work w;
    plan_work(gemm, &w, memory);
    tarn_gemm_f32 g = *gemm;
    if (w.row_sum) g.row_sum = w.row_sum; /* summed aside, added at the end */
    int64_t block = tarn_gemm_block(g.k);
    region r;
    for (r.j0 = 0; r.j0 < g.n; r.j0 += COLUMN_BLOCK) {
        r.columns = least(g.n - r.j0, COLUMN_BLOCK);
        for (r.k0 = 0; r.k0 < g.k; r.k0 += block) {
            r.k = least(g.k - r.k0, block);
            if (g.packed_b) {
                r.b = g.packed_b + r.k0 * round_up(packed_n, VF_LANES) + (first_column + r.j0) * r.k;
            } else {
                pack_b(w.b, g.transpose_b ? g.b + r.j0 * g.ldb + r.k0 : g.b + r.k0 * g.ldb + r.j0, g.ldb, g.transpose_b,
                       r.k, r.columns);
                r.b = w.b;
            }
            for (r.i0 = 0; r.i0 < g.m; r.i0 += ROW_BLOCK) {
                r.rows = least(g.m - r.i0, ROW_BLOCK);
                if (g.transpose_a) pack_a(&g, w.a, r.k0, r.k, r.i0, r.rows, r.j0 == 0 && g.row_sum);
                run_tiles(&g, &w, &r);
            }
        }
    }
    if (w.row_sum)
        for (int64_t i = 0; i < g.m; i++) gemm->row_sum[i] = gemm->row_sum[i] + w.row_sum[i];
}

/* ---- entry ------------------------------------------------------------------------------------------------------- */

static bool few_rows(const tarn_gemm_f32 *g)
{
    return !g->transpose_a && g->transpose_b && !g->packed_b && g->m <= FEW_ROWS && g->n >= g->m && g->k >= VF_LANES;
}

typedef struct split {
    const tarn_gemm_f32 *gemm;
    float *memory;
    size_t floats; /* per member */
    bool by_rows, few;
} split;

/* The product of a range of rows or columns: a smaller product of the same kind. */
static void run_part(void *argument, int64_t begin, int64_t end, int member)
{
    const split *s = argument;
    tarn_gemm_f32 g = *s->gemm;
    int64_t i = s->by_rows ? begin : 0, j = s->by_rows ? 0 : begin;
    if (s->by_rows)
        g.m = end - begin;
    else
        g.n = end - begin;
    g.a += g.transpose_a ? i : i * g.lda;
    if (!g.packed_b) g.b += g.transpose_b ? j * g.ldb : j;
    g.c += i * g.ldc + j;
    if (g.bias) g.bias += j;
    if (g.pre) g.pre += i * g.ld_pre + j;
    if (g.residual) g.residual += i * g.ld_residual + j;
    if (g.gate) g.gate += i * g.ld_gate + j;
    if (g.activated) g.activated += i * g.ld_activated + j;
    if (g.row_sum) g.row_sum = j > 0 ? NULL : g.row_sum + i;
    float *memory = s->memory + (size_t)member * s->floats;
    if (s->few)
        gemm_few_rows(&g, memory);
    else
        run(&g, j, s->gemm->n, memory);
}

/* Sums that no packing can bring along: of a row-major A, or when there are no columns or no K. */
static void row_sums(const tarn_gemm_f32 *g)
{
    tarn_gemm_f32 sums = {.m = g->m, .k = g->k, .a = g->a, .lda = g->lda, .transpose_a = g->transpose_a};
    sums.row_sum = g->row_sum;
    sums.add_row_sum = g->add_row_sum;
    tarn_gemm_reference_f32(&sums, NULL, NULL);
}

/* K = 0: the sums are zero, the epilogue still holds. */
static void run_empty(const tarn_gemm_f32 *g)
{
    static const float zeros[VF_LANES];
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j += VF_LANES) gemm_epilogue(g, zeros, 0, i, j, 1, least(g->n - j, VF_LANES));
}

void TARN_ISA_FN(tarn_gemm)(const tarn_gemm_f32 *gemm, tarn_team *team, tarn_scratch *scratch)
{
    tarn_gemm_f32 g = *gemm;
    if (g.row_sum && (!g.transpose_a || g.n <= 0 || g.k <= 0)) {
        row_sums(&g);
        g.row_sum = NULL;
    }
    if (g.m <= 0 || g.n <= 0) return;
    if (g.k <= 0) {
        run_empty(&g);
        return;
    }
    work unused;
    int members = team ? tarn_team_size(team) : 1;
    split s = {.gemm = &g, .few = few_rows(&g)};
    s.by_rows = !s.few && g.m >= g.n;
    s.floats = s.few ? gemm_few_rows_floats(&g) : plan_work(&g, &unused, NULL);
    s.floats = (size_t)round_up((int64_t)s.floats + VF_LANES, VF_LANES);
    size_t bytes = s.floats * (size_t)members * sizeof(float);
    s.memory = scratch ? tarn_scratch_get(scratch, bytes) : aligned_alloc(64, bytes);
    if (!s.memory) {
        if (!scratch) tarn_gemm_reference_f32(&g, NULL, NULL); /* slow, but right */
        return;
    }
    int64_t count = s.by_rows ? g.m : g.n, grain = s.by_rows ? ROW_BLOCK / 10 : TILE_COLUMNS;
    if (members > 1)
        tarn_team_for(team, count, grain, run_part, &s);
    else
        run_part(&s, 0, count, 0);
    if (!scratch) free(s.memory);
}
