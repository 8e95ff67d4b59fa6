/* cases.c - expand. */
#include "ops/attributes.h"
#include "ops/cases.h"

TARN_CASES(expand,
           {.name = "leading and inner",
            .inputs = 1,
            .in = {{.ndim = 2, .shape = {3, 1}}},
            .attrs = &(const tarn_shape_attrs){3, {2, 3, 5}}},
           {.name = "scalar", .inputs = 1, .in = {{.ndim = 0}}, .attrs = &(const tarn_shape_attrs){2, {4, 7}}},
           {.name = "transposed",
            .inputs = 1,
            .in = {{.ndim = 3, .shape = {4, 1, 3}, .permutation = {2, 1, 0}}},
            .attrs = &(const tarn_shape_attrs){3, {4, 6, 3}}})
