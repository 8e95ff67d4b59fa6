/* registry.h - makes the built-in ops known to a context. */
#ifndef TARN_OPS_REGISTRY_H
#define TARN_OPS_REGISTRY_H

#include <tarn/sys/op.h>

/* Registers every op of ops.def with its kernels: the reference for f32 (the scalar ISA) and f64, the fast ones where
 * the op's folder has a kernel.c. Called once per context, by tarn_init. */
tarn_status tarn_ops_register_all(tarn_context *context);

#endif
