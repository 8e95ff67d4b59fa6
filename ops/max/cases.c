/* cases.c - max. */
#include "ops/attributes.h"
#include "ops/cases.h"

TARN_CASES(
    max,
    {.name = "rows", .inputs = 1, .in = {{.ndim = 2, .shape = {5, 37}}}, .attrs = &(const tarn_reduce_attrs){.d = -1}},
    {.name = "columns",
     .inputs = 1,
     .in = {{.ndim = 2, .shape = {37, 5}}},
     .attrs = &(const tarn_reduce_attrs){.d = 0}},
    {.name = "middle",
     .inputs = 1,
     .in = {{.ndim = 3, .shape = {3, 6, 4}, .permutation = {2, 1, 0}}},
     .attrs = &(const tarn_reduce_attrs){1, true}})
