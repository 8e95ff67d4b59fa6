/* reference.c - matmul, see matmul.c. */
#include "ops/products_reference.h"

#include "ops/matmul/body.h"

TARN_REFERENCE(matmul, forward, backward)
