/* test_trainer.c - the loop by hand used wrongly, options that cannot work, resuming, and agreement of ranks on all
 * that.
 */
#include "nn/module.h"
#include "support.h"
#include "train/trainer.h"

#include <criterion/criterion.h>
#include <math.h>
#include <tarn/tarn.h>

enum { SAMPLES = 48, INPUTS = 4, CLASSES = 3 };

static tarn_context *context;
static float inputs[SAMPLES * INPUTS];
static int32_t targets[SAMPLES];
static char *folder;

static void set_up(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    for (int i = 0; i < SAMPLES * INPUTS; i++) inputs[i] = (float)(i * 7 % 11) / 11;
    for (int i = 0; i < SAMPLES; i++) targets[i] = i % CLASSES;
    folder = tarn_test_directory();
    cr_assert(folder);
}

static void tear_down(void)
{
    tarn_test_remove(folder);
    free(folder);
    tarn_exit(context);
}

TestSuite(trainer, .init = set_up, .fini = tear_down, .timeout = 200);

typedef struct run {
    tarn_module *model;
    tarn_dataset *data;
    tarn_trainer *trainer;
    tarn_train_options options;
} run;

/* A linear classifier over arrays; options not given take these values. */
static tarn_status open_run(run *run, tarn_train_options options)
{
    static const tarn_sample_shape shape = {.input_dtype = TARN_F32,
                                            .target_dtype = TARN_I32,
                                            .input_ndim = 1,
                                            .input_shape = {INPUTS},
                                            .classes = CLASSES};
    if (!run->model) cr_assert_eq(tarn_linear_create(&run->model, context, INPUTS, CLASSES, NULL), TARN_OK);
    if (!run->data) cr_assert_eq(tarn_arrays_open(&run->data, context, SAMPLES, &shape, inputs, targets), TARN_OK);
    options.model = run->model;
    options.data = run->data;
    if (!options.steps) options.steps = 3;
    options.batch = 16;
    options.shards = 4;
    options.threads = 1;
    run->options = options;
    return tarn_trainer_create(&run->trainer, context, &run->options);
}

static tarn_status close_run(run *run)
{
    tarn_status status = run->trainer ? tarn_trainer_finish(run->trainer) : TARN_OK;
    tarn_dataset_close(run->data);
    tarn_module_destroy(run->model);
    *run = (struct run){0};
    return status;
}

static void expect_error(tarn_status got, tarn_status expected, const char *words)
{
    const tarn_error *error = tarn_get_error(context);
    cr_expect_eq(got, expected, "%s instead of %s: %s", tarn_status_name(got), tarn_status_name(expected),
                 error ? error->message : "no error");
    cr_assert(error);
    cr_expect(strstr(error->message, words), "no \"%s\" in: %s", words, error->message);
    tarn_error_clear(context);
}

static tarn_status run_by_hand(run *run, int micro_batches, bool backward)
{
    cr_assert(tarn_trainer_next(run->trainer));
    for (int i = 0; i < micro_batches; i++) {
        tarn_step *step = tarn_step_begin(run->trainer);
        cr_assert(step);
        const tarn_batch *batch = tarn_step_batch(step);
        tarn_tensor *loss = tarn_cross_entropy(tarn_forward(step, run->model, batch->inputs), batch->targets);
        if (backward) tarn_backward(step, loss);
        tarn_step_end(step);
    }
    return tarn_optim_step(run->trainer);
}

static void expect_weights_untouched(run *run, int micro_batches, int accumulate, const char *words)
{
    float before[INPUTS * CLASSES];
    cr_assert_eq(open_run(run, (tarn_train_options){.accumulate = accumulate, .optim = {.lr = 0.1}}), TARN_OK);
    memcpy(before, tarn_module_flat_values(run->model), sizeof before);
    tarn_status status = run_by_hand(run, micro_batches, true);
    expect_error(status, TARN_ERROR_STATE, words);
    cr_expect_arr_eq(before, tarn_module_flat_values(run->model), sizeof before);
    cr_expect_not(tarn_trainer_next(run->trainer), "the run has ended");
    cr_expect_eq(close_run(run), TARN_ERROR_STATE);
}

Test(trainer, shards_left_out_are_an_error_that_leaves_the_weights)
{
    run run = {0};
    expect_weights_untouched(&run, 0, 1, "shard 0 was not run to its end");
    expect_weights_untouched(&run, 3, 1, "Run every shard of the step");
    expect_weights_untouched(&run, 5, 2, "shard 2 was not run to its end"); /* between its micro-batches */
    cr_assert_eq(open_run(&run, (tarn_train_options){.accumulate = 2}), TARN_OK);
    cr_expect_eq(run_by_hand(&run, 8, true), TARN_OK, "and all of them are none");
    cr_expect_eq(close_run(&run), TARN_OK);
}

Test(trainer, a_step_without_backward_is_an_error)
{
    run run = {0};
    cr_assert_eq(open_run(&run, (tarn_train_options){0}), TARN_OK);
    expect_error(run_by_hand(&run, 4, false), TARN_ERROR_STATE, "tarn_backward");
    close_run(&run);
}

Test(trainer, stopping_at_a_failed_shard_reports_that_shard)
{
    run run = {0};
    cr_assert_eq(open_run(&run, (tarn_train_options){0}), TARN_OK);
    expect_error(run_by_hand(&run, 1, false), TARN_ERROR_STATE, "shard 0: tarn_step_end without");
    close_run(&run);
}

static tarn_tensor *wrong_loss(tarn_step *step, const tarn_batch *batch, void *model)
{
    return tarn_cross_entropy(tarn_add(tarn_forward(step, model, batch->inputs), batch->inputs), batch->targets);
}

Test(trainer, an_error_in_a_loss_carries_its_place)
{
    run run = {0};
    cr_assert_eq(open_run(&run, (tarn_train_options){.loss = wrong_loss}), TARN_OK);
    for (int evaluate = 0; evaluate < 2; evaluate++) {
        if (evaluate)
            cr_expect_eq(tarn_trainer_evaluate(run.trainer, run.data, NULL, NULL), TARN_ERROR_SHAPE);
        else {
            cr_assert(tarn_trainer_next(run.trainer));
            tarn_trainer_run_shards(run.trainer);
            cr_expect_eq(tarn_optim_step(run.trainer), TARN_ERROR_SHAPE);
        }
        const tarn_error *error = tarn_get_error(context);
        cr_assert(error);
        cr_expect(strstr(error->file, "test_trainer.c") && error->line > 0, "place '%s:%d' of: %s", error->file,
                  error->line, error->message);
        tarn_error_clear(context);
    }
    close_run(&run);
}

Test(trainer, metrics_that_a_run_does_not_have_are_refused)
{
    run run = {0};
    expect_error(open_run(&run, (tarn_train_options){.best_metric = "accuracy"}), TARN_ERROR_CONFIG,
                 "use validation.loss or validation.accuracy");
    expect_error(open_run(&run, (tarn_train_options){.best_metric = "validation.accuracy", .loss = wrong_loss}),
                 TARN_ERROR_CONFIG, "no accuracy");
    cr_expect_eq(open_run(&run, (tarn_train_options){.best_metric = "validation.accuracy"}), TARN_OK);
    cr_expect_eq(close_run(&run), TARN_OK);
}

static void train_to_the_end(run *run)
{
    while (tarn_trainer_next(run->trainer)) {
        tarn_trainer_run_shards(run->trainer);
        if (tarn_optim_step(run->trainer)) break;
    }
}

Test(trainer, a_run_resumes_without_the_file_it_started_from)
{
    run run = {0};
    char *first = tarn_test_format("%s/first", folder), *second = tarn_test_format("%s/second", folder);
    char digest[65], resumed[65];
    cr_assert_eq(open_run(&run, (tarn_train_options){.checkpoint_directory = first}), TARN_OK);
    train_to_the_end(&run);
    cr_assert_eq(close_run(&run), TARN_OK);
    tarn_train_options options = {.checkpoint_directory = second, .init_from = first, .seed = 5};
    cr_assert_eq(open_run(&run, options), TARN_OK);
    train_to_the_end(&run);
    tarn_trainer_digest(run.trainer, digest);
    cr_assert_eq(close_run(&run), TARN_OK);
    tarn_test_remove(first);
    cr_assert_eq(open_run(&run, options), TARN_OK, "%s", tarn_get_error(context)->message);
    tarn_trainer_digest(run.trainer, resumed);
    cr_expect_str_eq(resumed, digest);
    cr_assert_eq(close_run(&run), TARN_OK);
    options.from_scratch = true;
    cr_expect_neq(open_run(&run, options), TARN_OK, "a fresh start needs the file");
    tarn_error_clear(context);
    close_run(&run);
    free(first);
    free(second);
}

static char logged[8192];

static void take_warnings(void *user, tarn_log_level level, const char *line)
{
    (void)user;
    size_t used = strlen(logged);
    if (level <= TARN_LOG_WARN) snprintf(logged + used, sizeof logged - used, "%s\n", line);
}

Test(trainer, a_start_from_scratch_says_what_it_leaves_unused)
{
    run run = {0};
    tarn_set_log(context, take_warnings, NULL);
    tarn_train_options options = {.checkpoint_directory = folder, .from_scratch = true};
    cr_assert_eq(open_run(&run, options), TARN_OK);
    cr_expect(!strstr(logged, "from scratch"), "there is nothing yet: %s", logged);
    train_to_the_end(&run);
    cr_assert_eq(close_run(&run), TARN_OK);
    cr_assert_eq(open_run(&run, options), TARN_OK);
    const char *said = strstr(logged, "starting from scratch: 1 checkpoint in ");
    cr_assert(said && strstr(said, folder) && strstr(said, "superseded-..."), "%s", logged);
    cr_expect(!strstr(said + 1, "starting from scratch"), "once: %s", logged);
    close_run(&run);
    logged[0] = 0;
    options.from_scratch = false;
    cr_assert_eq(open_run(&run, options), TARN_OK);
    cr_expect(!strstr(logged, "from scratch"), "%s", logged);
    close_run(&run);
    tarn_set_log(context, NULL, NULL);
}

Test(trainer, a_resume_with_another_model_or_data_names_what_differs)
{
    run run = {0};
    tarn_train_options options = {.checkpoint_directory = folder};
    cr_assert_eq(open_run(&run, options), TARN_OK);
    train_to_the_end(&run);
    cr_assert_eq(close_run(&run), TARN_OK);
    options.seed = 7;
    expect_error(open_run(&run, options), TARN_ERROR_CONFIG, "\"seed: 0\", this one has \"seed: 7\"");
    close_run(&run);
    options.seed = 0;
    open_run(&run, (tarn_train_options){0});
    cr_expect(strstr(run.trainer->fingerprint, "data.samples: 48\nmodel.parameters: 15\nmodel.trainable: 2\n"), "%s",
              run.trainer->fingerprint);
    cr_assert_eq(close_run(&run), TARN_OK);
    tarn_linear_create(&run.model, context, INPUTS, CLASSES, NULL);
    tarn_dataset *data;
    static const tarn_sample_shape shape = {.input_dtype = TARN_F32,
                                            .target_dtype = TARN_I32,
                                            .input_ndim = 1,
                                            .input_shape = {INPUTS},
                                            .classes = CLASSES};
    cr_assert_eq(tarn_arrays_open(&data, context, SAMPLES, &shape, inputs, targets), TARN_OK);
    cr_assert_eq(tarn_dataset_split(data, 0.25), TARN_OK);
    run.data = data;
    expect_error(open_run(&run, options), TARN_ERROR_CONFIG, "this one has \"data.samples: 36\"");
    close_run(&run);
}

/* ---- several ranks: tests/case_train.c --------------------------------------------------------------------------- */

static void expect_ranks(const char *command, int code, const char *const *words)
{
    char *output;
    int got = tarn_test_mpirun(2, command, &output);
    cr_expect_eq(got, code, "%s: exit code %d instead of %d: %s", command, got, code, output);
    for (; *words; words++) cr_expect(strstr(output, *words), "%s: no \"%s\" in: %s", command, *words, output);
    free(output);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

Test(trainer, ranks_with_other_options_or_data_are_an_error_that_says_so)
{
    expect_ranks("case_train same", 0, WORDS("rank 0: ok", "rank 1: ok"));
    expect_ranks("case_train seed", 2, WORDS("rank 1", "comparing the options", "\"seed: 1\"", "\"seed: 0\""));
    expect_ranks("case_train samples", 2, WORDS("rank 1", "data.samples: 63", "data.samples: 64"));
    expect_ranks("case_train steps", 2, WORDS("rank 1", "train.steps: 7", "train.steps: 6"));
    expect_ranks("case_train shards", 2, WORDS("rank 1", "train.shards: 6", "train.shards: 3"));
    expect_ranks("case_train model", 2, WORDS("rank 1", "model.dropout"));
}

Test(trainer, a_last_checkpoint_that_fails_is_the_outcome_on_every_rank)
{
    char *command = tarn_test_format("case_train final %s/checkpoints", folder);
    expect_ranks(command, 1, WORDS("rank 0: failed", "rank 1: failed", "was not written"));
    free(command);
    command = tarn_test_format("case_train early %s/early", folder);
    expect_ranks(command, 1, WORDS("rank 0: failed", "rank 1: failed", "was not written"));
    free(command);
}

Test(trainer, a_start_from_a_missing_model_ends_on_every_rank)
{
    char *command = tarn_test_format("case_train init %s/nowhere", folder);
    expect_ranks(command, 2, WORDS("rank 0: failed", "rank 1: failed", "nowhere"));
    free(command);
}

Test(trainer, a_step_with_a_shard_left_out_on_one_rank_ends_on_every_rank)
{
    expect_ranks("case_train left_out", 1, WORDS("rank 0: failed", "rank 1: failed", "was not run to its end"));
}

Test(trainer, a_reduction_past_its_deadline_is_waited_for_once)
{
    expect_ranks("case_train late", 1, WORDS("the control word was left alone"));
}
