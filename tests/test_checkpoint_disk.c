/* test_checkpoint_disk.c - checkpoints against the world: full disks, kills, locks, several ranks, h5dump, h5py, the
 * command.
 */
#include "runtime/base/context.h"
#include "tests/checkpoint_state.h"
#include "tests/support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

static tarn_context *context;
static char *directory;
static made_state state, expected;

static void drop_log(void *user, tarn_log_level level, const char *line)
{
    (void)user, (void)level, (void)line;
}

static void begin(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_set_log(context, drop_log, NULL);
    cr_assert_not_null(directory = tarn_test_directory());
}

static void end(void)
{
    tarn_error_clear(context);
    tarn_exit(context);
    umount2(directory, MNT_DETACH); /* where a test mounted something */
    tarn_test_remove(directory);
    free(directory);
}

TestSuite(checkpoint_disk, .init = begin, .fini = end, .timeout = 300);

static tarn_status save(tarn_checkpoint_store *store, int64_t step)
{
    const tarn_checkpoint_text texts[] = {{"text/config", "model: {kind: gpt}\nseed: 7\n"}};
    state_fill(&state, (uint64_t)step);
    return tarn_checkpoint_save(store, step, state.entries, STATE_ENTRIES, texts, 1, false);
}

static void check_newest(tarn_checkpoint_store *store, int64_t expected_step)
{
    int64_t step = -1;
    bool found = false;
    state_fill(&state, 4711);
    cr_assert_eq(tarn_checkpoint_load(store, state.entries, STATE_ENTRIES, &step, &found), TARN_OK, "%s",
                 tarn_get_error(context)->message);
    cr_assert(found && step == expected_step, "step %" PRId64 " instead of %" PRId64, step, expected_step);
    state_fill(&expected, (uint64_t)step);
    cr_assert_eq(memcmp(&state, &expected, offsetof(made_state, entries)), 0);
}

/* Names that begin with prefix. */
static int count_names(const char *prefix)
{
    int count = 0;
    DIR *folder = opendir(directory);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        count += !strncmp(entry->d_name, prefix, strlen(prefix));
    if (folder) closedir(folder);
    return count;
}

static const char *message(void)
{
    return tarn_get_error(context) ? tarn_get_error(context)->message : "no error";
}

Test(checkpoint_disk, a_write_that_fails_leaves_the_older_one)
{
    tarn_checkpoint_store *store;
    struct rlimit old, small = {4096 * 3, 0};
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 3), TARN_OK);
    cr_assert_eq(save(store, 1), TARN_OK);
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    tarn_status status = save(store, 2);
    setrlimit(RLIMIT_FSIZE, &old);
    cr_assert_eq(status, TARN_ERROR_IO);
    cr_assert(strstr(message(), "ckpt-000000000002.h5 was not written") && strstr(message(), strerror(EFBIG)), "%s",
              message());
    cr_assert_eq(count_names(".tmp-"), 0);
    tarn_error_clear(context);
    check_newest(store, 1);
    cr_assert_eq(save(store, 2), TARN_OK);
    check_newest(store, 2);
    tarn_checkpoint_store_close(store);
}

/* In a mount name space of this test's own, so that nothing is left over. */
static bool mount_here(const char *options, unsigned long flags)
{
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("tarn-test", directory, "tmpfs", flags, options)) {
        printf("skipped: cannot mount a small file system here (%s)\n", strerror(errno));
        return false;
    }
    return true;
}

/* A file of ~100 KiB each: four fit. */
Test(checkpoint_disk, a_full_disk_is_pruned_and_tried_again)
{
    if (!mount_here("size=440k", 0)) return;
    tarn_checkpoint_store *store;
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 100), TARN_OK);
    for (int64_t step = 1; step <= 20; step++) {
        cr_assert_eq(save(store, step), TARN_OK, "%s", message());
        check_newest(store, step);
    }
    int before = count_names("ckpt-");
    cr_assert(before >= 1 && before < 20);
    /* Down to one checkpoint and full of other things: nothing helps, it stays, and the message says what to do. */
    char *path;
    for (int step = 1; step < 20; step++) {
        path = tarn_test_format("%s/ckpt-%012d.h5", directory, step);
        unlink(path);
        free(path);
    }
    path = tarn_test_format("%s/ballast", directory);
    FILE *file = fopen(path, "wb");
    static const char block[4096] = {1};
    cr_assert_eq(setvbuf(file, NULL, _IONBF, 0), 0);
    while (fwrite(block, sizeof block, 1, file) == 1) continue;
    fclose(file);
    tarn_status status = save(store, 21);
    cr_assert_eq(status, TARN_ERROR_IO);
    cr_assert(strstr(message(), strerror(ENOSPC)) && strstr(message(), "free") && strstr(message(), directory), "%s",
              message());
    tarn_error_clear(context);
    cr_assert_eq(count_names(".tmp-"), 0);
    check_newest(store, 20);
    tarn_checkpoint_store_close(store);
    /* Every way the disk can be full when a store begins, HDF5's template included: an error or success, never a crash.
     */
    struct stat info;
    cr_assert_eq(stat(path, &info), 0);
    for (off_t room = 0; room < 40; room++) {
        cr_assert_eq(truncate(path, info.st_size - room * 4096), 0);
        if (tarn_checkpoint_store_open(&store, context, directory, 1)) {
            tarn_error_clear(context);
            continue;
        }
        status = save(store, 100 + room);
        cr_assert(status == TARN_OK || status == TARN_ERROR_IO);
        cr_assert_eq(count_names(".tmp-"), 0);
        tarn_error_clear(context);
        tarn_checkpoint_store_close(store);
    }
    free(path);
}

Test(checkpoint_disk, a_directory_that_cannot_be_written)
{
    tarn_checkpoint_store *store;
    char *file = tarn_test_format("%s/file", directory), *below = tarn_test_format("%s/file/a/b", directory);
    cr_assert(tarn_test_write(file, "x", 1));
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, below, 1), TARN_ERROR_IO);
    cr_assert_null(store);
    cr_assert(strstr(message(), file) && strstr(message(), "choose a directory"), "%s", message());
    tarn_error_clear(context);
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, file, 1), TARN_ERROR_IO);
    tarn_error_clear(context);
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, "", 1), TARN_ERROR_IO);
    tarn_error_clear(context);
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 0), TARN_ERROR_ARGUMENT);
    tarn_error_clear(context);
    char *deep = tarn_test_format("%s/p/q//r/", directory);
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, deep, 1), TARN_OK, "%s", message());
    cr_assert_eq(save(store, 1), TARN_OK);
    tarn_checkpoint_store_close(store);
    free(deep);
    free(below);
    free(file);
    if (!mount_here("size=64k", MS_RDONLY)) return;
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 1), TARN_ERROR_IO);
    cr_assert(strstr(message(), strerror(EROFS)), "%s", message());
}

Test(checkpoint_disk, a_second_run_is_told_who_holds_the_directory)
{
    tarn_checkpoint_store *store, *second;
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 1), TARN_OK);
    cr_assert_eq(tarn_checkpoint_store_open(&second, context, directory, 1), TARN_ERROR_STATE);
    cr_assert_null(second);
    char *process = tarn_test_format("process %d on ", (int)getpid());
    cr_assert(strstr(message(), "another run") && strstr(message(), process), "%s", message());
    free(process);
    tarn_error_clear(context);
    tarn_checkpoint_store_close(store);
    char *left = tarn_test_format("%s/.tmp-000000000007.h5", directory);
    cr_assert(tarn_test_write(left, "half", 4));
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 1), TARN_OK);
    cr_assert_eq(count_names(".tmp-"), 0);
    free(left);
    tarn_checkpoint_store_close(store);
}

/* Killed at any moment: every step it called durable, or a later one, is there and whole. */
Test(checkpoint_disk, a_kill_loses_nothing_that_was_acknowledged)
{
    for (int round = 0; round < 12; round++) {
        int pipe_ends[2];
        cr_assert_eq(pipe(pipe_ends), 0);
        pid_t child = fork();
        if (!child) {
            dup2(pipe_ends[1], 1);
            execl(TARN_BINARY_DIR "/tests/case_checkpoint", "case_checkpoint", "loop", directory, (char *)NULL);
            _exit(127);
        }
        close(pipe_ends[1]);
        FILE *lines = fdopen(pipe_ends[0], "r");
        char line[64];
        int64_t acknowledged = 0;
        for (int i = 0; i <= round % 3 && fgets(line, sizeof line, lines); i++) acknowledged = atoll(line);
        usleep((useconds_t)(round * 1700));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        while (fgets(line, sizeof line, lines)) acknowledged = atoll(line);
        fclose(lines);
        cr_assert_gt(acknowledged, 0);
        tarn_checkpoint_store *store;
        cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 2), TARN_OK, "%s", message());
        cr_assert_eq(count_names(".tmp-"), 0);
        int64_t step = 0;
        bool found;
        cr_assert_eq(tarn_checkpoint_load(store, state.entries, 0, &step, &found), TARN_OK, "%s", message());
        cr_assert(found && (step == acknowledged || step == acknowledged + 1), "%" PRId64 " of %" PRId64, step,
                  acknowledged);
        check_newest(store, step);
        tarn_checkpoint_store_close(store);
        tarn_test_remove(directory);
        cr_assert_eq(mkdir(directory, 0755), 0);
    }
}

/* ---- several ranks ----------------------------------------------------------------------------------------------- */

static int run_case(int ranks, const char *mode, const char *argument, char **output)
{
    char *command = tarn_test_format("case_checkpoint %s %s", mode, argument);
    int code = tarn_test_mpirun(ranks, command, output);
    free(command);
    return code;
}

Test(checkpoint_disk, every_rank_receives_what_rank_0_read)
{
    char digest[65], *output, *argument = tarn_test_format("%s 31", directory);
    cr_assert_eq(run_case(3, "save", argument, &output), 0, "%s", output);
    free(output);
    free(argument);
    state_fill(&state, 31);
    cr_assert_eq(tarn_checkpoint_digest(state.entries, STATE_ENTRIES, digest), TARN_OK);
    for (int ranks = 1; ranks <= 3; ranks++) {
        cr_assert_eq(run_case(ranks, "load", directory, &output), 0, "%s", output);
        for (int rank = 0; rank < ranks; rank++) {
            char *line = tarn_test_format("rank %d step 31 digest %s config model: made up", rank, digest);
            cr_assert(strstr(output, line), "expected: %s\n%s", line, output);
            free(line);
        }
        free(output);
    }
}

Test(checkpoint_disk, a_failure_on_rank_0_is_an_error_on_all)
{
    char *output, *argument = tarn_test_format("%s 31", directory);
    cr_assert_eq(run_case(1, "save", argument, &output), 0, "%s", output);
    free(output);
    free(argument);
    cr_assert_eq(run_case(3, "mismatch", directory, &output), 2, "%s", output);
    for (int rank = 0; rank < 3; rank++) {
        char *line = tarn_test_format("rank %d status shape", rank);
        cr_assert(strstr(output, line), "%s", output);
        free(line);
    }
    cr_assert(strstr(output, "another model"), "%s", output);
    free(output);
    char *path = tarn_test_format("%s/ckpt-000000000031.h5", directory);
    cr_assert(tarn_test_write(path, "broken", 6));
    cr_assert_eq(run_case(2, "load", directory, &output), 1, "%s", output);
    cr_assert(strstr(output, "rank 1 status format") && strstr(output, "ckpt-000000000031.h5: it is 6 bytes"), "%s",
              output);
    free(output);
    cr_assert_eq(run_case(2, "load", path, &output), 1, "%s", output);
    cr_assert(strstr(output, "rank 1 open io"), "%s", output);
    free(output);
    free(path);
}

Test(checkpoint_disk, a_module_begins_from_a_checkpoint)
{
    tarn_checkpoint_store *store;
    float weight[37 * 53], bias[37];
    double sum = 0;
    for (int i = 0; i < 37 * 53; i++) sum += weight[i] = (float)(i % 17) * 0.125f;
    for (int i = 0; i < 37; i++) sum += bias[i] = (float)i;
    tarn_checkpoint_entry entries[] = {{"model/weight", TARN_F32, 2, {37, 53}, weight, true, false, false},
                                       {"model/bias", TARN_F32, 1, {37}, bias, true, false, false}};
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 1), TARN_OK);
    cr_assert_eq(tarn_checkpoint_save(store, 1, entries, 2, NULL, 0, true), TARN_OK);
    char *best = tarn_test_format("%s/best.h5", directory), *output;
    for (int ranks = 1; ranks <= 2; ranks++) {
        cr_assert_eq(run_case(ranks, "init", ranks == 1 ? directory : best, &output), 0, "%s", output);
        for (int rank = 0; rank < ranks; rank++) {
            char *line = tarn_test_format("rank %d loaded 2 sum %a", rank, sum);
            cr_assert(strstr(output, line), "expected %s\n%s", line, output);
            free(line);
        }
        free(output);
    }
    tarn_module *module;
    int loaded;
    cr_assert_eq(tarn_linear_create(&module, context, 53, 37, NULL), TARN_OK);
    cr_assert_eq(tarn_module_init_from(module, directory, true, &loaded), TARN_ERROR_STATE);
    tarn_error_clear(context);
    cr_assert_eq(tarn_module_build(module, 1), TARN_OK);
    cr_assert_eq(tarn_checkpoint_save(store, 2, entries, 1, NULL, 0, false), TARN_OK);
    cr_assert_eq(tarn_module_init_from(module, directory, true, &loaded), TARN_ERROR_SHAPE);
    cr_assert(strstr(message(), "model/bias") && strstr(message(), "not in the file"), "%s", message());
    tarn_parameter_info info;
    for (int i = 0; tarn_module_parameter_at(module, i, &info); i++)
        cr_assert(strcmp(info.name, "weight") || info.values[1] != weight[1], "strict failure left values behind");
    tarn_error_clear(context);
    cr_assert_eq(tarn_module_init_from(module, directory, false, &loaded), TARN_OK, "%s", message());
    cr_assert_eq(loaded, 1);
    cr_assert_eq(tarn_module_init_from(module, "/nowhere/at/all", true, &loaded), TARN_ERROR_ARGUMENT);
    tarn_module_destroy(module);
    tarn_checkpoint_store_close(store);
    free(best);
}

/* ---- other people's tools ---------------------------------------------------------------------------------------- */

static char *saved_file(void)
{
    tarn_checkpoint_store *store;
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 2), TARN_OK);
    cr_assert(!save(store, 1) && !save(store, 2));
    tarn_checkpoint_store_close(store);
    return tarn_test_format("%s/ckpt-000000000002.h5", directory);
}

Test(checkpoint_disk, h5dump_reads_it)
{
    char *path = saved_file(), *output;
    char *command = tarn_test_format("h5dump -d /text/config -d /state/counts -d /state/step %s", path);
    int code = tarn_test_run(command, 60, &output);
    if (code == 127) {
        printf("skipped: h5dump is not installed (package hdf5-tools)\n");
    } else {
        cr_assert_eq(code, 0, "%s", output);
        cr_assert(strstr(output, "model: {kind: gpt}") && strstr(output, "seed: 7") && !strstr(output, "\\000"), "%s",
                  output);
        state_fill(&expected, 2);
        char *value = tarn_test_format("%" PRId32 ", %" PRId32, expected.counts[0], expected.counts[1]);
        char *step = tarn_test_format("(0): %" PRId64, expected.step);
        cr_assert(strstr(output, value) && strstr(output, step), "%s", output);
        free(value);
        free(step);
    }
    free(output);
    free(command);
    free(path);
}

Test(checkpoint_disk, h5py_reads_it)
{
    const char *python = getenv("TARN_TEST_PYTHON");
    char *probe = tarn_test_format("%s -c 'import h5py'", python ? python : "false"), *output;
    if (!python || tarn_test_run(probe, 60, NULL)) {
        printf("skipped: TARN_TEST_PYTHON names no Python with h5py\n");
        free(probe);
        return;
    }
    char *path = saved_file();
    state_fill(&expected, 2);
    char *command = tarn_test_format(
        "%s -c 'import h5py\nf = h5py.File(\"%s\", \"r\")\nprint(f[\"text/config\"][()].decode())\n"
        "print(f[\"model/blocks.0.attention.weight\"].shape, f[\"state/half\"].dtype, f[\"state/empty\"].shape)\n"
        "print(\"step\", f[\"state/step\"][()], \"counts\", *f[\"state/counts\"][:])\n"
        "print(f[\"model/table\"][:].tobytes().hex()[:64])'",
        python, path);
    char *step = tarn_test_format("step %" PRId64 " counts %d", expected.step, expected.counts[0]), hex[65];
    for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", ((uint8_t *)expected.table)[i]);
    cr_assert_eq(tarn_test_run(command, 60, &output), 0, "%s", output);
    cr_assert(strstr(output, "model: {kind: gpt}\nseed: 7\n") && strstr(output, "(37, 53) uint16 (0, 4)") &&
                  strstr(output, step) && strstr(output, hex),
              "%s", output);
    free(step);
    free(output);
    free(command);
    free(path);
    free(probe);
}

Test(checkpoint_disk, the_command)
{
    char *path = saved_file(), *output, digest[65], *command;
    command = tarn_test_format(TARN_BINARY_DIR "/tarn checkpoint digest %s", directory);
    state_fill(&state, 2);
    cr_assert_eq(tarn_checkpoint_digest(state.entries, STATE_ENTRIES, digest), TARN_OK);
    cr_assert_eq(tarn_test_run(command, 60, &output), 0, "%s", output);
    cr_assert(!strncmp(output, digest, 64) && output[64] == '\n' && !output[65], "%s", output);
    free(output);
    memcpy(strstr(command, "digest"), "verify", 6);
    cr_assert_eq(tarn_test_run(command, 60, &output), 0, "%s", output);
    cr_assert(strstr(output, "ckpt-000000000001.h5: valid, step 1"), "%s", output);
    free(output);
    memcpy(strstr(command, "verify"), "show  ", 6);
    cr_assert_eq(tarn_test_run(command, 60, &output), 0, "%s", output);
    cr_assert(strstr(output, "step: 2\n") && strstr(output, digest) && strstr(output, "model: {kind: gpt}") &&
                  strstr(output, "f32 (37, 53) *"),
              "%s", output);
    free(output);
    cr_assert_eq(truncate(path, 5000), 0);
    memcpy(strstr(command, "show  "), "ls    ", 6);
    cr_assert_eq(tarn_test_run(command, 60, &output), 0, "%s", output);
    cr_assert(strstr(output, "yes    ckpt-000000000001.h5") &&
                  strstr(output, "no     ckpt-000000000002.h5: it is 5000"),
              "%s", output);
    free(output);
    memcpy(strstr(command, "ls    "), "verify", 6);
    cr_assert_eq(tarn_test_run(command, 60, &output), 1, "%s", output);
    cr_assert(strstr(output, "ckpt-000000000002.h5: broken: it is 5000 bytes"), "%s", output);
    free(output);
    free(command);
    free(path);
    static const struct {
        const char *arguments;
        int code;
    } cases[] = {{"", 2},
                 {"fly x", 2},
                 {"ls", 2},
                 {"ls a b", 2},
                 {"ls /nowhere/at/all", 2},
                 {"--help", 0},
                 {"ls --help", 0},
                 {"digest /tmp/no-such-thing", 2},
                 {"show /nowhere", 2},
                 {"verify /nowhere", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        command = tarn_test_format(TARN_BINARY_DIR "/tarn checkpoint %s", cases[i].arguments);
        cr_assert_eq(tarn_test_run(command, 60, &output), cases[i].code, "%s: %s", command, output);
        cr_assert(output[0], "%s says nothing", command);
        free(output);
        free(command);
    }
}
