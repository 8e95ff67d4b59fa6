/* reference.c - mse, see mse.c. */
#include "ops/reference.h"

static void forward(const tarn_call *call)
{
    const real *x = call->in[0].data, *y = call->in[1].data;
    int64_t n = tarn_view_numel(&call->in[0]);
    real_sum sum;
    real_sum_start(&sum);
    for (int64_t i = 0; i < n; i++) real_sum_fma(&sum, x[i] - y[i], x[i] - y[i]);
    *(real *)call->out[0].data = real_sum_end(&sum);
}

static void backward(const tarn_call *call)
{
    const real *x = call->in[0].data, *y = call->in[1].data;
    real factor = (real)2 * *(const real *)call->grad_out.data;
    int64_t n = tarn_view_numel(&call->in[0]);
    for (int side = 0; side < 2; side++) {
        real *gradient = call->grad_in[side].data;
        for (int64_t i = 0; gradient && i < n; i++) {
            real value = factor * (x[i] - y[i]);
            if (side == 1) value = -value;
            gradient[i] = call->add[side] ? gradient[i] + value : value;
        }
    }
}

TARN_REFERENCE(mse, forward, backward)
