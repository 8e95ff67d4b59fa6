/* tensor.c - looking at tensors, and tensors that live outside steps. */
#include "runtime/autograd/step.h"
#include "runtime/base/context.h"
#include "runtime/tensor/view.h"

#include <stdlib.h>
#include <string.h>

tarn_dtype tarn_tensor_dtype(const tarn_tensor *tensor)
{
    return tensor->view.dtype;
}

int tarn_tensor_ndim(const tarn_tensor *tensor)
{
    return tensor->view.ndim;
}

int64_t tarn_tensor_dim(const tarn_tensor *tensor, int d)
{
    if (d < 0) d += tensor->view.ndim;
    return d >= 0 && d < tensor->view.ndim ? tensor->view.shape[d] : 1;
}

int64_t tarn_tensor_numel(const tarn_tensor *tensor)
{
    return tensor->valid ? tarn_view_numel(&tensor->view) : 0;
}

bool tarn_tensor_is_valid(const tarn_tensor *tensor)
{
    return tensor && tensor->valid;
}

static tarn_status unreadable(const tarn_tensor *tensor)
{
    if (tensor->step && tarn_step_status(tensor->step)) return tarn_step_status(tensor->step);
    return tarn_fail(tensor->context, TARN_ERROR_STATE, TARN_HERE,
                     tensor->valid ? "the tensor's memory was given back in tarn_backward: use tarn_keep before it"
                                   : "the tensor is inert: an op failed before it was made");
}

tarn_status tarn_tensor_read(const tarn_tensor *tensor, void *out, size_t bytes)
{
    if (!tensor->valid || !tensor->view.data) return unreadable(tensor);
    if (bytes != tarn_view_bytes(&tensor->view))
        return tarn_fail(tensor->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "tarn_tensor_read into %zu bytes: the tensor has %zu", bytes, tarn_view_bytes(&tensor->view));
    tarn_view_copy(&tensor->view, out);
    return TARN_OK;
}

tarn_status tarn_item(const tarn_tensor *tensor, double *value)
{
    if (!tensor->valid || !tensor->view.data) return unreadable(tensor);
    char shape[128];
    if (tarn_view_numel(&tensor->view) != 1)
        return tarn_fail(tensor->context, TARN_ERROR_SHAPE, TARN_HERE, "tarn_item of a tensor %s: it needs one element",
                         tarn_view_describe(&tensor->view, shape, sizeof shape));
    const void *data = tensor->view.data;
    switch (tensor->view.dtype) {
    case TARN_F32:
        *value = *(const float *)data;
        break;
    case TARN_F64:
        *value = *(const double *)data;
        break;
    case TARN_I32:
        *value = *(const int32_t *)data;
        break;
    case TARN_I64:
        *value = (double)*(const int64_t *)data;
        break;
    case TARN_BOOL:
        *value = *(const uint8_t *)data;
        break;
    default: {
        uint32_t bits = (uint32_t) * (const uint16_t *)data << 16;
        float wide;
        memcpy(&wide, &bits, sizeof wide);
        *value = wide;
    }
    }
    return TARN_OK;
}

tarn_status tarn_tensor_create(tarn_tensor **out, tarn_context *context, tarn_dtype dtype, int ndim,
                               const int64_t *shape, const void *data)
{
    *out = NULL;
    if (ndim < 0 || ndim > TARN_MAX_DIMS || (unsigned)dtype >= TARN_DTYPE_COUNT)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "a tensor of %d dimensions, dtype %d", ndim,
                         (int)dtype);
    tarn_view view = {.dtype = dtype, .ndim = ndim};
    for (int d = 0; d < ndim; d++) {
        if (shape[d] < 0)
            return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "a tensor with size %lld in dimension %d",
                             (long long)shape[d], d);
        view.shape[d] = shape[d];
    }
    tarn_view_set_contiguous(&view);
    size_t bytes = tarn_view_bytes(&view);
    tarn_tensor *tensor = calloc(1, sizeof *tensor);
    view.data = aligned_alloc(64, (bytes + 64) & ~(size_t)63);
    if (!tensor || !view.data) {
        free(tensor);
        free(view.data);
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for a tensor of %zu bytes", bytes);
    }
    if (data)
        memcpy(view.data, data, bytes);
    else
        memset(view.data, 0, bytes);
    tensor->view = view;
    tensor->context = context;
    tensor->valid = true;
    *out = tensor;
    return TARN_OK;
}

void tarn_tensor_destroy(tarn_tensor *tensor)
{
    if (!tensor || tensor->step || tensor->slot) return; /* a step's or a module's own */
    free(tensor->view.data);
    free(tensor);
}

tarn_status tarn_keep(tarn_tensor **kept, const tarn_tensor *tensor)
{
    *kept = NULL;
    if (!tensor->valid || !tensor->view.data) return unreadable(tensor);
    tarn_status status =
        tarn_tensor_create(kept, tensor->context, tensor->view.dtype, tensor->view.ndim, tensor->view.shape, NULL);
    if (!status) tarn_view_copy(&tensor->view, (*kept)->view.data);
    return status;
}

void tarn_tensor_init_parameter(tarn_tensor *tensor, tarn_context *context, int ndim, const int64_t *shape, float *data,
                                const tarn_parameter_slot *slot)
{
    *tensor = (tarn_tensor){.context = context, .slot = slot, .valid = true, .wants_gradient = slot->index >= 0};
    tensor->view = (tarn_view){.data = data, .dtype = TARN_F32, .ndim = ndim};
    for (int d = 0; d < ndim; d++) tensor->view.shape[d] = shape[d];
    tarn_view_set_contiguous(&tensor->view);
}
