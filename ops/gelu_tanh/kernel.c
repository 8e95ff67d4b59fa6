/* kernel.c - gelu_tanh, sixteen elements at a time. */
#include "ops/elementwise_fast.h"

TARN_FAST_ACTIVATION(gelu_tanh, TARN_GELU_TANH)
