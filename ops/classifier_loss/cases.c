/* cases.c - classifier_loss: remainders, ignored rows, several chunks of classes with a remainder, one row, a target
 * too large. */
#include "ops/cases.h"

#define TARGETS(from, below, ...)                                                                                      \
    {                                                                                                                  \
        .dtype = TARN_I32, .low = from, .high = below, __VA_ARGS__                                                     \
    }

TARN_CASES(
    classifier_loss,
    {.name = "few classes",
     .inputs = 3,
     .in = {{.ndim = 3, .shape = {2, 4, 6}}, {.ndim = 2, .shape = {5, 6}}, TARGETS(0, 5, .ndim = 2, .shape = {2, 4})}},
    {.name = "ignored rows",
     .inputs = 3,
     .in = {{.ndim = 2, .shape = {9, 17}}, {.ndim = 2, .shape = {33, 17}}, TARGETS(-20, 33, .ndim = 1, .shape = {9})}},
    {.name = "one row",
     .inputs = 3,
     .in = {{.ndim = 1, .shape = {7}}, {.ndim = 2, .shape = {16, 7}}, TARGETS(0, 16, .ndim = 0)}},
    /* too many values for differences */
    {.name = "three chunks",
     .inputs = 3,
     .skip_finite_differences = true,
     .in = {{.ndim = 2, .shape = {35, 20}},
            {.ndim = 2, .shape = {2061, 20}},
            TARGETS(-100, 2061, .ndim = 1, .shape = {35})}})
