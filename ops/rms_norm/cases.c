/* cases.c - rms_norm: absent weight, remainders, rows over a block of 4096 elements, over 4096 rows. */
#include "ops/cases.h"
#include "ops/fused.h"

#define ATTRS                                                                                                          \
    &(const tarn_norm_attrs)                                                                                           \
    {                                                                                                                  \
        1e-6f                                                                                                          \
    }

TARN_CASES(rms_norm,
           {.name = "weight",
            .inputs = 2,
            .attrs = ATTRS,
            .in = {{.ndim = 3, .shape = {2, 3, 37}}, {.ndim = 1, .shape = {37}}}},
           {.name = "no weight, one row", .inputs = 1, .attrs = ATTRS, .in = {{.ndim = 1, .shape = {9}}}},
           /* too many values for differences */
           {.name = "row over a block",
            .inputs = 2,
            .attrs = ATTRS,
            .skip_finite_differences = true,
            .in = {{.ndim = 2, .shape = {4, 4243}}, {.ndim = 1, .shape = {4243}}}},
           {.name = "over a block of rows",
            .inputs = 2,
            .attrs = ATTRS,
            .skip_finite_differences = true,
            .in = {{.ndim = 2, .shape = {4101, 18}}, {.ndim = 1, .shape = {18}}}})
