/* checker_gradient.c - the op on a real tape: tarn_apply and tarn_backward against the direct kernel calls, the same on
 * every ISA, and against central differences.
 *
 * The loss is sum_all(out * weights) with fixed random weights, so the gradient of out is the weights exactly, and what
 * the tape gives must have the bits of the direct backward kernel. Differences are taken in double where the op has
 * double kernels (or is a view), else in float with a coarse tolerance.
 */
#include "ops/checker_internal.h"
#include "ops/shape.h"
#include "runtime/autograd/tape.h"
#include "runtime/backend/registry.h"
#include "runtime/base/context.h"
#include "runtime/tensor/view.h"
#include <tarn/ops.h>

#include <math.h>
#include <string.h>

enum { SAMPLED_ELEMENTS = 48, STREAM_WEIGHTS = 1, STREAM_SAMPLED = 3 };

/* What a pass over the tape leaves behind. */
typedef struct taped {
    tarn_view out;
    tarn_view gradient[TARN_MAX_OPERANDS]; /* contiguous; data NULL: not differentiable */
} taped;

static bool copy_view(checker *check, const tarn_view *from, tarn_view *to)
{
    *to = *from;
    to->data = checker_memory(check, tarn_view_bytes(from));
    if (!to->data) return false;
    tarn_view_copy(from, to->data);
    tarn_view_set_contiguous(to);
    return true;
}

/* A leaf with the memory layout of the input: its bytes are copied as they lie. */
static tarn_tensor *leaf(tarn_step *step, const tarn_view *input, bool wants_gradient)
{
    tarn_tensor *tensor = tarn_leaf(step, input->dtype, input->ndim, input->shape, input->data, wants_gradient);
    if (tensor->valid) memcpy(tensor->view.stride, input->stride, sizeof input->stride);
    return tensor;
}

static void run_on_tape(checker *check, const checker_inputs *inputs, tarn_step *step, const tarn_view *inferred,
                        bool backward, taped *result)
{
    tarn_tensor *in[TARN_MAX_OPERANDS] = {NULL};
    for (int i = 0; i < check->op_case->inputs; i++)
        if (!check->op_case->in[i].absent)
            in[i] = leaf(step, &inputs->in[i], backward && checker_differentiable(check, inputs, i, true));
    tarn_tensor *out = tarn_apply(step, check->op, check->op_case->inputs, in, check->op_case->attrs);
    if (!out->valid) return;
    char got[128], want[128];
    check->report->checks++;
    if (!tarn_view_same_shape(&out->view, inferred) || out->view.dtype != inferred->dtype)
        checker_fail(check, "the result is %s, infer says %s", tarn_view_describe(&out->view, got, sizeof got),
                     tarn_view_describe(inferred, want, sizeof want));
    if (!copy_view(check, &out->view, &result->out) || !backward) return;
    tarn_view weights = result->out;
    weights.data = checker_memory(check, tarn_view_bytes(&weights));
    if (!weights.data) return;
    checker_fill(&weights, STREAM_WEIGHTS);
    tarn_tensor *loss = tarn_sum_all(tarn_multiply(out, leaf(step, &weights, false)));
    if (tarn_backward(step, loss)) return;
    for (int i = 0; i < check->op_case->inputs; i++) {
        if (!checker_differentiable(check, inputs, i, true)) continue;
        const tarn_tensor *gradient = tarn_gradient(in[i]);
        check->report->checks++;
        if (!gradient)
            checker_fail(check, "input %d has no gradient after tarn_backward", i);
        else if (!copy_view(check, &gradient->view, &result->gradient[i]))
            return;
    }
}

static bool tape_pass(checker *check, const checker_inputs *inputs, tarn_isa isa, const tarn_view *inferred,
                      bool backward, taped *result)
{
    tarn_context *context = check->context;
    tarn_isa before = context->isa;
    tarn_step *step, *outer = tarn_step_current();
    *result = (taped){0};
    tarn_step_setup setup = {.random = check->random, .no_gradient = !backward};
    if (tarn_step_create(&step, context, &setup)) {
        check->out_of_memory = true;
        return false;
    }
    context->isa = isa;
    tarn_step_make_current(step);
    run_on_tape(check, inputs, step, inferred, backward, result);
    context->isa = before;
    bool fine = !tarn_step_status(step) && !check->out_of_memory;
    if (tarn_step_status(step)) checker_fail(check, "on a tape: %s", tarn_step_message(step));
    tarn_step_free(step);
    tarn_step_make_current(outer);
    return fine;
}

static void expect_same(checker *check, const char *what, int i, const tarn_view *view, const void *expected,
                        const void *got)
{
    int64_t at = 0;
    if (!view->data || !expected || !got) return;
    check->report->checks++;
    if (!checker_same(view, expected, got, &at))
        checker_fail(check, "%s of input %d differs at element %lld", what, i, (long long)at);
}

/* The tape's result and gradients against direct kernel calls. */
static void compare_with_kernels(checker *check, const checker_inputs *inputs, const taped *tape)
{
    checker_run forward, backward;
    tarn_call call;
    if (!checker_infer(check, inputs, &call)) return;
    tarn_dtype dtype = tarn_call_dtype(&call);
    const char *name = check->op->name;
    tarn_kernel *kernel = tarn_kernel_find(check->context, name, TARN_FORWARD, dtype, TARN_ISA_SCALAR, NULL);
    if (!checker_forward(check, inputs, kernel, 1, 0, &forward)) return;
    tarn_view direct;
    if (!copy_view(check, &forward.call.out[0], &direct)) return;
    int64_t at = 0;
    check->report->checks++;
    if (!checker_same(&direct, direct.data, tape->out.data, &at))
        checker_fail(check, "the result on a tape differs from the kernel's at element %lld", (long long)at);
    kernel = tarn_kernel_find(check->context, name, TARN_BACKWARD, dtype, TARN_ISA_SCALAR, NULL);
    if (!kernel) return;
    if (!checker_backward(check, inputs, &forward, kernel, 1, 0, -1, false, &backward)) return;
    for (int i = 0; i < call.inputs; i++)
        if (backward.grad[i].data)
            expect_same(check, "the gradient on a tape (against the direct call)", i, &tape->gradient[i],
                        backward.grad[i].data, tape->gradient[i].data);
}

/* sum(out * weights), added up in double. NaN after a failure. */
static double loss_of(checker *check, tarn_kernel *kernel, tarn_call *call, tarn_view *contiguous,
                      const tarn_view *weights)
{
    if (!check->op->view && !checker_launch(check, kernel, call, 1)) return NAN;
    tarn_view_copy(&call->out[0], contiguous->data);
    double loss = 0;
    for (int64_t i = 0, n = tarn_view_numel(contiguous); i < n; i++)
        loss += checker_value(contiguous, i) * checker_value(weights, i);
    return loss;
}

static void add_to(const tarn_view *view, int64_t at, double change)
{
    if (view->dtype == TARN_F64)
        ((double *)view->data)[at] += change;
    else
        ((float *)view->data)[at] += (float)change;
}

static void compare_with_differences(checker *check, tarn_dtype real, const taped *tape)
{
    checker_inputs inputs;
    checker_run run;
    tarn_call call;
    if (!checker_inputs_make(check, &inputs, real, false, true) || !checker_infer(check, &inputs, &call)) return;
    tarn_kernel *kernel =
        tarn_kernel_find(check->context, check->op->name, TARN_FORWARD, tarn_call_dtype(&call), TARN_ISA_SCALAR, NULL);
    if (!checker_forward(check, &inputs, kernel, 1, 0, &run)) return;
    tarn_view weights, contiguous;
    if (!copy_view(check, &run.call.out[0], &contiguous) || !copy_view(check, &contiguous, &weights)) return;
    checker_fill(&weights, STREAM_WEIGHTS);
    double step = real == TARN_F64 ? 1e-5 : 1e-2, relative = real == TARN_F64 ? 1e-6 : 5e-3;
    double loss = loss_of(check, kernel, &run.call, &contiguous, &weights);
    for (int i = 0; i < check->op_case->inputs; i++) {
        const tarn_view *gradient = &tape->gradient[i];
        if (!gradient->data) continue;
        int64_t n = tarn_view_numel(gradient);
        double largest = 0;
        for (int64_t k = 0; k < n; k++) largest = fmax(largest, fabs(checker_value(gradient, k)));
        for (int64_t k = 0; k < (n < SAMPLED_ELEMENTS ? n : SAMPLED_ELEMENTS); k++) {
            int64_t at = n <= SAMPLED_ELEMENTS ? k : (int64_t)(checker_uniform(STREAM_SAMPLED + i, k) * (double)n);
            double original = checker_value(&inputs.direct[i], at);
            add_to(&inputs.direct[i], at, step);
            double higher = checker_value(&inputs.direct[i], at);
            double up = loss_of(check, kernel, &run.call, &contiguous, &weights);
            add_to(&inputs.direct[i], at, original - higher - step);
            double lower = checker_value(&inputs.direct[i], at);
            double down = loss_of(check, kernel, &run.call, &contiguous, &weights);
            add_to(&inputs.direct[i], at, original - lower);
            double expected = (up - down) / (higher - lower), have = checker_value(gradient, at);
            double allowed = relative * (largest + fabs(expected)) + 1e-14 * (1 + fabs(loss)) / step;
            if (real == TARN_F32) allowed += 1e-6 * (1 + fabs(loss)) / step;
            check->report->checks++;
            if (fabs(have - expected) <= allowed) continue;
            checker_fail(check, "gradient %d at element %lld is %.9g, central differences say %.9g", i, (long long)at,
                         have, expected);
            return;
        }
    }
}

/* Float and double gradients agree: a rule that is right in one of them only. */
static void compare_types(checker *check, const taped *single, const taped *twice)
{
    for (int i = 0; i < check->op_case->inputs; i++) {
        if (!single->gradient[i].data || !twice->gradient[i].data) continue;
        double largest = 1e-3;
        int64_t n = tarn_view_numel(&single->gradient[i]);
        for (int64_t k = 0; k < n; k++) largest = fmax(largest, fabs(checker_value(&twice->gradient[i], k)));
        check->report->checks++;
        for (int64_t k = 0; k < n; k++) {
            double a = checker_value(&single->gradient[i], k), b = checker_value(&twice->gradient[i], k);
            if (fabs(a - b) <= 1e-4 * largest) continue;
            checker_fail(check, "gradient %d at element %lld is %.9g in f32, %.9g in f64", i, (long long)k, a, b);
            return;
        }
    }
}

void checker_check_gradient(checker *check)
{
    checker_inputs single, twice;
    tarn_call call;
    if (!checker_inputs_make(check, &single, TARN_F32, false, false) || !checker_infer(check, &single, &call)) return;
    bool any = false;
    for (int i = 0; i < check->op_case->inputs; i++) any |= checker_differentiable(check, &single, i, true);
    any = any && tarn_dtype_is_real(call.out[0].dtype);

    taped first, other, in_double;
    if (!tape_pass(check, &single, TARN_ISA_SCALAR, &call.out[0], any, &first)) return;
    compare_with_kernels(check, &single, &first);
    for (int isa = TARN_ISA_AVX2; isa <= (int)tarn_isa_best(); isa++) {
        if (!tape_pass(check, &single, (tarn_isa)isa, &call.out[0], any, &other)) return;
        int64_t at = 0;
        check->report->checks++;
        if (!checker_same(&first.out, first.out.data, other.out.data, &at))
            checker_fail(check, "the result on a tape differs between instruction sets at element %lld", (long long)at);
        for (int i = 0; i < check->op_case->inputs; i++)
            expect_same(check, "the gradient on a tape (between instruction sets)", i, &first.gradient[i],
                        first.gradient[i].data, other.gradient[i].data);
    }
    if (!any || check->op_case->skip_finite_differences) return;

    if (!checker_inputs_make(check, &twice, TARN_F64, false, false) || !checker_infer(check, &twice, &call)) return;
    bool has_double = check->op->view || tarn_kernel_find(check->context, check->op->name, TARN_FORWARD,
                                                          tarn_call_dtype(&call), TARN_ISA_SCALAR, NULL);
    if (!has_double) {
        compare_with_differences(check, TARN_F32, &first);
        return;
    }
    if (!tape_pass(check, &twice, TARN_ISA_SCALAR, &call.out[0], true, &in_double)) return;
    compare_with_kernels(check, &twice, &in_double);
    compare_types(check, &first, &in_double);
    compare_with_differences(check, TARN_F64, &in_double);
}
