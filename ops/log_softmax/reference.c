/* reference.c - log_softmax, see log_softmax.c. */
#include "ops/reference.h"
#include "ops/shape.h"

static void forward(const tarn_call *call)
{
    tarn_cut cut = tarn_cut_rows(&call->out[0]);
    for (int64_t row = 0; row < cut.outer; row++) {
        const real *x = (const real *)call->in[0].data + row * cut.n;
        real *y = (real *)call->out[0].data + row * cut.n;
        real largest = real_lane_max(x, cut.n);
        real_sum sum;
        real_sum_start(&sum);
        for (int64_t i = 0; i < cut.n; i++) {
            y[i] = x[i] - largest;
            real_sum_add(&sum, real_exp(y[i]));
        }
        real log_sum = real_log(real_sum_end(&sum));
        for (int64_t i = 0; i < cut.n; i++) y[i] = y[i] - log_sum;
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
        real sum = real_lane_sum(dy, cut.n);
        for (int64_t i = 0; i < cut.n; i++) {
            real value = real_fma(-real_exp(y[i]), sum, dy[i]);
            dx[i] = call->add[0] ? dx[i] + value : value;
        }
    }
}

TARN_REFERENCE(log_softmax, forward, backward)
