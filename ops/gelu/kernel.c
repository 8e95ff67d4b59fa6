/* kernel.c - gelu, sixteen elements at a time. */
#include "ops/elementwise_fast.h"

TARN_FAST_ACTIVATION(gelu, TARN_GELU)
