/* test_health.c - what ranks tell each other about the health of a run, and that a resumed run is the same run: steps
 * that are not finite, streams that end, ranks that take another way or differ in a bit, slow ranks, early stopping,
 * the history of evaluations, stop requests anywhere. The trainings are those of tests/case_health.c.
 */
#include "tests/run_support.h"

#include <criterion/criterion.h>

static char *folder;

static void set_up(void)
{
    folder = tarn_test_directory();
    cr_assert(folder);
    setenv("TARN_COMM_TIMEOUT", "60", 1);
}

static void tear_down(void)
{
    tarn_test_remove(folder);
    free(folder);
}

TestSuite(health, .init = set_up, .fini = tear_down, .timeout = 900);

/* The output of a case on `ranks` ranks (0: without mpirun), which ends with `code`. Freed by the caller. */
static char *run_case(int ranks, int code, const char *arguments)
{
    char *command = tarn_test_format("case_health %s", arguments), *output;
    int got = tarn_test_mpirun(ranks, command, &output);
    cr_assert_eq(got, code, "%s on %d ranks: exit code %d instead of %d: %s", command, ranks, got, code, output);
    free(command);
    return output;
}

static void expect(const char *output, const char *part)
{
    cr_expect(strstr(output, part), "no \"%s\" in: %s", part, output);
}

static void expect_none(const char *output, const char *part)
{
    cr_expect_not(strstr(output, part), "\"%s\" in: %s", part, output);
}

static int occurrences(const char *text, const char *part)
{
    int count = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) count++;
    return count;
}

/* What the run is at its end: the lines from "step N digest" to the last evaluation. Freed by the caller. */
static char *summary_of(const char *output)
{
    static const char *const kept[] = {"step ", "loss ", "evaluation "};
    char *summary = strdup(output), *to = summary;
    for (const char *line = output; *line;) {
        size_t length = strcspn(line, "\n") + (strchr(line, '\n') != NULL);
        for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
            if (!strncmp(line, kept[i], strlen(kept[i]))) {
                memcpy(to, line, length);
                to += length;
                break;
            }
        line += length;
    }
    *to = 0;
    cr_assert(strstr(summary, "digest "), "no summary in: %s", output);
    return summary;
}

static void expect_summary(const char *output, const char *expected, const char *what)
{
    char *summary = summary_of(output);
    cr_expect_str_eq(summary, expected, "%s: %s\ninstead of\n%s", what, summary, expected);
    free(summary);
}

/* ---- steps that are not finite ---------------------------------------------------------------------------------- */

Test(health, a_step_that_is_not_finite_stops_the_run_unless_it_is_to_be_skipped)
{
    char *output = run_case(2, 1, "nan=7");
    expect(output, "step 1: the loss is not finite");
    expect(output, "health.nonfinite=skip");
    expect(output, "rank 0: numeric");
    expect(output, "rank 1: numeric");
    free(output);
}

Test(health, skipped_steps_are_the_same_on_any_ranks_and_after_a_resume)
{
    static const char arguments[] = "skip=1 nan=7 steps=14 eval_every=4";
    char *output = run_case(0, 0, arguments), *whole = summary_of(output);
    expect(output, "step 7: the loss is not finite (nan); skipped, the weights stay (2 skipped so far, 1 in a row)");
    expect(whole, "skipped 4");
    free(output);
    for (int ranks = 2; ranks <= 3; ranks++) {
        output = run_case(ranks, 0, arguments);
        expect_summary(output, whole, "several ranks");
        cr_expect_eq(occurrences(output, "log: step 7:"), 1, "one rank logs: %s", output);
        free(output);
    }
    /* Killed right after a step was skipped (the 11th and 12th both are), with a checkpoint of the 12th. */
    char *first = tarn_test_format("%s every=4 die=13 dir=%s/killed", arguments, folder);
    char *second = tarn_test_format("%s every=4 dir=%s/killed", arguments, folder);
    free(run_case(2, 9, first));
    output = run_case(3, 0, second);
    expect_none(output, "begins at step 0,");
    expect_summary(output, whole, "resumed");
    free(output);
    free(first);
    free(second);
    free(whole);
}

Test(health, a_hundred_skipped_steps_in_a_row_are_an_error)
{
    char *directory = tarn_test_format("skip=1 nan=-1 steps=200 dir=%s/all every=50", folder);
    char *output = run_case(0, 1, directory);
    expect(output, "tarn: step 99: the loss is not finite");
    expect(output, "99 steps in a row before it");
    free(output);
    /* The count in a row is in the checkpoint: a resume does not begin another hundred. */
    output = run_case(0, 1, directory);
    expect(output, "begins at step 50");
    expect(output, "tarn: step 99: the loss is not finite");
    free(output);
    free(directory);
}

/* ---- streams ---------------------------------------------------------------------------------------------------- */

Test(health, a_stream_that_ends_ends_all_ranks_after_the_same_step)
{
    /* 50 samples are 4 batches of 12, and 2 samples that rank 0 alone sees. */
    char *whole = NULL;
    for (int ranks = 1; ranks <= 3; ranks++) {
        char *arguments = tarn_test_format("stream=50 dir=%s/stream-%d", folder, ranks);
        char *output = run_case(ranks, 0, arguments);
        expect(output, "the data ended: 4 whole steps of at most 12");
        expect(output, "ended 3");
        cr_expect_eq(occurrences(output, ": ok"), ranks, "%s", output);
        if (!whole) whole = summary_of(output);
        expect_summary(output, whole, "streams");
        char *file = tarn_test_format("%s/stream-%d/ckpt-000000000004.h5", folder, ranks);
        cr_expect_eq(access(file, R_OK), 0, "no %s", file);
        free(file);
        free(arguments);
        free(output);
    }
    free(whole);
    /* With more data the run goes on, as one that had it from the start. */
    char *arguments = tarn_test_format("stream=100 dir=%s/stream-2", folder);
    char *more = run_case(2, 0, arguments), *straight = run_case(1, 0, "stream=100");
    expect(more, "begins at step 4");
    whole = summary_of(straight);
    expect(whole, "step 8 digest");
    expect_summary(more, whole, "a stream that went on");
    free(whole);
    free(more);
    free(straight);
    free(arguments);
}

/* ---- ranks that fall apart -------------------------------------------------------------------------------------- */

Test(health, a_rank_that_takes_another_way_is_named_in_the_same_step)
{
    for (int ranks = 2; ranks <= 3; ranks++) {
        char *output = run_case(ranks, 1, "way=4:1");
        expect(output, "rank 1 took another way: it is at \"an evaluation\", rank 0 is at \"step 4\"");
        free(output);
    }
    char *output = run_case(2, 1, "middle=4:1");
    expect(output, "\"a barrier of one rank\" was called in the middle of \"step 4\"");
    free(output);
}

Test(health, a_bit_that_differs_is_named_with_its_tensor_rank_and_step)
{
    /* It changes before step 5 is run, so the parameters differ after it: known in the exchange of the next. */
    char *output = run_case(3, 1, "flip=5:1:value:7");
    expect(output, "step 6: the ranks are not the same any more after step 6: parameter layers.0.weight differs on "
                   "rank 1 from that of the others");
    cr_expect_eq(occurrences(output, "not the same any more"), 1, "told once: %s", output);
    free(output);
    output = run_case(3, 1, "flip=5:0:value:7");
    expect(output, "parameter layers.0.weight differs on rank 0 from that of the others");
    free(output);
    output = run_case(2, 1, "flip=5:1:value:7");
    expect(output, "differs between rank 0 and rank 1; with two ranks there is no majority");
    free(output);
}

Test(health, a_moment_that_differs_is_named_within_sixteen_steps)
{
    char *output = run_case(3, 1, "flip=5:2:v:3 steps=40");
    expect(output, "moment v of parameter layers.0.weight");
    expect(output, "rank 2");
    free(output);
}

Test(health, no_checkpoint_is_written_of_parameters_that_differ)
{
    /* The checkpoint of step 6 is due right after the step in which they came to differ. */
    char *arguments = tarn_test_format("flip=5:1:value:7 every=3 dir=%s/apart", folder);
    char *output = run_case(3, 1, arguments);
    expect(output, "the checkpoint of step 6: the ranks are not the same any more");
    char *file = tarn_test_format("%s/apart/ckpt-000000000006.h5", folder);
    cr_expect_neq(access(file, F_OK), 0, "%s was written", file);
    free(file);
    file = tarn_test_format("%s/apart/ckpt-000000000003.h5", folder);
    cr_expect_eq(access(file, F_OK), 0, "%s is gone", file);
    free(file);
    free(output);
    free(arguments);
}

Test(health, a_checkpoint_compares_moments_too)
{
    /* Element 7 belongs to a unit without gradient: its moment moves nothing, and its turn in the steps' hash is later.
     */
    char *arguments = tarn_test_format("flip=5:0:v:7 steps=9 dir=%s/moments", folder);
    char *output = run_case(3, 1, arguments);
    expect(output, "the checkpoint of step 9");
    expect(output, "moment v of parameter layers.0.weight differs on rank 0 from that of the others");
    free(output);
    free(arguments);
}

/* ---- the progress function -------------------------------------------------------------------------------------- */

Test(health, a_progress_function_that_fails_on_one_rank_ends_all)
{
    /* In the middle, with the loop left at once, at a checkpoint, at the last step. */
    static const char *const cases[] = {"fail=5:1", "fail=5:1 leave=1", "fail=4:2 every=4", "fail=12:0"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *arguments = tarn_test_format("%s dir=%s/fail-%zu", cases[i], folder, i);
        char *output = run_case(3, 1, arguments);
        for (int rank = 0; rank < 3; rank++) {
            char *line = tarn_test_format("rank %d: io", rank);
            expect(output, line);
            free(line);
        }
        cr_expect_eq(occurrences(output, "the program's own file is gone"), 1, "told once: %s", output);
        char *file = tarn_test_format("%s/fail-%zu/ckpt-000000000012.h5", folder, i);
        cr_expect_neq(access(file, F_OK), 0, "%s was written", file);
        free(file);
        free(output);
        free(arguments);
    }
}

/* ---- slow ranks ------------------------------------------------------------------------------------------------- */

Test(health, a_slow_rank_is_named_once_and_its_end_too)
{
    char *arguments = tarn_test_format("slow=24:1 steps=64 track=%s/mlruns", folder);
    char *output = run_case(2, 0, arguments);
    cr_expect_eq(occurrences(output, ": rank 1 on "), 2, "%s", output);
    cr_expect_eq(occurrences(output, "is slow: it computes "), 1, "%s", output);
    expect(output, "times as long as the median of the other ranks");
    expect(output, "is not slow any more");
    expect(output, "slowest rank ");
    /* Measurements go to the record under keys of their own, every tenth step. */
    char *command = tarn_test_format("cat %s/mlruns/*/*/metrics/system/slow_ratio | wc -l", folder), *lines;
    tarn_test_run(command, 20, &lines);
    cr_expect_eq(atoi(lines), 5, "steps 20 to 60: %s", lines);
    free(lines);
    free(command);
    free(output);
    free(arguments);
}

/* A rank that takes many times as long as the other, but by milliseconds. A machine under load may make it more: then
 * the line says so. */
Test(health, milliseconds_are_no_news)
{
    char *output = run_case(2, 0, "slow=64:1:2 steps=64");
    const char *told = output;
    while ((told = strstr(told, " is slow: it computes "))) {
        double slow, usual;
        told = strchr(told, '(');
        cr_assert(told && sscanf(told, "(%lf against %lf ms", &slow, &usual) == 2, "%s", output);
        cr_expect_gt(slow - usual, 4.8, "%s", output);
    }
    expect(output, "slowest rank 1 ");
    free(output);
}

/* ---- a resumed run is the same run ------------------------------------------------------------------------------ */

/* All metrics of the record but measurements, as "key value step" in order. Freed by the caller. */
static char *record_of(const char *store)
{
    char *command = tarn_test_format("cd %s/%s/*/*/metrics && for f in *; do [ -f $f ] && sed \"s/^[0-9]* /$f /\" $f; "
                                     "done | sort; ls ../tags | grep broken; ls .. -d",
                                     folder, store);
    char *output;
    tarn_test_run(command, 20, &output);
    free(command);
    return output;
}

Test(health, early_stopping_and_the_history_survive_any_kill)
{
    static const char rules[] = "eval_every=2 early_stop=3 steps=40 every=5";
    char *arguments = tarn_test_format("%s dir=%s/straight track=%s/straight-runs", rules, folder, folder);
    char *output = run_case(0, 0, arguments), *whole = summary_of(output), *record = record_of("straight-runs");
    expect(whole, "ended 2");
    expect(whole, "without 3");
    expect(record, "validation.loss");
    free(output);
    free(arguments);
    /* Killed before and after an evaluation, at a checkpoint, right before the end; gone on with on other ranks. */
    static const int kills[] = {3, 6, 11, 13};
    for (size_t i = 0; i < sizeof kills / sizeof *kills; i++) {
        int ranks = 1 + (int)i % 3;
        arguments =
            tarn_test_format("%s parts=%zu dir=%s/killed-%zu track=%s/runs-%zu", rules, i, folder, i, folder, i);
        char *kill = tarn_test_format("%s die=%d", arguments, kills[i]), *name = tarn_test_format("runs-%zu", i);
        free(run_case(ranks, 9, kill));
        output = run_case(1 + ranks % 3, 0, arguments);
        expect_summary(output, whole, kill);
        free(output);
        char *resumed = record_of(name);
        cr_expect_str_eq(resumed, record, "%s: the record differs: %s\ninstead of %s", kill, resumed, record);
        free(resumed);
        /* Started once more it is over, and says the same. */
        if (i == 0) {
            output = run_case(2, 0, arguments);
            expect(output, "ended 2\n");
            expect_summary(output, whole, "started again");
            free(output);
        }
        free(kill);
        free(name);
        free(arguments);
    }
    free(record);
    free(whole);
}

Test(health, a_run_that_stopped_early_goes_on_with_a_larger_limit)
{
    char *first = tarn_test_format("eval_every=2 early_stop=2 steps=40 dir=%s/more", folder);
    char *second = tarn_test_format("eval_every=2 early_stop=5 steps=40 dir=%s/more", folder);
    char *output = run_case(2, 0, first);
    expect(output, "step 12 digest");
    free(output);
    output = run_case(2, 0, second);
    expect(output, "begins at step 12, ended 0");
    char *straight = run_case(0, 0, "eval_every=2 early_stop=5 steps=40"), *whole = summary_of(straight);
    expect_summary(output, whole, "gone on with");
    free(whole);
    free(straight);
    free(output);
    output = run_case(0, 2, "early_stop=5 steps=4");
    expect(output, "train.eval_every is 0");
    free(output);
    free(first);
    free(second);
}

Test(health, tarn_train_says_that_it_stopped_early_and_how_to_go_on)
{
    /* A rate that soon makes things worse, down to numbers that are none. */
    static const char run_file[] = "name: early\n"
                                   "model: {kind: gpt, layers: 1, heads: 2, width: 16, context: 12}\n"
                                   "data: {kind: text, path: text.txt, validation: 0.1}\n"
                                   "train: {batch: 8, shards: 4, steps: 400, eval_every: 4, early_stop: 3}\n"
                                   "optim: {kind: sgd, lr: 2.0}\n"
                                   "health: {nonfinite: skip}\n"
                                   "track: {store: null}\n";
    char *text = tarn_test_format("%s/text.txt", folder), *file = tarn_test_format("%s/run.yaml", folder), *output;
    cr_assert(tarn_test_write_text(text, 100) && tarn_test_write(file, run_file, strlen(run_file)));
    cr_expect_eq(tarn_test_tarn(folder, "", 2, "train run.yaml --quiet", &output), 0, "%s", output);
    expect(output, "stopped early at step ");
    expect(output, "3 evaluations without a better validation.loss than ");
    expect(output, "which best.h5 holds");
    free(output);
    cr_expect_eq(tarn_test_tarn(folder, "", 0, "train run.yaml --quiet train.steps=500", &output), 0, "%s", output);
    expect(output, "finished already: stopped early at step ");
    expect(output, "Raise train.early_stop");
    free(output);
    cr_expect_eq(tarn_test_tarn(folder, "", 0, "train run.yaml --quiet train.early_stop=0 train.steps=60", &output), 0,
                 "%s", output);
    expect(output, "resumed at step ");
    free(output);
    free(text);
    free(file);
}

Test(health, more_evaluations_than_the_history_had_room_for)
{
    /* 300 evaluations outgrow the first capacity of 256; both files are read back. */
    char *arguments = tarn_test_format("eval_every=1 steps=300 every=20 parts=3 dir=%s/long", folder);
    char *kill = tarn_test_format("%s die=270", arguments);
    char *output = run_case(0, 0, "eval_every=1 steps=300"), *whole = summary_of(output);
    free(output);
    free(run_case(0, 9, kill));
    output = run_case(2, 0, arguments);
    expect_none(output, "begins at step 0,");
    expect_summary(output, whole, "a long history");
    free(output);
    output = run_case(1, 0, arguments);
    expect_summary(output, whole, "and once more");
    free(output);
    free(whole);
    free(kill);
    free(arguments);
}

/* ---- stop requests ---------------------------------------------------------------------------------------------- */

Test(health, a_stop_in_a_long_evaluation_is_obeyed_soon_and_loses_nothing)
{
    static const char rules[] = "steps=8 eval_every=4 tests=64";
    char *output = run_case(0, 0, rules), *whole = summary_of(output);
    expect(output, "ran 64 batches"); /* 2 evaluations of 6 batches in 6 shards, of which the last is short */
    free(output);
    for (int ranks = 1; ranks <= 3; ranks++) {
        char *arguments = tarn_test_format("%s dir=%s/stop-%d", rules, folder, ranks);
        char *stop = tarn_test_format("%s stop_evaluation=2:%d", arguments, ranks - 1);
        output = run_case(ranks, 75, stop);
        cr_expect_eq(occurrences(output, ": stopped"), ranks, "%s", output);
        expect(output, "step 4 digest");
        expect_none(output, "evaluation 4:");
        free(output);
        output = run_case(1 + ranks % 3, 0, arguments);
        expect(output, "begins at step 4, ended 0");
        expect_summary(output, whole, "after a stop in an evaluation");
        free(output);
        free(stop);
        free(arguments);
    }
    free(whole);
    /* Asked for by hand, outside of the steps. */
    output = run_case(2, 0, "steps=2 tests=64 evaluate=1 stop_evaluation=2:1");
    expect(output, "rank 0 evaluated: stopped nan");
    expect(output, "rank 1 evaluated: stopped nan");
    free(output);
}

Test(health, a_stop_between_evaluations_goes_on_as_if_nothing_had_been)
{
    static const char rules[] = "eval_every=2 early_stop=3 steps=40";
    char *output = run_case(0, 0, rules), *whole = summary_of(output);
    free(output);
    for (int stop = 4; stop <= 7; stop += 3) {
        char *arguments = tarn_test_format("%s dir=%s/pause-%d", rules, folder, stop);
        char *pause = tarn_test_format("%s stop=%d", arguments, stop);
        free(run_case(3, 75, pause));
        output = run_case(2, 0, arguments);
        expect_summary(output, whole, "after a stop");
        free(output);
        free(pause);
        free(arguments);
    }
    free(whole);
}
