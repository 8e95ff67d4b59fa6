/* test_resume.c - what a run keeps from C: the user's own state, the best checkpoint, first weights out of another run.
 */
#include "tests/support.h"
#include "train/trainer.h"

#include <criterion/criterion.h>
#include <math.h>
#include <tarn/tarn.h>

static tarn_context *context;
static char *folder;
static float inputs[48][6];
static int32_t targets[48];

static void set_up(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    folder = tarn_test_directory();
    uint32_t state = 9;
    for (int i = 0; i < 48; i++) {
        for (int k = 0; k < 6; k++) inputs[i][k] = (float)((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-24f;
        targets[i] = inputs[i][0] > inputs[i][1];
    }
}

static void tear_down(void)
{
    tarn_exit(context);
    tarn_test_remove(folder);
    free(folder);
}

TestSuite(resume, .init = set_up, .fini = tear_down, .timeout = 120);

static tarn_module *make_model(void)
{
    tarn_module *model;
    static const int64_t sizes[] = {6, 8, 2};
    cr_assert_eq(tarn_mlp_create(&model, context, &(tarn_mlp_options){.count = 3, .sizes = sizes}), TARN_OK);
    return model;
}

static tarn_dataset *make_data(void)
{
    tarn_dataset *data;
    tarn_sample_shape shape = {
        .input_dtype = TARN_F32, .target_dtype = TARN_I32, .input_ndim = 1, .input_shape = {6}, .classes = 2};
    cr_assert_eq(tarn_arrays_open(&data, context, 48, &shape, inputs, targets), TARN_OK);
    cr_assert_eq(tarn_dataset_split(data, 0.25), TARN_OK);
    return data;
}

/* A counter of the user's, advanced by the progress function. */
static tarn_status count_steps(void *user, const tarn_progress *progress)
{
    int64_t *counter = user;
    *counter += progress->step;
    return TARN_OK;
}

static void train(int64_t steps, int64_t *counter, char digest[65])
{
    tarn_module *model = make_model();
    tarn_dataset *data = make_data();
    tarn_user_state state = {.name = "counter", .data = counter, .bytes = sizeof *counter};
    char *directory = tarn_test_format("%s/ckpt", folder);
    tarn_train_options options = {.model = model,
                                  .data = data,
                                  .steps = steps,
                                  .batch = 8,
                                  .shards = 4,
                                  .eval_every = 2,
                                  .optim = {.lr = 0.05},
                                  .checkpoint_directory = directory,
                                  .checkpoint_every = 4,
                                  .user_states = &state,
                                  .user_state_count = 1,
                                  .progress_user = counter,
                                  .progress = count_steps};
    tarn_trainer *trainer;
    cr_assert_eq(tarn_trainer_create(&trainer, context, &options), TARN_OK);
    while (tarn_trainer_next(trainer)) {
        tarn_trainer_run_shards(trainer);
        tarn_optim_step(trainer);
    }
    cr_assert_eq(tarn_trainer_digest(trainer, digest), TARN_OK);
    cr_assert_eq(tarn_trainer_finish(trainer), TARN_OK);
    tarn_dataset_close(data);
    tarn_module_destroy(model);
    free(directory);
}

Test(resume, user_state_comes_back)
{
    char digest[65];
    int64_t counter = 0;
    train(8, &counter, digest);
    cr_assert_eq(counter, 36);
    int64_t again = -1000;
    train(10, &again, digest);
    cr_assert_eq(again, 36 + 9 + 10, "the counter went on from %lld", (long long)again);
}

Test(resume, the_best_checkpoint_is_kept_and_first_weights_come_from_it)
{
    char digest[65];
    int64_t counter = 0;
    train(20, &counter, digest);
    char *best = tarn_test_format("%s/ckpt/best.h5", folder);
    cr_assert_eq(access(best, R_OK), 0, "no %s", best);
    tarn_module *model = make_model();
    int loaded = 0;
    cr_assert_eq(tarn_module_build(model, 99), TARN_OK);
    cr_assert_eq(tarn_module_init_from(model, best, true, &loaded), TARN_OK);
    cr_assert_eq(loaded, 4);
    tarn_module_destroy(model);
    free(best);
}

/* As if it had been begun by a Tarn that computes other bits. */
Test(resume, other_numerics_are_refused)
{
    tarn_module *model = make_model();
    tarn_dataset *data = make_data();
    char *directory = tarn_test_format("%s/ckpt", folder);
    tarn_train_options options = {
        .model = model, .data = data, .steps = 2, .batch = 8, .shards = 4, .checkpoint_directory = directory};
    tarn_trainer *trainer;
    cr_assert_eq(tarn_trainer_create(&trainer, context, &options), TARN_OK);
    char *line = strstr(trainer->fingerprint, "numerics: portable");
    cr_assert_not_null(line);
    memcpy(line, "numerics: whatever", 18);
    while (tarn_trainer_next(trainer)) {
        tarn_trainer_run_shards(trainer);
        tarn_optim_step(trainer);
    }
    cr_assert_eq(tarn_trainer_finish(trainer), TARN_OK);
    tarn_module_destroy(model);
    options.model = model = make_model();
    options.steps = 4;
    cr_assert_eq(tarn_trainer_create(&trainer, context, &options), TARN_ERROR_CONFIG);
    const char *message = tarn_get_error(context)->message;
    cr_assert(strstr(message, "\"numerics: whatever") && strstr(message, "\"numerics: portable") &&
                  strstr(message, "--from-scratch"),
              "%s", message);
    tarn_error_clear(context);
    tarn_dataset_close(data);
    tarn_module_destroy(model);
    free(directory);
}

Test(resume, it_learns)
{
    tarn_module *model = make_model();
    tarn_dataset *data = make_data();
    tarn_train_options options = {
        .model = model, .data = data, .steps = 300, .batch = 12, .shards = 4, .optim = {.lr = 0.02}};
    tarn_trainer *trainer;
    cr_assert_eq(tarn_trainer_create(&trainer, context, &options), TARN_OK);
    double before, after, accuracy;
    cr_assert_eq(tarn_trainer_evaluate(trainer, data, &before, NULL), TARN_OK);
    while (tarn_trainer_next(trainer)) {
        tarn_trainer_run_shards(trainer);
        tarn_optim_step(trainer);
    }
    cr_assert_eq(tarn_trainer_evaluate(trainer, data, &after, &accuracy), TARN_OK);
    cr_expect_lt(after, before / 3);
    cr_expect_gt(accuracy, 0.9);
    cr_assert_eq(tarn_trainer_finish(trainer), TARN_OK);
    tarn_dataset_close(data);
    tarn_module_destroy(model);
}
