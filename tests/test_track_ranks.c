/* test_track_ranks.c - what other ranks than 0 log is in the record of the run, once. */
#include "tests/support.h"

#include <criterion/criterion.h>

static char *folder;

static void begin(void)
{
    folder = tarn_test_directory();
}

static void end(void)
{
    tarn_test_remove(folder);
    free(folder);
}

TestSuite(track_ranks, .init = begin, .fini = end, .timeout = 300);

static char *launch(int ranks, const char *name, const char *rest, int expected)
{
    char *command = tarn_test_format("case_track %s %s %s", name, folder, rest), *output;
    int code = tarn_test_mpirun(ranks, command, &output);
    cr_assert_eq(code, expected, "%s: exit code %d: %s", command, code, output);
    free(command);
    return output;
}

/* The number of lines of a file of the run. */
static int64_t lines_of(const char *file)
{
    char *command = tarn_test_format("cat '%s'/mlruns/*/*/%s", folder, file), *text;
    cr_assert_eq(tarn_test_run(command, 20, &text), 0, "%s: %s", file, text);
    int64_t lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++) lines++;
    free(text);
    free(command);
    return lines;
}

Test(track_ranks, every_rank_logs_to_one_run)
{
    enum { RANKS = 3, STEPS = 300 };
    char *output = launch(RANKS, "log", "300", 0);
    cr_assert(!strstr(output, "warns"), "%s", output);
    char *first = strstr(output, " run "), id[33];
    cr_assert_not_null(first);
    snprintf(id, sizeof id, "%.32s", first + 5);
    int same = 0;
    for (const char *at = output; (at = strstr(at, id)); at++) same++;
    cr_assert_eq(same, RANKS, "%s", output);
    free(output);
    /* The same job goes on from its beginning, on more ranks: what is there is not recorded again. */
    char *rest = tarn_test_format("310 %s", id);
    output = launch(RANKS + 1, "log", rest, 0);
    cr_assert(!strstr(output, "warns"), "%s", output);
    free(output);
    free(rest);
    for (int rank = 0; rank < RANKS + 1; rank++) {
        char *file = tarn_test_format("metrics/rank/%d/value", rank);
        cr_assert_eq(lines_of(file), STEPS + 10, "%s has %lld lines", file, (long long)lines_of(file));
        free(file);
        file = tarn_test_format("artifacts/ranks/rank-%d.txt", rank);
        cr_assert_eq(lines_of(file), 1);
        free(file);
        file = tarn_test_format("{params,tags}/rank.%d", rank);
        char *command = tarn_test_format("bash -c \"ls '%s'/mlruns/*/*/%s\"", folder, file);
        cr_assert_eq(tarn_test_run(command, 20, NULL), 0);
        free(command);
        free(file);
    }
    cr_assert_eq(lines_of("metrics/common"), STEPS + 10);
    char *command = tarn_test_format("ls -A '%s'/spool/*/inbox", folder), *left;
    cr_assert_eq(tarn_test_run(command, 20, &left), 0);
    cr_assert_str_eq(left, "", "left in the inbox: %s", left);
    free(left);
    free(command);
}

Test(track_ranks, a_rank_that_does_not_close_holds_nobody)
{
    /* Its job would kill it: rank 0 ends it with code 7 when it has closed. */
    char *output = launch(2, "vanish", "", 7);
    cr_assert(strstr(output, "closed after"), "%s", output);
    cr_assert_eq(lines_of("metrics/rank/1/value"), 100, "what it had settled is there");
    free(output);
}

Test(track_ranks, a_spool_that_cannot_be_written_is_an_error_on_all)
{
    char *output = launch(2, "refused", "", 2);
    cr_assert(strstr(output, "rank 0: ") && strstr(output, "rank 1: "), "%s", output);
    cr_assert(!strstr(output, "opened") && strstr(output, "track.spool"), "%s", output);
    free(output);
}

Test(track_ranks, a_store_that_cannot_be_written_stops_nobody)
{
    char *output = launch(2, "storeless", "", 0);
    const char *warning = strstr(output, "cannot write to the tracking store");
    cr_assert(warning && !strstr(warning + 1, "cannot write to the tracking store"), "%s", output);
    cr_assert(strstr(output, "rank 1 run ") && strstr(output, "tarn track push "), "%s", output);
    free(output);
}

static int count_of(const char *text, const char *part)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, part)); at++) count++;
    return count;
}

/* On both ranks: the training ends well, all that was good is there, what was not is told once, counted, and told at
 * the end. */
Test(track_ranks, wrong_log_calls_end_no_training)
{
    char *command = tarn_test_format("case_train mistakes %s/mlruns", folder), *output;
    int code = tarn_test_mpirun(2, command, &output);
    cr_assert_eq(code, 0, "exit code %d: %s", code, output);
    cr_assert(strstr(output, "rank 0: ok") && strstr(output, "rank 1: ok"), "%s", output);
    cr_assert_eq(lines_of("metrics/rank_0/good"), 6);
    cr_assert_eq(lines_of("metrics/rank_1/good"), 6);
    cr_assert_eq(lines_of("metrics/train.loss"), 6);
    cr_assert_eq(lines_of("artifacts/log/train.log") > 0, true);
    char *sizes, *list = tarn_test_format("cat '%s'/mlruns/*/*/tags/rank_{0,1}.long | wc -c", folder),
                 *bash = tarn_test_format("bash -c \"%s\"", list);
    cr_assert_eq(tarn_test_run(bash, 20, &sizes), 0);
    cr_assert_str_eq(sizes, "16000\n");
    cr_assert_eq(count_of(output, "the run goes on"), 6, "metric, parameter, artifact, on two ranks: %s", output);
    cr_assert_eq(count_of(output, "30 log calls were refused (12 metrics, 6 parameters, 12 artifacts)"), 2, "%s",
                 output);
    cr_assert_eq(count_of(output, "6 too long values were cut"), 2, "%s", output);
    free(sizes);
    free(list);
    free(bash);
    free(command);
    free(output);
}

Test(track_ranks, from_threads)
{
    free(launch(0, "threads", "", 0));
    cr_assert_eq(lines_of("metrics/all"), 3000, "of four threads that say the same, one is recorded");
    for (int i = 0; i < 4; i++) {
        char *file = tarn_test_format("metrics/thread/%d", i);
        cr_assert_eq(lines_of(file), 3000);
        free(file);
    }
}
