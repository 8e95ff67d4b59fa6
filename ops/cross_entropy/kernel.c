/* kernel.c - cross_entropy on vectors, split over the team by rows; the rows' losses are added by one thread. */
#include "ops/fast.h"
#include "ops/fused.h"

typedef struct loss_job {
    const tarn_call *call;
    float *losses; /* (rows) */
} loss_job;

static float logarithm(float x)
{
    float lanes[VF_LANES];
    vf_store(lanes, vf_log(vf_set1(x)));
    return lanes[0];
}

static void forward_rows(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const loss_job *job = argument;
    const tarn_call *call = job->call;
    const int32_t *targets = call->in[1].data;
    int64_t n = tarn_width(&call->in[0]);
    for (int64_t row = begin; row < end; row++) {
        const float *x = (const float *)call->in[0].data + row * n;
        float *saved = (float *)call->out[1].data + 2 * row;
        saved[0] = saved[1] = job->losses[row] = 0.0f;
        if (targets[row] < 0) continue;
        float largest = vf_lane_max(x, n);
        vf shift = vf_set1(largest);
        vf_row_sum sum;
        vf_row_sum_start(&sum);
        int64_t j = 0;
        for (; j + VF_LANES <= n; j += VF_LANES) vf_row_sum_add(&sum, vf_exp(vf_sub(vf_load(x + j), shift)));
        if (j < n) vf_row_sum_add(&sum, vf_first(vf_exp(vf_sub(vf_load_partial(x + j, n - j), shift)), n - j));
        float s = vf_row_sum_end(&sum);
        saved[0] = largest;
        saved[1] = 1.0f / s;
        job->losses[row] = logarithm(s) + (largest - x[targets[row]]);
    }
}

static void forward(const tarn_call *call)
{
    int64_t rows = tarn_rows(&call->in[0]);
    loss_job job = {call, tarn_scratch_get(call->scratch, (size_t)rows * sizeof(float))};
    if (!job.losses) return;
    tarn_team_for(call->team, rows, 1, forward_rows, &job);
    double total = 0;
    for (int64_t row = 0; row < rows; row++) total += (double)job.losses[row];
    *(float *)call->out[0].data = (float)total;
}

static void backward_rows(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const tarn_call *call = argument;
    const int32_t *targets = call->in[1].data;
    int64_t n = tarn_width(&call->in[0]);
    float d = *(const float *)call->grad_out.data;
    for (int64_t row = begin; row < end; row++) {
        const float *x = (const float *)call->in[0].data + row * n, *saved = (const float *)call->out[1].data + 2 * row;
        float *dx = (float *)call->grad_in[0].data + row * n;
        int64_t target = targets[row];
        vf shift = vf_set1(saved[0]), factor = vf_set1(d * saved[1]);
        for (int64_t j = 0; j < n; j += VF_LANES) {
            int64_t left = n - j;
            vf value = target < 0 ? vf_zero() : vf_mul(vf_exp(vf_sub(vf_load_partial(x + j, left), shift)), factor);
            if (target >= j && target < j + VF_LANES) {
                vm here = vi_eq(vi_lane_index(), vi_set1((int32_t)(target - j)));
                value = vf_select(here, vf_sub(value, vf_set1(d)), value);
            }
            if (call->add[0]) value = vf_add(vf_load_partial(dx + j, left), value);
            vf_store_partial(dx + j, value, left);
        }
    }
}

static void backward(const tarn_call *call)
{
    if (call->grad_in[0].data) tarn_team_for(call->team, tarn_rows(&call->in[0]), 1, backward_rows, (void *)call);
}

TARN_FAST(cross_entropy, forward, backward)
