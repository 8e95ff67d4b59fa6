/* test_faults_io.c - kill, torn and short writes, EIO and ENOSPC at every call of a series of saves, and at some calls
 * of whole trainings (docs/internals/faults.md).
 */
#include "tests/faults/campaign_support.h"
#include "tests/run_support.h"

TestSuite(faults_io, .timeout = 4000);

Test(faults_io, nothing_is_lost_at_any_call_of_a_series)
{
    check_holds("io", 400);
}

Test(faults_io, nor_while_the_writer_thread_works_under_the_next_step)
{
    check_holds("io --background", 400);
}

Test(faults_io, nor_in_parts)
{
    check_holds("io --parts 2 --stride 4", 200);
    check_holds("io --parts 2 --stride 5 --scenario back --background", 100);
}

Test(faults_io, nor_when_a_run_goes_back_behind_its_checkpoints)
{
    check_holds("io --scenario back", 300);
}

Test(faults_io, nor_when_a_checkpoint_is_set_aside)
{
    check_holds("io --scenario quarantine", 15);
}

/* A kill while a file is overwritten, and an error after half of it, leave a mixture that is believed. */
Test(faults_io, control_in_place_without_a_digest)
{
    check_bites("io --subject in-place", 20);
}

/* ---- the whole program, with the layer preloaded ---- */

static const char run_file[] = "seed: 5\n"
                               "model: {kind: gpt, layers: 1, heads: 2, width: 16, context: 16, dropout: 0.1}\n"
                               "data: {kind: text, path: text.txt, validation: 0.1}\n"
                               "train: {batch: 8, steps: 9, eval_every: 3, threads: 1}\n"
                               "optim: {kind: adamw, lr: 1.0e-3, clip: 1.0}\n"
                               "checkpoint: {every: 2, keep: 2}\n"
                               "track: {store: null}\n";

/* Trains in the directory `name` of the folder; at 0: no fault, `count` receives the calls. Returns the exit code. */
static int train(const char *folder, const char *name, long long at, const char *mode, long long *count)
{
    char *told = tarn_test_format("%s/count", folder), *output;
    char *environment = tarn_test_format(
        "ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0 LD_PRELOAD=" TARN_BINARY_DIR "/tests/libfault_io.so "
        "TARN_FAULT_DIRECTORY=%s/%s TARN_FAULT_AT=%lld TARN_FAULT_MODE=%s TARN_FAULT_COUNT=%s",
        folder, name, at, mode, told);
    char *arguments = tarn_test_format("train run.yaml --quiet checkpoint.dir=%s", name);
    unlink(told);
    int code = tarn_test_tarn(folder, at ? environment : count ? environment : "", 0, arguments, &output);
    if (!at) cr_assert_eq(code, 0, "%s", output);
    char *text = tarn_test_read(told, NULL);
    if (count) *count = text ? atoll(text) : 0;
    free(text);
    free(output);
    free(arguments);
    free(environment);
    free(told);
    return code;
}

/* A checkpoint is left out while the one before is being written, so that the number of calls differs from run to run:
 * a point is a moment here, not a certain call. Whatever happens to one call, the next start ends with the same bits,
 * and nothing but checkpoints lies there. */
Test(faults_io, a_whole_training_comes_back_with_the_same_digest)
{
    static const char *const modes[] = {"kill", "torn", "eio", "enospc", "short"};
    char *made = tarn_test_directory(), *folder = realpath(made, NULL);
    char *path = tarn_test_format("%s/text.txt", folder);
    cr_assert(tarn_test_write_text(path, 60));
    free(path);
    path = tarn_test_format("%s/run.yaml", folder);
    cr_assert(tarn_test_write(path, run_file, strlen(run_file)));
    free(path);
    long long calls = 0;
    train(folder, "whole", 0, "none", &calls);
    cr_assert_gt(calls, 20);
    char *expected = tarn_test_digest(folder, "whole");
    cr_assert_eq(strlen(expected), 64, "%s", expected);
    const char *wanted = getenv("TARN_TEST_LONG");
    int points = 0, killed = 0;
    for (long long at = 1; at <= calls; at += wanted && wanted[0] ? 1 : calls / 12 + 1, points++) {
        const char *mode = modes[points % 5];
        int code = train(folder, "cut", at, mode, NULL);
        killed += code == 137;
        cr_assert(code == 0 || code == 1 || code == 2 || code == 137, "%s at %lld: exit code %d", mode, at, code);
        train(folder, "cut", 0, "none", NULL);
        char *digest = tarn_test_digest(folder, "cut"), *cut = tarn_test_format("%s/cut", folder);
        cr_assert_str_eq(digest, expected, "%s at call %lld", mode, at);
        DIR *names = opendir(cut);
        for (struct dirent *entry; names && (entry = readdir(names));)
            cr_assert(!strstr(entry->d_name, "tmp"), "%s at call %lld left %s", mode, at, entry->d_name);
        if (names) closedir(names);
        tarn_test_remove(cut);
        free(cut);
        free(digest);
    }
    fprintf(stderr, "a whole training: %d of %lld calls, %d times killed, 0 violations\n", points, calls, killed);
    cr_assert_gt(killed, 0);
    tarn_test_remove(folder);
    free(expected);
    free(folder);
    free(made);
}

/* ---- parts written by several ranks ---- */

/* Trains on two ranks in DIRECTORY/run, with a fault in one of them. Returns the exit code of mpirun. */
static int train_ranks(const char *directory, int rank, long long at, const char *mode, char **output)
{
    char *number = tarn_test_format("%d", rank), *call = tarn_test_format("%lld", at);
    char *command = tarn_test_format("case_faults train %s/run --parts 2", directory);
    setenv("TARN_FAULT_DIRECTORY", directory, 1);
    setenv("TARN_FAULT_RANK", number, 1);
    setenv("TARN_FAULT_AT", call, 1);
    setenv("TARN_FAULT_MODE", mode, 1);
    int code = tarn_test_mpirun(2, command, output);
    unsetenv("TARN_FAULT_DIRECTORY");
    free(command);
    free(number);
    free(call);
    return code;
}

/* A kill, or a full disk, in either rank at a call of its own: what was acknowledged is there, whole. */
Test(faults_io, parts_of_two_ranks_lose_nothing)
{
    char *made = tarn_test_directory(), *base = realpath(made, NULL);
    char *run = tarn_test_format("%s/run", base), *told = tarn_test_format("%s.count", base), *output;
    char *load = tarn_test_format("case_faults load %s --parts 2", run);
    const char *wanted = getenv("TARN_TEST_LONG");
    int points = 0;
    for (int rank = 0; rank < 2; rank++) {
        setenv("TARN_FAULT_COUNT", told, 1);
        cr_assert_eq(train_ranks(base, rank, 0, "none", &output), 0, "%s", output);
        unsetenv("TARN_FAULT_COUNT");
        cr_assert(strstr(output, "acknowledged 5"), "%s", output);
        free(output);
        char *text = tarn_test_read(told, NULL);
        long long calls = text ? atoll(text) : 0;
        free(text);
        cr_assert_gt(calls, 20, "rank %d makes %lld calls", rank, calls);
        for (long long at = 1 + rank; at <= calls; at += wanted && wanted[0] ? 1 : calls / 4, points++) {
            const char *mode = points % 2 ? "enospc" : "kill";
            tarn_test_remove(run);
            int code = train_ranks(base, rank, at, mode, &output);
            long long acknowledged = 0, found = 0;
            for (const char *line = output; (line = strstr(line, "acknowledged ")); line++)
                acknowledged = atoll(line + strlen("acknowledged "));
            cr_assert(code != 124 && (points % 2 == 0 || code <= 1), "rank %d, %s at %lld: exit code %d\n%s", rank,
                      mode, at, code, output);
            free(output);
            code = tarn_test_mpirun(0, load, &output);
            cr_assert_eq(code, 0, "rank %d, %s at %lld: %s", rank, mode, at, output);
            sscanf(output, "step %lld", &found);
            cr_assert_geq(found, acknowledged, "rank %d, %s at %lld: %s", rank, mode, at, output);
            free(output);
        }
    }
    fprintf(stderr, "parts of two ranks: %d points, 0 violations\n", points);
    unlink(told);
    tarn_test_remove(base);
    free(load);
    free(told);
    free(run);
    free(base);
    free(made);
}
