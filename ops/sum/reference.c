/* reference.c - sum, see sum.c. */
#include "ops/attributes.h"
#include "ops/reduce_reference.h"

static void forward(const tarn_call *call)
{
    tarn_cut cut = tarn_cut_at(&call->in[0], ((const tarn_reduce_attrs *)call->attrs)->d);
    real_reduce_sum(call->in[0].data, call->out[0].data, cut);
}

TARN_REFERENCE(sum, forward, NULL)
