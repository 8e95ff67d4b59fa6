/* ops/kernel.h - how the files of an op's folder fit together.
 *
 *   ops/softmax/softmax.c    the row: shapes, gradient reads, the public function tarn_softmax
 *   ops/softmax/reference.c  the scalar kernels = the definition of the bits; compiled for float and for double
 *   ops/softmax/kernel.c     the fast kernels; compiled once per ISA (AVX2, AVX-512) from one source
 *   ops/softmax/cases.c      the cases that the table-driven test runs; compiled into tests only
 *
 * and one line in ops/ops.def: TARN_OP_FAST(softmax), or TARN_OP(reshape) for an op without kernel.c.
 *
 * reference.c:  #include "ops/reference.h"   then  TARN_REFERENCE(softmax, forward, backward)
 * kernel.c:     #include "ops/fast.h"        then  TARN_FAST(softmax, forward, backward)
 * cases.c:      #include "ops/cases.h"       then  TARN_CASES(softmax, { .name = ... }, ...)
 * softmax.c:    defines `const tarn_op tarn_op_softmax`.
 * A pass an op lacks is NULL.
 */
#ifndef TARN_OPS_KERNEL_H
#define TARN_OPS_KERNEL_H

#include <tarn/sys/op.h>

typedef struct tarn_kernel_pair {
    tarn_kernel *forward;
    tarn_kernel *backward;
} tarn_kernel_pair;

#define TARN_PASTE_(a, b) a##b
#define TARN_PASTE(a, b)  TARN_PASTE_(a, b)

#endif
