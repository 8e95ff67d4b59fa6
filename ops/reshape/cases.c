/* cases.c - reshape: to fewer and more dimensions, -1, a scalar. */
#include "ops/attributes.h"
#include "ops/cases.h"

TARN_CASES(reshape,
           {.name = "flatten",
            .inputs = 1,
            .in = {{.ndim = 3, .shape = {2, 3, 5}}},
            .attrs = &(const tarn_shape_attrs){1, {30}}},
           {.name = "what is left",
            .inputs = 1,
            .in = {{.ndim = 2, .shape = {4, 6}}},
            .attrs = &(const tarn_shape_attrs){3, {2, -1, 3}}},
           {.name = "scalar", .inputs = 1, .in = {{.ndim = 2, .shape = {1, 1}}}, .attrs = &(const tarn_shape_attrs){0}})
