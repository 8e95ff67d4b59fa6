/* elementwise_reference.h - the loops of elementwise references: an op's reference.c gives the function of one element.
 * Include it after ops/reference.h. The functions are inlined, so an op costs what a loop of its own would. */
#ifndef TARN_OPS_ELEMENTWISE_REFERENCE_H
#define TARN_OPS_ELEMENTWISE_REFERENCE_H

#include "ops/reference.h"
#include "ops/shape.h"

typedef real real_unary(real x, const void *attrs);
/* dx from x and dy, the gradient of the result. */
typedef real real_unary_gradient(real x, real dy, const void *attrs);
typedef real real_binary(real a, real b);

/* out[i] = f(in[i]). */
static inline void real_unary_forward(const tarn_call *call, real_unary *f)
{
    const real *x = call->in[0].data;
    real *y = call->out[0].data;
    int64_t n = tarn_view_numel(&call->out[0]);
    for (int64_t i = 0; i < n; i++) y[i] = f(x[i], call->attrs);
}

/* dx[i] = f(x[i], dy[i]), added to what is there when `add`. */
static inline void real_unary_backward(const tarn_call *call, real_unary_gradient *f)
{
    const real *x = call->in[0].data, *dy = call->grad_out.data;
    real *dx = call->grad_in[0].data;
    int64_t n = tarn_view_numel(&call->grad_out);
    if (!dx) return;
    for (int64_t i = 0; i < n; i++) {
        real value = f(x[i], dy[i], call->attrs);
        dx[i] = call->add[0] ? dx[i] + value : value;
    }
}

/* out = f(a, b) with broadcasting and any strides. */
static inline void real_binary_forward(const tarn_call *call, real_binary *f)
{
    const real *a = call->in[0].data, *b = call->in[1].data;
    real *y = call->out[0].data;
    tarn_broadcast plan;
    tarn_broadcast_plan(&plan, call);
    for (int64_t row = 0; row < plan.rows; row++) {
        const real *row_a = a + tarn_broadcast_offset(&plan, 0, row), *row_b = b + tarn_broadcast_offset(&plan, 1, row);
        for (int64_t i = 0; i < plan.n; i++)
            y[row * plan.n + i] = f(row_a[i * plan.stride[0]], row_b[i * plan.stride[1]]);
    }
}

#endif
