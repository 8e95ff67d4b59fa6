/* kernel.c - linear on vectors: the products of body.h. */
#include "ops/products_fast.h"

#include "ops/linear/body.h"

TARN_FAST(linear, forward, backward)
