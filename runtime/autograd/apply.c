/* apply.c - applying an op: check, infer shapes, run the kernel, note it on the tape. */
#include "runtime/autograd/tape.h"
#include "runtime/backend/registry.h"
#include "runtime/base/context.h"
#include "runtime/monitor/monitor.h"
#include "runtime/random/random.h"
#include "runtime/tensor/view.h"

#include <stdio.h>
#include <string.h>

tarn_status tarn_call_error(tarn_call *call, const char *format, ...)
{
    if (call->error && call->error_size) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(call->error, call->error_size, format, arguments);
        va_end(arguments);
    }
    return TARN_ERROR_SHAPE;
}

tarn_dtype tarn_call_dtype(const tarn_call *call)
{
    for (int i = 0; i < call->inputs; i++)
        if (call->in[i].dtype == TARN_F64 && call->in[i].data) return TARN_F64;
    for (int i = 0; i < call->outputs; i++)
        if (call->out[i].dtype == TARN_F64) return TARN_F64;
    return TARN_F32;
}

/* "in[0] (8, 64) f32, in[1] 'blocks.0.up.weight' (4, 64) f32" */
static void describe_inputs(const tarn_tensor *const *in, int inputs, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; i < inputs && used < size; i++) {
        char shape[128];
        const char *comma = i ? ", " : "";
        if (!in[i])
            used += (size_t)snprintf(out + used, size - used, "%sin[%d] none", comma, i);
        else if (in[i]->slot)
            used += (size_t)snprintf(out + used, size - used, "%sin[%d] '%s' %s", comma, i, in[i]->slot->name,
                                     tarn_view_describe(&in[i]->view, shape, sizeof shape));
        else
            used += (size_t)snprintf(out + used, size - used, "%sin[%d] %s", comma, i,
                                     tarn_view_describe(&in[i]->view, shape, sizeof shape));
    }
}

/* Declared in tarn/ops.h, which belongs to a higher room. */
TARN_API void tarn_at(const char *file, int line);

void tarn_at(const char *file, int line)
{
    tarn_place *place = tarn_place_here();
    atomic_store_explicit(&place->file, file, memory_order_relaxed);
    atomic_store_explicit(&place->line, line, memory_order_relaxed);
}

static tarn_step *step_of(tarn_step *step, int inputs, tarn_tensor *const *in)
{
    for (int i = 0; !step && i < inputs; i++)
        if (in[i]) step = in[i]->step;
    return step ? step : tarn_step_current();
}

static tarn_tensor *fail(tarn_step *step, const tarn_op *op, tarn_status status, int inputs, tarn_tensor *const *in,
                         const char *problem)
{
    char described[1024];
    describe_inputs((const tarn_tensor *const *)in, inputs, described, sizeof described);
    /* The place in the user's program of the last op or forward call on this thread. */
    const tarn_place *place = tarn_place_here();
    const char *call_file = atomic_load_explicit(&place->file, memory_order_relaxed);
    int call_line = atomic_load_explicit(&place->line, memory_order_relaxed);
    if (call_file)
        tarn_step_fail(step, status, call_file, call_line, "%s:%d: op %s of %s: %s", call_file, call_line, op->name,
                       described, problem);
    else
        tarn_step_fail(step, status, TARN_HERE, "op %s of %s: %s", op->name, described, problem);
    return &step->inert;
}

/* NULL when the inputs can be used, else what is wrong; *silent when an earlier error explains it. */
static const char *check_inputs(const tarn_step *step, const tarn_op *op, int inputs, tarn_tensor *const *in)
{
    if (inputs < op->min_inputs || inputs > op->max_inputs) return "wrong number of inputs";
    for (int i = 0; i < inputs; i++) {
        if (!in[i]) {
            if (i < op->min_inputs) return "a required input is NULL";
            continue;
        }
        if (!in[i]->valid) return "an input is inert: the op that made it failed in another step";
        if (!in[i]->view.data && tarn_view_numel(&in[i]->view))
            return in[i]->slot ? "the module is not built: call tarn_module_build first"
                               : "an input's memory was given back in tarn_backward: use tarn_keep before it";
        if (in[i]->step && in[i]->step != step)
            return "an input belongs to another step: use tarn_keep to carry it over";
    }
    return NULL;
}

/* Kernels that want contiguous operands get a copy; *copy holds it until the node or the call is done. */
static bool make_contiguous(tarn_step *step, tarn_view *view, tarn_buffer **copy)
{
    *copy = tarn_pool_get(step->setup.pool, tarn_view_bytes(view));
    if (!*copy) return false;
    tarn_view_copy(view, (*copy)->data);
    view->data = (*copy)->data;
    tarn_view_set_contiguous(view);
    return true;
}

static bool tensor_wants_gradient(const tarn_step *step, const tarn_tensor *tensor)
{
    return tensor && tensor->wants_gradient && (!tensor->slot || step->setup.gradients);
}

static void pin(tarn_node *node, tarn_buffer *buffer)
{
    if (!buffer) return;
    tarn_buffer_retain(buffer);
    node->pinned[node->pinned_count++] = buffer;
}

/* Puts the application on the tape. saved[] are the buffers of out[1..]; copies[] those of contiguous inputs. */
static bool record(tarn_step *step, const tarn_call *call, tarn_tensor *const *in, tarn_tensor *out,
                   tarn_buffer *const *saved, tarn_buffer *const *copies)
{
    const tarn_op *op = call->op;
    tarn_node *node = tarn_arena_get(&step->arena, sizeof *node);
    void *attrs = tarn_arena_get(&step->arena, op->attrs_size);
    if (!node || !attrs) {
        tarn_step_fail(step, TARN_ERROR_MEMORY, TARN_HERE, "op %s: no memory for the tape", op->name);
        return false;
    }
    if (op->attrs_size) memcpy(attrs, call->attrs, op->attrs_size);
    node->call = *call;
    node->call.attrs = attrs;
    node->call.error = NULL;
    node->out = out;
    for (int i = 0; i < call->inputs; i++) {
        node->in[i] = in[i];
        if (!in[i]) continue;
        if (op->reads & TARN_READS_IN(i)) pin(node, copies[i] ? copies[i] : in[i]->buffer);
        if (tensor_wants_gradient(step, in[i]) && in[i]->slot && (op->differentiable >> i & 1)) {
            step->writers[in[i]->slot->index]++;
            step->slots[in[i]->slot->index] = in[i]->slot;
        }
    }
    if (op->reads & TARN_READS_OUT(0)) pin(node, out->buffer);
    for (int i = 1; i < call->outputs; i++) pin(node, saved[i]);
    node->previous = step->newest;
    step->newest = node;
    out->node = node;
    return true;
}

tarn_tensor *tarn_apply(tarn_step *step, const tarn_op *op, int inputs, tarn_tensor *const *in, const void *attrs)
{
    step = step_of(step, inputs, in);
    if (!step || step->status) return tarn_step_inert(step);
    const char *problem = check_inputs(step, op, inputs, in);
    if (problem) return fail(step, op, TARN_ERROR_ARGUMENT, inputs, in, problem);

    char error[512] = "the shapes do not fit";
    tarn_call call = {.op = op,
                      .attrs = attrs,
                      .inputs = inputs,
                      .random = step->setup.random,
                      .team = step->setup.team,
                      .scratch = step->setup.scratch,
                      .error = error,
                      .error_size = sizeof error};
    tarn_buffer *copies[TARN_MAX_OPERANDS] = {NULL}, *saved[TARN_MAX_OPERANDS] = {NULL};
    bool gradient = false;
    for (int i = 0; i < inputs; i++) {
        if (!in[i]) continue;
        call.in[i] = in[i]->view;
        gradient |= (op->differentiable >> i & 1) && tensor_wants_gradient(step, in[i]);
    }
    if (op->random) call.random.stream = TARN_STREAM_DROPOUT + step->next_stream++;

    tarn_tensor *result = &step->inert;
    for (int i = 0; i < inputs; i++)
        if (in[i] && !(op->strided >> i & 1) && !op->view && !tarn_view_is_contiguous(&call.in[i]) &&
            !make_contiguous(step, &call.in[i], &copies[i])) {
            fail(step, op, TARN_ERROR_MEMORY, inputs, in, "no memory for a contiguous copy");
            goto done;
        }
    tarn_status status = op->infer(&call);
    if (status) {
        fail(step, op, status, inputs, in, error);
        goto done;
    }

    tarn_tensor *out = tarn_step_tensor(step);
    if (!out->valid) goto done;
    out->view = call.out[0];
    if (op->view) {
        out->buffer = in[0]->buffer;
        tarn_buffer_retain(out->buffer);
    } else if (!tarn_step_allocate(step, out))
        goto done;
    call.out[0] = out->view;
    for (int i = 1; i < call.outputs; i++) {
        tarn_view_set_contiguous(&call.out[i]);
        saved[i] = tarn_pool_get(step->setup.pool, tarn_view_bytes(&call.out[i]));
        if (!saved[i]) {
            fail(step, op, TARN_ERROR_MEMORY, inputs, in, "no memory for what backward needs");
            goto done;
        }
        call.out[i].data = saved[i]->data;
    }
    if (!op->view) {
        tarn_kernel *kernel = tarn_kernel_of(step->context, op, TARN_FORWARD, tarn_call_dtype(&call));
        if (!kernel) {
            fail(step, op, TARN_ERROR_UNSUPPORTED, inputs, in, "no kernel for this element type is registered");
            goto done;
        }
        tarn_scratch_reset(step->setup.scratch);
        tarn_place_enter_op(op->name);
        if (!step->setup.dry) kernel(&call);
        tarn_place_leave_op(op->name);
        if (tarn_scratch_failed(step->setup.scratch)) {
            fail(step, op, TARN_ERROR_MEMORY, inputs, in, "no scratch memory");
            goto done;
        }
    }
    out->wants_gradient = gradient && step->recording;
    if (out->wants_gradient && !record(step, &call, in, out, saved, copies)) goto done;
    result = out;
    if (step->setup.applied) step->setup.applied(step->setup.user, &call, in, out, step->module ? step->module : "");
done:
    for (int i = 0; i < TARN_MAX_OPERANDS; i++) {
        tarn_buffer_release(copies[i]);
        tarn_buffer_release(saved[i]);
    }
    return result;
}
