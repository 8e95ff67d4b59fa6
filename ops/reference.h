/* ops/reference.h - for reference.c files: the element type `real` they are compiled for (float: the definition of the
 * bits; double: for finite differences). CMake compiles each reference.c twice, with TARN_REAL_IS_DOUBLE 0 and 1.
 *
 * Rules: no libm but real_fma (IEEE) and, in double only, what real_math wraps; sums in the stated order (see
 * docs/internals/numerics.md): 16 strided lanes along a row combined 8-4-2-1, long sums in blocks of 4096.
 */
#ifndef TARN_OPS_REFERENCE_H
#define TARN_OPS_REFERENCE_H

#include "ops/kernel.h"
#include "runtime/backend/cpu/reference_math.h" /* real, real_fma, real_exp, real_log, ..., real_lane_sum, REAL(name) */

#if TARN_REAL_IS_DOUBLE
#define TARN_REFERENCE(op, forward_fn, backward_fn)                                                                    \
    const tarn_kernel_pair tarn_##op##_reference_f64 = {forward_fn, backward_fn};
#else
#define TARN_REFERENCE(op, forward_fn, backward_fn)                                                                    \
    const tarn_kernel_pair tarn_##op##_reference_f32 = {forward_fn, backward_fn};
#endif

#endif
