/* test_resume_keys.c - what a run file may say when a run goes on, through the program: data that have moved, data that
 * are others, a default that is given; also over checkpoints as earlier versions wrote them.
 */
#include "launch/run.h"
#include "launch/schema.h"
#include "tests/run_support.h"

#include <criterion/criterion.h>
#include <tarn/tarn.h>

enum { SAMPLES = 48, PIXELS = 16 };

static const char text_run[] = "name: moved\n"
                               "model: {kind: gpt, layers: 1, heads: 2, width: 16, context: 16}\n"
                               "data: {kind: text, path: text.txt, validation: 0.1}\n"
                               "train: {batch: 8, steps: 4, threads: 1, eval_every: 2}\n"
                               "checkpoint: {dir: saved}\n"
                               "track: {system_every: 0}\n";
static const char image_run[] =
    "model: {kind: mlp, sizes: [16, 8, 3]}\n"
    "data: {kind: idx, images: images, labels: labels, test_images: seen, test_labels: named}\n"
    "train: {batch: 8, steps: 4, threads: 1, eval_every: 2}\n"
    "checkpoint: {dir: saved}\n"
    "track: {store: null}\n";
static char *folder;

/* Images and labels that depend on `kind`. */
static void write_samples(const char *images, const char *labels, int kind)
{
    unsigned char pixels[16 + SAMPLES * PIXELS] = {0, 0, 8, 3, 0, 0, 0, SAMPLES, 0, 0, 0, 4, 0, 0, 0, 4},
                                        classes[8 + SAMPLES] = {0, 0, 8, 1, 0, 0, 0, SAMPLES};
    for (int i = 0; i < SAMPLES; i++) {
        classes[8 + i] = (unsigned char)((i + kind) % 3);
        for (int k = 0; k < PIXELS; k++) pixels[16 + i * PIXELS + k] = (unsigned char)(k * (i % 3 + 1) * 7 + i + kind);
    }
    cr_assert(tarn_test_write_in(folder, images, pixels, sizeof pixels));
    cr_assert(tarn_test_write_in(folder, labels, classes, sizeof classes));
}

static void set_up(void)
{
    folder = tarn_test_directory();
    char *text = tarn_test_format("%s/text.txt", folder);
    cr_assert(tarn_test_write_text(text, 300));
    free(text);
    write_samples("images", "labels", 0);
    write_samples("seen", "named", 1);
    cr_assert(tarn_test_write_in(folder, "text.yaml", text_run, strlen(text_run)));
    cr_assert(tarn_test_write_in(folder, "images.yaml", image_run, strlen(image_run)));
}

static void tear_down(void)
{
    tarn_test_remove(folder);
    free(folder);
}

TestSuite(resume_keys, .init = set_up, .fini = tear_down, .timeout = 300);

/* Runs tarn and expects the exit code, and the words (may be NULL) in what it says. */
static void expect(int ranks, int expected, const char *arguments, const char *first, const char *second)
{
    char *output = NULL;
    int code = tarn_test_tarn(folder, "", ranks, arguments, &output);
    cr_assert_eq(code, expected, "tarn %s (ranks %d): %d: %s", arguments, ranks, code, output);
    cr_assert(!first || strstr(output, first), "tarn %s says no \"%s\": %s", arguments, first, output);
    cr_assert(!second || strstr(output, second), "tarn %s says no \"%s\": %s", arguments, second, output);
    free(output);
}

/* A shell line in the folder that must succeed; its output is freed by the caller. */
static char *shell(const char *line)
{
    char *command = tarn_test_format("cd '%s' && %s", folder, line), *output = NULL;
    cr_assert_eq(tarn_test_run(command, 60, &output), 0, "%s: %s", line, output);
    free(command);
    return output;
}

static void expect_digest_of_undisturbed(const char *run_file)
{
    char *arguments = tarn_test_format("train %s --quiet train.steps=8 checkpoint.dir=whole", run_file);
    expect(0, 0, arguments, NULL, NULL);
    char *resumed = tarn_test_digest(folder, "saved"), *whole = tarn_test_digest(folder, "whole");
    cr_expect_eq(strlen(whole), 64);
    cr_expect_str_eq(resumed, whole);
    free(resumed);
    free(whole);
    free(arguments);
}

Test(resume_keys, a_text_may_lie_elsewhere)
{
    expect(0, 0, "train text.yaml --quiet", NULL, NULL);
    free(shell("mkdir other && mv text.txt other/copy.txt"));
    expect(2, 0, "train text.yaml --quiet train.steps=6 data.path=other/copy.txt", "resumed at step 4", NULL);
    free(shell("mv other/copy.txt text.txt"));
    char *path = tarn_test_format("train text.yaml --quiet train.steps=8 data.path=%s/text.txt", folder);
    expect(0, 0, path, "resumed at step 6", NULL);
    free(path);
    char *tag = shell("cat mlruns/*/*/tags/tarn.changed_parameters"), *first = shell("cat mlruns/*/*/params/data.path");
    cr_expect(strstr(tag, "data.path=/") && strstr(tag, "/text.txt, train.steps=8"), "%s", tag);
    cr_expect_str_eq(first, "text.txt");
    free(tag);
    free(first);
    expect_digest_of_undisturbed("text.yaml");
}

/* Under another path and under its own, of the same and of other characters, alone and on two ranks. */
Test(resume_keys, another_text_is_refused)
{
    expect(0, 0, "train text.yaml --quiet", NULL, NULL);
    free(shell("sed 's/tarn/rant/' text.txt >swapped.txt && (cat text.txt && echo 0123) >longer.txt"));
    expect(
        0, 2, "train text.yaml --quiet train.steps=6 data.path=swapped.txt",
        "data.path=swapped.txt on the command line: data.path: is swapped.txt now, but the run in the checkpoint was "
        "begun with text.txt, and the contents differ (sha256:",
        "--from-scratch");
    expect(0, 2, "train text.yaml --quiet train.steps=6 data.path=longer.txt",
           "and the contents differ (sha256:", NULL);
    expect(2, 2, "train text.yaml --quiet train.steps=6 data.path=longer.txt",
           "and the contents differ (sha256:", NULL);
    free(shell("cp text.txt kept.txt && cp swapped.txt text.txt"));
    expect(0, 2, "train text.yaml --quiet train.steps=6",
           "text.yaml:3: data.path: text.txt does not hold what it held when the checkpoint was saved (sha256:", NULL);
    expect(0, 0, "train text.yaml --quiet train.steps=6 data.path=kept.txt", "resumed at step 4", NULL);
    expect(0, 0, "train text.yaml --quiet train.steps=4 --from-scratch", NULL, NULL);
}

Test(resume_keys, images_and_labels_may_lie_elsewhere_also_packed)
{
    expect(0, 0, "train images.yaml --quiet", NULL, NULL);
    free(shell("mkdir far && gzip -c images >far/images.gz && mv labels far && mv seen named far && rm images"));
    expect(0, 2, "train images.yaml --quiet train.steps=8", "images.yaml:2: data.", ": No such file");
    expect(2, 0,
           "train images.yaml --quiet train.steps=8 data.images=far/images.gz data.labels=far/labels "
           "data.test_images=far/seen data.test_labels=far/named",
           "resumed at step 4", NULL);
    free(shell("cp far/seen seen && cp far/named named && cp far/labels labels && gzip -dc far/images.gz >images"));
    expect_digest_of_undisturbed("images.yaml");
}

Test(resume_keys, other_images_or_labels_are_refused)
{
    expect(0, 0, "train images.yaml --quiet", NULL, NULL);
    write_samples("images2", "labels2", 2);
    expect(0, 2, "train images.yaml --quiet train.steps=6 data.images=images2", "data.images: is images2 now",
           "the contents differ (sha256:");
    expect(0, 2, "train images.yaml --quiet train.steps=6 data.labels=labels2", "data.labels: is labels2 now",
           "the contents differ (sha256:");
    expect(0, 2, "train images.yaml --quiet train.steps=6 data.test_labels=labels2", "data.test_labels: is labels2 now",
           "the contents differ (sha256:");
    expect(0, 2, "train images.yaml --quiet train.steps=6 data.test_images=null data.test_labels=null",
           "data.test_images: is not given now", NULL);
    write_samples("seen", "named", 2);
    expect(0, 2, "train images.yaml --quiet train.steps=6", "images.yaml:2: data.test_images: seen does not hold",
           NULL);
}

/* Saves what `train FILE` would, but without the digest of validation data, and without the learning rate in its text:
 * as versions did that knew neither. */
static void train_as_before(const char *file)
{
    tarn_context *context;
    char *path = tarn_test_format("%s/%s", folder, file), *saved = tarn_test_format("%s/saved", folder);
    cr_assert_eq(chdir(folder), 0);
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_config *config;
    tarn_run run;
    cr_assert_eq(tarn_config_load(&config, context, tarn_run_schema, tarn_run_schema_count, path, 0, NULL), TARN_OK);
    cr_assert_eq(tarn_run_open(&run, context, config, NULL, false), TARN_OK);
    char *text = strdup(tarn_config_text(config)), *rate = strstr(text, "  lr: 0.001\n");
    cr_assert(rate, "%s", text);
    memmove(rate, rate + strlen("  lr: 0.001\n"), strlen(rate + strlen("  lr: 0.001\n")) + 1);
    run.options.config_text = text;
    run.options.validation = NULL;
    run.options.eval_every = 0;
    run.options.track = NULL;
    run.options.checkpoint_directory = saved;
    cr_assert_eq(tarn_train(context, &run.options), TARN_OK);
    tarn_run_close(&run);
    tarn_exit(context);
    free(text);
    free(path);
    free(saved);
}

Test(resume_keys, checkpoints_of_before_go_on)
{
    train_as_before("images.yaml");
    free(shell("cp seen seen2 && cp images images2"));
    expect(0, 2, "train images.yaml --quiet train.steps=6 data.test_images=seen2",
           "data.test_images: is seen2 now, but the run in the checkpoint was begun with seen",
           "does not say what that held");
    expect(0, 2, "train images.yaml --quiet train.steps=6 optim.lr=0.002", "optim.lr: is 0.002 now",
           "was begun with 0.001");
    expect(0, 0, "train images.yaml --quiet train.steps=6 optim.lr=1e-3 data.images=images2", "resumed at step 4",
           NULL);
    /* The checkpoint of step 6 says it. */
    expect(0, 0, "train images.yaml --quiet train.steps=8 data.test_images=seen2", "resumed at step 6", NULL);
    expect_digest_of_undisturbed("images.yaml");
}

/* README: only model and data are required. */
Test(resume_keys, the_learning_rate_of_a_first_run_is_in_plan_and_record)
{
    expect(0, 0, "train text.yaml --dry-run", "  lr: 0.001\n", NULL);
    expect(0, 0, "train text.yaml --dry-run optim.kind=sgd", "  lr: 0.01\n", NULL);
    expect(0, 0, "train text.yaml --quiet", NULL, NULL);
    char *rate = shell("cat mlruns/*/*/params/optim.lr && grep -c 'lr: 0.001' mlruns/*/*/artifacts/config/run.yaml");
    cr_expect_str_eq(rate, "0.0011\n");
    free(rate);
    expect(0, 0, "train text.yaml --quiet train.steps=6 optim.lr=0.001", "resumed at step 4", NULL);
    expect(0, 0, "train text.yaml --quiet train.steps=8", "resumed at step 6", NULL);
    expect(0, 0, "train --help", "learning rate [adamw=0.001|sgd=0.01]\n", "+data.path ");
    expect_digest_of_undisturbed("text.yaml");
}
