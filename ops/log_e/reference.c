/* reference.c - log_e, see log_e.c. */
#include "ops/elementwise_reference.h"

static real element(real x, const void *attrs)
{
    (void)attrs;
    return real_log(x);
}

static void forward(const tarn_call *call)
{
    real_unary_forward(call, element);
}

TARN_REFERENCE(log_e, forward, NULL)
