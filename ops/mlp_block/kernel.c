/* kernel.c - mlp_block on vectors: the products of body.h. */
#include "ops/products_fast.h"

#include "ops/mlp_block/body.h"

TARN_FAST(mlp_block, forward, backward)
