/* kernel.c - layer_norm on vectors. Alone, one pass over the rows writes dx and gathers dweight and dbias while the row
 * is in the cache; with a team, dx is split by rows and the columns' sums by columns: the same chains. */
#include "ops/fast.h"
#include "ops/fused.h"

#include <string.h>

enum { BLOCK_ROWS = 4096 };

typedef struct norm_job {
    const tarn_call *call;
    int64_t rows, n;
    float *sums, *totals; /* (2, n): dweight, dbias of the block and of the blocks before it */
} norm_job;

static inline vf affine(vf h, const float *weight, const float *bias, int64_t left)
{
    if (weight && bias) return vf_fma(h, vf_load_partial(weight, left), vf_load_partial(bias, left));
    if (weight) return vf_mul(h, vf_load_partial(weight, left));
    return bias ? vf_add(h, vf_load_partial(bias, left)) : h;
}

static void forward_rows(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const tarn_call *call = argument;
    const float *weight = call->in[1].data, *bias = call->in[2].data;
    int64_t n = tarn_width(&call->in[0]), full = n / VF_LANES * VF_LANES;
    float epsilon = ((const tarn_norm_attrs *)call->attrs)->epsilon;
    for (int64_t row = begin; row < end; row++) {
        const float *x = (const float *)call->in[0].data + row * n;
        float *y = (float *)call->out[0].data + row * n, *saved = (float *)call->out[1].data + 2 * row;
        saved[0] = vf_lane_sum(x, n) / (float)n;
        vf mean = vf_set1(saved[0]);
        vf_row_sum squares;
        vf_row_sum_start(&squares);
        for (int64_t j = 0; j < full; j += VF_LANES) {
            vf d = vf_sub(vf_load(x + j), mean);
            vf_row_sum_fma(&squares, d, d);
        }
        if (full < n) {
            vf d = vf_first(vf_sub(vf_load_partial(x + full, n - full), mean), n - full);
            vf_row_sum_fma(&squares, d, d);
        }
        saved[1] = 1.0f / __builtin_sqrtf(vf_row_sum_end(&squares) / (float)n + epsilon);
        vf inverse = vf_set1(saved[1]);
        if (weight && bias)
            for (int64_t j = 0; j < full; j += VF_LANES)
                vf_store(y + j,
                         vf_fma(vf_mul(vf_sub(vf_load(x + j), mean), inverse), vf_load(weight + j), vf_load(bias + j)));
        for (int64_t j = weight && bias ? full : 0; j < n; j += VF_LANES) {
            vf h = vf_mul(vf_sub(vf_load_partial(x + j, n - j), mean), inverse);
            vf_store_partial(y + j, affine(h, weight ? weight + j : NULL, bias ? bias + j : NULL, n - j), n - j);
        }
    }
}

static void forward(const tarn_call *call)
{
    tarn_team_for(call->team, tarn_rows(&call->in[0]), 1, forward_rows, (void *)call);
}

/* One vector of a row. left: elements to the row's end; whole vectors are told by the constant 16. */
typedef struct norm_row {
    const float *x, *dy, *weight;
    float *dx, *dweight, *dbias;
    vf mean, inverse;
} norm_row;

TARN_INLINE void gather(const norm_row *r, int64_t j, int64_t left, vf_row_sum *sum, vf_row_sum *dot)
{
    vf h = vf_mul(vf_sub(vf_load_partial(r->x + j, left), r->mean), r->inverse), dy = vf_load_partial(r->dy + j, left);
    if (r->dweight) {
        vf_store_partial(r->dweight + j, vf_fma(dy, h, vf_load_partial(r->dweight + j, left)), left);
        vf_store_partial(r->dbias + j, vf_add(vf_load_partial(r->dbias + j, left), dy), left);
    }
    if (!sum) return;
    vf g = r->weight ? vf_mul(dy, vf_load_partial(r->weight + j, left)) : dy;
    vf_row_sum_add(sum, vf_first(g, left));
    vf_row_sum_fma(dot, vf_first(g, left), vf_first(h, left));
}

TARN_INLINE void spread(const norm_row *r, int64_t j, int64_t left, vf mean_g, vf mean_gh, bool add)
{
    vf h = vf_mul(vf_sub(vf_load_partial(r->x + j, left), r->mean), r->inverse), g = vf_load_partial(r->dy + j, left);
    if (r->weight) g = vf_mul(g, vf_load_partial(r->weight + j, left));
    vf value = vf_mul(vf_fma(vf_neg(h), mean_gh, vf_sub(g, mean_g)), r->inverse);
    if (add) value = vf_add(vf_load_partial(r->dx + j, left), value);
    vf_store_partial(r->dx + j, value, left);
}

static void gather_row(const norm_row *r, int64_t begin, int64_t end, vf_row_sum *sum, vf_row_sum *dot)
{
    int64_t j = begin;
    for (; j + VF_LANES <= end; j += VF_LANES) gather(r, j, VF_LANES, sum, dot);
    if (j < end) gather(r, j, end - j, sum, dot);
}

static norm_row row_at(const tarn_call *call, int64_t row, int64_t n)
{
    const float *saved = (const float *)call->out[1].data + 2 * row;
    return (norm_row){.x = (const float *)call->in[0].data + row * n,
                      .dy = (const float *)call->grad_out.data + row * n,
                      .weight = call->in[1].data,
                      .mean = vf_set1(saved[0]),
                      .inverse = vf_set1(saved[1])};
}

/* dx of rows [begin, end), and, with job->sums, the columns' sums of the same rows. */
static void backward_rows(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const norm_job *job = argument;
    const tarn_call *call = job->call;
    int64_t n = job->n;
    for (int64_t row = begin; row < end; row++) {
        norm_row r = row_at(call, row, n);
        r.dx = (float *)call->grad_in[0].data + row * n;
        if (job->sums) {
            r.dweight = job->sums;
            r.dbias = job->sums + n;
        }
        vf_row_sum sum, dot;
        vf_row_sum_start(&sum);
        vf_row_sum_start(&dot);
        gather_row(&r, 0, n, &sum, &dot);
        vf mean_g = vf_set1(vf_row_sum_end(&sum) / (float)n), mean_gh = vf_set1(vf_row_sum_end(&dot) / (float)n);
        int64_t j = 0;
        for (; j + VF_LANES <= n; j += VF_LANES) spread(&r, j, VF_LANES, mean_g, mean_gh, call->add[0]);
        if (j < n) spread(&r, j, n - j, mean_g, mean_gh, call->add[0]);
    }
}

/* The columns' sums of the rows [0, rows) for columns [begin, end). */
static void end_block(const norm_job *job, int64_t begin, int64_t end)
{
    for (int64_t j = begin; j < end; j++) {
        job->totals[j] = job->totals[j] + job->sums[j];
        job->totals[job->n + j] = job->totals[job->n + j] + job->sums[job->n + j];
        job->sums[j] = job->sums[job->n + j] = 0.0f;
    }
}

static void backward_columns(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const norm_job *job = argument;
    for (int64_t row = 0; row < job->rows; row++) {
        norm_row r = row_at(job->call, row, job->n);
        r.dweight = job->sums;
        r.dbias = job->sums + job->n;
        gather_row(&r, begin, end, NULL, NULL);
        if ((row + 1) % BLOCK_ROWS == 0 || row + 1 == job->rows) end_block(job, begin, end);
    }
}

static void store(const tarn_call *call, int i, const float *totals, int64_t n)
{
    float *gradient = call->grad_in[i].data;
    if (!gradient) return;
    for (int64_t j = 0; j < n; j++) gradient[j] = call->add[i] ? gradient[j] + totals[j] : totals[j];
}

static void backward(const tarn_call *call)
{
    norm_job job = {.call = call, .rows = tarn_rows(&call->in[0]), .n = tarn_width(&call->in[0])};
    bool wants_columns = call->grad_in[1].data || call->grad_in[2].data, wants_rows = call->grad_in[0].data != NULL;
    if (wants_columns) {
        job.sums = tarn_scratch_get(call->scratch, (size_t)job.n * 4 * sizeof(float));
        if (!job.sums) return;
        memset(job.sums, 0, (size_t)job.n * 4 * sizeof(float));
        job.totals = job.sums + 2 * job.n;
    }
    if (wants_rows && wants_columns && tarn_team_size(call->team) == 1) {
        for (int64_t row = 0; row < job.rows; row += BLOCK_ROWS) {
            backward_rows(&job, row, row + BLOCK_ROWS < job.rows ? row + BLOCK_ROWS : job.rows, 0);
            end_block(&job, 0, job.n);
        }
    } else {
        norm_job rows_only = job;
        rows_only.sums = NULL;
        if (wants_rows) tarn_team_for(call->team, job.rows, 1, backward_rows, &rows_only);
        if (wants_columns) tarn_team_for(call->team, job.n, VF_LANES, backward_columns, &job);
    }
    if (wants_columns) {
        store(call, 1, job.totals, job.n);
        store(call, 2, job.totals + job.n, job.n);
    }
}

TARN_FAST(layer_norm, forward, backward)
