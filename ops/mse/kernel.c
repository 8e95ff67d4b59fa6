/* kernel.c - mse: blocks of 4096 over the team. */
#include "ops/blocks_fast.h"

static void sum_piece(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    block_sums *blocks = argument;
    for (int64_t b = begin; b < end; b++) {
        const float *x = (const float *)blocks->call->in[0].data + b * SUM_BLOCK;
        const float *y = (const float *)blocks->call->in[1].data + b * SUM_BLOCK;
        int64_t n = tarn_block_size(blocks, b);
        vf_row_sum sum;
        vf_row_sum_start(&sum);
        for (int64_t i = 0; i < n; i += VF_LANES) {
            vf difference = vf_sub(vf_load_partial(x + i, n - i), vf_load_partial(y + i, n - i));
            vf_row_sum_fma(&sum, difference, difference);
        }
        blocks->sums[b] = vf_row_sum_end(&sum);
    }
}

static void forward(const tarn_call *call)
{
    *(float *)call->out[0].data = tarn_sum_blocks(call, tarn_view_numel(&call->in[0]), sum_piece);
}

static void backward_piece(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const tarn_call *call = argument;
    const float *x = call->in[0].data, *y = call->in[1].data;
    vf factor = vf_set1(2.0f * *(const float *)call->grad_out.data);
    for (int side = 0; side < 2; side++) {
        float *gradient = call->grad_in[side].data;
        for (int64_t i = begin; gradient && i < end; i += VF_LANES) {
            int64_t left = end - i;
            vf value = vf_mul(factor, vf_sub(vf_load_partial(x + i, left), vf_load_partial(y + i, left)));
            if (side == 1) value = vf_neg(value);
            if (call->add[side]) value = vf_add(vf_load_partial(gradient + i, left), value);
            vf_store_partial(gradient + i, value, left);
        }
    }
}

static void backward(const tarn_call *call)
{
    tarn_team_for(call->team, tarn_view_numel(&call->in[0]), SUM_BLOCK, backward_piece, (void *)call);
}

TARN_FAST(mse, forward, backward)
