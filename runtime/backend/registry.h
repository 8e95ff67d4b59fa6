/* registry.h - the ops a context knows and their kernels, by (op, pass, dtype, ISA). Written outside steps only. */
#ifndef TARN_RUNTIME_REGISTRY_H
#define TARN_RUNTIME_REGISTRY_H

#include <tarn/sys/op.h>

typedef struct tarn_registry tarn_registry;

tarn_status tarn_registry_create(tarn_registry **registry, tarn_context *context);
void tarn_registry_destroy(tarn_registry *registry);

const tarn_op *tarn_op_find(const tarn_context *context, const char *name);
/* The kernel of the best ISA not above `highest`, or NULL. *found (may be NULL) says which it is. */
tarn_kernel *tarn_kernel_find(const tarn_context *context, const char *op, tarn_pass pass, tarn_dtype dtype,
                              tarn_isa highest, tarn_isa *found);
/* The same for an op row and the ISA in use: what every application of an op asks. */
tarn_kernel *tarn_kernel_of(const tarn_context *context, const tarn_op *op, tarn_pass pass, tarn_dtype dtype);

#endif
