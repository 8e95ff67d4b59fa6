/* cases.c - mean: rows longer than a block of 4096, columns, a middle dimension, kept and not. */
#include "ops/attributes.h"
#include "ops/cases.h"

TARN_CASES(
    mean,
    {.name = "rows", .inputs = 1, .in = {{.ndim = 2, .shape = {19, 37}}}, .attrs = &(const tarn_reduce_attrs){.d = 1}},
    {.name = "long rows",
     .inputs = 1,
     .in = {{.ndim = 2, .shape = {3, 9001}}},
     .attrs = &(const tarn_reduce_attrs){-1, true}},
    {.name = "one block",
     .inputs = 1,
     .in = {{.ndim = 1, .shape = {4096}}},
     .attrs = &(const tarn_reduce_attrs){.d = 0}},
    {.name = "columns",
     .inputs = 1,
     .in = {{.ndim = 2, .shape = {37, 19}}},
     .attrs = &(const tarn_reduce_attrs){.d = 0}},
    {.name = "long columns",
     .inputs = 1,
     .in = {{.ndim = 2, .shape = {5000, 3}}},
     .attrs = &(const tarn_reduce_attrs){0, true}},
    {.name = "middle",
     .inputs = 1,
     .in = {{.ndim = 4, .shape = {2, 5, 3, 4}, .permutation = {3, 0, 2, 1}}},
     .attrs = &(const tarn_reduce_attrs){-3, true}})
