/* backward.c - walks the tape once, newest node first.
 *
 * For every node: its result's gradient is complete (all later uses have run), so the gradients of its inputs are
 * written: the first write of a buffer overwrites, later ones add. Then everything the node pinned is given back.
 */
#include "runtime/autograd/tape.h"
#include "runtime/backend/registry.h"
#include "runtime/base/context.h"
#include "runtime/monitor/monitor.h"
#include "runtime/tensor/view.h"

#include <string.h>

/* The slot's gradient range as a view. */
static tarn_view parameter_gradient(tarn_step *step, const tarn_tensor *parameter)
{
    tarn_view view = parameter->view;
    view.data = step->setup.gradients + parameter->slot->offset;
    return view;
}

static bool wants(const tarn_step *step, const tarn_node *node, int i)
{
    const tarn_tensor *in = node->in[i];
    return in && in->wants_gradient && (node->call.op->differentiable >> i & 1) && (!in->slot || step->setup.gradients);
}

static tarn_tensor *gradient_like(tarn_step *step, const tarn_view *view)
{
    tarn_tensor *gradient = tarn_step_tensor(step);
    if (!gradient->valid) return NULL;
    gradient->view = *view;
    return tarn_step_allocate(step, gradient) ? gradient : NULL;
}

static void free_tensor_memory(tarn_tensor *tensor)
{
    tarn_buffer_release(tensor->buffer);
    tensor->buffer = NULL;
    tensor->view.data = NULL;
}

/* One writer of a parameter's gradient is done (wrote or never will). The last one makes the range final. */
static void parameter_written(tarn_step *step, const tarn_parameter_slot *slot)
{
    if (--step->writers[slot->index] > 0) return;
    if (!step->written[slot->index] && !step->setup.accumulate && !step->setup.dry)
        memset(step->setup.gradients + slot->offset, 0, (size_t)slot->numel * sizeof(float));
    if (step->setup.ready) step->setup.ready(step->setup.user, slot);
}

/* Adds (or copies, at the first write) a finished gradient to where input i keeps its own. */
static bool deliver(tarn_step *step, tarn_node *node, int i, const tarn_view *gradient)
{
    tarn_tensor *in = node->in[i];
    if (in->slot) {
        tarn_view target = parameter_gradient(step, in);
        if (step->written[in->slot->index] || step->setup.accumulate)
            tarn_view_accumulate(&target, gradient);
        else
            tarn_view_copy(gradient, target.data);
        step->written[in->slot->index] = true;
        return true;
    }
    if (in->gradient) {
        tarn_view_accumulate(&in->gradient->view, gradient);
        return true;
    }
    in->gradient = gradient_like(step, &node->call.in[i]);
    if (in->gradient) tarn_view_copy(gradient, in->gradient->view.data);
    return in->gradient != NULL;
}

static bool seen_before(const tarn_node *node, int i)
{
    for (int k = 0; k < i; k++)
        if (node->in[k] == node->in[i]) return true;
    return false;
}

/* Runs the backward kernel: it writes straight into the inputs' gradients. */
static bool run_kernel(tarn_step *step, tarn_node *node, tarn_kernel *kernel, int passed)
{
    tarn_call *call = &node->call;
    tarn_tensor *twin[TARN_MAX_OPERANDS] = {NULL}; /* for a tensor that stands in the call twice */
    call->grad_out = node->out->gradient->view;
    call->team = step->setup.team;
    call->scratch = step->setup.scratch;
    bool any = false;
    for (int i = 0; i < call->inputs; i++) {
        tarn_tensor *in = node->in[i];
        if (i == passed || !wants(step, node, i)) continue;
        any = true;
        if (seen_before(node, i)) {
            twin[i] = gradient_like(step, &call->in[i]);
            if (!twin[i]) return false;
            call->grad_in[i] = twin[i]->view;
        } else if (in->slot) {
            call->grad_in[i] = parameter_gradient(step, in);
            call->add[i] = step->written[in->slot->index] || step->setup.accumulate;
            step->written[in->slot->index] = true;
        } else {
            call->add[i] = in->gradient != NULL;
            if (!in->gradient) in->gradient = gradient_like(step, &call->in[i]);
            if (!in->gradient) return false;
            call->grad_in[i] = in->gradient->view;
        }
    }
    if (!any) return true;
    tarn_scratch_reset(step->setup.scratch);
    tarn_place_enter_op(call->op->name);
    if (!step->setup.dry) kernel(call);
    tarn_place_leave_op(call->op->name);
    if (tarn_scratch_failed(step->setup.scratch)) {
        tarn_step_fail(step, TARN_ERROR_MEMORY, TARN_HERE, "backward of op %s: no scratch memory", call->op->name);
        return false;
    }
    for (int i = 0; i < call->inputs; i++)
        if (twin[i]) {
            if (!deliver(step, node, i, &twin[i]->view)) return false;
            free_tensor_memory(twin[i]);
        }
    return true;
}

/* A tensor over a view of the call, for a gradient rule. */
static tarn_tensor *wrap(tarn_step *step, const tarn_view *view)
{
    tarn_tensor *tensor = tarn_step_tensor(step);
    if (tensor->valid) tensor->view = *view;
    return tensor;
}

/* Runs the gradient rule written as a composition of ops; nothing of it is recorded. */
static bool run_composition(tarn_step *step, tarn_node *node, int passed)
{
    const tarn_call *call = &node->call;
    tarn_tensor *in[TARN_MAX_OPERANDS] = {NULL}, *out[TARN_MAX_OPERANDS] = {NULL};
    tarn_gradient_call rule = {.step = step,
                               .attrs = call->attrs,
                               .inputs = call->inputs,
                               .in = in,
                               .out = out,
                               .grad_out = node->out->gradient};
    for (int i = 0; i < call->inputs; i++) {
        if (node->in[i]) in[i] = wrap(step, &call->in[i]);
        rule.wants[i] = i != passed && wants(step, node, i);
    }
    for (int i = 0; i < call->outputs; i++) out[i] = wrap(step, &call->out[i]);
    struct tensor_list *before = step->tensors;
    step->recording = false;
    tarn_status status = call->op->gradient(&rule);
    step->recording = true;
    if (status && !step->status)
        tarn_step_fail(step, status, TARN_HERE, "backward of op %s: its gradient rule failed", call->op->name);
    bool fine = !step->status;
    for (int i = 0; fine && i < call->inputs; i++) {
        if (!rule.wants[i]) continue;
        if (!rule.grad_in[i] || !rule.grad_in[i]->valid ||
            !tarn_view_same_shape(&rule.grad_in[i]->view, &call->in[i])) {
            tarn_step_fail(step, TARN_ERROR_INTERNAL, TARN_HERE,
                           "backward of op %s: its gradient rule gave no gradient of the right shape for input %d",
                           call->op->name, i);
            return false;
        }
        tarn_tensor *result = rule.grad_in[i];
        if (!tarn_view_is_contiguous(&result->view)) {
            tarn_tensor *copy = gradient_like(step, &result->view);
            if (!copy) return false;
            tarn_view_copy(&result->view, copy->view.data);
            result = copy;
        }
        fine = deliver(step, node, i, &result->view);
    }
    /* What the rule made is not needed any more; gradients it was delivered to are tensors made here or before. */
    for (struct tensor_list *item = step->tensors; item != before; item = item->next) {
        bool kept = false;
        for (int i = 0; i < call->inputs; i++) kept |= node->in[i] && node->in[i]->gradient == &item->tensor;
        if (!kept) free_tensor_memory(&item->tensor);
    }
    return fine;
}

/* A residual's gradient is the result's: the buffer itself is handed on when it can be. */
static bool pass_gradient(tarn_step *step, tarn_node *node, int passed)
{
    if (passed < 0 || passed >= node->call.inputs || !wants(step, node, passed)) return true;
    tarn_tensor *in = node->in[passed];
    if (!in->slot && !in->gradient) {
        in->gradient = node->out->gradient;
        node->out->gradient = NULL;
        return true;
    }
    return deliver(step, node, passed, &node->out->gradient->view);
}

static bool visit(tarn_step *step, tarn_node *node)
{
    const tarn_op *op = node->call.op;
    bool fine = true;
    if (node->out->gradient) {
        int passed = op->passes_gradient - 1;
        tarn_kernel *kernel = tarn_kernel_of(step->context, op, TARN_BACKWARD, tarn_call_dtype(&node->call));
        if (kernel)
            fine = run_kernel(step, node, kernel, passed);
        else if (op->gradient)
            fine = run_composition(step, node, passed);
        else if (op->differentiable & ~(passed >= 0 ? 1u << passed : 0u)) {
            tarn_step_fail(step, TARN_ERROR_UNSUPPORTED, TARN_HERE,
                           "op %s has neither a backward kernel nor a gradient rule", op->name);
            fine = false;
        }
        fine = fine && pass_gradient(step, node, passed);
        if (node->out->gradient) free_tensor_memory(node->out->gradient);
        node->out->gradient = NULL;
    }
    for (int i = 0; i < node->pinned_count; i++) tarn_buffer_release(node->pinned[i]);
    node->pinned_count = 0;
    for (int i = 0; i < node->call.inputs; i++)
        if (fine && node->in[i] && node->in[i]->slot && wants(step, node, i))
            parameter_written(step, node->in[i]->slot);
    return fine;
}

/* Gives back the activations no node reads: from here on the tensors of the step hold no values (the loss and leaves
 * with gradients excepted). */
static void release_activations(tarn_step *step, const tarn_tensor *loss)
{
    for (struct tensor_list *item = step->tensors; item; item = item->next)
        if (item->tensor.node && &item->tensor != loss) free_tensor_memory(&item->tensor);
}

tarn_status tarn_backward(tarn_step *step, tarn_tensor *loss)
{
    if (step->status) return step->status;
    if (step->backward_done)
        return tarn_step_fail(step, TARN_ERROR_STATE, TARN_HERE,
                              "tarn_backward twice in one step: add the losses before the first call");
    if (!loss || !loss->valid || loss->step != step || tarn_view_numel(&loss->view) != 1)
        return tarn_step_fail(step, TARN_ERROR_ARGUMENT, TARN_HERE,
                              "tarn_backward needs a loss with one element that was made in this step");
    if (!loss->wants_gradient)
        return tarn_step_fail(step, TARN_ERROR_ARGUMENT, TARN_HERE,
                              step->setup.no_gradient
                                  ? "tarn_backward in a no_gradient step"
                                  : "tarn_backward of a loss that depends on no parameter or leaf with gradient");
    step->backward_done = true;
    tarn_place_enter_backward();
    double value;
    if (step->loss_sum && !tarn_item(loss, &value)) *step->loss_sum += value;
    tarn_tensor *seed = gradient_like(step, &loss->view);
    if (!seed) return step->status;
    if (seed->view.dtype == TARN_F64)
        *(double *)seed->view.data = 1.0;
    else
        *(float *)seed->view.data = 1.0f;
    loss->gradient = seed;
    release_activations(step, loss);
    for (tarn_node *node = step->newest; node && !step->status; node = node->previous) {
        visit(step, node);
        if (step->setup.poll) step->setup.poll(step->setup.user);
    }
    return step->status;
}
