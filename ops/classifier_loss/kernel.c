/* kernel.c - classifier_loss on vectors: the products of body.h, rows split over the team. */
#include "ops/products_fast.h"

#include "ops/classifier_loss/chunk.h"

typedef struct loss_job {
    const tarn_call *call;
    float *losses; /* (rows) */
    int64_t first, count;
    float *dlogits; /* (rows, count) */
} loss_job;

static float logarithm(float x)
{
    float lanes[VF_LANES];
    vf_store(lanes, vf_log(vf_set1(x)));
    return lanes[0];
}

static void forward_piece(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const loss_job *job = argument;
    const tarn_call *call = job->call;
    const int32_t *targets = call->in[2].data;
    int64_t n = call->in[1].shape[0], stride = tarn_classifier_stride(n), full = n / VF_LANES * VF_LANES;
    for (int64_t row = begin; row < end; row++) {
        float *x = (float *)call->out[1].data + row * stride, *inverse = (float *)call->out[2].data + row;
        int32_t target = targets[row];
        job->losses[row] = *inverse = 0.0f;
        if (target < 0) {
            for (int64_t j = 0; j < stride; j += VF_LANES) vf_store(x + j, vf_zero());
            continue;
        }
        float largest = vf_lane_max(x, n), wanted = x[target];
        vf shift = vf_set1(largest);
        vf_row_sum sum;
        vf_row_sum_start(&sum);
        for (int64_t j = 0; j < full; j += VF_LANES) {
            vf e = vf_exp(vf_sub(vf_load(x + j), shift));
            vf_store(x + j, e);
            vf_row_sum_add(&sum, e);
        }
        if (full < n) {
            vf e = vf_first(vf_exp(vf_sub(vf_load_partial(x + full, n - full), shift)), n - full);
            vf_store(x + full, e);
            vf_row_sum_add(&sum, e);
        }
        float s = vf_row_sum_end(&sum);
        *inverse = 1.0f / s;
        job->losses[row] = logarithm(s) + (largest - wanted);
    }
}

static void rows_forward(const tarn_call *call, element *losses)
{
    loss_job job = {.call = call, .losses = losses};
    tarn_team_for(call->team, tarn_rows(&call->in[0]), 1, forward_piece, &job);
}

static void backward_piece(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const loss_job *job = argument;
    const tarn_call *call = job->call;
    const int32_t *targets = call->in[2].data;
    int64_t stride = tarn_classifier_stride(call->in[1].shape[0]), count = job->count;
    float d = *(const float *)call->grad_out.data;
    for (int64_t row = begin; row < end; row++) {
        const float *e = (const float *)call->out[1].data + row * stride + job->first;
        float *dlogits = job->dlogits + row * count;
        int64_t target = targets[row] - job->first;
        vf factor = vf_set1(d * ((const float *)call->out[2].data)[row]);
        for (int64_t j = 0; j < count; j += VF_LANES) {
            vf value = targets[row] < 0 ? vf_zero() : vf_mul(vf_load_partial(e + j, count - j), factor);
            vf_store_partial(dlogits + j, value, count - j);
        }
        if (targets[row] >= 0 && target >= 0 && target < count) dlogits[target] = dlogits[target] - d;
    }
}

static void rows_backward(const tarn_call *call, int64_t first, int64_t count, element *dlogits)
{
    loss_job job = {.call = call, .first = first, .count = count, .dlogits = dlogits};
    tarn_team_for(call->team, tarn_rows(&call->in[0]), 1, backward_piece, &job);
}

#include "ops/classifier_loss/body.h"

TARN_FAST(classifier_loss, forward, backward)
