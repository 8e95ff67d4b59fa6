/* kernel.c - matmul on vectors: the products of body.h. */
#include "ops/products_fast.h"

#include "ops/matmul/body.h"

TARN_FAST(matmul, forward, backward)
