/* reference.c - gather, see gather.c. */
#include "ops/reference.h"
#include "ops/shape.h"

static int64_t row_at(const tarn_view *index, int64_t i)
{
    return index->dtype == TARN_I32 ? ((const int32_t *)index->data)[i] : ((const int64_t *)index->data)[i];
}

static void forward(const tarn_call *call)
{
    int64_t count = tarn_view_numel(&call->in[1]);
    tarn_cut cut = tarn_cut_at(&call->in[0], 0);
    size_t bytes = (size_t)cut.inner * tarn_dtype_size(call->in[0].dtype);
    for (int64_t i = 0; i < count && bytes; i++)
        memcpy((char *)call->out[0].data + (size_t)i * bytes,
               (const char *)call->in[0].data + (size_t)row_at(&call->in[1], i) * bytes, bytes);
}

static void backward(const tarn_call *call)
{
    int64_t count = tarn_view_numel(&call->in[1]);
    tarn_cut cut = tarn_cut_at(&call->in[0], 0);
    const real *dy = call->grad_out.data;
    real *dx = call->grad_in[0].data;
    if (!dx) return;
    if (!call->add[0]) memset(dx, 0, (size_t)(cut.n * cut.inner) * sizeof(real));
    for (int64_t i = 0; i < count; i++) {
        real *row = dx + row_at(&call->in[1], i) * cut.inner;
        for (int64_t k = 0; k < cut.inner; k++) row[k] = row[k] + dy[i * cut.inner + k];
    }
}

TARN_REFERENCE(gather, forward, backward)
