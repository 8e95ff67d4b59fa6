/* test_program.c - the tarn program as its user meets it: help, the memory a dry run announces, the shards of ranks,
 * evaluation, sampling, a rank that is killed, Ctrl-C. Nothing depends on how long anything takes: a run is disturbed
 * once its first checkpoint has appeared, and is long enough to be far from its end then.
 */
#include "tests/run_support.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>

enum { STEPS = 4000, IMAGES = 400 };

static const char run_file[] = "seed: 5\n"
                               "model: {kind: gpt, layers: 2, heads: 2, width: 32, context: 32, dropout: 0.1}\n"
                               "data: {kind: text, path: text.txt, validation: 0.1}\n"
                               "train: {batch: 16, steps: 20, eval_every: 10, threads: 1}\n"
                               "optim: {kind: adamw, lr: 1.0e-3, clip: 1.0}\n"
                               "track: {store: null}\n";
static const char small_gpt[] = "model: {kind: gpt, layers: 4, heads: 4, width: 128, context: 64}\n"
                                "data: {kind: text, path: text.txt}\n"
                                "train: {batch: 32, steps: 3, threads: 1}\n"
                                "track: {store: null}\n";
static const char wide_gpt[] = "model: {kind: gpt, layers: 3, heads: 6, width: 384, context: 128}\n"
                               "data: {kind: text, path: text.txt}\n"
                               "train: {batch: 16, steps: 2, threads: 1}\n"
                               "track: {store: null}\n";
static const char mlp[] = "model: {kind: mlp, sizes: [784, 512, 512, 10]}\n"
                          "data: {kind: idx, images: images.idx, labels: labels.idx}\n"
                          "train: {batch: 32, steps: 3, threads: 1}\n"
                          "track: {store: null}\n";
static char *folder;

static void write_images(void)
{
    static unsigned char images[16 + IMAGES * 784] = {0, 0, 8, 3,  0, 0, IMAGES >> 8, IMAGES & 255,
                                                      0, 0, 0, 28, 0, 0, 0,           28},
                                              labels[8 + IMAGES] = {0, 0, 8, 1, 0, 0, IMAGES >> 8, IMAGES & 255};
    for (int i = 0; i < IMAGES; i++) {
        labels[8 + i] = (unsigned char)(i % 10);
        for (int k = 0; k < 784; k++) images[16 + i * 784 + k] = (unsigned char)(k * (i % 10 + 1) + i);
    }
    cr_assert(tarn_test_write_in(folder, "images.idx", images, sizeof images));
    cr_assert(tarn_test_write_in(folder, "labels.idx", labels, sizeof labels));
}

static void set_up(void)
{
    folder = tarn_test_directory();
    char *text = tarn_test_format("%s/text.txt", folder);
    cr_assert(tarn_test_write_text(text, 300));
    free(text);
    cr_assert(tarn_test_write_in(folder, "run.yaml", run_file, strlen(run_file)));
    cr_assert(tarn_test_write_in(folder, "small.yaml", small_gpt, strlen(small_gpt)));
    cr_assert(tarn_test_write_in(folder, "wide.yaml", wide_gpt, strlen(wide_gpt)));
    cr_assert(tarn_test_write_in(folder, "mlp.yaml", mlp, strlen(mlp)));
    write_images();
}

static void tear_down(void)
{
    tarn_test_remove(folder);
    free(folder);
}

TestSuite(program, .init = set_up, .fini = tear_down, .timeout = 900);

/* Runs tarn, expects the exit code, returns the output. */
static char *tarn(const char *environment, int ranks, int expected, const char *arguments)
{
    char *output;
    int code = tarn_test_tarn(folder, environment, ranks, arguments, &output);
    cr_assert_eq(code, expected, "tarn %s (ranks %d): exit code %d instead of %d: %s", arguments, ranks, code, expected,
                 output);
    return output;
}

/* Starts tarn itself, without a shell between: its exit status, signals and memory are its own. */
static pid_t start(const char *const *arguments)
{
    char *vector[16] = {(char *)(uintptr_t)TARN_PROGRAM};
    for (int i = 0; i < 14 && arguments[i]; i++) vector[i + 1] = (char *)(uintptr_t)arguments[i];
    pid_t pid = fork();
    if (pid) return pid;
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    if (!chdir(folder)) execv(vector[0], vector);
    _exit(127);
}

/* The first name in a folder (of the test's folder) that begins with `prefix`; NULL when there is none. */
static char *find_name(const char *directory, const char *prefix)
{
    char *path = tarn_test_format("%s/%s", folder, directory), *found = NULL;
    DIR *opened = opendir(path);
    for (struct dirent *entry; opened && !found && (entry = readdir(opened));)
        if (!strncmp(entry->d_name, prefix, strlen(prefix))) found = strdup(entry->d_name);
    if (opened) closedir(opened);
    free(path);
    return found;
}

Test(program, help_is_on_stdout)
{
    static const char *const commands[] = {"", "train", "eval", "sample", "checkpoint"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char *arguments = tarn_test_format("%s --help 2>/dev/null", commands[i]), *output = tarn("", 0, 0, arguments);
        cr_expect(strstr(output, "usage: tarn"), "tarn %s: %s", arguments, output);
        free(arguments);
        free(output);
    }
}

/* Sanitizers take memory of their own. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
Test(program, a_dry_run_announces_the_memory)
{
    static const char *const files[] = {"small.yaml", "wide.yaml", "mlp.yaml"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *arguments = tarn_test_format("train %s --dry-run", files[i]), *output = tarn("", 0, 0, arguments);
        const char *line = strstr(output, "memory of a rank: ");
        cr_assert(line, "%s: %s", arguments, output);
        double announced = strtod(line + strlen("memory of a rank: "), NULL);
        struct rusage usage = {0};
        int status = -1;
        pid_t pid = start((const char *const[]){"train", files[i], "--quiet", NULL});
        cr_assert_eq(wait4(pid, &status, 0, &usage), pid);
        cr_assert(WIFEXITED(status) && !WEXITSTATUS(status), "%s: status %d", files[i], status);
        double peak = (double)usage.ru_maxrss / 1024;
        fprintf(stderr, "%s: %.0f MiB announced, %.1f MiB at most\n", files[i], announced, peak);
        cr_expect(fabs(announced - peak) <= 0.15 * peak, "%s: %.0f MiB announced, %.1f at most", files[i], announced,
                  peak);
        free(arguments);
        free(output);
    }
}
#endif

Test(program, each_rank_says_which_shards_it_runs)
{
    char *output = tarn("TARN_LOG=info", 3, 0, "train run.yaml --quiet");
    int runs[8] = {0}, lines = 0;
    for (const char *at = output; (at = strstr(at, " runs shards ")); at++) {
        int first, last, shards;
        cr_assert_eq(sscanf(at, " runs shards %d to %d of %d", &first, &last, &shards), 3, "%s", output);
        cr_assert(shards == 8 && first >= 0 && first <= last && last < 8, "%s", output);
        for (int s = first; s <= last; s++) runs[s]++;
        lines++;
    }
    cr_assert_eq(lines, 3, "%s", output);
    for (int s = 0; s < 8; s++) cr_expect_eq(runs[s], 1, "shard %d is run by %d ranks: %s", s, runs[s], output);
    free(output);
}

Test(program, evaluation_repeats_the_loss_of_training)
{
    char *trained = tarn("", 0, 0, "train run.yaml checkpoint.dir=done"), *last = NULL;
    for (char *at = trained; (at = strstr(at, "validation loss ")); at++) last = at;
    cr_assert(last, "%s", trained);
    char *alone = tarn("", 0, 0, "eval done"), *two = tarn("", 2, 0, "eval done"),
         *scalar = tarn("TARN_ISA=scalar", 0, 0, "eval done train.threads=2");
    const char *loss = strstr(alone, "loss ");
    cr_assert(loss, "%s", alone);
    cr_expect_float_eq(strtod(loss + 5, NULL), strtod(last + 16, NULL), 0.000051, "%s%s", trained, alone);
    cr_expect_str_eq(two, alone);
    cr_expect_str_eq(scalar, alone);
    free(trained);
    free(alone);
    free(two);
    free(scalar);
}

Test(program, missing_validation_data_is_said_once)
{
    free(tarn("", 0, 0, "train run.yaml --quiet data.validation=0 train.eval_every=0 checkpoint.dir=done"));
    char *output = tarn("", 2, 2, "eval done"), *first = strstr(output, "no validation data");
    cr_assert(first, "%s", output);
    cr_expect(!strstr(first + 1, "no validation data"), "%s", output);
    free(output);
    free(tarn("", 2, 0, "eval done --train-data"));
}

Test(program, first_weights_may_go_once_there_is_a_checkpoint)
{
    free(tarn("", 0, 0, "train run.yaml --quiet checkpoint.dir=first"));
    char *output = tarn("", 2, 2, "train run.yaml --quiet checkpoint.dir=second model.init_from=gone");
    cr_expect(strstr(output, "model.init_from: gone: "), "%s", output);
    free(output);
    free(tarn("", 0, 0, "train run.yaml --quiet checkpoint.dir=second model.init_from=first"));
    char *first = tarn_test_format("%s/first", folder);
    tarn_test_remove(first);
    free(first);
    free(tarn("", 0, 0, "eval second"));
    free(tarn("", 2, 0, "train run.yaml --quiet checkpoint.dir=second model.init_from=first train.steps=22"));
    free(tarn("", 0, 2,
              "train run.yaml --quiet checkpoint.dir=second model.init_from=first train.steps=22 --from-scratch"));
}

Test(program, sampling)
{
    free(tarn("", 0, 0, "train run.yaml --quiet checkpoint.dir=done"));
    char *text = tarn("", 0, 0, "sample done --seed 7 --prompt 'the '");
    char *again = tarn("TARN_ISA=scalar", 0, 0, "sample done --seed 7 --prompt 'the '"),
         *other = tarn("", 0, 0, "sample done --seed 8 --prompt 'the '"),
         *ranks = tarn("", 2, 0, "sample done --seed 7 --prompt 'the '"),
         *cold = tarn("", 0, 0, "sample done --temperature 0"), *narrow = tarn("", 0, 0, "sample done --top-k 1");
    cr_expect_eq(strncmp(text, "the ", 4), 0, "%s", text);
    cr_expect_eq(strlen(text), 4 + 200 + 1, "%s", text);
    cr_expect_str_eq(again, text);
    cr_expect_str_neq(other, text);
    cr_expect_str_eq(ranks, text, "under mpirun the text appears once");
    cr_expect_str_eq(narrow, cold);
    char *const all[] = {text, again, other, ranks, cold, narrow};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    char *unknown = tarn("", 0, 2, "sample done --prompt 'the Ω'");
    cr_expect(strstr(unknown, "U+03A9"), "%s", unknown);
    free(unknown);
    static const char *const wrong[] = {"--length 0",  "--length 1e10", "--length 2.5",      "--seed inf", "--seed nan",
                                        "--seed 1e17", "--top-k -1",    "--temperature inf", "--length"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *arguments = tarn_test_format("sample done %s", wrong[i]), *output = tarn("", 0, 2, arguments);
        cr_expect(strstr(output, "expected a "), "%s: %s", arguments, output);
        free(arguments);
        free(output);
    }
}

/* The metric file of the one run of the store holds each step exactly once, whatever happened to the run. */
static void check_record(int steps)
{
    char *output;
    char *line = tarn_test_format("cd %s/mlruns && ls -d */*/metrics/train.loss", folder);
    cr_assert_eq(tarn_test_run(line, 20, &output), 0, "%s", output);
    cr_assert_eq(strcspn(output, "\n") + 1, strlen(output), "more than one run: %s", output);
    output[strcspn(output, "\n")] = 0;
    char *path = tarn_test_format("%s/mlruns/%s", folder, output), *values = tarn_test_read(path, NULL);
    int *seen = calloc((size_t)steps + 1, sizeof *seen);
    cr_assert(values && seen);
    for (char *at = values; *at; at += strcspn(at, "\n") + 1) {
        long long when, step;
        double loss;
        cr_assert_eq(sscanf(at, "%lld %lf %lld", &when, &loss, &step), 3, "%.60s", at);
        cr_assert(step >= 1 && step <= steps, "step %lld", step);
        seen[step]++;
    }
    for (int step = 1; step <= steps; step++)
        cr_assert_eq(seen[step], 1, "step %d stands %d times in the record", step, seen[step]);
    free(seen);
    free(values);
    free(path);
    free(output);
    free(line);
}

Test(program, a_value_too_long_for_the_record_is_cut)
{
    char pattern[6600], *output;
    memset(pattern, 'b', sizeof pattern);
    pattern[0] = '[';
    memcpy(pattern + sizeof pattern - 3, "]*", 3);
    char *arguments = tarn_test_format("train run.yaml --quiet track.store=mlruns 'model.freeze=%s'", pattern);
    free(tarn("", 0, 0, arguments));
    char *line = tarn_test_format("cd %s && cat mlruns/*/*/params/model.freeze", folder);
    cr_assert_eq(tarn_test_run(line, 20, &output), 0, "%s", output);
    cr_expect_eq(strlen(output), 6000);
    /* As it stands in the resolved configuration: a text that begins with a bracket is quoted there. */
    cr_expect_eq(*output, '"');
    cr_expect_eq(strncmp(output + 1, pattern, 5999), 0);
    free(output);
    free(line);
    free(arguments);
}

Test(program, a_killed_rank_ends_the_run_which_resumes)
{
    char *settings = tarn_test_format("train run.yaml --quiet train.steps=%d checkpoint.every=100", STEPS);
    char *arguments = tarn_test_format("%s checkpoint.dir=whole", settings), *output;
    free(tarn("", 0, 0, arguments));
    free(arguments);
    char *whole = tarn_test_digest(folder, "whole");
    /* mpirun's children are the ranks; the last one listed is killed. Then none may be left. */
    char *line = tarn_test_format(
        "cd %s && { mpirun --oversubscribe --bind-to none -n 3 " TARN_PROGRAM
        " %s checkpoint.dir=killed track.store=mlruns & }\n"
        "parent=$!\nuntil ls killed/ckpt-* >ls.txt 2>&1; do sleep 0.02; done\n"
        "ranks=$(echo $(pgrep -P $parent))\n"
        "echo children: $ranks\nkill -9 ${ranks##* }\nwait $parent\necho code $?\n"
        /* Zombies have ended: who reaps them, and when, is not ours. */
        "for round in 1 2 3 4 5 6 7 8 9 10; do\n  left=\n  for pid in $ranks; do\n"
        "    read -r number name state rest </proc/$pid/stat || continue\n"
        "    [ $state = Z ] || left=\"$left $number:$state\"\n  done 2>ls.txt\n  [ \"$left\" ] || break\n  sleep "
        "1\ndone\n"
        "[ -z \"$left\" ] || echo left over: $left\nexit 0\n",
        folder, settings);
    int code = tarn_test_run_mpi(line, 180, &output), first = 0, second = 0, third = 0;
    cr_assert_eq(code, 0, "exit code %d: %s", code, output);
    cr_assert(strstr(output, "children: ") &&
                  sscanf(strstr(output, "children: "), "children: %d %d %d", &first, &second, &third) == 3,
              "%s", output);
    cr_expect(strstr(output, "code ") && !strstr(output, "code 0\n"), "%s", output);
    cr_expect(!strstr(output, "left over"), "%s", output);
    free(output);
    free(line);
    char *last = tarn_test_format("ckpt-%012d.h5", STEPS), *name = find_name("killed", last);
    cr_assert(!name, "the run was at its end before the rank was killed");
    arguments = tarn_test_format("%s checkpoint.dir=killed track.store=mlruns", settings);
    free(tarn(tarn_test_has_isa("avx2") ? "TARN_ISA=avx2" : "TARN_ISA=scalar", 2, 0, arguments));
    char *resumed = tarn_test_digest(folder, "killed");
    cr_expect_eq(strlen(whole), 64);
    cr_expect_str_eq(resumed, whole);
    char *path = tarn_test_format(
        "cd %s/killed && ls -A | grep -vE '^(ckpt-[0-9]{12}[.]h5|best[.]h5|spool|train[.]log)$'", folder);
    tarn_test_run(path, 20, &output);
    cr_expect(!*output || !strcmp(output, ".lock\n"), "left in the directory of checkpoints: %s", output);
    check_record(STEPS);
    free(path);
    free(output);
    free(resumed);
    free(arguments);
    free(last);
    free(whole);
    free(settings);
}

Test(program, a_run_killed_before_its_first_checkpoint_goes_on_in_its_record)
{
    char *settings = tarn_test_format(
             "train run.yaml --quiet train.steps=%d train.eval_every=0 checkpoint.dir=early track.store=mlruns", STEPS),
         *output;
    char *line = tarn_test_format("cd %s && { " TARN_PROGRAM " %s & }\n"
                                  "until ls mlruns/*/*/metrics/train.loss >ls.txt 2>&1; do sleep 0.02; done\n"
                                  "kill -9 $!\nwait $!\necho code $?\nls early\n",
                                  folder, settings);
    int code = tarn_test_run(line, 120, &output);
    cr_assert(!code && strstr(output, "code 137") && !strstr(output, "ckpt-"), "%s", output);
    cr_expect(strstr(output, "tracking-run"), "%s", output);
    free(output);
    free(line);
    output = tarn("", 2, 0, settings);
    cr_expect(!strstr(output, "does not hold run"), "%s", output);
    free(output);
    line = tarn_test_format("cd %s && ls -d mlruns/*/*/meta.yaml | wc -l && ls early", folder);
    tarn_test_run(line, 20, &output);
    cr_expect(!strncmp(output, "1\n", 2) && !strstr(output, "tracking-run"), "%s", output);
    check_record(STEPS);
    free(output);
    free(line);
    free(settings);
}

Test(program, an_interrupted_run_exits_75_and_resumes)
{
    char *output, *steps = tarn_test_format("train.steps=%d", STEPS), *name = NULL;
    char *arguments = tarn_test_format("train run.yaml --quiet checkpoint.dir=whole %s", steps);
    free(tarn("", 0, 0, arguments));
    free(arguments);
    pid_t pid = start((const char *const[]){"train", "run.yaml", "--quiet", "checkpoint.dir=cut", "checkpoint.every=50",
                                            steps, NULL});
    int status = 0;
    while (!(name = find_name("cut", "ckpt-")) && !waitpid(pid, &status, WNOHANG)) usleep(10000);
    cr_assert(name, "ended before its first checkpoint: status %d", status);
    free(name);
    cr_assert_eq(kill(pid, SIGINT), 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 75, "status %d", status);
    arguments = tarn_test_format("train run.yaml checkpoint.dir=cut %s", steps);
    output = tarn("", 2, 0, arguments);
    cr_expect(strstr(output, "resumed at step "), "%s", output);
    char *resumed = tarn_test_digest(folder, "cut"), *whole = tarn_test_digest(folder, "whole");
    cr_expect_eq(strlen(whole), 64);
    cr_expect_str_eq(resumed, whole);
    free(resumed);
    free(whole);
    free(output);
    free(arguments);
    free(steps);
}
