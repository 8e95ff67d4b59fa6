/* cases.c - multiply: equal shapes, each way of broadcasting, strided inputs, more than one thread's piece. */
#include "ops/cases.h"

TARN_CASES(multiply, {.name = "equal", .inputs = 2, .in = {{.ndim = 2, .shape = {5, 7}}, {.ndim = 2, .shape = {5, 7}}}},
           {.name = "scalars", .inputs = 2, .in = {{.ndim = 0}, {.ndim = 0}}},
           {.name = "bias", .inputs = 2, .in = {{.ndim = 3, .shape = {2, 3, 19}}, {.ndim = 1, .shape = {19}}}},
           {.name = "column and row",
            .inputs = 2,
            .in = {{.ndim = 2, .shape = {6, 1}}, {.ndim = 3, .shape = {2, 1, 5}}}},
           {.name = "scalar with matrix", .inputs = 2, .in = {{.ndim = 0}, {.ndim = 2, .shape = {4, 33}}}},
           {.name = "transposed",
            .inputs = 2,
            .in = {{.ndim = 3, .shape = {3, 4, 18}, .permutation = {2, 0, 1}},
                   {.ndim = 2, .shape = {4, 18}, .permutation = {1, 0}}}},
           {.name = "pieces", .inputs = 2, .in = {{.ndim = 2, .shape = {70, 301}}, {.ndim = 1, .shape = {301}}}})
