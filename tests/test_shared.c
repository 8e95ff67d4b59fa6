/* test_shared.c - a checkpoint directory that the hosts do not share is refused before anything is trained. A host here
 * is a UTS and a mount namespace of its own: its name, and over the checkpoint directory, where the test says so, a
 * file system of its own. Needs root (or user namespaces) for that; skipped elsewhere.
 */
#include "tests/run_support.h"

#include <criterion/criterion.h>

static const char run_file[] = "model: {kind: gpt, layers: 1, heads: 2, width: 16, context: 16}\n"
                               "data: {kind: text, path: text.txt}\n"
                               "train: {batch: 8, shards: 4, steps: 4, threads: 1}\n"
                               "track: {store: null}\n";
static char *folder;

static void set_up(void)
{
    folder = tarn_test_directory();
    char *text = tarn_test_format("%s/text.txt", folder), *run = tarn_test_format("%s/run.yaml", folder);
    char *script = tarn_test_format("%s/host.sh", folder);
    /* host.sh NAME DIRECTORY COMMAND...: a host with that name and, unless it is -, a DIRECTORY of its own */
    static const char host[] = "hostname \"$1\" || exit 99\n"
                               "[ \"$2\" = - ] || mount -t tmpfs none \"$2\" || exit 99\n"
                               "shift 2\n"
                               "exec \"$@\"\n";
    cr_assert(tarn_test_write_text(text, 60));
    cr_assert(tarn_test_write(run, run_file, strlen(run_file)));
    cr_assert(tarn_test_write(script, host, strlen(host)));
    free(text);
    free(run);
    free(script);
    char *output;
    if (tarn_test_run("exec unshare --uts --mount true", 30, &output))
        cr_skip_test("no namespaces of one's own here: %s", output);
    free(output);
}

static void tear_down(void)
{
    tarn_test_remove(folder);
    free(folder);
}

TestSuite(shared, .init = set_up, .fini = tear_down, .timeout = 300);

/* Two ranks on host "left", two on "right"; `own`: right has a checkpoint directory of its own. */
static char *train(const char *own, const char *arguments, int expected)
{
    static const char side[] = "-n 2 unshare --uts --mount sh host.sh";
    char *line = tarn_test_format("cd %s && mkdir -p ckpt && exec mpirun --oversubscribe --bind-to none --timeout 100 "
                                  "%s left - " TARN_PROGRAM " train run.yaml checkpoint.dir=ckpt --quiet %s : "
                                  "%s right %s " TARN_PROGRAM " train run.yaml checkpoint.dir=ckpt --quiet %s",
                                  folder, side, arguments, side, own, arguments);
    char *output;
    int code = tarn_test_run_mpi(line, 120, &output);
    cr_assert_eq(code, expected, "exit code %d instead of %d: %s", code, expected, output);
    free(line);
    return output;
}

/* What is left in the directory that begins with the prefix. */
static int left_over(const char *prefix)
{
    char *path = tarn_test_format("%s/ckpt", folder);
    DIR *opened = opendir(path);
    int count = 0;
    for (struct dirent *entry; opened && (entry = readdir(opened));)
        count += !strncmp(entry->d_name, prefix, strlen(prefix));
    if (opened) closedir(opened);
    free(path);
    return count;
}

Test(shared, hosts_that_see_the_directory_train)
{
    free(train("-", "", 0));
    cr_expect_eq(left_over("ckpt-"), 1);
    cr_expect_eq(left_over(".tmp-"), 0);
}

Test(shared, a_host_with_a_directory_of_its_own_is_named)
{
    char *output = train("ckpt", "", 2);
    static const char *const words[] = {"checkpoint.dir ckpt is not shared", "host left (rank 0)",
                                        "not seen on host right (rank 2)", "checkpoint.shared=false"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        cr_expect(strstr(output, words[i]), "no \"%s\" in %s", words[i], output);
    cr_expect_eq(left_over("ckpt-"), 0);
    cr_expect_eq(left_over(".tmp-"), 0);
    free(output);
}

Test(shared, who_knows_better_says_so)
{
    free(train("ckpt", "checkpoint.shared=false", 0));
    cr_expect_eq(left_over("ckpt-"), 1);
}
