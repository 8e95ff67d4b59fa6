/* reference.c - rms_norm, see rms_norm.c. */
#include "ops/fused.h"
#include "ops/reference.h"

static void forward(const tarn_call *call)
{
    const tarn_norm_attrs *attrs = call->attrs;
    const real *weight = call->in[1].data;
    int64_t rows = tarn_rows(&call->in[0]), n = tarn_width(&call->in[0]);
    for (int64_t row = 0; row < rows; row++) {
        const real *x = (const real *)call->in[0].data + row * n;
        real *y = (real *)call->out[0].data + row * n;
        real inverse = (real)1 / real_sqrt(real_lane_dot(x, x, n) / (real)n + (real)attrs->epsilon);
        ((real *)call->out[1].data)[row] = inverse;
        for (int64_t j = 0; j < n; j++) y[j] = weight ? (x[j] * inverse) * weight[j] : x[j] * inverse;
    }
}

static void backward_rows(const tarn_call *call, int64_t rows, int64_t n)
{
    const real *weight = call->in[1].data;
    for (int64_t row = 0; row < rows; row++) {
        const real *x = (const real *)call->in[0].data + row * n, *dy = (const real *)call->grad_out.data + row * n;
        real *dx = (real *)call->grad_in[0].data + row * n, inverse = ((const real *)call->out[1].data)[row];
        real_sum dot;
        real_sum_start(&dot);
        for (int64_t j = 0; j < n; j++) real_sum_fma(&dot, weight ? dy[j] * weight[j] : dy[j], x[j] * inverse);
        real mean = real_sum_end(&dot) / (real)n;
        for (int64_t j = 0; j < n; j++) {
            real value = real_fma(-(x[j] * inverse), mean, weight ? dy[j] * weight[j] : dy[j]) * inverse;
            dx[j] = call->add[0] ? dx[j] + value : value;
        }
    }
}

static void backward_columns(const tarn_call *call, int64_t rows, int64_t n)
{
    const real *x = call->in[0].data, *dy = call->grad_out.data, *saved = call->out[1].data;
    real *gradient = call->grad_in[1].data;
    for (int64_t j = 0; j < n; j++) {
        real total = 0;
        for (int64_t begin = 0; begin < rows; begin += TARN_SUM_BLOCK) {
            real sum = 0;
            for (int64_t row = begin; row < rows && row < begin + TARN_SUM_BLOCK; row++)
                sum = real_fma(dy[row * n + j], x[row * n + j] * saved[row], sum);
            total = total + sum;
        }
        gradient[j] = call->add[1] ? gradient[j] + total : total;
    }
}

static void backward(const tarn_call *call)
{
    int64_t rows = tarn_rows(&call->in[0]), n = tarn_width(&call->in[0]);
    if (call->grad_in[0].data) backward_rows(call, rows, n);
    if (call->grad_in[1].data) backward_columns(call, rows, n);
}

TARN_REFERENCE(rms_norm, forward, backward)
