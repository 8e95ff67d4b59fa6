/* reference.c - cross_entropy, see cross_entropy.c. */
#include "ops/fused.h"
#include "ops/reference.h"

static void forward(const tarn_call *call)
{
    const int32_t *targets = call->in[1].data;
    int64_t rows = tarn_rows(&call->in[0]), n = tarn_width(&call->in[0]);
    double total = 0;
    for (int64_t row = 0; row < rows; row++) {
        const real *x = (const real *)call->in[0].data + row * n;
        real *saved = (real *)call->out[1].data + 2 * row;
        saved[0] = saved[1] = 0;
        if (targets[row] < 0) continue;
        real largest = real_lane_max(x, n);
        real_sum sum;
        real_sum_start(&sum);
        for (int64_t j = 0; j < n; j++) real_sum_add(&sum, real_exp(x[j] - largest));
        real s = real_sum_end(&sum);
        saved[0] = largest;
        saved[1] = (real)1 / s;
        total += (double)(real_log(s) + (largest - x[targets[row]]));
    }
    *(real *)call->out[0].data = (real)total;
}

static void backward(const tarn_call *call)
{
    const int32_t *targets = call->in[1].data;
    int64_t rows = tarn_rows(&call->in[0]), n = tarn_width(&call->in[0]);
    real d = *(const real *)call->grad_out.data;
    if (!call->grad_in[0].data) return;
    for (int64_t row = 0; row < rows; row++) {
        const real *x = (const real *)call->in[0].data + row * n, *saved = (const real *)call->out[1].data + 2 * row;
        real *dx = (real *)call->grad_in[0].data + row * n;
        for (int64_t j = 0; j < n; j++) {
            real value = targets[row] < 0 ? (real)0 : real_exp(x[j] - saved[0]) * (d * saved[1]);
            if (j == targets[row]) value = value - d;
            dx[j] = call->add[0] ? dx[j] + value : value;
        }
    }
}

TARN_REFERENCE(cross_entropy, forward, backward)
