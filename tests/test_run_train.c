/* test_run_train.c - `tarn run` of `tarn train`: the same bits in spite of kills and stops, two jobs on one directory.
 */
#include "tests/supervised_support.h"

TestSuite(run, .init = set_up, .fini = tear_down, .timeout = 300);

static const char run_file[] = "seed: 5\n"
                               "model: {kind: gpt, layers: 2, heads: 2, width: 32, context: 32, dropout: 0.1}\n"
                               "data: {kind: text, path: text.txt, validation: 0.1}\n"
                               "train: {batch: 16, steps: 1500, eval_every: 500, threads: 1, shards: 4}\n"
                               "optim: {kind: adamw, lr: 1.0e-3, clip: 1.0}\n"
                               "checkpoint: {every: 20}\n"
                               "track: {store: null}\n";

static void make_run(void)
{
    char *path = tarn_test_format("%s/text.txt", folder);
    cr_assert(tarn_test_write_text(path, 300));
    free(path);
    cr_assert(tarn_test_write_in(folder, "run.yaml", run_file, strlen(run_file)));
}

Test(run, trained_weights_are_the_same_in_spite_of_kills_and_stops)
{
    make_run();
    free(script(0, "exec $T run -n 2 -- $T train run.yaml --quiet checkpoint.dir=calm"));
    /* saved N: waits for a checkpoint of a step beyond the last one seen */
    char *output =
        script(0, "newest() { ls hard | grep '^ckpt-' | sort | tail -n 1; }\n"
                  "further() { was=$(newest); until [ \"$(newest)\" != \"$was\" ]; do sleep 0.02; done; }\n"
                  "mkdir hard\n"
                  "$T run -n 2 --hang 5 --status s.json -- $T train run.yaml --quiet checkpoint.dir=hard & P=$!\n"
                  "further; kill -KILL $(pgrep -P $(child $P) | tail -n 1)\n"
                  "further; kill -STOP $(pgrep -P $(child $P) | head -n 1)\n"
                  "further; kill -KILL $(child $P)\n"
                  "further; kill -TERM $P; wait $P; echo \"code $?\"\n"
                  "$T run -n 3 --status s.json -- $T train run.yaml --quiet checkpoint.dir=hard & P=$!\n"
                  "further; kill -KILL $P; wait $P\n"
                  "$T run -n 1 --status s.json -- $T train run.yaml --quiet checkpoint.dir=hard; echo \"code $?\"");
    expect_text(output, "code 75");
    expect_text(output, "code 0");
    free(output);
    char *calm = tarn_test_digest(folder, "calm"), *hard = tarn_test_digest(folder, "hard");
    cr_expect(*calm && !strcmp(calm, hard), "'%s' and '%s'", calm, hard);
    expect_nothing_left();
    free(calm);
    free(hard);
}

Test(run, a_restart_of_a_run_from_scratch_resumes)
{
    make_run();
    char *output = script(0, "$T run -n 2 -- $T train run.yaml --quiet --from-scratch checkpoint.dir=dir & P=$!\n"
                             "until ls dir/ckpt-* >/dev/null 2>&1; do sleep 0.02; done\n"
                             "kill -KILL $(pgrep -P $(child $P) | tail -n 1); wait $P");
    expect_text(output, "resumed at step");
    free(output);
}

/* A long run in the folder `dir` of the test's folder, and a second one beside it, once the first one trains.
 * `is_there`: a shell condition that holds from then on, besides that there is a checkpoint. */
static char *second_job(const char *first, const char *is_there, const char *second)
{
    make_run();
    /* It saves rarely: it runs as long as the second job takes to give up. */
    char *text = tarn_test_format("%s train.steps=100000000 checkpoint.every=200 >first 2>&1 & P=$!\n"
                                  "until ls dir/ckpt-* >/dev/null 2>&1 && %s; do\n"
                                  "    kill -0 $P || { cat first; exit 9; }; sleep 0.05; done\n"
                                  "B=$(date +%%s); %s train.steps=100000000; echo \"code $? of $P\"\n"
                                  "echo \"seconds $(( $(date +%%s) - B ))\"\n"
                                  "kill -TERM $P; wait $P; echo \"first $?\"",
                                  first, is_there, second);
    char *output = script(0, text);
    free(text);
    expect_text(output, "first 75");
    expect_text(output, "code 2 of ");
    return output;
}

#define TRAIN "$T train run.yaml --quiet checkpoint.dir=dir"

Test(run, a_second_supervised_job_on_one_directory_refuses_at_once_and_names_the_first)
{
    char *output = second_job("$T run -n 2 -- " TRAIN, "[ -f dir/supervisor.json ]", "$T run -n 2 -- " TRAIN);
    const char *named = strstr(output, "another tarn run supervises this run: process "), *of = strstr(output, "of ");
    cr_assert(named, "%s", output);
    while (of && strncmp(of - 7, "code 2 of ", 10)) of = strstr(of + 1, "of ");
    cr_assert(of, "%s", output);
    cr_expect_eq(atol(named + strlen("another tarn run supervises this run: process ")), atol(of + 3), "%s", output);
    cr_expect(!strstr(output, "starting again"), "%s", output);
    free(output);
}

/* Rank 0 takes the directory only when its supervisor has it: of two jobs that start the first one trains. */
Test(run, ranks_touch_the_directory_once_it_is_claimed)
{
    make_run();
    char *output =
        script(0, "FILES=dir\n" STALL "touch still; $STALL $T run -n 2 --hang 2 -- " TRAIN " train.steps=40 & P=$!\n"
                  "until [ -d dir ]; do sleep 0.05; done; sleep 5; ls -A dir; echo nothing\n"
                  "rm still; wait $P; echo \"code $?\"; ls dir");
    cr_expect(!strncmp(output, "nothing\n", 8), "%s", output);
    expect_text(output, "code 0");
    expect_text(output, "ckpt-");
    expect_text(output, "supervisor.json");
    free(output);
}

Test(run, a_supervised_job_beside_an_unsupervised_one_waits_a_while_and_refuses)
{
    char *output = second_job(TRAIN, "true", "$T run -n 2 -- " TRAIN);
    expect_text(output, "busy: ");
    expect_text(output, "another run is writing to ");
    expect_text(output, "waited 3");
    const char *first = strstr(output, "busy: ");
    cr_expect(first && !strstr(first + 1, "busy: "), "told once: %s", output);
    free(output);
}

Test(run, a_wrong_run_file_is_told_once)
{
    char *path = tarn_test_format("%s/run.yaml", folder);
    static const char wrong[] = "model: {kind: nothing}\n";
    cr_assert(tarn_test_write(path, wrong, strlen(wrong)));
    char *output = script(2, "exec $T run -n 2 -- $T train run.yaml");
    expect_text(output, "model.kind");
    expect_text(output, "not started again");
    free(output);
    free(path);
}
