/* kernel.c - silu, sixteen elements at a time. */
#include "ops/elementwise_fast.h"

TARN_FAST_ACTIVATION(silu, TARN_SILU)
