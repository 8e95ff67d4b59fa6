/* checker.c - tarn_op_check: every kernel of every ISA against the scalar one, on one case of an op.
 *
 * What is compared with memcmp (any NaN equal to any NaN) to the scalar kernel on one thread:
 *  1. the scalar kernel itself on other fill patterns, so that an element nobody writes is seen;
 *  2. each ISA's kernel, on teams of 1, 2 and 3 threads, each on memory aligned differently;
 *  3. forward and backward; backward overwriting and adding, for all gradients at once and for each alone;
 *  4. the same on inputs with NaN, infinities, -0, subnormals and huge values.
 * What backward does not name in `reads` is NaN there. Guard bytes stand around every output.
 */
#include "ops/checker_internal.h"
#include "ops/shape.h"
#include "runtime/autograd/tape.h"
#include "runtime/backend/registry.h"
#include "runtime/base/context.h"
#include "runtime/random/random.h"
#include "runtime/tensor/view.h"
#include "runtime/worker/worker.h"

#include <math.h>
#include <string.h>

enum { ALL_GRADIENTS = -1, FILL_REFERENCE = 0xCB, FILL_OTHER = 0x5C, STREAM_GRAD_OUT = 1, STREAM_GRAD_IN = 2 };

static const char *const isa_names[TARN_ISA_COUNT] = {"scalar", "avx2", "avx512"};

/* ---- running ----------------------------------------------------------------------------------------------------- */

bool checker_infer(checker *check, const checker_inputs *inputs, tarn_call *call)
{
    char error[256] = "";
    *call = (tarn_call){.op = check->op,
                        .attrs = check->op_case->attrs,
                        .inputs = check->op_case->inputs,
                        .random = check->random,
                        .scratch = check->scratch,
                        .error = error,
                        .error_size = sizeof error};
    memcpy(call->in, inputs->direct, sizeof call->in);
    tarn_status status = check->op->infer(call);
    call->error = NULL;
    if (status) {
        checker_fail(check, "infer refuses the inputs: %s", error);
        return false;
    }
    if (call->outputs < 1 || call->outputs > TARN_MAX_OPERANDS) {
        checker_fail(check, "infer set %d outputs", call->outputs);
        return false;
    }
    if (!check->op->view)
        for (int i = 0; i < call->outputs; i++) tarn_view_set_contiguous(&call->out[i]);
    return true;
}

typedef struct launch {
    tarn_kernel *kernel;
    tarn_call *call;
} launch;

static void lead(void *argument, int leader, tarn_team *team)
{
    (void)leader;
    launch *work = argument;
    work->call->team = team;
    work->kernel(work->call);
    work->call->team = NULL;
}

bool checker_launch(checker *check, tarn_kernel *kernel, tarn_call *call, int threads)
{
    tarn_scratch_reset(check->scratch);
    if (threads > 1) {
        tarn_workers_run_teams(check->workers[threads - 1], 1, lead, &(launch){kernel, call});
    } else {
        unsigned saved = tarn_float_environment_enter();
        kernel(call);
        tarn_float_environment_leave(saved);
    }
    if (tarn_scratch_failed(check->scratch)) check->out_of_memory = true;
    return !check->out_of_memory;
}

bool checker_forward(checker *check, const checker_inputs *inputs, tarn_kernel *kernel, int threads, int fill,
                     checker_run *run)
{
    *run = (checker_run){0};
    if (!checker_infer(check, inputs, &run->call)) return false;
    if (check->op->view) return true;
    for (int i = 0; i < run->call.outputs; i++) {
        run->out[i] = checker_block_make(check, &run->call.out[i], threads - 1, fill);
        if (!run->out[i].data) return false;
        run->call.out[i].data = run->out[i].data;
    }
    return checker_launch(check, kernel, &run->call, threads);
}

bool checker_differentiable(const checker *check, const checker_inputs *inputs, int i, bool with_passed)
{
    return i < check->op_case->inputs && !check->op_case->in[i].absent && (check->op->differentiable >> i & 1) &&
           tarn_dtype_is_real(inputs->in[i].dtype) && (with_passed || check->op->passes_gradient != i + 1);
}

/* What backward must not read: NaN where the elements are real. */
static bool poison(checker *check, tarn_view *view)
{
    view->data = checker_memory(check, tarn_view_bytes(view));
    if (!view->data) return false;
    if (tarn_dtype_is_real(view->dtype)) memset(view->data, 0xff, tarn_view_bytes(view));
    tarn_view_set_contiguous(view);
    return true;
}

/* Backward of a forward run, for all gradients (only = ALL_GRADIENTS) or one. */
bool checker_backward(checker *check, const checker_inputs *inputs, const checker_run *forward, tarn_kernel *kernel,
                      int threads, int fill, int only, bool add, checker_run *run)
{
    *run = (checker_run){.call = forward->call};
    tarn_call *call = &run->call;
    for (int i = 0; i < call->inputs; i++)
        if (call->in[i].data && !(check->op->reads & TARN_READS_IN(i)) && !poison(check, &call->in[i])) return false;
    for (int i = 0; i < call->outputs; i++)
        if (!(check->op->reads & TARN_READS_OUT(i)) && !poison(check, &call->out[i])) return false;
    call->grad_out = forward->call.out[0];
    tarn_view_set_contiguous(&call->grad_out);
    call->grad_out.data = checker_memory(check, tarn_view_bytes(&call->grad_out));
    if (!call->grad_out.data) return false;
    checker_fill(&call->grad_out, STREAM_GRAD_OUT);
    for (int i = 0; i < call->inputs; i++) {
        if (!checker_differentiable(check, inputs, i, false) || (only != ALL_GRADIENTS && only != i)) continue;
        call->grad_in[i] = inputs->in[i];
        tarn_view_set_contiguous(&call->grad_in[i]);
        run->grad[i] = checker_block_make(check, &call->grad_in[i], threads - 1, fill);
        if (!run->grad[i].data) return false;
        call->grad_in[i].data = run->grad[i].data;
        call->add[i] = add;
        if (add) checker_fill(&call->grad_in[i], STREAM_GRAD_IN);
    }
    return checker_launch(check, kernel, call, threads);
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

typedef struct variant {
    const char *pass, *inputs;
    tarn_isa isa;
    int threads;
    bool add;
} variant;

static void compare(checker *check, const variant *now, const char *what, int i, const tarn_view *view,
                    const checker_block *expected, const checker_block *got)
{
    char shape[128];
    int64_t at = 0;
    if (!got->data || !expected->data) return;
    check->report->checks++;
    if (!checker_block_intact(got))
        checker_fail(check, "%s, %s kernel, %d threads%s: writes outside %s[%d] %s", now->pass, isa_names[now->isa],
                     now->threads, now->inputs, what, i, tarn_view_describe(view, shape, sizeof shape));
    if (!checker_same(view, expected->data, got->data, &at)) {
        double want = 0, have = 0;
        if (tarn_dtype_is_real(view->dtype)) {
            tarn_view side = *view;
            side.data = expected->data;
            want = checker_value(&side, at);
            side.data = got->data;
            have = checker_value(&side, at);
        }
        checker_fail(check,
                     "%s, %s kernel, %d threads%s%s: %s[%d] %s differs from the scalar kernel's at element %lld: "
                     "%.9g, not %.9g",
                     now->pass, isa_names[now->isa], now->threads, now->add ? ", adding" : "", now->inputs, what, i,
                     tarn_view_describe(view, shape, sizeof shape), (long long)at, have, want);
    }
}

static void check_forward(checker *check, const checker_inputs *inputs, const checker_run *reference, tarn_dtype dtype,
                          const char *label)
{
    for (int isa = 0; isa <= (int)tarn_isa_best(); isa++) {
        tarn_isa found;
        tarn_kernel *kernel = tarn_kernel_find(check->context, check->op->name, TARN_FORWARD, dtype, isa, &found);
        if (!kernel || found != (tarn_isa)isa) continue;
        if (isa > 0) check->report->isas |= 1u << isa;
        for (int threads = 1; threads <= CHECKER_TEAMS; threads++) {
            checker_run run;
            variant now = {"forward", label, (tarn_isa)isa, threads, false};
            if (!checker_forward(check, inputs, kernel, threads, FILL_OTHER, &run)) return;
            for (int i = 0; i < run.call.outputs; i++)
                compare(check, &now, "out", i, &run.call.out[i], &reference->out[i], &run.out[i]);
        }
    }
}

/* Adding gives what was there plus what overwriting gives, up to the rounding of a sum in another order. */
static void check_sum(checker *check, const checker_run *overwritten, const checker_run *added)
{
    for (int i = 0; i < added->call.inputs; i++) {
        if (!added->grad[i].data) continue;
        const tarn_view *after = &added->call.grad_in[i], *alone = &overwritten->call.grad_in[i];
        tarn_view before = *after;
        before.data = checker_memory(check, tarn_view_bytes(&before));
        if (!before.data) return;
        checker_fill(&before, STREAM_GRAD_IN);
        double largest = 1;
        int64_t n = tarn_view_numel(after);
        for (int64_t k = 0; k < n; k++) largest = fmax(largest, fabs(checker_value(alone, k)));
        check->report->checks++;
        for (int64_t k = 0; k < n; k++) {
            double sum = checker_value(&before, k) + checker_value(alone, k), have = checker_value(after, k);
            if (fabs(have - sum) <= 1e-4 * largest) continue;
            checker_fail(check,
                         "backward, adding: gradient %d at element %lld is %.9g, not %.9g: a kernel must add "
                         "where call->add is set",
                         i, (long long)k, have, sum);
            return;
        }
    }
}

static void check_backward_of(checker *check, const checker_inputs *inputs, const checker_run *forward,
                              tarn_dtype dtype, int only, bool add, const checker_run *overwritten, const char *label)
{
    tarn_kernel *scalar =
        tarn_kernel_find(check->context, check->op->name, TARN_BACKWARD, dtype, TARN_ISA_SCALAR, NULL);
    checker_run reference;
    if (!checker_backward(check, inputs, forward, scalar, 1, FILL_REFERENCE, only, add, &reference)) return;
    if (add && !*label) check_sum(check, overwritten, &reference);
    for (int isa = 0; isa <= (int)tarn_isa_best(); isa++) {
        tarn_isa found;
        tarn_kernel *kernel = tarn_kernel_find(check->context, check->op->name, TARN_BACKWARD, dtype, isa, &found);
        if (!kernel || found != (tarn_isa)isa) continue;
        if (isa > 0) check->report->isas |= 1u << isa;
        for (int threads = 1; threads <= (only == ALL_GRADIENTS ? CHECKER_TEAMS : 1); threads++) {
            checker_run run;
            variant now = {"backward", label, (tarn_isa)isa, threads, add};
            if (!checker_backward(check, inputs, forward, kernel, threads, FILL_OTHER, only, add, &run)) return;
            for (int i = 0; i < run.call.inputs; i++)
                compare(check, &now, only == ALL_GRADIENTS ? "gradient" : "gradient alone", i, &run.call.grad_in[i],
                        &reference.grad[i], &run.grad[i]);
        }
    }
}

static void check_backward(checker *check, const checker_inputs *inputs, const checker_run *forward, tarn_dtype dtype,
                           const char *label)
{
    tarn_kernel *scalar =
        tarn_kernel_find(check->context, check->op->name, TARN_BACKWARD, dtype, TARN_ISA_SCALAR, NULL);
    int wanted = 0;
    for (int i = 0; i < check->op_case->inputs; i++) wanted += checker_differentiable(check, inputs, i, false);
    if (!wanted || !tarn_dtype_is_real(forward->call.out[0].dtype)) return;
    if (!scalar) {
        tarn_kernel *fast =
            tarn_kernel_find(check->context, check->op->name, TARN_BACKWARD, dtype, TARN_ISA_COUNT - 1, NULL);
        if (fast) checker_fail(check, "a fast backward kernel and no scalar one to define its bits");
        return;
    }
    checker_run overwritten;
    if (!checker_backward(check, inputs, forward, scalar, 1, FILL_REFERENCE, ALL_GRADIENTS, false, &overwritten))
        return;
    for (int i = 0; i < check->op_case->inputs && wanted > 1;
         i++) { /* a gradient does not depend on what else is asked */
        checker_run alone;
        if (!checker_differentiable(check, inputs, i, false)) continue;
        if (!checker_backward(check, inputs, forward, scalar, 1, FILL_OTHER, i, false, &alone)) return;
        compare(check, &(variant){"backward", label, TARN_ISA_SCALAR, 1, false}, "gradient alone", i,
                &alone.call.grad_in[i], &overwritten.grad[i], &alone.grad[i]);
    }
    for (int add = 0; add < 2; add++) {
        check_backward_of(check, inputs, forward, dtype, ALL_GRADIENTS, add, &overwritten, label);
        for (int i = 0; i < check->op_case->inputs && wanted > 1; i++)
            if (checker_differentiable(check, inputs, i, false))
                check_backward_of(check, inputs, forward, dtype, i, add, &overwritten, label);
    }
}

static void check_kernels(checker *check, tarn_dtype real, bool special)
{
    checker_inputs inputs;
    checker_run reference;
    tarn_call call;
    if (!checker_inputs_make(check, &inputs, real, special, false) || !checker_infer(check, &inputs, &call)) return;
    tarn_dtype dtype = tarn_call_dtype(&call);
    tarn_kernel *scalar = tarn_kernel_find(check->context, check->op->name, TARN_FORWARD, dtype, TARN_ISA_SCALAR, NULL);
    if (!scalar && !check->op->view) {
        if (real == TARN_F32) checker_fail(check, "no scalar forward kernel for %s", tarn_dtype_name(dtype));
        return; /* double is optional */
    }
    const char *label = special ? ", special values" : "";
    if (!checker_forward(check, &inputs, scalar, 1, FILL_REFERENCE, &reference)) return;
    if (!check->op->view) check_forward(check, &inputs, &reference, dtype, label);
    check_backward(check, &inputs, &reference, dtype, label);
}

/* ---- the public function ----------------------------------------------------------------------------------------- */

static tarn_status prepare(checker *check)
{
    tarn_context *context = check->context;
    const tarn_op_case *op_case = check->op_case;
    if (tarn_op_find(context, check->op->name) != check->op)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn_op_check of op %s: register it first",
                         check->op->name);
    if (op_case->inputs < check->op->min_inputs || op_case->inputs > check->op->max_inputs)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "tarn_op_check of op %s: case '%s' has %d inputs, the op takes %d to %d", check->op->name,
                         op_case->name ? op_case->name : "", op_case->inputs, check->op->min_inputs,
                         check->op->max_inputs);
    check->random = (tarn_random_key){.seed = 0x5eed0000000007,
                                      .step = 3,
                                      .first_sample = 5,
                                      .samples = op_case->samples ? op_case->samples : 1,
                                      .stream = check->op->random ? TARN_STREAM_DROPOUT : 0};
    check->scratch = tarn_scratch_create();
    if (!check->scratch)
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory to check op %s", check->op->name);
    for (int t = 1; t < CHECKER_TEAMS; t++) {
        tarn_status status = tarn_workers_create(&check->workers[t], context, t + 1);
        if (status) return status;
    }
    return TARN_OK;
}

tarn_status tarn_op_check(tarn_context *context, const tarn_op *op, const tarn_op_case *op_case, tarn_op_report *report)
{
    tarn_op_report unwanted;
    checker check = {.context = context, .op = op, .op_case = op_case, .report = report ? report : &unwanted};
    *check.report = (tarn_op_report){0};
    tarn_status status = prepare(&check);
    if (!status) {
        check_kernels(&check, TARN_F32, false);
        check_kernels(&check, TARN_F64, false);
        check_kernels(&check, TARN_F32, true);
        if (!check.report->failures && !check.out_of_memory) checker_check_gradient(&check);
        if (check.out_of_memory)
            status = tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory to check op %s", op->name);
        else if (check.report->failures)
            status = TARN_ERROR_NUMERIC;
    }
    for (int t = 1; t < CHECKER_TEAMS; t++) tarn_workers_destroy(check.workers[t]);
    tarn_scratch_destroy(check.scratch);
    tarn_arena_free(&check.arena);
    return status;
}
