/* kernel.c - rms_norm on vectors; dx is split over the team by rows, dweight by columns. */
#include "ops/fast.h"
#include "ops/fused.h"

enum { BLOCK_ROWS = 4096 };

static void forward_rows(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const tarn_call *call = argument;
    const float *weight = call->in[1].data;
    int64_t n = tarn_width(&call->in[0]);
    float epsilon = ((const tarn_norm_attrs *)call->attrs)->epsilon;
    for (int64_t row = begin; row < end; row++) {
        const float *x = (const float *)call->in[0].data + row * n;
        float *y = (float *)call->out[0].data + row * n;
        float scale = 1.0f / __builtin_sqrtf(vf_lane_dot(x, x, n) / (float)n + epsilon);
        ((float *)call->out[1].data)[row] = scale;
        vf inverse = vf_set1(scale);
        for (int64_t j = 0; j < n; j += VF_LANES) {
            vf h = vf_mul(vf_load_partial(x + j, n - j), inverse);
            if (weight) h = vf_mul(h, vf_load_partial(weight + j, n - j));
            vf_store_partial(y + j, h, n - j);
        }
    }
}

static void forward(const tarn_call *call)
{
    tarn_team_for(call->team, tarn_rows(&call->in[0]), 1, forward_rows, (void *)call);
}

TARN_INLINE vf weighted(const float *dy, const float *weight, int64_t j, int64_t left)
{
    vf g = vf_load_partial(dy + j, left);
    return weight ? vf_mul(g, vf_load_partial(weight + j, left)) : g;
}

static void backward_rows(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const tarn_call *call = argument;
    const float *weight = call->in[1].data;
    int64_t n = tarn_width(&call->in[0]);
    for (int64_t row = begin; row < end; row++) {
        const float *x = (const float *)call->in[0].data + row * n, *dy = (const float *)call->grad_out.data + row * n;
        float *dx = (float *)call->grad_in[0].data + row * n;
        vf inverse = vf_set1(((const float *)call->out[1].data)[row]);
        vf_row_sum dot;
        vf_row_sum_start(&dot);
        for (int64_t j = 0; j < n; j += VF_LANES) {
            vf h = vf_mul(vf_load_partial(x + j, n - j), inverse);
            vf_row_sum_fma(&dot, vf_first(weighted(dy, weight, j, n - j), n - j), vf_first(h, n - j));
        }
        vf mean = vf_set1(vf_row_sum_end(&dot) / (float)n);
        for (int64_t j = 0; j < n; j += VF_LANES) {
            vf h = vf_mul(vf_load_partial(x + j, n - j), inverse);
            vf value = vf_mul(vf_fma(vf_neg(h), mean, weighted(dy, weight, j, n - j)), inverse);
            if (call->add[0]) value = vf_add(vf_load_partial(dx + j, n - j), value);
            vf_store_partial(dx + j, value, n - j);
        }
    }
}

/* Columns in tiles of one vector; the rows of a tile are walked in order. */
static void backward_columns(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const tarn_call *call = argument;
    int64_t rows = tarn_rows(&call->in[0]), n = tarn_width(&call->in[0]);
    const float *x = call->in[0].data, *dy = call->grad_out.data, *saved = call->out[1].data;
    float *gradient = call->grad_in[1].data;
    for (int64_t j = begin; j < end; j += VF_LANES) {
        int64_t left = end - j;
        vf total = vf_zero();
        for (int64_t block = 0; block < rows; block += BLOCK_ROWS) {
            vf sum = vf_zero();
            for (int64_t row = block; row < rows && row < block + BLOCK_ROWS; row++) {
                vf h = vf_mul(vf_load_partial(x + row * n + j, left), vf_set1(saved[row]));
                sum = vf_fma(vf_load_partial(dy + row * n + j, left), h, sum);
            }
            total = vf_add(total, sum);
        }
        if (call->add[1]) total = vf_add(vf_load_partial(gradient + j, left), total);
        vf_store_partial(gradient + j, total, left);
    }
}

static void backward(const tarn_call *call)
{
    if (call->grad_in[0].data) tarn_team_for(call->team, tarn_rows(&call->in[0]), 1, backward_rows, (void *)call);
    if (call->grad_in[1].data)
        tarn_team_for(call->team, tarn_width(&call->in[0]), VF_LANES, backward_columns, (void *)call);
}

TARN_FAST(rms_norm, forward, backward)
