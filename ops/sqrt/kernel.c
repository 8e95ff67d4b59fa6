/* kernel.c - sqrt, sixteen elements at a time. */
#include "ops/elementwise_fast.h"

TARN_INLINE vf element(vf x, const void *attrs)
{
    (void)attrs;
    return vf_sqrt(x);
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

TARN_FAST(sqrt, forward, NULL)
