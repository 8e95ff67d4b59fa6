/* kernel.c - relu, sixteen elements at a time. */
#include "ops/elementwise_fast.h"

TARN_FAST_ACTIVATION(relu, TARN_RELU)
