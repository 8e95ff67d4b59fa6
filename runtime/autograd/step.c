/* step.c - opening and closing a step; its tensors and its first error. */
#include "runtime/autograd/tape.h"
#include "runtime/base/context.h"
#include "runtime/tensor/view.h"
#include "runtime/worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local tarn_step *current_step;

tarn_status tarn_step_create(tarn_step **out, tarn_context *context, const tarn_step_setup *setup)
{
    *out = NULL;
    tarn_step *step = calloc(1, sizeof *step);
    if (!step) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for a step");
    step->context = context;
    step->setup = *setup;
    step->recording = !setup->no_gradient;
    step->inert.context = context;
    step->inert.step = step;
    if (!step->setup.pool) {
        step->setup.pool = tarn_pool_create();
        step->owns_pool = true;
    }
    if (!step->setup.scratch) {
        step->setup.scratch = tarn_scratch_create();
        step->owns_scratch = true;
    }
    size_t parameters = (size_t)setup->parameters;
    step->writers = tarn_arena_get(&step->arena, parameters * sizeof *step->writers);
    step->written = tarn_arena_get(&step->arena, parameters * sizeof *step->written);
    step->slots = tarn_arena_get(&step->arena, parameters * sizeof *step->slots);
    if (!step->setup.pool || !step->setup.scratch || !step->writers || !step->written || !step->slots) {
        tarn_step_free(step);
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for a step");
    }
    *out = step;
    return TARN_OK;
}

/* Takes the step out of the thread's chain of open steps, wherever it stands there: steps may end in any order. */
static void leave_chain(tarn_step *step)
{
    for (tarn_step **link = &current_step; *link; link = &(*link)->outer)
        if (*link == step) {
            *link = step->outer;
            break;
        }
    step->outer = NULL;
}

tarn_status tarn_step_free(tarn_step *step)
{
    if (!step) return TARN_OK;
    tarn_status status = step->status;
    leave_chain(step);
    for (tarn_node *node = step->newest; node; node = node->previous)
        for (int i = 0; i < node->pinned_count; i++) tarn_buffer_release(node->pinned[i]);
    for (struct tensor_list *item = step->tensors; item; item = item->next) tarn_buffer_release(item->tensor.buffer);
    if (step->owns_pool) tarn_pool_destroy(step->setup.pool);
    if (step->owns_scratch) tarn_scratch_destroy(step->setup.scratch);
    tarn_arena_free(&step->arena);
    free(step);
    return status;
}

tarn_status tarn_step_open(tarn_step **step, tarn_context *context, const tarn_step_options *options)
{
    static const tarn_step_options defaults;
    if (!options) options = &defaults;
    tarn_step_setup setup = {.no_gradient = options->no_gradient,
                             .random = {.seed = options->seed,
                                        .step = (uint64_t)options->index,
                                        .first_sample = (uint64_t)options->first_sample,
                                        .samples = options->samples ? options->samples : 1}};
    tarn_status status = tarn_step_create(step, context, &setup);
    if (!status) tarn_step_make_current(*step);
    return status;
}

tarn_status tarn_step_close(tarn_step *step)
{
    if (!step) return TARN_OK;
    if (step->status)
        tarn_error_record(step->context, step->status, tarn_rank(step->context), step->file, step->line, step->message);
    return tarn_step_free(step);
}

tarn_status tarn_step_end(tarn_step *step)
{
    if (!step) return TARN_OK;
    return step->end ? step->end(step, step->owner) : tarn_step_close(step);
}

void tarn_step_make_current(tarn_step *step)
{
    if (step == current_step) return;
    if (step) {
        leave_chain(step); /* a step stands in the chain once, so that it has no cycle */
        step->outer = current_step;
    }
    current_step = step;
}

tarn_step *tarn_step_current(void)
{
    return current_step;
}

const char *tarn_step_enter_module(tarn_step *step, const char *path)
{
    const char *outer = step->module;
    step->module = path;
    return outer;
}

bool tarn_step_is_recording(const tarn_step *step)
{
    return step->recording;
}

void tarn_step_set_owner(tarn_step *step, const tarn_batch *batch, void *owner, tarn_status (*end)(tarn_step *, void *))
{
    step->batch = batch;
    step->owner = owner;
    step->end = end;
}

void tarn_step_on_loss(tarn_step *step, double *sum)
{
    step->loss_sum = sum;
}

const tarn_batch *tarn_step_batch(const tarn_step *step)
{
    return step->batch;
}

tarn_status tarn_step_status(const tarn_step *step)
{
    return step->status;
}

const char *tarn_step_message(const tarn_step *step)
{
    return step->message;
}

void tarn_step_place(const tarn_step *step, const char **file, int *line)
{
    *file = step->file;
    *line = step->line;
}

bool tarn_step_backward_done(const tarn_step *step)
{
    return step->backward_done;
}

tarn_status tarn_step_fail(tarn_step *step, tarn_status status, const char *file, int line, const char *format, ...)
{
    if (step->status) return step->status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(step->message, sizeof step->message, format, arguments);
    va_end(arguments);
    step->status = status;
    step->file = file;
    step->line = line;
    return status;
}

/* ---- tensors of the step ----------------------------------------------------------------------------------------- */

tarn_tensor *tarn_step_inert(tarn_step *step)
{
    static tarn_tensor without_step; /* valid = false */
    return step ? &step->inert : &without_step;
}

tarn_tensor *tarn_step_tensor(tarn_step *step)
{
    struct tensor_list *item = tarn_arena_get(&step->arena, sizeof *item);
    if (!item) {
        tarn_step_fail(step, TARN_ERROR_MEMORY, TARN_HERE, "no memory for a tensor");
        return &step->inert;
    }
    item->next = step->tensors;
    step->tensors = item;
    item->tensor.context = step->context;
    item->tensor.step = step;
    item->tensor.valid = true;
    return &item->tensor;
}

bool tarn_step_allocate(tarn_step *step, tarn_tensor *tensor)
{
    tarn_view_set_contiguous(&tensor->view);
    tensor->buffer = tarn_pool_get(step->setup.pool, tarn_view_bytes(&tensor->view));
    if (!tensor->buffer) {
        char shape[128];
        tarn_step_fail(step, TARN_ERROR_MEMORY, TARN_HERE,
                       "no memory for a tensor %s: use a smaller batch or more shards",
                       tarn_view_describe(&tensor->view, shape, sizeof shape));
        return false;
    }
    tensor->view.data = tensor->buffer->data;
    return true;
}

static bool set_shape(tarn_step *step, tarn_tensor *tensor, tarn_dtype dtype, int ndim, const int64_t *shape)
{
    if (ndim < 0 || ndim > TARN_MAX_DIMS || (unsigned)dtype >= TARN_DTYPE_COUNT) {
        tarn_step_fail(step, TARN_ERROR_ARGUMENT, TARN_HERE, "a leaf of %d dimensions, dtype %d: at most %d dimensions",
                       ndim, (int)dtype, TARN_MAX_DIMS);
        return false;
    }
    tensor->view.dtype = dtype;
    tensor->view.ndim = ndim;
    for (int d = 0; d < ndim; d++) {
        if (shape[d] < 0) {
            tarn_step_fail(step, TARN_ERROR_ARGUMENT, TARN_HERE, "a leaf with size %lld in dimension %d",
                           (long long)shape[d], d);
            return false;
        }
        tensor->view.shape[d] = shape[d];
    }
    tarn_view_set_contiguous(&tensor->view);
    return true;
}

tarn_tensor *tarn_step_borrow(tarn_step *step, tarn_dtype dtype, int ndim, const int64_t *shape, const void *data)
{
    if (step->status) return &step->inert;
    tarn_tensor *tensor = tarn_step_tensor(step);
    if (!tensor->valid || !set_shape(step, tensor, dtype, ndim, shape)) return &step->inert;
    tensor->view.data = (void *)(uintptr_t)data; /* only read: leaves are no op's output */
    return tensor;
}

/* data NULL: zeros, as tarn_tensor_create does. */
tarn_tensor *tarn_leaf(tarn_step *step, tarn_dtype dtype, int ndim, const int64_t *shape, const void *data,
                       bool wants_gradient)
{
    if (step->status) return &step->inert;
    if (wants_gradient && dtype != TARN_F32 && dtype != TARN_F64) {
        tarn_step_fail(step, TARN_ERROR_ARGUMENT, TARN_HERE, "a leaf of %s has no gradient: use f32",
                       tarn_dtype_name(dtype));
        return &step->inert;
    }
    tarn_tensor *tensor = tarn_step_tensor(step);
    if (!tensor->valid || !set_shape(step, tensor, dtype, ndim, shape) || !tarn_step_allocate(step, tensor))
        return &step->inert;
    if (data)
        memcpy(tensor->view.data, data, tarn_view_bytes(&tensor->view));
    else
        memset(tensor->view.data, 0, tarn_view_bytes(&tensor->view));
    tensor->wants_gradient = wants_gradient;
    return tensor;
}

const tarn_tensor *tarn_gradient(const tarn_tensor *leaf)
{
    return leaf->gradient;
}
