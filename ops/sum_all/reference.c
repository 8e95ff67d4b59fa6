/* reference.c - sum_all, see sum_all.c. */
#include "ops/reference.h"

static void forward(const tarn_call *call)
{
    *(real *)call->out[0].data = real_lane_sum(call->in[0].data, tarn_view_numel(&call->in[0]));
}

TARN_REFERENCE(sum_all, forward, NULL)
