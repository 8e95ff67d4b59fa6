/* reference.c - exp, see exp.c. */
#include "ops/elementwise_reference.h"

static real element(real x, const void *attrs)
{
    (void)attrs;
    return real_exp(x);
}

static void forward(const tarn_call *call)
{
    real_unary_forward(call, element);
}

TARN_REFERENCE(exp, forward, NULL)
