/* cases.c - convert: real types, storage types, integers. Conversions that round or pass no gradient have no finite
 * differences. */
#include "ops/attributes.h"
#include "ops/cases.h"

TARN_CASES(convert,
           {.name = "to f64",
            .inputs = 1,
            .in = {{.ndim = 2, .shape = {3, 5}}},
            .attrs = &(const tarn_convert_attrs){TARN_F64}},
           {.name = "to f32, of a strided input", /* rounds: a difference of 1e-5 is lost in it */
            .inputs = 1,
            .in = {{.ndim = 2, .shape = {3, 5}, .permutation = {1, 0}}},
            .attrs = &(const tarn_convert_attrs){TARN_F32},
            .skip_finite_differences = true},
           {.name = "to bf16",
            .inputs = 1,
            .in = {{.ndim = 2, .shape = {3, 5}}},
            .attrs = &(const tarn_convert_attrs){TARN_BF16},
            .skip_finite_differences = true},
           {.name = "to i32",
            .inputs = 1,
            .in = {{.ndim = 1, .shape = {35}, .low = -9, .high = 9}},
            .attrs = &(const tarn_convert_attrs){TARN_I32},
            .skip_finite_differences = true},
           {.name = "i64 to bool",
            .inputs = 1,
            .in = {{.dtype = TARN_I64, .ndim = 1, .shape = {35}, .low = -2, .high = 2}},
            .attrs = &(const tarn_convert_attrs){TARN_BOOL},
            .skip_finite_differences = true})
