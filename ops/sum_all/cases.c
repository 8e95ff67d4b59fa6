/* cases.c - sum_all: one element, a remainder, exactly one block, several blocks. */
#include "ops/cases.h"

TARN_CASES(sum_all, {.name = "scalar", .inputs = 1, .in = {{.ndim = 0}}},
           {.name = "matrix", .inputs = 1, .in = {{.ndim = 2, .shape = {5, 7}}}},
           {.name = "one block", .inputs = 1, .in = {{.ndim = 1, .shape = {4096}}}},
           {.name = "blocks", .inputs = 1, .in = {{.ndim = 2, .shape = {3, 7001}}}},
           {.name = "transposed", .inputs = 1, .in = {{.ndim = 2, .shape = {5, 18}, .permutation = {1, 0}}}})
