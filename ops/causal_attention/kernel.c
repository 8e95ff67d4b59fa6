/* kernel.c - causal_attention on vectors: heads are split over the team. q and v are read where they lie in qkv; k (and
 * in backward v) is transposed into panels of 48 keys, so that scores are products of contiguous rows. */
#include "ops/fast.h"

#include "ops/causal_attention/heads.h"
#include "runtime/backend/cpu/gemm.h"
#include "runtime/backend/cpu/gemm_pack.h"

enum { PANEL = 48 };

typedef struct attention_job {
    const tarn_call *call;
    attention_shape shape;
    int64_t ld; /* of a row of scores: T rounded up to a panel */
    float scale;
    float *memory; /* a share per member */
    int64_t share; /* floats */
} attention_job;

static inline void multiply(tarn_small_gemm p)
{
    TARN_ISA_FN(tarn_small_gemm)(&p);
}

static void transpose_keys(const attention_job *job, const float *keys, float *panels)
{
    int64_t time = job->shape.time, depth = job->shape.depth;
    for (int64_t j = 0; j < time; j += PANEL)
        tarn_pack_columns(panels + j * depth, keys + j * job->shape.ld, job->shape.ld, depth,
                          time - j < PANEL ? time - j : PANEL, PANEL);
}

/* s (count, keys) = a times the transposed keys; whole vectors of s are written. */
static void scores(const attention_job *job, int64_t count, int64_t keys, const float *a, int64_t lda,
                   const float *panels, float *s)
{
    for (int64_t j = 0; j < keys; j += PANEL) {
        int64_t n = (keys - j + VF_LANES - 1) / VF_LANES * VF_LANES;
        multiply((tarn_small_gemm){.m = count,
                                   .n = n < PANEL ? n : PANEL,
                                   .k = job->shape.depth,
                                   .a = a,
                                   .lda = lda,
                                   .b = panels + j * job->shape.depth,
                                   .ldb = PANEL,
                                   .c = s + j,
                                   .ldc = job->ld});
    }
}

static float logarithm(float x)
{
    float lanes[VF_LANES];
    vf_store(lanes, vf_log(vf_set1(x)));
    return lanes[0];
}

/* p = e^fma(p, scale, -largest) for the first n keys, +0 up to `keys`; returns their sum. */
static float exponentials(float *p, int64_t n, int64_t keys, vf scale, vf shift)
{
    vf_row_sum sum;
    vf_row_sum_start(&sum);
    int64_t j = 0;
    for (; j + VF_LANES <= n; j += VF_LANES) {
        vf e = vf_exp(vf_fma(vf_load(p + j), scale, shift));
        vf_store(p + j, e);
        vf_row_sum_add(&sum, e);
    }
    if (j < n) {
        vf e = vf_first(vf_exp(vf_fma(vf_load(p + j), scale, shift)), n - j);
        vf_store(p + j, e);
        vf_row_sum_add(&sum, e);
        j += VF_LANES;
    }
    for (; j < keys; j += VF_LANES) vf_store(p + j, vf_zero());
    return vf_row_sum_end(&sum);
}

static void forward_head(const attention_job *job, int64_t index, float *memory)
{
    const attention_shape *shape = &job->shape;
    const float *q = (const float *)job->call->in[0].data + attention_qkv_offset(shape, index);
    float *y = (float *)job->call->out[0].data + attention_out_offset(shape, index);
    float *lse = (float *)job->call->out[1].data + index * shape->time;
    float *keys = memory, *s = keys + job->ld * shape->depth, inverse[TARN_QUERY_BLOCK];
    int64_t time = shape->time, depth = shape->depth, width = shape->width;
    transpose_keys(job, q + width, keys);
    for (int64_t q0 = 0; q0 < time; q0 += TARN_QUERY_BLOCK) {
        int64_t q1 = q0 + TARN_QUERY_BLOCK < time ? q0 + TARN_QUERY_BLOCK : time;
        scores(job, q1 - q0, q1, q + q0 * shape->ld, shape->ld, keys, s);
        for (int64_t i = q0; i < q1; i++) {
            float *p = s + (i - q0) * job->ld, largest = vf_lane_max(p, i + 1) * job->scale;
            float sum = exponentials(p, i + 1, q1, vf_set1(job->scale), vf_set1(-largest));
            inverse[i - q0] = 1.0f / sum;
            lse[i] = largest + logarithm(sum);
        }
        multiply((tarn_small_gemm){.m = q1 - q0,
                                   .n = depth,
                                   .k = q1,
                                   .a = s,
                                   .lda = job->ld,
                                   .b = q + 2 * width,
                                   .ldb = shape->ld,
                                   .c = y + q0 * width,
                                   .ldc = width});
        for (int64_t i = q0; i < q1; i++)
            for (int64_t d = 0; d < depth; d += VF_LANES) {
                float *at = y + i * width + d;
                vf value = vf_mul(vf_load_partial(at, depth - d), vf_set1(inverse[i - q0]));
                vf_store_partial(at, value, depth - d);
            }
    }
}

static void forward_piece(void *argument, int64_t begin, int64_t end, int member)
{
    const attention_job *job = argument;
    for (int64_t index = begin; index < end; index++) forward_head(job, index, job->memory + member * job->share);
}

static void run(const tarn_call *call, tarn_team_function *piece, int64_t panels, int64_t rows, int64_t gradient)
{
    attention_job job = {.call = call, .shape = attention_shape_of(call)};
    job.ld = (job.shape.time + PANEL - 1) / PANEL * PANEL;
    job.scale = 1.0f / __builtin_sqrtf((float)job.shape.depth);
    job.share = panels * job.ld * job.shape.depth + rows * TARN_QUERY_BLOCK * job.ld +
                gradient * job.shape.time * job.shape.depth;
    job.share = (job.share + VF_LANES - 1) / VF_LANES * VF_LANES;
    size_t members = (size_t)tarn_team_size(call->team);
    job.memory = tarn_scratch_get(call->scratch, members * (size_t)job.share * sizeof(float));
    if (job.memory) tarn_team_for(call->team, job.shape.batch * job.shape.heads, 1, piece, &job);
}

static void forward(const tarn_call *call)
{
    run(call, forward_piece, 1, 1, 0);
}

/* A query's scores and dy v^T to probabilities and ds; +0 from key n on. */
static void gradients_of_scores(float *p, float *ds, int64_t n, int64_t keys, vf scale, vf shift, vf dot)
{
    int64_t j = 0;
    for (; j + VF_LANES <= n; j += VF_LANES) {
        vf e = vf_exp(vf_fma(vf_load(p + j), scale, shift));
        vf_store(p + j, e);
        vf_store(ds + j, vf_mul(vf_mul(e, scale), vf_sub(vf_load(ds + j), dot)));
    }
    for (; j < keys; j += VF_LANES) {
        vf e = vf_exp(vf_fma(vf_load(p + j), scale, shift));
        vf value = vf_mul(vf_mul(e, scale), vf_sub(vf_load(ds + j), dot));
        vf_store(p + j, vf_first(e, n - j));
        vf_store(ds + j, vf_first(value, n - j));
    }
}

/* dq, dk, dv of a head go to `to` with rows ld_to apart, dk and dv `part` and 2 * `part` elements further. */
static void backward_head(const attention_job *job, int64_t index, float *memory, float *to, int64_t ld_to,
                          int64_t part)
{
    const attention_shape *shape = &job->shape;
    const tarn_call *call = job->call;
    const float *q = (const float *)call->in[0].data + attention_qkv_offset(shape, index);
    const float *y = (const float *)call->out[0].data + attention_out_offset(shape, index);
    const float *dy = (const float *)call->grad_out.data + attention_out_offset(shape, index);
    const float *lse = (const float *)call->out[1].data + index * shape->time;
    int64_t time = shape->time, depth = shape->depth, width = shape->width;
    float *keys = memory, *values = keys + job->ld * depth, *p = values + job->ld * depth;
    float *ds = p + TARN_QUERY_BLOCK * job->ld;
    transpose_keys(job, q + width, keys);
    transpose_keys(job, q + 2 * width, values);
    for (int64_t q0 = 0; q0 < time; q0 += TARN_QUERY_BLOCK) {
        int64_t q1 = q0 + TARN_QUERY_BLOCK < time ? q0 + TARN_QUERY_BLOCK : time, count = q1 - q0;
        scores(job, count, q1, q + q0 * shape->ld, shape->ld, keys, p);
        scores(job, count, q1, dy + q0 * width, width, values, ds);
        for (int64_t i = q0; i < q1; i++) {
            int64_t row = (i - q0) * job->ld;
            vf dot = vf_set1(vf_lane_dot(dy + i * width, y + i * width, depth));
            gradients_of_scores(p + row, ds + row, i + 1, q1, vf_set1(job->scale), vf_set1(-lse[i]), dot);
        }
        multiply((tarn_small_gemm){.m = count,
                                   .n = depth,
                                   .k = q1,
                                   .a = ds,
                                   .lda = job->ld,
                                   .b = q + width,
                                   .ldb = shape->ld,
                                   .c = to + q0 * ld_to,
                                   .ldc = ld_to});
        for (int own = 0; own < 2; own++) { /* keys of earlier blocks add, the block's own store */
            int64_t first = own ? q0 : 0, end = own ? q1 : q0;
            if (first == end) continue;
            tarn_small_gemm dk = {.m = end - first,
                                  .n = depth,
                                  .k = count,
                                  .a = ds + first,
                                  .lda = job->ld,
                                  .transpose_a = true,
                                  .b = q + q0 * shape->ld,
                                  .ldb = shape->ld,
                                  .c = to + first * ld_to + part,
                                  .ldc = ld_to,
                                  .add = !own};
            tarn_small_gemm dv = dk;
            dv.a = p + first;
            dv.b = dy + q0 * width;
            dv.ldb = width;
            dv.c = dk.c + part;
            multiply(dk);
            multiply(dv);
        }
    }
}

static void backward_piece(void *argument, int64_t begin, int64_t end, int member)
{
    const attention_job *job = argument;
    const attention_shape *shape = &job->shape;
    int64_t depth = shape->depth;
    float *memory = job->memory + member * job->share;
    float *aside = memory + 2 * job->ld * depth + 2 * TARN_QUERY_BLOCK * job->ld;
    for (int64_t index = begin; index < end; index++) {
        float *gradient = (float *)job->call->grad_in[0].data + attention_qkv_offset(shape, index);
        if (!job->call->add[0]) {
            backward_head(job, index, memory, gradient, shape->ld, shape->width);
            continue;
        }
        backward_head(job, index, memory, aside, 3 * depth, depth);
        for (int64_t row = 0; row < 3 * shape->time; row++) {
            const float *from = aside + row * depth;
            float *at = gradient + row / 3 * shape->ld + row % 3 * shape->width;
            for (int64_t d = 0; d < depth; d++) at[d] = at[d] + from[d];
        }
    }
}

static void backward(const tarn_call *call)
{
    if (call->grad_in[0].data) run(call, backward_piece, 2, 2, call->add[0] ? 3 : 0);
}

TARN_FAST(causal_attention, forward, backward)
