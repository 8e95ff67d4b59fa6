/* kernel.c - embedding on vectors; forward is split over the team by rows, the scatter of backward by columns. */
#include "ops/fast.h"

#include <string.h>

static void forward_rows(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const tarn_call *call = argument;
    const int32_t *ids = call->in[0].data;
    const float *token = call->in[1].data, *position = call->in[2].data;
    int64_t time = call->in[0].shape[1], n = call->in[1].shape[1];
    for (int64_t row = begin; row < end; row++) {
        const float *from = token + ids[row] * n, *at = position ? position + row % time * n : NULL;
        float *y = (float *)call->out[0].data + row * n;
        for (int64_t j = 0; j < n; j += VF_LANES) {
            vf value = vf_load_partial(from + j, n - j);
            if (at) value = vf_add(value, vf_load_partial(at + j, n - j));
            vf_store_partial(y + j, value, n - j);
        }
    }
}

static void forward(const tarn_call *call)
{
    tarn_team_for(call->team, call->in[0].shape[0] * call->in[0].shape[1], 1, forward_rows, (void *)call);
}

static void clear_columns(const tarn_call *call, int i, int64_t begin, int64_t end)
{
    int64_t rows = call->in[i].shape[0], n = call->in[i].shape[1];
    float *gradient = call->grad_in[i].data;
    if (!gradient || call->add[i]) return;
    if (begin == 0 && end == n)
        memset(gradient, 0, (size_t)(rows * n) * sizeof(float));
    else
        for (int64_t row = 0; row < rows; row++)
            memset(gradient + row * n + begin, 0, (size_t)(end - begin) * sizeof(float));
}

static void backward_columns(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const tarn_call *call = argument;
    const int32_t *ids = call->in[0].data;
    float *token = call->grad_in[1].data, *position = call->grad_in[2].data;
    int64_t rows = call->in[0].shape[0] * call->in[0].shape[1], time = call->in[0].shape[1];
    int64_t n = call->in[1].shape[1];
    clear_columns(call, 1, begin, end);
    clear_columns(call, 2, begin, end);
    for (int64_t row = 0; row < rows; row++) {
        const float *dy = (const float *)call->grad_out.data + row * n;
        float *to = token ? token + ids[row] * n : NULL;
        float *at = position ? position + row % time * n : NULL;
        for (int64_t j = begin; j < end; j += VF_LANES) {
            int64_t left = end - j;
            vf value = vf_load_partial(dy + j, left);
            if (to) vf_store_partial(to + j, vf_add(vf_load_partial(to + j, left), value), left);
            if (at) vf_store_partial(at + j, vf_add(vf_load_partial(at + j, left), value), left);
        }
    }
}

static void backward(const tarn_call *call)
{
    if (call->grad_in[1].data || call->grad_in[2].data)
        tarn_team_for(call->team, call->in[1].shape[1], VF_LANES, backward_columns, (void *)call);
}

TARN_FAST(embedding, forward, backward)
