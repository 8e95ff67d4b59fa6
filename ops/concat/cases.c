/* cases.c - concat: first, last and middle dimension, one part, integers. */
#include "ops/attributes.h"
#include "ops/cases.h"

TARN_CASES(concat,
           {.name = "rows",
            .inputs = 2,
            .in = {{.ndim = 2, .shape = {3, 5}}, {.ndim = 2, .shape = {2, 5}}},
            .attrs = &(const tarn_concat_attrs){0}},
           {.name = "columns",
            .inputs = 3,
            .in = {{.ndim = 2, .shape = {3, 5}},
                   {.ndim = 2, .shape = {3, 1}},
                   {.ndim = 2, .shape = {3, 4}, .permutation = {1, 0}}},
            .attrs = &(const tarn_concat_attrs){-1}},
           {.name = "one part", .inputs = 1, .in = {{.ndim = 1, .shape = {6}}}, .attrs = &(const tarn_concat_attrs){0}},
           {.name = "integers",
            .inputs = 2,
            .in = {{.dtype = TARN_I32, .ndim = 3, .shape = {2, 2, 3}, .high = 9},
                   {.dtype = TARN_I32, .ndim = 3, .shape = {2, 1, 3}, .high = 9}},
            .attrs = &(const tarn_concat_attrs){1}})
