/* reference.c - mlp_block, see mlp_block.c. */
#include "ops/products_reference.h"

#include "ops/mlp_block/body.h"

TARN_REFERENCE(mlp_block, forward, backward)
