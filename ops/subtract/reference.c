/* reference.c - subtract, see subtract.c. */
#include "ops/elementwise_reference.h"

static real element(real a, real b)
{
    return a - b;
}

static void forward(const tarn_call *call)
{
    real_binary_forward(call, element);
}

TARN_REFERENCE(subtract, forward, NULL)
