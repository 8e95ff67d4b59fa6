/* reference.c - tanh, see tanh.c. */
#include "ops/elementwise_reference.h"

static real element(real x, const void *attrs)
{
    (void)attrs;
    return real_tanh(x);
}

static void forward(const tarn_call *call)
{
    real_unary_forward(call, element);
}

TARN_REFERENCE(tanh, forward, NULL)
