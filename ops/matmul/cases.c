/* cases.c - matmul: batches, one b for all, transposed operands, remainders, K over one block, one row and column. */
#include "ops/cases.h"

TARN_CASES(
    matmul, {.name = "plain", .inputs = 2, .in = {{.ndim = 2, .shape = {7, 19}}, {.ndim = 2, .shape = {19, 33}}}},
    {.name = "batch", .inputs = 2, .in = {{.ndim = 4, .shape = {2, 3, 5, 6}}, {.ndim = 4, .shape = {2, 3, 6, 7}}}},
    {.name = "one b for all", .inputs = 2, .in = {{.ndim = 3, .shape = {3, 5, 18}}, {.ndim = 2, .shape = {18, 9}}}},
    {.name = "a transposed",
     .inputs = 2,
     .in = {{.ndim = 2, .shape = {9, 17}, .permutation = {1, 0}}, {.ndim = 2, .shape = {17, 20}}}},
    {.name = "b transposed",
     .inputs = 2,
     .in = {{.ndim = 2, .shape = {9, 17}}, {.ndim = 2, .shape = {17, 20}, .permutation = {1, 0}}}},
    {.name = "heads swapped with time",
     .inputs = 2,
     .in = {{.ndim = 4, .shape = {2, 3, 5, 6}, .permutation = {0, 2, 1, 3}},
            {.ndim = 4, .shape = {2, 3, 6, 4}, .permutation = {3, 1, 2, 0}}}},
    {.name = "one b for swapped a",
     .inputs = 2,
     .in = {{.ndim = 3, .shape = {3, 4, 5}, .permutation = {1, 0, 2}},
            {.ndim = 2, .shape = {5, 6}, .permutation = {1, 0}}}},
    /* too many values for differences */
    {.name = "two blocks of K",
     .inputs = 2,
     .skip_finite_differences = true,
     .in = {{.ndim = 2, .shape = {35, 777}}, {.ndim = 2, .shape = {777, 50}}}},
    {.name = "one row, one column", .inputs = 2, .in = {{.ndim = 2, .shape = {1, 5}}, {.ndim = 2, .shape = {5, 1}}}})
