/* reference.c - embedding, see embedding.c. */
#include "ops/reference.h"

static void forward(const tarn_call *call)
{
    const int32_t *ids = call->in[0].data;
    const real *token = call->in[1].data, *position = call->in[2].data;
    int64_t rows = call->in[0].shape[0] * call->in[0].shape[1], time = call->in[0].shape[1];
    int64_t n = call->in[1].shape[1];
    real *y = call->out[0].data;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t j = 0; j < n; j++) {
            real value = token[ids[row] * n + j];
            y[row * n + j] = position ? value + position[row % time * n + j] : value;
        }
}

static void clear(const tarn_call *call, int i)
{
    real *gradient = call->grad_in[i].data;
    int64_t count = tarn_view_numel(&call->in[i]);
    if (!call->add[i])
        for (int64_t j = 0; j < count; j++) gradient[j] = 0;
}

static void backward(const tarn_call *call)
{
    const int32_t *ids = call->in[0].data;
    const real *dy = call->grad_out.data;
    real *token = call->grad_in[1].data, *position = call->grad_in[2].data;
    int64_t rows = call->in[0].shape[0] * call->in[0].shape[1], time = call->in[0].shape[1];
    int64_t n = call->in[1].shape[1];
    if (token) clear(call, 1);
    if (position) clear(call, 2);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t j = 0; j < n; j++) {
            real value = dy[row * n + j];
            if (token) token[ids[row] * n + j] = token[ids[row] * n + j] + value;
            if (position) position[row % time * n + j] = position[row % time * n + j] + value;
        }
}

TARN_REFERENCE(embedding, forward, backward)
