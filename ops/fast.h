/* ops/fast.h - for kernel.c files: vectors of the ISA they are compiled for. CMake compiles each kernel.c once per ISA
 * with TARN_ISA_NAME set to avx2 or avx512; every kernel equals reference.c bit for bit.
 */
#ifndef TARN_OPS_FAST_H
#define TARN_OPS_FAST_H

#include "ops/kernel.h"
#include "runtime/backend/cpu/simd.h" /* vf and its operations, math on vectors, TARN_ISA_FN(name) */

#define TARN_FAST_TABLE_(op, isa) tarn_##op##_fast_##isa
#define TARN_FAST_TABLE(op, isa)  TARN_FAST_TABLE_(op, isa)
#define TARN_FAST(op, forward_fn, backward_fn)                                                                         \
    const tarn_kernel_pair TARN_FAST_TABLE(op, TARN_ISA_NAME) = {forward_fn, backward_fn};

#endif
