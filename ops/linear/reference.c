/* reference.c - linear, see linear.c. */
#include "ops/products_reference.h"

#include "ops/linear/body.h"

TARN_REFERENCE(linear, forward, backward)
