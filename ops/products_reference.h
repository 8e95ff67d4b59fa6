/* products_reference.h - for reference.c files of ops made of matrix products: element, product, multiply as the op's
 * body.h uses them. products_fast.h has the same names on vectors; a body states the sequence of products once. */
#ifndef TARN_OPS_PRODUCTS_REFERENCE_H
#define TARN_OPS_PRODUCTS_REFERENCE_H

#include "ops/fused.h"
#include "ops/reference.h"
#include "runtime/backend/cpu/gemm.h"
#include "runtime/base/pool.h"

typedef real element;
typedef REAL(tarn_gemm) product;

static inline void multiply(const tarn_call *call, const product *p)
{
    tarn_scratch_mark mark = tarn_scratch_here(call->scratch);
    REAL(tarn_gemm_reference)(p, call->team, call->scratch);
    tarn_scratch_rewind(call->scratch, mark);
}

/* du[i] = dy[i] * activation'(pre[i]), i in [0, n). */
static inline void through_activation(const tarn_call *call, tarn_activation kind, int64_t n, const element *dy,
                                      const element *pre, element *du)
{
    (void)call;
    for (int64_t i = 0; i < n; i++) du[i] = dy[i] * real_activation_gradient(kind, pre[i]);
}

#endif
