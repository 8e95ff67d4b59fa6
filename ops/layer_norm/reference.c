/* reference.c - layer_norm, see layer_norm.c. */
#include "ops/fused.h"
#include "ops/reference.h"

static void forward(const tarn_call *call)
{
    const tarn_norm_attrs *attrs = call->attrs;
    const real *weight = call->in[1].data, *bias = call->in[2].data;
    int64_t rows = tarn_rows(&call->in[0]), n = tarn_width(&call->in[0]);
    for (int64_t row = 0; row < rows; row++) {
        const real *x = (const real *)call->in[0].data + row * n;
        real *y = (real *)call->out[0].data + row * n, *saved = (real *)call->out[1].data + 2 * row;
        real mean = real_lane_sum(x, n) / (real)n;
        real_sum squares;
        real_sum_start(&squares);
        for (int64_t j = 0; j < n; j++) real_sum_fma(&squares, x[j] - mean, x[j] - mean);
        real inverse = (real)1 / real_sqrt(real_sum_end(&squares) / (real)n + (real)attrs->epsilon);
        saved[0] = mean;
        saved[1] = inverse;
        for (int64_t j = 0; j < n; j++) {
            real h = (x[j] - mean) * inverse;
            y[j] = weight ? (bias ? real_fma(h, weight[j], bias[j]) : h * weight[j]) : (bias ? h + bias[j] : h);
        }
    }
}

static void backward_rows(const tarn_call *call, int64_t rows, int64_t n)
{
    const real *weight = call->in[1].data;
    for (int64_t row = 0; row < rows; row++) {
        const real *x = (const real *)call->in[0].data + row * n, *dy = (const real *)call->grad_out.data + row * n;
        const real *saved = (const real *)call->out[1].data + 2 * row;
        real *dx = (real *)call->grad_in[0].data + row * n;
        real_sum sum, dot;
        real_sum_start(&sum);
        real_sum_start(&dot);
        for (int64_t j = 0; j < n; j++) {
            real g = weight ? dy[j] * weight[j] : dy[j];
            real_sum_add(&sum, g);
            real_sum_fma(&dot, g, (x[j] - saved[0]) * saved[1]);
        }
        real mean_g = real_sum_end(&sum) / (real)n, mean_gh = real_sum_end(&dot) / (real)n;
        for (int64_t j = 0; j < n; j++) {
            real h = (x[j] - saved[0]) * saved[1], g = weight ? dy[j] * weight[j] : dy[j];
            real value = real_fma(-h, mean_gh, g - mean_g) * saved[1];
            dx[j] = call->add[0] ? dx[j] + value : value;
        }
    }
}

static void store(const tarn_call *call, int i, int64_t j, real total)
{
    real *gradient = call->grad_in[i].data;
    if (gradient) gradient[j] = call->add[i] ? gradient[j] + total : total;
}

static void backward_columns(const tarn_call *call, int64_t rows, int64_t n)
{
    const real *x = call->in[0].data, *dy = call->grad_out.data, *saved = call->out[1].data;
    for (int64_t j = 0; j < n; j++) {
        real weight_total = 0, bias_total = 0;
        for (int64_t begin = 0; begin < rows; begin += TARN_SUM_BLOCK) {
            real weight_sum = 0, bias_sum = 0;
            for (int64_t row = begin; row < rows && row < begin + TARN_SUM_BLOCK; row++) {
                real h = (x[row * n + j] - saved[2 * row]) * saved[2 * row + 1];
                weight_sum = real_fma(dy[row * n + j], h, weight_sum);
                bias_sum = bias_sum + dy[row * n + j];
            }
            weight_total = weight_total + weight_sum;
            bias_total = bias_total + bias_sum;
        }
        store(call, 1, j, weight_total);
        store(call, 2, j, bias_total);
    }
}

static void backward(const tarn_call *call)
{
    int64_t rows = tarn_rows(&call->in[0]), n = tarn_width(&call->in[0]);
    if (call->grad_in[0].data) backward_rows(call, rows, n);
    if (call->grad_in[1].data || call->grad_in[2].data) backward_columns(call, rows, n);
}

TARN_REFERENCE(layer_norm, forward, backward)
