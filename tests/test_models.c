/* test_models.c - gpt and mlp at work: losses, gradients against slopes, learning one tiny batch by heart, freezing,
 * dropout, threads that share a module, inputs that do not fit. */
#include "nn/module.h"
#include "runtime/autograd/step.h"
#include "runtime/base/context.h"

#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static tarn_context *context;

static void quiet(void *user, tarn_log_level level, const char *line)
{
    (void)user;
    (void)level;
    (void)line;
}

static void start(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_set_log(context, quiet, NULL);
}

static void end(void)
{
    tarn_exit(context);
}

TestSuite(forward, .init = start, .fini = end);

/* Checks the recorded error and forgets it. */
static void expect_error(tarn_status got, tarn_status wanted, const char *text)
{
    cr_assert_eq(got, wanted, "status %s, wanted %s", tarn_status_name(got), tarn_status_name(wanted));
    const tarn_error *error = tarn_get_error(context);
    cr_assert(error && error->status == wanted);
    cr_assert(strstr(error->message, text), "\"%s\" does not say \"%s\"", error->message, text);
    tarn_error_clear(context);
}

static tarn_module *tiny_gpt(double dropout)
{
    tarn_module *gpt;
    tarn_gpt_options options = {
        .layers = 2, .heads = 2, .width = 24, .context = 8, .vocabulary = 11, .dropout = dropout};
    cr_assert_eq(tarn_gpt_create(&gpt, context, &options), TARN_OK);
    return gpt;
}

static tarn_parameter_info at(const tarn_module *module, int index)
{
    tarn_parameter_info info;
    cr_assert(tarn_module_parameter_at(module, index, &info), "no parameter %d", index);
    return info;
}

/* ---- forward and training by hand ------------------------------------------------------------------------------- */

enum { BATCH = 2, TIME = 8 };
static const int32_t ids[BATCH * TIME] = {1, 2, 3, 4, 5, 6, 7, 8, 3, 1, 4, 1, 5, 9, 2, 6};
static const int32_t targets[BATCH * TIME] = {2, 3, 4, 5, 6, 7, 8, 9, 1, 4, 1, 5, 9, 2, 6, 5};

/* One step of a model by hand: gradients (flat, may be NULL), the sum of losses. */
static tarn_status gpt_step(tarn_module *gpt, float *gradients, int64_t index, bool by_logits, double *loss)
{
    tarn_step *step;
    tarn_step_setup setup = {.no_gradient = !gradients,
                             .random = {.seed = 1, .step = (uint64_t)index, .samples = BATCH},
                             .gradients = gradients,
                             .parameters = tarn_module_trainable_count(gpt)};
    cr_assert_eq(tarn_step_create(&step, context, &setup), TARN_OK);
    tarn_step_make_current(step);
    tarn_tensor *x = tarn_leaf(step, TARN_I32, 2, (int64_t[]){BATCH, TIME}, ids, false);
    tarn_tensor *y = tarn_leaf(step, TARN_I32, 2, (int64_t[]){BATCH, TIME}, targets, false);
    tarn_tensor *sum = by_logits ? tarn_cross_entropy(tarn_forward(step, gpt, x), y) : tarn_gpt_loss(step, gpt, x, y);
    if (gradients) tarn_backward(step, sum);
    tarn_item(sum, loss);
    return tarn_step_close(step);
}

static float *zeros(int64_t n)
{
    float *buffer = aligned_alloc(64, (size_t)(n + 16) / 16 * 64);
    cr_assert(buffer);
    memset(buffer, 0, (size_t)n * sizeof *buffer);
    return buffer;
}

static double squares(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sum;
}

Test(forward, a_gpt_begins_near_the_uniform_guess)
{
    tarn_module *gpt = tiny_gpt(0);
    cr_assert_eq(tarn_module_build(gpt, 1), TARN_OK);
    double fused, by_logits;
    cr_assert_eq(gpt_step(gpt, NULL, 0, false, &fused), TARN_OK);
    cr_assert_eq(gpt_step(gpt, NULL, 0, true, &by_logits), TARN_OK);
    cr_assert_float_eq(fused, BATCH * TIME * log(11), 0.05 * fused, "%g", fused);
    cr_assert_float_eq(fused, by_logits, 1e-5 * fused, "%.9g and %.9g", fused, by_logits);
    tarn_module_destroy(gpt);
}

Test(forward, gradients_of_a_gpt_are_its_slopes)
{
    /* For each parameter, the slope of the loss along its own gradient is the gradient's norm. The token embedding is
     * used twice: a gradient without one of the uses fails here. */
    tarn_module *gpt = tiny_gpt(0);
    cr_assert_eq(tarn_module_build(gpt, 1), TARN_OK);
    float *values = tarn_module_flat_values(gpt), *gradients = zeros(tarn_module_flat_count(gpt));
    for (int64_t i = 0; i < tarn_module_flat_count(gpt); i++) values[i] *= 4; /* away from the flat beginning */
    double loss, below, above;
    cr_assert_eq(gpt_step(gpt, gradients, 0, false, &loss), TARN_OK);
    for (int p = 0; p < tarn_module_parameter_count(gpt); p++) {
        tarn_parameter_info info = at(gpt, p);
        float *kept = malloc((size_t)info.numel * sizeof *kept), *gradient = gradients + info.offset;
        double norm = sqrt(squares(gradient, info.numel)), h = 0.004;
        cr_assert_gt(norm, 1e-3, "%s", info.name);
        memcpy(kept, info.values, (size_t)info.numel * sizeof *kept);
        for (int64_t i = 0; i < info.numel; i++) info.values[i] = (float)(kept[i] - h * gradient[i] / norm);
        cr_assert_eq(gpt_step(gpt, NULL, 0, false, &below), TARN_OK);
        for (int64_t i = 0; i < info.numel; i++) info.values[i] = (float)(kept[i] + h * gradient[i] / norm);
        cr_assert_eq(gpt_step(gpt, NULL, 0, false, &above), TARN_OK);
        double slope = (above - below) / (2 * h);
        cr_assert_float_eq(slope, norm, 0.003 * norm + 1e-3, "%s: slope %g, gradient %g", info.name, slope, norm);
        memcpy(info.values, kept, (size_t)info.numel * sizeof *kept);
        free(kept);
    }
    free(gradients);
    tarn_module_destroy(gpt);
}

/* Trains on the one batch; returns first and last mean loss. */
static void overfit(tarn_module *gpt, int steps, double *first, double *last)
{
    const tarn_optim_range *ranges;
    int count = tarn_module_ranges(gpt, &ranges);
    int64_t n = tarn_module_flat_count(gpt);
    tarn_optimizer *optimizer;
    tarn_optim_options options = {.lr = 1e-2, .clip = 1};
    cr_assert_eq(tarn_optimizer_create(&optimizer, context, &options, n, ranges, count), TARN_OK);
    float *gradients = zeros(n);
    for (int step = 0; step < steps; step++) {
        double loss;
        cr_assert_eq(gpt_step(gpt, gradients, step, false, &loss), TARN_OK);
        cr_assert_eq(tarn_optimizer_update(optimizer, NULL, tarn_module_flat_values(gpt), gradients,
                                           squares(gradients, n), BATCH * TIME, 1e-2, step, NULL, NULL, false),
                     TARN_OK);
        *last = loss / (BATCH * TIME);
        if (step == 0) *first = *last;
    }
    free(gradients);
    tarn_optimizer_destroy(optimizer);
}

Test(forward, a_gpt_learns_one_batch_by_heart)
{
    tarn_module *gpt = tiny_gpt(0);
    cr_assert_eq(tarn_module_build(gpt, 1), TARN_OK);
    double first, last;
    overfit(gpt, 60, &first, &last);
    cr_assert(first > 2 && last < 0.2, "from %g to %g", first, last);
    tarn_module_destroy(gpt);
}

Test(forward, frozen_parameters_stay_and_the_rest_learns)
{
    tarn_module *gpt = tiny_gpt(0.1);
    cr_assert_eq(tarn_module_freeze(gpt, "*embedding*", true, NULL), TARN_OK);
    cr_assert_eq(tarn_module_freeze(gpt, "blocks.1.attention.*", true, NULL), TARN_OK);
    cr_assert_eq(tarn_module_build(gpt, 1), TARN_OK);
    int64_t n = tarn_module_flat_count(gpt), total = tarn_module_flat_total(gpt);
    float *kept = zeros(total);
    memcpy(kept, tarn_module_flat_values(gpt), (size_t)total * sizeof *kept);
    double first, last;
    overfit(gpt, 40, &first, &last);
    cr_assert_lt(last, 0.8 * first, "from %g to %g", first, last);
    cr_assert_eq(memcmp(kept + n, tarn_module_flat_values(gpt) + n, (size_t)(total - n) * sizeof *kept), 0);
    cr_assert_neq(memcmp(kept, tarn_module_flat_values(gpt), (size_t)n * sizeof *kept), 0);
    free(kept);
    tarn_module_destroy(gpt);
}

Test(forward, dropout_depends_on_the_step_and_rests_in_evaluation)
{
    tarn_module *gpt = tiny_gpt(0.3), *sure = tiny_gpt(0);
    cr_assert_eq(tarn_module_build(gpt, 1), TARN_OK);
    cr_assert_eq(tarn_module_build(sure, 1), TARN_OK);
    float *gradients = zeros(tarn_module_flat_count(gpt));
    double step0, again, step1, evaluated, plain;
    cr_assert_eq(gpt_step(gpt, gradients, 0, false, &step0), TARN_OK);
    cr_assert_eq(gpt_step(gpt, gradients, 0, false, &again), TARN_OK);
    cr_assert_eq(gpt_step(gpt, gradients, 1, false, &step1), TARN_OK);
    cr_assert_eq(gpt_step(gpt, NULL, 0, false, &evaluated), TARN_OK);
    cr_assert_eq(gpt_step(sure, NULL, 0, false, &plain), TARN_OK);
    cr_assert(step0 == again && step0 != step1 && step0 != evaluated, "%g %g %g %g", step0, again, step1, evaluated);
    cr_assert_float_eq(evaluated, plain, 1e-5 * plain); /* the residual is added elsewhere: not the same bits */
    free(gradients);
    tarn_module_destroy(gpt);
    tarn_module_destroy(sure);
}

typedef struct runner {
    tarn_module *gpt;
    double loss[20];
    tarn_status status;
} runner;

static void *run_forward(void *argument)
{
    runner *self = argument;
    for (int i = 0; i < 20 && !self->status; i++) self->status = gpt_step(self->gpt, NULL, 0, i & 1, &self->loss[i]);
    return NULL;
}

Test(forward, several_threads_share_a_module)
{
    tarn_module *gpt = tiny_gpt(0);
    cr_assert_eq(tarn_module_build(gpt, 1), TARN_OK);
    runner runners[3] = {{.gpt = gpt}, {.gpt = gpt}, {.gpt = gpt}};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) cr_assert_eq(pthread_create(&threads[i], NULL, run_forward, &runners[i]), 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(runners[i].status, TARN_OK);
        for (int k = 0; k < 20; k++) cr_assert_eq(runners[i].loss[k], runners[0].loss[k & 1]);
    }
    tarn_module_destroy(gpt);
}

/* Runs the module on a leaf and expects the step to fail. */
static void expect_refused(tarn_module *module, tarn_dtype dtype, int ndim, const int64_t *shape, tarn_status wanted,
                           const char *text)
{
    tarn_step *step;
    cr_assert_eq(tarn_step_open(&step, context, &(tarn_step_options){.no_gradient = true}), TARN_OK);
    static const int32_t values[64]; /* zeros in either type */
    tarn_tensor *out = tarn_forward(step, module, tarn_leaf(step, dtype, ndim, shape, values, false));
    cr_assert(!tarn_tensor_is_valid(out));
    expect_error(tarn_step_close(step), wanted, text);
}

Test(forward, refuses_inputs_that_do_not_fit)
{
    tarn_module *gpt = tiny_gpt(0), *mlp, *root;
    expect_refused(gpt, TARN_I32, 2, (int64_t[]){2, 4}, TARN_ERROR_STATE, "tarn_module_build");
    cr_assert_eq(tarn_module_build(gpt, 1), TARN_OK);
    expect_refused(gpt, TARN_I32, 2, (int64_t[]){2, 9}, TARN_ERROR_SHAPE, "9 tokens long, the model's context 8");
    expect_refused(gpt, TARN_I32, 1, (int64_t[]){8}, TARN_ERROR_SHAPE, "(batch, time) of i32");
    expect_refused(gpt, TARN_F32, 2, (int64_t[]){2, 8}, TARN_ERROR_SHAPE, "f32");
    cr_assert_eq(tarn_mlp_create(&mlp, context, &(tarn_mlp_options){2, (int64_t[]){6, 3}, 0, 0}), TARN_OK);
    cr_assert_eq(tarn_module_build(mlp, 1), TARN_OK);
    expect_refused(mlp, TARN_F32, 2, (int64_t[]){4, 5}, TARN_ERROR_SHAPE, "5 values, the model takes 6");
    cr_assert_eq(tarn_module_create(&root, context, "box", NULL, NULL, NULL), TARN_OK);
    cr_assert_eq(tarn_module_build(root, 1), TARN_OK);
    expect_refused(root, TARN_F32, 1, (int64_t[]){1}, TARN_ERROR_UNSUPPORTED, "no forward function");
    tarn_module_destroy(gpt);
    tarn_module_destroy(mlp);
    tarn_module_destroy(root);
}

Test(forward, an_mlp_is_its_layers_and_flattens_samples)
{
    enum { B = 3, IN = 6, HIDDEN = 5, OUT = 4 };
    tarn_module *mlp;
    float x[B * IN], out[2][B * OUT];
    for (int i = 0; i < B * IN; i++) x[i] = (float)(i * 7 % 11) / 4 - 1;
    cr_assert_eq(tarn_mlp_create(&mlp, context, &(tarn_mlp_options){3, (int64_t[]){IN, HIDDEN, OUT}, 0, 0}), TARN_OK);
    cr_assert_eq(tarn_module_build(mlp, 4), TARN_OK);
    for (int shape = 0; shape < 2; shape++) {
        tarn_step *step;
        cr_assert_eq(tarn_step_open(&step, context, &(tarn_step_options){.no_gradient = true}), TARN_OK);
        tarn_tensor *input = shape ? tarn_leaf(step, TARN_F32, 3, (int64_t[]){B, 2, 3}, x, false)
                                   : tarn_leaf(step, TARN_F32, 2, (int64_t[]){B, IN}, x, false);
        cr_assert_eq(tarn_tensor_read(tarn_forward(step, mlp, input), out[shape], sizeof out[shape]), TARN_OK);
        cr_assert_eq(tarn_step_close(step), TARN_OK);
    }
    cr_assert_eq(memcmp(out[0], out[1], sizeof out[0]), 0);
    const float *w0 = at(mlp, 0).values, *b0 = at(mlp, 1).values, *w1 = at(mlp, 2).values, *b1 = at(mlp, 3).values;
    for (int b = 0; b < B; b++)
        for (int o = 0; o < OUT; o++) {
            double sum = b1[o];
            for (int h = 0; h < HIDDEN; h++) {
                double hidden = b0[h];
                for (int k = 0; k < IN; k++) hidden += (double)w0[h * IN + k] * x[b * IN + k];
                sum += w1[o * HIDDEN + h] * (hidden > 0 ? hidden : 0);
            }
            cr_assert_float_eq(out[0][b * OUT + o], sum, 1e-6);
        }
    tarn_module_destroy(mlp);
}
