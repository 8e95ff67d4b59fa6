/* cases.c - silu: a scalar, a partial vector, more than one thread's piece, a transposed input. */
#include "ops/cases.h"

TARN_CASES(silu, {.name = "scalar", .inputs = 1, .in = {{.ndim = 0, .low = -6, .high = 6}}},
           {.name = "partial vector", .inputs = 1, .in = {{.ndim = 2, .shape = {5, 7}, .low = -6, .high = 6}}},
           {.name = "pieces", .inputs = 1, .in = {{.ndim = 1, .shape = {20011}, .low = -6, .high = 6}}},
           {.name = "transposed",
            .inputs = 1,
            .in = {{.ndim = 3, .shape = {3, 4, 6}, .low = -6, .high = 6, .permutation = {2, 0, 1}}}})
