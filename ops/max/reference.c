/* reference.c - max, see max.c. */
#include "ops/attributes.h"
#include "ops/reference.h"
#include "ops/shape.h"

static void forward(const tarn_call *call)
{
    tarn_cut cut = tarn_cut_at(&call->in[0], ((const tarn_reduce_attrs *)call->attrs)->d);
    real *out = call->out[0].data;
    for (int64_t o = 0; o < cut.outer; o++)
        for (int64_t i = 0; i < cut.inner; i++) {
            const real *x = (const real *)call->in[0].data + o * cut.n * cut.inner + i;
            real largest = -(real)INFINITY;
            if (cut.inner == 1)
                largest = real_lane_max(x, cut.n);
            else
                for (int64_t k = 0; k < cut.n; k++) largest = real_max_nan(largest, x[k * cut.inner]);
            out[o * cut.inner + i] = largest;
        }
}

static void backward(const tarn_call *call)
{
    tarn_cut cut = tarn_cut_at(&call->in[0], ((const tarn_reduce_attrs *)call->attrs)->d);
    const real *y = call->out[0].data, *dy = call->grad_out.data;
    if (!call->grad_in[0].data) return;
    for (int64_t o = 0; o < cut.outer; o++)
        for (int64_t i = 0; i < cut.inner; i++) {
            const real *x = (const real *)call->in[0].data + o * cut.n * cut.inner + i;
            real *dx = (real *)call->grad_in[0].data + o * cut.n * cut.inner + i;
            real largest = y[o * cut.inner + i];
            bool found = false;
            for (int64_t k = 0; k < cut.n; k++) {
                real element = x[k * cut.inner], value = 0;
                if (!found && (element == largest || (element != element && largest != largest))) {
                    value = dy[o * cut.inner + i];
                    found = true;
                }
                dx[k * cut.inner] = call->add[0] ? dx[k * cut.inner] + value : value;
            }
        }
}

TARN_REFERENCE(max, forward, backward)
