/* test_track.c - the record of a run: what stands in the file store, what a resumed run adds, what failures do. */
#include "tests/track_support.h"
#include "track/environment.h"
#include "track/record.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

TestSuite(track, .init = begin, .fini = end_record);

/* Waits until the store has everything, then lets the tracker say what that met. */
static void flush(tarn_tracker *tracker)
{
    cr_assert(tarn_track_flush(tracker, 60), "the store has not got everything");
    tarn_track_mark(tracker);
}

static void expect_file(const char *run_id, const char *file, const char *expected)
{
    char *text = run_file(run_id, file);
    cr_assert_str_eq(text, expected, "%s holds \"%s\"", file, text);
    free(text);
}

Test(track, points_of_a_record)
{
    tarn_record *record = tarn_record_create();
    tarn_record_key *key = tarn_record_add(record, TARN_TRACK_METRIC, "loss");
    double before;
    for (int64_t i = 0; i < 1000; i++) /* every step once, in a scrambled order */
        cr_assert_eq(tarn_record_point(key, i * 377 % 1000, (double)i, &before), TARN_RECORD_NEW);
    for (int64_t i = 0; i < 1000; i++) {
        cr_assert_eq(key->points[key->first + (size_t)i].step, i);
        cr_assert_eq(tarn_record_point(key, i * 377 % 1000, (double)i, &before), TARN_RECORD_SAME);
    }
    cr_assert_eq(tarn_record_point(key, 377, 5, &before), TARN_RECORD_DIFFERENT);
    cr_assert_eq(before, 1);
    tarn_record_forget(key, 377);
    cr_assert_eq(tarn_record_point(key, 377, 5, &before), TARN_RECORD_NEW);
    cr_assert_eq(tarn_record_point(key, 2000, 0.0, &before), TARN_RECORD_NEW);
    cr_assert_eq(tarn_record_point(key, 2000, -0.0, &before), TARN_RECORD_DIFFERENT, "bits decide");

    tarn_record_add(record, TARN_TRACK_METRIC, "a/b");
    cr_assert_not_null(tarn_record_conflict(record, TARN_TRACK_METRIC, "a"));
    cr_assert_not_null(tarn_record_conflict(record, TARN_TRACK_METRIC, "a/b/c"));
    cr_assert_null(tarn_record_conflict(record, TARN_TRACK_METRIC, "a/bc"));
    cr_assert_null(tarn_record_conflict(record, TARN_TRACK_PARAM, "a"));
    tarn_record_destroy(record);
}

Test(track, what_a_run_writes)
{
    tarn_tracker *tracker = open_run("first", "a: \"name\"", NULL);
    char id[33];
    snprintf(id, sizeof id, "%s", tarn_track_run_id(tracker));
    cr_assert_eq(strspn(id, "0123456789abcdef"), 32);
    char *meta = run_file(id, "meta.yaml");
    cr_assert(strstr(meta, "status: 1\n") && strstr(meta, "end_time: null\n") &&
              strstr(meta, "run_name: \"a: \\\"name\\\"\"\n"));
    free(meta);
    cr_assert_eq(tarn_log_metric(tracker, "loss", 0.1, 0), TARN_OK);
    cr_assert_eq(tarn_log_metric(tracker, "loss", 1.0 / 3, 1), TARN_OK);
    cr_assert_eq(tarn_log_metric(tracker, "loss", 1e-300, 2), TARN_OK);
    cr_assert_eq(tarn_log_metric(tracker, "validation/loss", -2, 2), TARN_OK);
    cr_assert_eq(tarn_log_metric(tracker, "bad", NAN, 7), TARN_OK);
    cr_assert_eq(tarn_log_metric(tracker, "bad", -INFINITY, 8), TARN_OK);
    cr_assert_eq(tarn_log_param(tracker, "optim.lr", "0.001"), TARN_OK);
    cr_assert_eq(tarn_log_param(tracker, "optim.lr", "0.002"), TARN_OK);
    cr_assert_eq(tarn_log_param(tracker, "empty", NULL), TARN_OK);
    cr_assert_eq(tarn_log_tag(tracker, "mlflow.note.content", "one"), TARN_OK);
    cr_assert_eq(tarn_log_tag(tracker, "mlflow.note.content", "two \xff\nlines"), TARN_OK);
    /* A file that is gone when the writer comes to it. */
    char *path = tarn_test_format("%s/config.yaml", folder);
    tarn_test_write(path, "seed: 1\n", 8);
    cr_assert_eq(tarn_log_artifact(tracker, path, "run/files"), TARN_OK);
    unlink(path);
    free(path);
    flush(tracker);
    expect_points(id, "loss", "0.1 0;0.3333333333333333 1;1e-300 2;");
    cr_assert_eq(tarn_track_close(tracker, "FINISHED"), TARN_OK);
    expect_points(id, "validation/loss", "-2 2;");
    expect_file(id, "tags/nonfinite.bad", "nan at step 7");
    expect_file(id, "params/optim.lr", "0.001");
    expect_file(id, "params/empty", "");
    expect_file(id, "tags/mlflow.note.content", "two ?\nlines");
    expect_file(id, "tags/mlflow.runName", "a: \"name\"");
    expect_file(id, "tags/mlflow.source.type", "LOCAL");
    expect_file(id, "artifacts/run/files/config.yaml", "seed: 1\n");
    meta = run_file(id, "meta.yaml");
    cr_assert(strstr(meta, "status: 3\n") && !strstr(meta, "end_time: null") && strstr(meta, "end_time: 1"));
    free(meta);
    cr_assert_eq(warnings, 1, "the changed parameter: %s", heard);
    cr_assert(strstr(heard, "optim.lr") && strstr(heard, "0.002"));
}

Test(track, a_resumed_run_repeats_nothing)
{
    tarn_tracker *tracker = open_run("resumed", "before", NULL);
    char id[33];
    snprintf(id, sizeof id, "%s", tarn_track_run_id(tracker));
    for (int64_t step = 0; step < 6; step++) tarn_log_metric(tracker, "loss", 1.0 / (double)(step + 1), step);
    tarn_log_metric(tracker, "loss", 0.5, 1); /* the same again, in the same process */
    tarn_log_param(tracker, "lr", "1");
    tarn_log_tag(tracker, "mine", "kept");
    cr_assert_eq(tarn_track_close(tracker, "KILLED"), TARN_OK);
    char *path = run_path(id, "metrics/loss"), *meta = run_path(id, "meta.yaml"),
         *user = run_path(id, "tags/mlflow.user");
    /* A field that another program added, a torn line that a dying machine left. */
    char *text = tarn_test_read(meta, NULL);
    cr_assert(strstr(text, "status: 5\n"));
    char *more = tarn_test_format("%sadded_field: here\n", text);
    tarn_test_write(meta, more, strlen(more));
    free(more);
    free(text);
    text = tarn_test_read(path, NULL);
    more = tarn_test_format("%s\n17954", text);
    tarn_test_write(path, more, strlen(more));
    free(more);
    free(text);
    tarn_test_write(user, "somebody", 8);

    tracker = open_run("another name does not move it", "after", id);
    flush(tracker);
    cr_assert_str_eq(tarn_track_run_id(tracker), id);
    cr_assert(strstr(heard, "2 torn lines"), "%s", heard);
    text = tarn_test_read(meta, NULL);
    cr_assert(strstr(text, "status: 1\n") && strstr(text, "end_time: null\n") && strstr(text, "added_field: here\n"));
    cr_assert(strstr(text, "run_name: \"after\"\n") && !strstr(text, "before"));
    free(text);
    for (int64_t step = 3; step < 8; step++) tarn_log_metric(tracker, "loss", 1.0 / (double)(step + 1), step);
    tarn_log_metric(tracker, "other", 4, 4);
    tarn_log_param(tracker, "lr", "1");
    cr_assert_eq(warnings, 1, "%s", heard);
    tarn_log_metric(tracker, "loss", 0.25000000000000006, 3);
    cr_assert_eq(warnings, 2, "%s", heard);
    cr_assert(strstr(heard, "tarn.broken_promise"));
    tarn_log_metric(tracker, "loss", 0.9, 4);
    cr_assert_eq(warnings, 2, "one warning for all");
    tarn_log_param(tracker, "lr", "2");
    cr_assert_eq(warnings, 3);
    cr_assert_eq(tarn_track_close(tracker, "FINISHED"), TARN_OK);
    expect_points(id, "loss",
                  "1 0;0.5 1;0.3333333333333333 2;0.25 3;0.2 4;0.16666666666666666 5;0.14285714285714285 6;0.125 7;");
    expect_points(id, "other", "4 4;");
    expect_file(id, "params/lr", "1");
    expect_file(id, "tags/mine", "kept");
    expect_file(id, "tags/mlflow.user", "somebody");
    expect_file(id, "tags/mlflow.runName", "after");
    expect_file(id, "tags/tarn.broken_promise", "loss at step 3: 0.25 before, 0.25000000000000006 now");
    free(path);
    free(meta);
    free(user);
}

Test(track, a_run_whose_record_is_gone_begins_anew_under_its_id)
{
    static const char id[] = "0123456789abcdef0123456789abcdef";
    tarn_tracker *tracker = open_run("gone", NULL, id);
    cr_assert_str_eq(tarn_track_run_id(tracker), id);
    cr_assert(strstr(heard, "begins anew"));
    tarn_log_metric(tracker, "loss", 1, 5);
    tarn_track_close(tracker, "FINISHED");
    expect_points(id, "loss", "1 5;");
    /* A maker that died before its last step left no meta.yaml: it is made. */
    char *meta = run_path(id, "meta.yaml");
    unlink(meta);
    tracker = open_run("gone", NULL, id);
    tarn_track_close(tracker, "FINISHED");
    char *text = tarn_test_read(meta, NULL);
    cr_assert(text && strstr(text, "run_id: '0123456789abcdef0123456789abcdef'\n"));
    free(text);
    free(meta);
}

/* The number of lines that `command` prints. */
static int lines_of(const char *command)
{
    char *out;
    int lines = 0;
    cr_assert_eq(tarn_test_run(command, 20, &out), 0);
    for (const char *at = out; (at = strchr(at, '\n')); at++) lines++;
    free(out);
    return lines;
}

Test(track, experiments)
{
    /* Several processes that make one experiment end up with one. */
    pid_t children[8];
    for (int i = 0; i < 8; i++) {
        children[i] = fork();
        if (!children[i]) {
            tarn_tracker *tracker;
            tarn_status status = tarn_track_open(
                &tracker, context,
                &(tarn_track_options){.store = store, .spool = spool, .experiment = "at \xc3\xa4 time"});
            if (!status) status = tarn_log_metric(tracker, "loss", 1, 0);
            if (!status) status = tarn_track_close(tracker, "FINISHED");
            _exit(status ? 1 : 0);
        }
    }
    for (int i = 0; i < 8; i++) {
        int result;
        cr_assert(waitpid(children[i], &result, 0) == children[i] && !result);
    }
    char *command = tarn_test_format("ls -d '%s'/*/meta.yaml", store),
         *runs = tarn_test_format("ls -d '%s'/*/*/meta.yaml", store);
    cr_assert_eq(lines_of(command), 1);
    cr_assert_eq(lines_of(runs), 8);
    /* Found again; another name is another experiment; the default is number 0. */
    tarn_track_close(open_run("at \xc3\xa4 time", NULL, NULL), "FINISHED");
    cr_assert_eq(lines_of(command), 1);
    tarn_track_close(open_run("second", NULL, NULL), "FINISHED");
    tarn_track_close(open_run(NULL, NULL, NULL), "FINISHED");
    cr_assert_eq(lines_of(command), 3);
    char *zero = tarn_test_format("%s/0/meta.yaml", store), *text = tarn_test_read(zero, NULL);
    cr_assert(text && strstr(text, "name: \"Default\"\n") && strstr(text, "experiment_id: '0'\n"));
    free(text);
    /* Renamed by somebody: its folder is taken, the name is free again. */
    char *rename = tarn_test_format("sed -i 's/^name: .*/name: renamed/' '%s'", zero);
    cr_assert_eq(tarn_test_run(rename, 20, NULL), 0);
    tarn_track_close(open_run("Default", NULL, NULL), "FINISHED");
    cr_assert_eq(lines_of(command), 4);
    tarn_track_close(open_run("renamed", NULL, NULL), "FINISHED");
    cr_assert_eq(lines_of(command), 4);
    /* Deleted, as MLflow does it. */
    char *delete = tarn_test_format(
        "sed -i 's/^lifecycle_stage: .*/lifecycle_stage: deleted/' '%s' && mkdir '%s/.trash' && mv '%s/0' "
        "'%s/.trash/0'",
        zero, store, store, store);
    cr_assert_eq(tarn_test_run(delete, 20, NULL), 0);
    tarn_tracker *tracker;
    tarn_track_options options = {.store = store, .spool = spool, .experiment = "renamed"};
    warnings = 0;
    cr_assert_eq(tarn_track_open(&tracker, context, &options), TARN_OK);
    tarn_track_close(tracker, "FINISHED");
    cr_assert(warnings == 2 && strstr(heard, "was deleted"), "%s", heard);
    cr_assert_neq(tarn_track_open_strict(&tracker, context, &options), TARN_OK);
    cr_assert(strstr(tarn_get_error(context)->message, "was deleted"), "%s", tarn_get_error(context)->message);
    free(command);
    free(runs);
    free(zero);
    free(rename);
    free(delete);
}

Test(track, a_full_disk_costs_one_warning_and_no_points)
{
    tarn_tracker *tracker = open_run("full", NULL, NULL);
    char id[33];
    snprintf(id, sizeof id, "%s", tarn_track_run_id(tracker));
    tarn_log_metric(tracker, "loss", 0.5, 0);
    flush(tracker);
    /* Files may not grow beyond 100 bytes: the write that crosses it stops halfway, as on a full disk. */
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, limit;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){100, before.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int64_t step = 1; step <= 50; step++) cr_assert_eq(tarn_log_metric(tracker, "loss", 0.5, step), TARN_OK);
    tarn_track_settle(tracker, tarn_track_mark(tracker)); /* does not wait for the disk */
    for (int64_t step = 51; step <= 60; step++) cr_assert_eq(tarn_log_metric(tracker, "loss", 0.5, step), TARN_OK);
    tarn_track_settle(tracker, tarn_track_mark(tracker));
    tarn_track_mark(tracker);
    cr_assert_eq(warnings, 1, "%s", heard);
    cr_assert(strstr(heard, "training goes on, events wait in memory"));
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    tarn_log_metric(tracker, "loss", 0.25, 61);
    flush(tracker);
    cr_assert_eq(tarn_track_lost(tracker), 0);
    cr_assert(warnings == 2 && strstr(heard, "can be written again"), "%s", heard);
    cr_assert_eq(tarn_track_close(tracker, "FINISHED"), TARN_OK);
    char *text = run_file(id, "metrics/loss");
    int lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++) lines++;
    cr_assert_eq(lines, 62);
    free(text);
}

/* Many threads at once, more points than the queue holds batches for: nothing is lost while the disk keeps up. */
static void *log_many(void *user)
{
    tarn_tracker *tracker = ((void **)user)[0];
    const char *key = ((void **)user)[1];
    for (int64_t step = 0; step < 20000; step++) {
        tarn_log_metric(tracker, key, (double)step, step);
        if (step % 4000 == 0) flush(tracker);
    }
    return NULL;
}

Test(track, from_several_threads)
{
    tarn_tracker *tracker = open_run("threads", NULL, NULL);
    char id[33];
    snprintf(id, sizeof id, "%s", tarn_track_run_id(tracker));
    pthread_t threads[3];
    void *arguments[3][2] = {{tracker, "a"}, {tracker, "b"}, {tracker, "c/d"}};
    for (int i = 0; i < 3; i++) cr_assert_eq(pthread_create(&threads[i], NULL, log_many, arguments[i]), 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    flush(tracker);
    int64_t lost = tarn_track_lost(tracker);
    tarn_track_close(tracker, "FINISHED");
    int64_t lines = 0;
    for (int i = 0; i < 3; i++) {
        char *name = tarn_test_format("metrics/%s", (char *)arguments[i][1]), *text = run_file(id, name);
        for (const char *at = text; (at = strchr(at, '\n')); at++) lines++;
        free(text);
        free(name);
    }
    cr_assert_eq(lines + lost, 60000, "%lld lines, %lld lost", (long long)lines, (long long)lost);
}

Test(track, commit_of_the_repository)
{
    static const char commit[] = "0123456789abcdef0123456789abcdef01234567";
    char *script = tarn_test_format(
        "cd '%s' && mkdir -p r/.git/refs/heads r/sub w r/.git/worktrees/w && cd r && "
        "echo 'ref: refs/heads/main' > .git/HEAD && echo %s > .git/refs/heads/main && "
        "echo \"gitdir: $PWD/.git/worktrees/w\" > ../w/.git && echo ../.. > .git/worktrees/w/commondir && "
        "echo 'ref: refs/heads/main' > .git/worktrees/w/HEAD",
        folder, commit);
    cr_assert_eq(tarn_test_run(script, 20, NULL), 0);
    free(script);
    char found[65];
    const char *const places[] = {"r/sub", "r", "w"};
    for (int packed = 0; packed < 2; packed++) {
        for (int i = 0; i < 3; i++) {
            char *path = tarn_test_format("%s/%s", folder, places[i]);
            cr_assert_eq(chdir(path), 0);
            tarn_environment_commit(found);
            cr_assert_str_eq(found, commit, "in %s, packed %d", places[i], packed);
            free(path);
        }
        script = tarn_test_format(
            "cd '%s/r/.git' && printf '# pack-refs\\n%s refs/heads/main\\n' > packed-refs && rm refs/heads/main",
            folder, commit);
        if (!packed) cr_assert_eq(tarn_test_run(script, 20, NULL), 0);
        free(script);
    }
    cr_assert_eq(chdir(folder), 0);
    tarn_environment_commit(found);
    cr_assert_str_eq(found, "");
}
