/* cases.c - layer_norm: absent operands, remainders, rows over a block of 4096 elements, over 4096 rows. */
#include "ops/cases.h"
#include "ops/fused.h"

#define ATTRS                                                                                                          \
    &(const tarn_norm_attrs)                                                                                           \
    {                                                                                                                  \
        1e-5f                                                                                                          \
    }

TARN_CASES(
    layer_norm,
    {.name = "weight and bias",
     .inputs = 3,
     .attrs = ATTRS,
     .in = {{.ndim = 3, .shape = {2, 3, 37}}, {.ndim = 1, .shape = {37}}, {.ndim = 1, .shape = {37}}}},
    {.name = "weight", .inputs = 2, .attrs = ATTRS, .in = {{.ndim = 2, .shape = {5, 32}}, {.ndim = 1, .shape = {32}}}},
    {.name = "bias",
     .inputs = 3,
     .attrs = ATTRS,
     .in = {{.ndim = 2, .shape = {5, 20}}, {.absent = true}, {.ndim = 1, .shape = {20}}}},
    {.name = "neither, one row", .inputs = 1, .attrs = ATTRS, .in = {{.ndim = 1, .shape = {9}, .low = 3, .high = 7}}},
    /* too many values for differences */
    {.name = "row over a block",
     .inputs = 3,
     .attrs = ATTRS,
     .skip_finite_differences = true,
     .in = {{.ndim = 2, .shape = {4, 4243}}, {.ndim = 1, .shape = {4243}}, {.ndim = 1, .shape = {4243}}}},
    {.name = "over a block of rows",
     .inputs = 3,
     .attrs = ATTRS,
     .skip_finite_differences = true,
     .in = {{.ndim = 2, .shape = {4101, 18}}, {.ndim = 1, .shape = {18}}, {.ndim = 1, .shape = {18}}}})
