/* cases.c - mlp_block: activations, remainders, absent biases and residual, K over one block. */
#include "ops/cases.h"
#include "ops/fused.h"

#define ATTRS(kind)                                                                                                    \
    &(const tarn_activation_attrs)                                                                                     \
    {                                                                                                                  \
        kind                                                                                                           \
    }

TARN_CASES(mlp_block,
           {.name = "all operands",
            .inputs = 6,
            .attrs = ATTRS(TARN_GELU_TANH),
            .in = {{.ndim = 3, .shape = {2, 3, 10}},
                   {.ndim = 2, .shape = {21, 10}},
                   {.ndim = 2, .shape = {10, 21}},
                   {.ndim = 1, .shape = {21}},
                   {.ndim = 1, .shape = {10}},
                   {.ndim = 3, .shape = {2, 3, 10}}}},
           {.name = "weights only",
            .inputs = 3,
            .attrs = ATTRS(TARN_SILU),
            .in = {{.ndim = 2, .shape = {5, 18}}, {.ndim = 2, .shape = {17, 18}}, {.ndim = 2, .shape = {18, 17}}}},
           {.name = "one bias",
            .inputs = 5,
            .attrs = ATTRS(TARN_GELU),
            .in = {{.ndim = 2, .shape = {5, 7}},
                   {.ndim = 2, .shape = {9, 7}},
                   {.ndim = 2, .shape = {7, 9}},
                   {.absent = true},
                   {.ndim = 1, .shape = {7}}}},
           {.name = "no activation, one row",
            .inputs = 4,
            .attrs = ATTRS(TARN_NO_ACTIVATION),
            .in = {{.ndim = 1, .shape = {7}},
                   {.ndim = 2, .shape = {9, 7}},
                   {.ndim = 2, .shape = {7, 9}},
                   {.ndim = 1, .shape = {9}}}},
           /* too many values for differences */
           {.name = "two blocks of K",
            .inputs = 6,
            .attrs = ATTRS(TARN_GELU_TANH),
            .skip_finite_differences = true,
            .in = {{.ndim = 2, .shape = {37, 65}},
                   {.ndim = 2, .shape = {530, 65}},
                   {.ndim = 2, .shape = {65, 530}},
                   {.ndim = 1, .shape = {530}},
                   {.ndim = 1, .shape = {65}},
                   {.ndim = 2, .shape = {37, 65}}}})
