/* track_train_support.h - a folder with a run file: the program and shell lines in it, what its record has. */
#ifndef TARN_TESTS_TRACK_TRAIN_SUPPORT_H
#define TARN_TESTS_TRACK_TRAIN_SUPPORT_H

#include "tests/run_support.h"

#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <tarn/tarn.h>

static const char run_file[] = "name: recorded\n"
                               "seed: 5\n"
                               "model: {kind: gpt, layers: 1, heads: 2, width: 32, context: 16, dropout: 0.1}\n"
                               "data: {kind: text, path: text.txt, validation: 0.1}\n"
                               "train: {batch: 16, steps: 40, eval_every: 10, threads: 1}\n"
                               "checkpoint: {dir: checkpoints, every: 20}\n"
                               "track: {system_every: 0.05}\n";
static char *folder;

__attribute__((unused)) static void set_up(void)
{
    unsetenv("MLFLOW_TRACKING_URI");
    unsetenv("MLFLOW_EXPERIMENT_NAME");
    unsetenv("MLFLOW_RUN_ID");
    folder = tarn_test_directory();
    char *text = tarn_test_format("%s/text.txt", folder);
    cr_assert(tarn_test_write_text(text, 300));
    cr_assert(tarn_test_write_in(folder, "run.yaml", run_file, strlen(run_file)));
    free(text);
}

__attribute__((unused)) static void tear_down(void)
{
    tarn_test_remove(folder);
    free(folder);
}

__attribute__((unused)) static void expect_tarn(const char *environment, int ranks, const char *arguments, int expected,
                                                char **output)
{
    char *heard = NULL;
    int code = tarn_test_tarn(folder, environment, ranks, arguments, &heard);
    cr_assert_eq(code, expected, "tarn %s: %d\n%s", arguments, code, heard);
    if (output)
        *output = heard;
    else
        free(heard);
}

/* The output of a shell line in the folder, without its last newline. Freed by the caller. */
__attribute__((unused)) static char *shell(const char *line)
{
    char *command = tarn_test_format("cd '%s' && %s", folder, line), *output = NULL;
    tarn_test_run(command, 60, &output);
    size_t length = output ? strlen(output) : 0;
    if (length && output[length - 1] == '\n') output[length - 1] = 0;
    free(command);
    return output;
}

__attribute__((unused)) static void expect_shell(const char *line, const char *expected)
{
    char *output = shell(line);
    cr_assert_str_eq(output, expected, "%s\nsays: %s\nexpected: %s", line, output, expected);
    free(output);
}

__attribute__((unused)) static double number(const cJSON *object, const char *key)
{
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(object, key);
    cr_assert(cJSON_IsNumber(found), "no number %s", key);
    return found->valuedouble;
}

#endif
