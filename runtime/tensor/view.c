/* view.c - see view.h. */
#include "runtime/tensor/view.h"

#include <stdio.h>
#include <string.h>

int64_t tarn_view_numel(const tarn_view *view)
{
    int64_t numel = 1;
    for (int d = 0; d < view->ndim; d++) numel *= view->shape[d];
    return numel;
}

size_t tarn_view_bytes(const tarn_view *view)
{
    return (size_t)tarn_view_numel(view) * tarn_dtype_size(view->dtype);
}

void tarn_view_set_contiguous(tarn_view *view)
{
    int64_t stride = 1;
    for (int d = view->ndim - 1; d >= 0; d--) {
        view->stride[d] = stride;
        stride *= view->shape[d];
    }
}

bool tarn_view_is_contiguous(const tarn_view *view)
{
    int64_t stride = 1;
    for (int d = view->ndim - 1; d >= 0; d--) {
        if (view->shape[d] != 1 && view->stride[d] != stride) return tarn_view_numel(view) == 0;
        stride *= view->shape[d];
    }
    return true;
}

bool tarn_view_same_shape(const tarn_view *a, const tarn_view *b)
{
    if (a->ndim != b->ndim) return false;
    for (int d = 0; d < a->ndim; d++)
        if (a->shape[d] != b->shape[d]) return false;
    return true;
}

void tarn_view_copy(const tarn_view *from, void *to)
{
    size_t size = tarn_dtype_size(from->dtype);
    int64_t numel = tarn_view_numel(from);
    if (!numel) return;
    if (tarn_view_is_contiguous(from)) {
        memcpy(to, from->data, (size_t)numel * size);
        return;
    }
    /* Not contiguous, so ndim >= 1: an odometer over the outer dimensions, a loop over the last. */
    int last = from->ndim - 1;
    int64_t index[TARN_MAX_DIMS] = {0}, inner = from->shape[last], step = from->stride[last];
    const char *row = from->data;
    char *out = to;
    for (int64_t done = 0; done < numel; done += inner) {
        if (step == 1)
            memcpy(out, row, (size_t)inner * size);
        else
            for (int64_t i = 0; i < inner; i++) memcpy(out + (size_t)i * size, row + i * step * (int64_t)size, size);
        out += (size_t)inner * size;
        for (int d = last - 1; d >= 0; d--) {
            row += from->stride[d] * (int64_t)size;
            if (++index[d] < from->shape[d]) break;
            row -= from->stride[d] * from->shape[d] * (int64_t)size;
            index[d] = 0;
        }
    }
}

void tarn_view_accumulate(const tarn_view *to, const tarn_view *from)
{
    int64_t numel = tarn_view_numel(to);
    if (to->dtype == TARN_F64) {
        double *a = to->data;
        const double *b = from->data;
        for (int64_t i = 0; i < numel; i++) a[i] = a[i] + b[i];
    } else {
        float *a = to->data;
        const float *b = from->data;
        for (int64_t i = 0; i < numel; i++) a[i] = a[i] + b[i];
    }
}

const char *tarn_view_describe(const tarn_view *view, char *out, size_t size)
{
    size_t used = 0;
    used += (size_t)snprintf(out, size, "(");
    for (int d = 0; d < view->ndim && used < size; d++)
        used += (size_t)snprintf(out + used, size - used, d ? ", %lld" : "%lld", (long long)view->shape[d]);
    if (used < size) snprintf(out + used, size - used, ") %s", tarn_dtype_name(view->dtype));
    return out;
}
