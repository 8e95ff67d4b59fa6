/* reference.c - transpose is a view and its gradient a composition: there is no kernel. */
#include "ops/reference.h"

TARN_REFERENCE(transpose, NULL, NULL)
