/* reference.c - slice, see slice.c. Forward is a view; where the gradient holds something already, elements outside the
 * slice are left alone. */
#include "ops/attributes.h"
#include "ops/reference.h"
#include "ops/shape.h"

static void backward(const tarn_call *call)
{
    const tarn_slice_attrs *attrs = call->attrs;
    tarn_cut cut = tarn_cut_at(&call->in[0], attrs->d);
    int64_t begin = attrs->begin < 0 ? attrs->begin + cut.n : attrs->begin;
    int64_t end = attrs->end < 0 ? attrs->end + cut.n : attrs->end;
    const real *dy = call->grad_out.data;
    real *dx = call->grad_in[0].data;
    if (!dx) return;
    for (int64_t o = 0; o < cut.outer; o++)
        for (int64_t k = 0; k < cut.n; k++)
            for (int64_t i = 0; i < cut.inner; i++, dx++) {
                if (k >= begin && k < end) {
                    real value = *dy++;
                    *dx = call->add[0] ? *dx + value : value;
                } else if (!call->add[0])
                    *dx = 0;
            }
}

TARN_REFERENCE(slice, NULL, backward)
