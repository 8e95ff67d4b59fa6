/* reference.c - silu, see silu.c; the formulas stand in reference_math.h. */
#include "ops/elementwise_reference.h"

static real element(real x, const void *attrs)
{
    (void)attrs;
    return real_activation(TARN_SILU, x);
}

static real element_gradient(real x, real dy, const void *attrs)
{
    (void)attrs;
    return dy * real_activation_gradient(TARN_SILU, x);
}

static void forward(const tarn_call *call)
{
    real_unary_forward(call, element);
}

static void backward(const tarn_call *call)
{
    real_unary_backward(call, element_gradient);
}

TARN_REFERENCE(silu, forward, backward)
