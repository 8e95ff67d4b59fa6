/* reference.c - softmax, see softmax.c. */
#include "ops/reference.h"
#include "ops/shape.h"

static void forward(const tarn_call *call)
{
    tarn_cut cut = tarn_cut_rows(&call->out[0]);
    for (int64_t row = 0; row < cut.outer; row++) {
        const real *x = (const real *)call->in[0].data + row * cut.n;
        real *y = (real *)call->out[0].data + row * cut.n;
        real largest = real_lane_max(x, cut.n);
        for (int64_t i = 0; i < cut.n; i++) y[i] = real_exp(x[i] - largest);
        real factor = (real)1 / real_lane_sum(y, cut.n);
        for (int64_t i = 0; i < cut.n; i++) y[i] = y[i] * factor;
    }
}

static void backward(const tarn_call *call)
{
    tarn_cut cut = tarn_cut_rows(&call->grad_out);
    if (!call->grad_in[0].data) return;
    for (int64_t row = 0; row < cut.outer; row++) {
        const real *y = (const real *)call->out[0].data + row * cut.n;
        const real *dy = (const real *)call->grad_out.data + row * cut.n;
        real *dx = (real *)call->grad_in[0].data + row * cut.n;
        real dot = real_lane_dot(dy, y, cut.n);
        for (int64_t i = 0; i < cut.n; i++) {
            real value = y[i] * (dy[i] - dot);
            dx[i] = call->add[0] ? dx[i] + value : value;
        }
    }
}

TARN_REFERENCE(softmax, forward, backward)
