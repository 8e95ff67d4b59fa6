/* cases.c - log_softmax: rows of less than a vector, with a remainder, longer than a block of 4096. */
#include "ops/cases.h"

TARN_CASES(log_softmax, {.name = "short rows", .inputs = 1, .in = {{.ndim = 2, .shape = {7, 5}, .low = -4, .high = 4}}},
           {.name = "remainder", .inputs = 1, .in = {{.ndim = 3, .shape = {2, 3, 37}, .low = -4, .high = 4}}},
           {.name = "long row", .inputs = 1, .in = {{.ndim = 1, .shape = {9001}, .low = -4, .high = 4}}},
           {.name = "transposed",
            .inputs = 1,
            .in = {{.ndim = 2, .shape = {6, 18}, .low = -4, .high = 4, .permutation = {1, 0}}}})
