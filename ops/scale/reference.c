/* reference.c - scale, see scale.c. */
#include "ops/attributes.h"
#include "ops/elementwise_reference.h"

static real element(real x, const void *attrs)
{
    const tarn_scale_attrs *constants = attrs;
    return real_fma(x, (real)constants->scale, (real)constants->offset);
}

static void forward(const tarn_call *call)
{
    real_unary_forward(call, element);
}

TARN_REFERENCE(scale, forward, NULL)
