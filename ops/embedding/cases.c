/* cases.c - embedding: repeated ids, no positions, more positions than needed. */
#include "ops/cases.h"

TARN_CASES(embedding,
           {.name = "token and position",
            .inputs = 3,
            .in = {{.dtype = TARN_I32, .ndim = 2, .shape = {3, 5}, .low = 0, .high = 4},
                   {.ndim = 2, .shape = {4, 37}},
                   {.ndim = 2, .shape = {7, 37}}}},
           {.name = "token alone",
            .inputs = 2,
            .in = {{.dtype = TARN_I32, .ndim = 2, .shape = {2, 9}, .low = 0, .high = 65},
                   {.ndim = 2, .shape = {65, 16}}}},
           {.name = "one row",
            .inputs = 3,
            .in = {{.dtype = TARN_I32, .ndim = 2, .shape = {1, 1}, .low = 0, .high = 2},
                   {.ndim = 2, .shape = {2, 3}},
                   {.ndim = 2, .shape = {1, 3}}}})
