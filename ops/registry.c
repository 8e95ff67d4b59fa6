/* registry.c - see registry.h. The list itself is ops.def. */
#include "ops/registry.h"
#include "ops/kernel.h"
#include "ops/rows.h"

typedef struct built_in {
    const tarn_op *op;
    const tarn_kernel_pair *f32, *f64;
    const tarn_kernel_pair *avx2, *avx512; /* NULL: no fast kernels */
} built_in;

#define TARN_OP(name) extern const tarn_kernel_pair tarn_##name##_reference_f32, tarn_##name##_reference_f64;
#define TARN_OP_FAST(name)                                                                                             \
    TARN_OP(name)                                                                                                      \
    extern const tarn_kernel_pair tarn_##name##_fast_avx2, tarn_##name##_fast_avx512;
#include "ops/ops.def"
#undef TARN_OP
#undef TARN_OP_FAST

static const built_in built_ins[] = {
#define TARN_OP(name) {&tarn_op_##name, &tarn_##name##_reference_f32, &tarn_##name##_reference_f64, NULL, NULL},
#define TARN_OP_FAST(name)                                                                                             \
    {&tarn_op_##name, &tarn_##name##_reference_f32, &tarn_##name##_reference_f64, &tarn_##name##_fast_avx2,            \
     &tarn_##name##_fast_avx512},
#include "ops/ops.def"
#undef TARN_OP
#undef TARN_OP_FAST
};

static tarn_status register_pair(tarn_context *context, const tarn_op *op, tarn_dtype dtype, tarn_isa isa,
                                 const tarn_kernel_pair *pair)
{
    tarn_status status = TARN_OK;
    if (pair && pair->forward)
        status = tarn_kernel_register(context, op->name, TARN_FORWARD, dtype, isa, pair->forward);
    if (!status && pair && pair->backward)
        status = tarn_kernel_register(context, op->name, TARN_BACKWARD, dtype, isa, pair->backward);
    return status;
}

tarn_status tarn_ops_register_all(tarn_context *context)
{
    for (size_t i = 0; i < sizeof built_ins / sizeof built_ins[0]; i++) {
        const built_in *row = &built_ins[i];
        tarn_status status = tarn_op_register(context, row->op);
        if (!status) status = register_pair(context, row->op, TARN_F32, TARN_ISA_SCALAR, row->f32);
        if (!status) status = register_pair(context, row->op, TARN_F64, TARN_ISA_SCALAR, row->f64);
        if (!status) status = register_pair(context, row->op, TARN_F32, TARN_ISA_AVX2, row->avx2);
        if (!status) status = register_pair(context, row->op, TARN_F32, TARN_ISA_AVX512, row->avx512);
        if (status) return status;
    }
    return TARN_OK;
}
