/* cases.c - scale. */
#include "ops/attributes.h"
#include "ops/cases.h"

TARN_CASES(scale,
           {.name = "scale",
            .inputs = 1,
            .in = {{.ndim = 2, .shape = {5, 7}}},
            .attrs = &(const tarn_scale_attrs){.scale = -0.3}},
           {.name = "scale and offset, pieces",
            .inputs = 1,
            .in = {{.ndim = 1, .shape = {20011}}},
            .attrs = &(const tarn_scale_attrs){.scale = 1.7, .offset = 0.1}})
