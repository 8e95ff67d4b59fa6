/* cases.c - dropout: samples that begin in the middle of a vector, elements that do not divide by the samples. */
#include "ops/attributes.h"
#include "ops/cases.h"

TARN_CASES(dropout,
           {.name = "samples",
            .inputs = 1,
            .in = {{.ndim = 3, .shape = {4, 9, 11}}},
            .attrs = &(const tarn_dropout_attrs){0.3f},
            .samples = 4},
           {.name = "one sample",
            .inputs = 1,
            .in = {{.ndim = 1, .shape = {5003}}},
            .attrs = &(const tarn_dropout_attrs){0.75f},
            .samples = 2},
           {.name = "nothing dropped",
            .inputs = 1,
            .in = {{.ndim = 2, .shape = {3, 70}}},
            .attrs = &(const tarn_dropout_attrs){0.0f},
            .samples = 3})
