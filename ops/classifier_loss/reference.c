/* reference.c - classifier_loss, see classifier_loss.c. */
#include "ops/products_reference.h"

#include "ops/classifier_loss/chunk.h"

static void rows_forward(const tarn_call *call, element *losses)
{
    const int32_t *targets = call->in[2].data;
    int64_t rows = tarn_rows(&call->in[0]), n = call->in[1].shape[0], stride = tarn_classifier_stride(n);
    for (int64_t row = 0; row < rows; row++) {
        real *x = (real *)call->out[1].data + row * stride, *inverse = (real *)call->out[2].data + row;
        int32_t target = targets[row];
        for (int64_t j = n; j < stride; j++) x[j] = 0;
        losses[row] = *inverse = 0;
        if (target < 0) {
            for (int64_t j = 0; j < n; j++) x[j] = 0;
            continue;
        }
        real largest = real_lane_max(x, n), wanted = x[target];
        for (int64_t j = 0; j < n; j++) x[j] = real_exp(x[j] - largest);
        real s = real_lane_sum(x, n);
        *inverse = (real)1 / s;
        losses[row] = real_log(s) + (largest - wanted);
    }
}

static void rows_backward(const tarn_call *call, int64_t first, int64_t count, element *dlogits)
{
    const int32_t *targets = call->in[2].data;
    int64_t rows = tarn_rows(&call->in[0]), stride = tarn_classifier_stride(call->in[1].shape[0]);
    real d = *(const real *)call->grad_out.data;
    for (int64_t row = 0; row < rows; row++) {
        const real *e = (const real *)call->out[1].data + row * stride + first;
        real factor = d * ((const real *)call->out[2].data)[row];
        for (int64_t j = 0; j < count; j++) {
            real value = targets[row] < 0 ? (real)0 : e[j] * factor;
            dlogits[row * count + j] = first + j == targets[row] ? value - d : value;
        }
    }
}

#include "ops/classifier_loss/body.h"

TARN_REFERENCE(classifier_loss, forward, backward)
