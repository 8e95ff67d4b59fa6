/* kernel.c - silu, sixteen elements at a time. */
#include "ops/elementwise_fast.h"

TARN_INLINE vf element(vf x, const void *attrs)
{
    (void)attrs;
    return vf_activation(TARN_SILU, x);
}

TARN_INLINE vf element_gradient(vf x, vf dy, const void *attrs)
{
    (void)attrs;
    return vf_mul(dy, vf_activation_gradient(TARN_SILU, x));
}

static void forward_piece(void *call, int64_t begin, int64_t end, int member)
{
    (void)member;
    vf_unary_piece(call, begin, end, element);
}

static void forward(const tarn_call *call)
{
    tarn_team_for(call->team, tarn_view_numel(&call->out[0]), ELEMENTWISE_GRAIN, forward_piece, (void *)call);
}

static void backward_piece(void *call, int64_t begin, int64_t end, int member)
{
    (void)member;
    vf_unary_gradient_piece(call, begin, end, element_gradient);
}

static void backward(const tarn_call *call)
{
    if (!call->grad_in[0].data) return;
    tarn_team_for(call->team, tarn_view_numel(&call->grad_out), ELEMENTWISE_GRAIN, backward_piece, (void *)call);
}

TARN_FAST(silu, forward, backward)
