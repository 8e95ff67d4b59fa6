/* cases.c - gather: repeated and missing rows, both index types, elements instead of rows. */
#include "ops/cases.h"

TARN_CASES(gather,
           {.name = "rows",
            .inputs = 2,
            .in = {{.ndim = 2, .shape = {5, 7}}, {.dtype = TARN_I32, .ndim = 2, .shape = {3, 4}, .high = 5}}},
           {.name = "i64, planes",
            .inputs = 2,
            .in = {{.ndim = 3, .shape = {9, 2, 3}}, {.dtype = TARN_I64, .ndim = 1, .shape = {4}, .high = 9}}},
           {.name = "elements",
            .inputs = 2,
            .in = {{.ndim = 1, .shape = {6}}, {.dtype = TARN_I32, .ndim = 2, .shape = {2, 5}, .high = 6}}})
