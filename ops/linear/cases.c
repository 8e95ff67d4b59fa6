/* cases.c - linear: every activation; remainders in all dimensions, K over one block with a remainder, one row, one
 * output, absent bias and residual. */
#include "ops/cases.h"
#include "ops/fused.h"

#define ATTRS(kind) &(const tarn_activation_attrs){kind}

TARN_CASES(linear,
           {.name = "plain", .inputs = 2, .attrs = ATTRS(TARN_NO_ACTIVATION),
            .in = {{.ndim = 2, .shape = {7, 19}}, {.ndim = 2, .shape = {33, 19}}}},
           {.name = "bias and residual", .inputs = 4, .attrs = ATTRS(TARN_NO_ACTIVATION),
            .in = {{.ndim = 3, .shape = {2, 5, 19}}, {.ndim = 2, .shape = {33, 19}}, {.ndim = 1, .shape = {33}},
                   {.ndim = 3, .shape = {2, 5, 33}}}},
           {.name = "residual without bias", .inputs = 4, .attrs = ATTRS(TARN_NO_ACTIVATION),
            .in = {{.ndim = 2, .shape = {17, 16}}, {.ndim = 2, .shape = {48, 16}}, {.absent = true},
                   {.ndim = 2, .shape = {17, 48}}}},
           /* relu has a kink that differences see; the values are kept off it by the bias */
           {.name = "relu", .inputs = 3, .attrs = ATTRS(TARN_RELU), .skip_finite_differences = true,
            .in = {{.ndim = 2, .shape = {9, 20}}, {.ndim = 2, .shape = {37, 20}}, {.ndim = 1, .shape = {37}}}},
           {.name = "gelu with residual", .inputs = 4, .attrs = ATTRS(TARN_GELU),
            .in = {{.ndim = 2, .shape = {5, 20}}, {.ndim = 2, .shape = {21, 20}}, {.ndim = 1, .shape = {21}},
                   {.ndim = 2, .shape = {5, 21}}}},
           {.name = "gelu_tanh", .inputs = 3, .attrs = ATTRS(TARN_GELU_TANH),
            .in = {{.ndim = 2, .shape = {5, 20}}, {.ndim = 2, .shape = {21, 20}}, {.ndim = 1, .shape = {21}}}},
           {.name = "silu", .inputs = 2, .attrs = ATTRS(TARN_SILU),
            .in = {{.ndim = 2, .shape = {5, 20}}, {.ndim = 2, .shape = {21, 20}}}},
           {.name = "tanh", .inputs = 2, .attrs = ATTRS(TARN_TANH),
            .in = {{.ndim = 2, .shape = {5, 20}}, {.ndim = 2, .shape = {21, 20}}}},
           {.name = "sigmoid", .inputs = 2, .attrs = ATTRS(TARN_SIGMOID),
            .in = {{.ndim = 2, .shape = {5, 20}}, {.ndim = 2, .shape = {21, 20}}}},
           /* too many values for differences; the same code as above */
           {.name = "two blocks of K", .inputs = 3, .attrs = ATTRS(TARN_GELU_TANH), .skip_finite_differences = true,
            .in = {{.ndim = 2, .shape = {35, 777}}, {.ndim = 2, .shape = {50, 777}}, {.ndim = 1, .shape = {50}}}},
           {.name = "many rows", .inputs = 3, .attrs = ATTRS(TARN_NO_ACTIVATION), .skip_finite_differences = true,
            .in = {{.ndim = 2, .shape = {1041, 34}}, {.ndim = 2, .shape = {65, 34}}, {.ndim = 1, .shape = {65}}}},
           {.name = "one output", .inputs = 3, .attrs = ATTRS(TARN_NO_ACTIVATION),
            .in = {{.ndim = 2, .shape = {6, 5}}, {.ndim = 2, .shape = {1, 5}}, {.ndim = 1, .shape = {1}}}},
           {.name = "one row", .inputs = 3, .attrs = ATTRS(TARN_SILU),
            .in = {{.ndim = 1, .shape = {18}}, {.ndim = 2, .shape = {3, 18}}, {.ndim = 1, .shape = {3}}}})
