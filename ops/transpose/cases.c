/* cases.c - transpose. */
#include "ops/attributes.h"
#include "ops/cases.h"

TARN_CASES(
    transpose,
    {.name = "matrix", .inputs = 1, .in = {{.ndim = 2, .shape = {3, 5}}}, .attrs = &(const tarn_transpose_attrs){0, 1}},
    {.name = "outer and inner",
     .inputs = 1,
     .in = {{.ndim = 4, .shape = {2, 3, 4, 5}}},
     .attrs = &(const tarn_transpose_attrs){-1, 0}},
    {.name = "of a strided input",
     .inputs = 1,
     .in = {{.ndim = 3, .shape = {2, 3, 4}, .permutation = {1, 2, 0}}},
     .attrs = &(const tarn_transpose_attrs){1, 2}})
