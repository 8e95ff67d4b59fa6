/* cases.c - causal_attention: head widths 5, 16, 20, 33, one query, blocks of queries with a remainder, partial panels,
 * more keys than one block of a product. */
#include "ops/cases.h"
#include "ops/fused.h"

#define ATTRS(heads)                                                                                                   \
    &(const tarn_attention_attrs)                                                                                      \
    {                                                                                                                  \
        heads                                                                                                          \
    }

TARN_CASES(causal_attention,
           {.name = "width 5", .inputs = 1, .attrs = ATTRS(2), .in = {{.ndim = 3, .shape = {2, 7, 30}}}},
           {.name = "one query", .inputs = 1, .attrs = ATTRS(3), .in = {{.ndim = 3, .shape = {2, 1, 45}}}},
           {.name = "31 queries", .inputs = 1, .attrs = ATTRS(1), .in = {{.ndim = 3, .shape = {1, 31, 12}}}},
           {.name = "33 queries", .inputs = 1, .attrs = ATTRS(2), .in = {{.ndim = 3, .shape = {1, 33, 12}}}},
           /* too many values for differences */
           {.name = "width 16, 32 queries",
            .inputs = 1,
            .attrs = ATTRS(2),
            .skip_finite_differences = true,
            .in = {{.ndim = 3, .shape = {2, 32, 96}, .low = -3, .high = 3}}},
           {.name = "width 20, 70 queries",
            .inputs = 1,
            .attrs = ATTRS(3),
            .skip_finite_differences = true,
            .in = {{.ndim = 3, .shape = {2, 70, 180}, .low = -2, .high = 2}}},
           {.name = "width 33, 97 queries",
            .inputs = 1,
            .attrs = ATTRS(1),
            .skip_finite_differences = true,
            .in = {{.ndim = 3, .shape = {2, 97, 99}, .low = -2, .high = 2}}},
           {.name = "width 64, 600 queries",
            .inputs = 1,
            .attrs = ATTRS(1),
            .skip_finite_differences = true,
            .in = {{.ndim = 3, .shape = {1, 600, 192}}}})
