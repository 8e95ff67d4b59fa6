/* cases.c - slice: of each dimension, counted from the end, empty. */
#include "ops/attributes.h"
#include "ops/cases.h"

TARN_CASES(
    slice,
    {.name = "rows", .inputs = 1, .in = {{.ndim = 2, .shape = {7, 5}}}, .attrs = &(const tarn_slice_attrs){0, 2, 5}},
    {.name = "columns from the end",
     .inputs = 1,
     .in = {{.ndim = 2, .shape = {7, 5}}},
     .attrs = &(const tarn_slice_attrs){-1, -3, -1}},
    {.name = "middle of a strided input",
     .inputs = 1,
     .in = {{.ndim = 3, .shape = {3, 6, 4}, .permutation = {2, 0, 1}}},
     .attrs = &(const tarn_slice_attrs){1, 1, 6}})
