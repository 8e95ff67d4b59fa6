/* cases.c - cross_entropy: remainders, ignored rows, rows over a block of 4096, one class, one row.
 */
#include "ops/cases.h"

#define TARGETS(from, below, ...)                                                                                      \
    {                                                                                                                  \
        .dtype = TARN_I32, .low = from, .high = below, __VA_ARGS__                                                     \
    }

TARN_CASES(cross_entropy,
           {.name = "short rows",
            .inputs = 2,
            .in = {{.ndim = 2, .shape = {9, 5}, .low = -3, .high = 3}, TARGETS(0, 5, .ndim = 1, .shape = {9})}},
           {.name = "ignored rows",
            .inputs = 2,
            .in = {{.ndim = 3, .shape = {3, 7, 37}}, TARGETS(-20, 37, .ndim = 2, .shape = {3, 7})}},
           {.name = "one row", .inputs = 2, .in = {{.ndim = 1, .shape = {16}}, TARGETS(0, 16, .ndim = 0)}},
           {.name = "one class",
            .inputs = 2,
            .in = {{.ndim = 2, .shape = {3, 1}}, TARGETS(0, 1, .ndim = 1, .shape = {3})}},
           /* too many values for differences */
           {.name = "rows over a block",
            .inputs = 2,
            .skip_finite_differences = true,
            .in = {{.ndim = 2, .shape = {5, 5003}, .low = -9, .high = 9}, TARGETS(-1, 5003, .ndim = 1, .shape = {5})}})
