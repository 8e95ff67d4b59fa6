/* kernel.c - log_softmax, a row per turn: rows are split over the team. */
#include "ops/fast.h"
#include "ops/shape.h"

static void forward_rows(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const tarn_call *call = argument;
    int64_t n = tarn_cut_rows(&call->out[0]).n;
    for (int64_t row = begin; row < end; row++) {
        const float *x = (const float *)call->in[0].data + row * n;
        float *y = (float *)call->out[0].data + row * n;
        vf largest = vf_set1(vf_lane_max(x, n));
        vf_row_sum sum;
        vf_row_sum_start(&sum);
        for (int64_t i = 0; i < n; i += VF_LANES) {
            vf shifted = vf_sub(vf_load_partial(x + i, n - i), largest);
            vf_store_partial(y + i, shifted, n - i);
            vf_row_sum_add(&sum, vf_first(vf_exp(shifted), n - i));
        }
        vf log_sum = vf_log(vf_set1(vf_row_sum_end(&sum)));
        for (int64_t i = 0; i < n; i += VF_LANES)
            vf_store_partial(y + i, vf_sub(vf_load_partial(y + i, n - i), log_sum), n - i);
    }
}

static void forward(const tarn_call *call)
{
    tarn_team_for(call->team, tarn_cut_rows(&call->out[0]).outer, 1, forward_rows, (void *)call);
}

static void backward_rows(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const tarn_call *call = argument;
    int64_t n = tarn_cut_rows(&call->grad_out).n;
    for (int64_t row = begin; row < end; row++) {
        const float *y = (const float *)call->out[0].data + row * n;
        const float *dy = (const float *)call->grad_out.data + row * n;
        float *dx = (float *)call->grad_in[0].data + row * n;
        vf sum = vf_set1(vf_lane_sum(dy, n));
        for (int64_t i = 0; i < n; i += VF_LANES) {
            vf value = vf_fma(vf_neg(vf_exp(vf_load_partial(y + i, n - i))), sum, vf_load_partial(dy + i, n - i));
            if (call->add[0]) value = vf_add(vf_load_partial(dx + i, n - i), value);
            vf_store_partial(dx + i, value, n - i);
        }
    }
}

static void backward(const tarn_call *call)
{
    if (!call->grad_in[0].data) return;
    tarn_team_for(call->team, tarn_cut_rows(&call->grad_out).outer, 1, backward_rows, (void *)call);
}

TARN_FAST(log_softmax, forward, backward)
