/* test_checkpoint_parts.c - checkpoints as folders of parts: cuts, manifest, votes, damage, failures of one rank, and
 * the same bytes and state whoever writes and reads them.
 */
#include "checkpoint/files.h"
#include "checkpoint/header.h"
#include "checkpoint/quarantine.h"
#include "runtime/base/context.h"
#include "tests/checkpoint_state.h"
#include "tests/support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/mount.h>

static tarn_context *context;
static tarn_checkpoint_store *store;
static char *directory, logged[65536];
static made_state state, expected;

static void take_log(void *user, tarn_log_level level, const char *line)
{
    (void)user, (void)level;
    size_t used = strlen(logged);
    snprintf(logged + used, sizeof logged - used, "%s\n", line);
}

static void begin(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_set_log(context, take_log, NULL);
    cr_assert_not_null(directory = tarn_test_directory());
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 2), TARN_OK);
    tarn_checkpoint_store_set_parts(store, 3);
}

static void end(void)
{
    tarn_checkpoint_store_close(store);
    tarn_error_clear(context);
    tarn_exit(context);
    umount2(directory, MNT_DETACH); /* where a test mounted something */
    tarn_test_remove(directory);
    free(directory);
}

TestSuite(checkpoint_parts, .init = begin, .fini = end, .timeout = 300);

static tarn_status save(int64_t step, bool is_best)
{
    const tarn_checkpoint_text texts[] = {{"text/config", "seed: 1\n"}};
    state_fill(&state, (uint64_t)step);
    return tarn_checkpoint_save(store, step, state.entries, STATE_ENTRIES, texts, 1, is_best);
}

static const char *message(void)
{
    return tarn_get_error(context) ? tarn_get_error(context)->message : logged;
}

static bool exists(const char *name)
{
    char *path = tarn_test_format("%s/%s", directory, name);
    bool there = !access(path, F_OK);
    free(path);
    return there;
}

/* The step loaded into memory full of other values; -1: none, -2: an error. */
static int64_t load(void)
{
    int64_t step = -7;
    bool found = false;
    state_fill(&state, 4711);
    if (tarn_checkpoint_load(store, state.entries, STATE_ENTRIES, &step, &found)) return -2;
    if (!found) return -1;
    state_fill(&expected, (uint64_t)step);
    cr_assert_eq(memcmp(&state, &expected, offsetof(made_state, entries)), 0, "wrong values of step %" PRId64, step);
    return step;
}

static int count_names(const char *prefix)
{
    int count = 0;
    DIR *folder = opendir(directory);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        count += !strncmp(entry->d_name, prefix, strlen(prefix));
    if (folder) closedir(folder);
    return count;
}

Test(checkpoint_parts, any_number_of_parts_holds_the_same_state)
{
    static const int numbers[] = {2, 3, 7, 64, 256, 1};
    char digest[65];
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        tarn_checkpoint_store_set_parts(store, numbers[i]);
        int64_t step = (int64_t)i + 1;
        cr_assert_eq(save(step, false), TARN_OK, "%s", message());
        cr_assert_eq(load(), step, "%s", message());
        cr_assert_str_eq(tarn_checkpoint_text_get(store, "text/config"), "seed: 1\n");
        tarn_checkpoint_info *infos;
        int count;
        cr_assert_eq(tarn_checkpoint_list(context, directory, true, &infos, &count), TARN_OK);
        state_fill(&state, (uint64_t)step);
        tarn_checkpoint_digest(state.entries, STATE_ENTRIES, digest);
        cr_assert(infos[0].valid && infos[0].step == step, "%s", infos[0].problem);
        cr_assert_str_eq(infos[0].digest, digest, "%d parts", numbers[i]);
        cr_assert_eq(strstr(infos[0].path, ".h5") == NULL, numbers[i] > 1);
        free(infos);
    }
    cr_assert_eq(count_names(".tmp-"), 0);
}

Test(checkpoint_parts, folders_are_kept_replaced_and_set_aside_like_files)
{
    for (int64_t step = 1; step <= 4; step++) cr_assert_eq(save(step, step == 2), TARN_OK, "%s", message());
    cr_assert(!exists("ckpt-000000000002") && exists("ckpt-000000000003") && exists("ckpt-000000000004"));
    cr_assert(exists("best/MANIFEST") && exists("best/part-002.h5"));
    char *best = tarn_test_format("%s/best", directory), *value;
    cr_assert_eq(tarn_checkpoint_peek(context, best, "text/config", &value), TARN_OK, "%s", message());
    cr_assert_str_eq(value, "seed: 1\n");
    free(value);
    free(best);
    /* The same step again, in a folder of that name; then as a file; then an earlier one. */
    cr_assert_eq(save(4, true), TARN_OK, "%s", message());
    cr_assert_eq(load(), 4);
    tarn_checkpoint_store_set_parts(store, 1);
    cr_assert_eq(save(4, true), TARN_OK, "%s", message());
    cr_assert(exists("ckpt-000000000004.h5") && !exists("ckpt-000000000004"));
    cr_assert(exists("best.h5") && !exists("best"));
    tarn_checkpoint_store_set_parts(store, 5);
    cr_assert_eq(save(4, true), TARN_OK, "%s", message());
    cr_assert(!exists("ckpt-000000000004.h5") && exists("ckpt-000000000004") && !exists("best.h5") && exists("best"));
    cr_assert_eq(save(3, false), TARN_OK, "%s", message());
    cr_assert(exists("superseded-000000000004/MANIFEST") && !exists("ckpt-000000000004"));
    cr_assert_eq(load(), 3);
    cr_assert_eq(count_names(".tmp-"), 0);
}

static int64_t settled;
static void note_settled(void *user, int64_t mark)
{
    (void)user;
    settled = mark;
    cr_assert(!exists("ckpt-000000000009"), "it had its name before");
}

/* As steps do it: what each rank votes goes back to it ORed over all. */
Test(checkpoint_parts, a_round_goes_by_votes)
{
    bool begun;
    state_fill(&state, 9);
    tarn_checkpoint_request request = {
        .step = 9, .entries = state.entries, .entry_count = STATE_ENTRIES, .settle = note_settled, .settle_mark = 13};
    cr_assert_eq(tarn_checkpoint_vote(store), 0);
    tarn_checkpoint_voted(store, 0);
    cr_assert_eq(tarn_checkpoint_prepare(store, &request), TARN_OK);
    cr_assert_eq(tarn_checkpoint_begin(store, &request, &begun), TARN_OK);
    cr_assert(begun);
    memset(&state, 0, offsetof(made_state, entries));
    /* As long as another rank is writing, nothing happens, however often it is voted on. */
    for (int i = 0; i < 50; i++) {
        tarn_checkpoint_voted(store, tarn_checkpoint_vote(store) | TARN_CHECKPOINT_VOTE_WRITING);
        usleep(1000);
    }
    cr_assert(!exists("ckpt-000000000009") && tarn_checkpoint_saved_step(store) == -1 && settled == 0);
    request.step = 10;
    cr_assert_eq(tarn_checkpoint_begin(store, &request, &begun), TARN_OK);
    cr_assert(!begun && tarn_checkpoint_left_out(store) == 1 && strstr(logged, "step 10 is left out"), "%s", logged);
    for (int i = 0; i < 6000 && tarn_checkpoint_saved_step(store) < 0; i++) {
        tarn_checkpoint_voted(store, tarn_checkpoint_vote(store));
        usleep(1000);
    }
    cr_assert_eq(tarn_checkpoint_saved_step(store), 9);
    cr_assert_eq(settled, 13);
    cr_assert_gt(tarn_checkpoint_persist_seconds(store), 0);
    cr_assert_eq(load(), 9);
    /* Another rank failed: nothing is left, and the next round goes its way. */
    state_fill(&state, 11);
    request.step = 11;
    request.settle = NULL;
    cr_assert_eq(tarn_checkpoint_begin(store, &request, &begun), TARN_OK);
    while (tarn_checkpoint_vote(store) & TARN_CHECKPOINT_VOTE_WRITING) usleep(1000);
    tarn_checkpoint_voted(store, TARN_CHECKPOINT_VOTE_FAILED);
    cr_assert_eq(tarn_checkpoint_wait(store), TARN_OK, "the other rank's failure is not this one's");
    cr_assert(!exists("ckpt-000000000011") && !count_names(".tmp-"));
    cr_assert_eq(tarn_checkpoint_begin(store, &request, &begun), TARN_OK);
    cr_assert(begun && !tarn_checkpoint_wait(store));
    cr_assert_eq(load(), 11);
}

static void change(const char *name, size_t at, int kind)
{
    char *path = tarn_test_format("%s/%s", directory, name);
    size_t bytes;
    char *data = tarn_test_read(path, &bytes);
    cr_assert(data && bytes);
    if (kind == 0) data[at % bytes] ^= (char)(1 << (at % 8));
    cr_assert(tarn_test_write(path, data, kind == 1 ? at % bytes : bytes));
    free(data);
    free(path);
}

Test(checkpoint_parts, damage_anywhere_is_noticed)
{
    char *keep = tarn_test_format("cp -r %s/ckpt-000000000002 %s/keep", directory, directory);
    char *back = tarn_test_format("rm -rf %s/ckpt-000000000002; cp -r %s/keep %s/ckpt-000000000002", directory,
                                  directory, directory);
    cr_assert(!save(1, false) && !save(2, false));
    cr_assert_eq(tarn_test_run(keep, 60, NULL), 0);
    static const char *const names[] = {"MANIFEST", "part-000.h5", "part-001.h5", "part-002.h5"};
    for (int i = 0; i < 4; i++)
        for (size_t k = 0; k < 24; k++) {
            char *name = tarn_test_format("ckpt-000000000002/%s", names[i]);
            change(name, 31 + k * 1201, k % 3 == 2);
            cr_assert_eq(load(), 1, "%s, change %zu: %s", names[i], k, message());
            cr_assert_eq(tarn_test_run(back, 60, NULL), 0);
            free(name);
        }
    cr_assert_eq(load(), 2, "%s", message());
    /* A part of another checkpoint in its place, valid by itself; a part that is gone; two swapped. */
    static const char *const tricks[] = {
        "cp ckpt-000000000001/part-001.h5 ckpt-000000000002/", "rm ckpt-000000000002/part-002.h5",
        "rm ckpt-000000000002/MANIFEST",
        "cd ckpt-000000000002 && mv part-001.h5 x && mv part-002.h5 part-001.h5 && mv x part-002.h5"};
    for (size_t i = 0; i < sizeof tricks / sizeof *tricks; i++) {
        char *command = tarn_test_format("cd %s && %s", directory, tricks[i]);
        cr_assert_eq(tarn_test_run(command, 60, NULL), 0);
        cr_assert_eq(load(), 1, "%s: %s", command, message());
        cr_assert_eq(tarn_test_run(back, 60, NULL), 0);
        free(command);
    }
    change("ckpt-000000000002/part-001.h5", 9000, 0);
    change("ckpt-000000000001/MANIFEST", 30, 0);
    cr_assert_eq(load(), -2);
    cr_assert(strstr(message(), "ckpt-000000000002: part-001.h5: ") &&
                  strstr(message(), "ckpt-000000000001: its MANIFEST is damaged"),
              "%s", message());
    free(keep);
    free(back);
}

Test(checkpoint_parts, a_full_disk_is_pruned_and_tried_again)
{
    tarn_checkpoint_store_close(store);
    store = NULL;
    if (mount("tmpfs", directory, "tmpfs", 0, "size=270k")) {
        printf("skipped: no right to mount a small disk\n");
        cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 3), TARN_OK);
        return;
    }
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 3), TARN_OK);
    tarn_checkpoint_store_set_parts(store, 3);
    int64_t step = 1;
    for (; step <= 9 && !strstr(logged, "the disk is full"); step++)
        cr_assert_eq(save(step, false), TARN_OK, "step %" PRId64 ": %s", step, message());
    cr_assert(step > 2 && step < 9, "%s", logged);
    cr_assert_eq(load(), step - 1);
    cr_assert_eq(count_names(".tmp-"), 0);
    /* With one checkpoint there is nothing to prune. */
    char *older = tarn_test_format("%s/ckpt-%012" PRId64, directory, step - 2);
    tarn_test_remove(older);
    free(older);
    char *path = tarn_test_format("%s/fill", directory);
    FILE *file = fopen(path, "w");
    while (file && fputc('x', file) != EOF && !fflush(file)) continue;
    if (file) fclose(file);
    cr_assert_eq(save(step, false), TARN_ERROR_IO);
    cr_assert(strstr(message(), strerror(ENOSPC)), "%s", message());
    tarn_error_clear(context);
    cr_assert_eq(load(), step - 1);
    cr_assert_eq(count_names(".tmp-"), 0);
    free(path);
}

/* Of the manifest and of a part; a manifest whose version alone was changed is damaged. */
Test(checkpoint_parts, a_newer_version_is_not_called_broken)
{
    char *name = tarn_test_format("%s/ckpt-000000000001/MANIFEST", directory), *output;
    char *command = tarn_test_format(TARN_BINARY_DIR "/tarn checkpoint verify %s", directory);
    static const char newer[] = "tarn checkpoint manifest 2\nstep 1\nparts 2\nsha256 ";
    cr_assert(!save(1, false));
    for (int whole = 0; whole < 2; whole++) {
        char *text = tarn_test_format("%s", newer), hex[65] = "";
        uint8_t digest[TARN_SHA256_BYTES];
        tarn_sha256 *sha = tarn_sha256_create();
        tarn_sha256_update(sha, newer, strlen(newer) - 7);
        cr_assert(tarn_sha256_finish(sha, digest));
        tarn_sha256_hex(digest, hex);
        if (!whole) hex[5] = 'x';
        char *manifest = tarn_test_format("%s%s\n", text, hex);
        cr_assert(tarn_test_write(name, manifest, strlen(manifest)));
        cr_expect_eq(tarn_test_run(command, 60, &output), 1);
        cr_expect(strstr(output, whole ? "ckpt-000000000001: newer: its MANIFEST" : "ckpt-000000000001: broken: "),
                  "%s", output);
        free(output);
        free(manifest);
        free(text);
    }
    cr_assert(!save(1, false));
    free(name);
    name = tarn_test_format("%s/ckpt-000000000001/part-001.h5", directory);
    size_t bytes;
    uint8_t *part = (uint8_t *)tarn_test_read(name, &bytes);
    part[8] = TARN_CHECKPOINT_VERSION + 1;
    tarn_sha256 *sha = tarn_sha256_create();
    tarn_sha256_update(sha, part, TARN_CHECKPOINT_BLOCK - TARN_SHA256_BYTES);
    cr_assert(tarn_sha256_finish(sha, part + TARN_CHECKPOINT_BLOCK - TARN_SHA256_BYTES));
    cr_assert(tarn_test_write(name, part, bytes));
    cr_expect_eq(tarn_test_run(command, 60, &output), 1);
    cr_expect(strstr(output, "ckpt-000000000001: newer: part-001.h5: "), "%s", output);
    free(output);
    free(part);
    free(command);
    free(name);
}

/* ---- several ranks ---- */

Test(checkpoint_parts, the_same_bytes_from_any_number_of_ranks)
{
    char *output, *command;
    for (int ranks = 1; ranks <= 4; ranks++) {
        command = tarn_test_format("case_checkpoint parts %s/by%d 31 5", directory, ranks);
        cr_assert_eq(tarn_test_mpirun(ranks, command, &output), 0, "%s", output);
        for (int rank = 0; rank < ranks; rank++) {
            char *line = tarn_test_format("rank %d saved 31", rank);
            cr_assert(strstr(output, line), "%s", output);
            free(line);
        }
        free(output);
        free(command);
        command =
            tarn_test_format("diff -r %s/by1/ckpt-000000000031 %s/by%d/ckpt-000000000031", directory, directory, ranks);
        cr_assert_eq(tarn_test_run(command, 60, &output), 0, "%s", output);
        free(output);
        free(command);
    }
    /* One that is broken in a part another rank than 0 verifies: all ranks fall back. */
    command = tarn_test_format("case_checkpoint parts %s/by4 32 5", directory);
    cr_assert_eq(tarn_test_mpirun(2, command, &output), 0, "%s", output);
    free(output);
    free(command);
    change("by4/ckpt-000000000032/part-004.h5", 7000, 0);
    char digest[65];
    state_fill(&state, 31);
    tarn_checkpoint_digest(state.entries, STATE_ENTRIES, digest);
    for (int ranks = 1; ranks <= 3; ranks += 2) {
        command = tarn_test_format("case_checkpoint load %s/by4", directory);
        cr_assert_eq(tarn_test_mpirun(ranks, command, &output), 0, "%s", output);
        for (int rank = 0; rank < ranks; rank++) {
            char *line = tarn_test_format("rank %d step 31 digest %s config model: made up", rank, digest);
            cr_assert(strstr(output, line) && strstr(output, "ckpt-000000000032 is not used: part-004.h5: "), "%s",
                      output);
            free(line);
        }
        free(output);
        free(command);
    }
}

/* Rank 1 cannot write its parts of step 2: an error on all, nothing left, and step 3 is saved. */
Test(checkpoint_parts, a_failure_of_one_rank_is_everybodys)
{
    char *command = tarn_test_format("case_checkpoint fails %s/ranks", directory), *output;
    cr_assert_eq(tarn_test_mpirun(3, command, &output), 0, "%s", output);
    for (int rank = 0; rank < 3; rank++) {
        char *line = tarn_test_format("rank %d: ok io ok, newest 3", rank);
        cr_assert(strstr(output, line), "%s", output);
        free(line);
    }
    cr_assert(strstr(output, "rank 1: checkpoint: ") && strstr(output, "part 1: "), "%s", output);
    cr_assert(exists("ranks/ckpt-000000000001") && !exists("ranks/ckpt-000000000002"));
    free(command);
    command = tarn_test_format("ls -a %s/ranks | grep tmp", directory);
    cr_assert_eq(tarn_test_run(command, 60, NULL), 1);
    free(output);
    free(command);
}

/* ---- setting aside ---- */

Test(checkpoint_parts, quarantine_leaves_a_valid_one)
{
    tarn_problem problem;
    cr_assert(!save(1, false) && !save(2, false));
    tarn_checkpoint_store_set_parts(store, 1);
    cr_assert(!save(3, false));
    cr_assert(!tarn_checkpoint_quarantine(directory, 7, &problem));
    cr_assert(strstr(problem.text, "ckpt-000000000007.h5 cannot be set aside"), "%s", problem.text);
    cr_assert(tarn_checkpoint_quarantine(directory, 3, &problem), "%s", problem.text);
    cr_assert(exists("quarantined-000000000003.h5"));
    cr_assert_eq(load(), 2);
    cr_assert(!tarn_checkpoint_quarantine(directory, 2, &problem), "it is the only one");
    cr_assert(strstr(problem.text, "no other checkpoint") && exists("ckpt-000000000002"), "%s", problem.text);
    cr_assert(!save(3, false));
    cr_assert(tarn_checkpoint_quarantine(directory, 2, &problem), "%s", problem.text);
    cr_assert(exists("quarantined-000000000002/MANIFEST"));
    tarn_checkpoint_store_set_parts(store, 2);
    cr_assert(!save(4, false));
    cr_assert(tarn_checkpoint_quarantine(directory, 3, &problem), "%s", problem.text);
    cr_assert(exists("quarantined-000000000003-2.h5"), "a name that is taken is not given again");
    /* The other one is broken: that counts as none. */
    cr_assert(!save(5, false));
    change("ckpt-000000000004/MANIFEST", 40, 0);
    cr_assert(!tarn_checkpoint_quarantine(directory, 5, &problem));
    char *command = tarn_test_format(TARN_BINARY_DIR "/tarn checkpoint ls %s", directory), *output;
    cr_assert_eq(tarn_test_run(command, 60, &output), 0, "%s", output);
    cr_assert(strstr(output, "yes    ckpt-000000000005") && strstr(output, "no     ckpt-000000000004: its MANIFEST") &&
                  strstr(output, "yes    quarantined-000000000002") &&
                  strstr(output, "yes    quarantined-000000000003-2.h5"),
              "%s", output);
    free(output);
    free(command);
}

/* ---- other people's tools ---- */

Test(checkpoint_parts, h5dump_reads_a_part)
{
    cr_assert(!save(1, false));
    char *command = tarn_test_format("h5dump -d /model/table %s/ckpt-000000000001/part-001.h5", directory), *output;
    int code = tarn_test_run(command, 60, &output);
    if (code == 127) printf("skipped: h5dump is not installed (package hdf5-tools)\n");
    cr_assert(code == 127 || (!code && strstr(output, "slice_begin") && strstr(output, "(0): 5, 10, 100")), "%s",
              output);
    free(output);
    free(command);
}
