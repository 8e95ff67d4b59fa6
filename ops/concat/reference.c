/* reference.c - concat, see concat.c: runs of bytes are copied. */
#include "ops/attributes.h"
#include "ops/reference.h"
#include "ops/shape.h"

static void forward(const tarn_call *call)
{
    int d = ((const tarn_concat_attrs *)call->attrs)->d;
    tarn_cut whole = tarn_cut_at(&call->out[0], d);
    size_t size = tarn_dtype_size(call->out[0].dtype);
    char *to = call->out[0].data;
    for (int64_t o = 0; o < whole.outer; o++)
        for (int part = 0; part < call->inputs; part++) {
            tarn_cut cut = tarn_cut_at(&call->in[part], d);
            size_t bytes = (size_t)(cut.n * cut.inner) * size;
            if (bytes) memcpy(to, (const char *)call->in[part].data + (size_t)o * bytes, bytes);
            to += bytes;
        }
}

TARN_REFERENCE(concat, forward, NULL)
