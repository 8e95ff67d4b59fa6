/* cases.c - mse. */
#include "ops/cases.h"

TARN_CASES(mse, {.name = "matrix", .inputs = 2, .in = {{.ndim = 2, .shape = {5, 7}}, {.ndim = 2, .shape = {5, 7}}}},
           {.name = "blocks", .inputs = 2, .in = {{.ndim = 1, .shape = {20011}}, {.ndim = 1, .shape = {20011}}}})
