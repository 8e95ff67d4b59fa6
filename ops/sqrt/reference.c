/* reference.c - sqrt, see sqrt.c. */
#include "ops/elementwise_reference.h"

static real element(real x, const void *attrs)
{
    (void)attrs;
    return real_sqrt(x);
}

static void forward(const tarn_call *call)
{
    real_unary_forward(call, element);
}

TARN_REFERENCE(sqrt, forward, NULL)
