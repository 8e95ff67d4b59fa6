/* test_track.c - the record of a run: what stands in the file store, what a resumed run adds, what failures do; and
 * that the real MLflow reads all of it back (with TARN_TEST_PYTHON, a Python that has mlflow). */
#include "runtime/config/document.h"
#include "runtime/config/number.h"
#include "track/environment.h"
#include "track/files.h"
#include "track/record.h"
#include "track/spool.h"
#include "track/tracker.h"
#include "tests/support.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

static tarn_context *context;
static char *folder, *store, *spool;
static char heard[8192];
static int warnings;

static void hear(void *user, tarn_log_level level, const char *line)
{
    (void)user;
    if (level != TARN_LOG_WARN) return;
    warnings++;
    snprintf(heard + strlen(heard), sizeof heard - strlen(heard), "%s\n", line);
}

static void begin(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_set_log(context, hear, NULL);
    folder = tarn_test_directory();
    store = tarn_test_format("%s/store of runs", folder);
    spool = tarn_test_format("%s/spool", folder);
}

static void end(void)
{
    tarn_test_remove(folder);
    free(folder);
    free(store);
    free(spool);
    tarn_error_clear(context);
    tarn_exit(context);
}

TestSuite(track, .init = begin, .fini = end);

static tarn_tracker *open_run(const char *experiment, const char *name, const char *run_id)
{
    tarn_tracker *tracker = NULL;
    tarn_status status =
        tarn_track_open(&tracker, context,
                        &(tarn_track_options){
                            .store = store, .spool = spool, .experiment = experiment, .name = name, .run_id = run_id});
    cr_assert_eq(status, TARN_OK, "%s", tarn_get_error(context)->message);
    return tracker;
}

/* The path of a file of the run: found by `find`, whose place is the experiment's business. Freed by the caller. */
/* Waits until the store has everything, then lets the tracker say what that met. */
static void flush(tarn_tracker *tracker)
{
    cr_assert(tarn_track_flush(tracker, 60), "the store has not got everything");
    tarn_track_mark(tracker);
}

static char *run_path(const char *run_id, const char *file)
{
    char *command = tarn_test_format("ls -d '%s'/*/%s", store, run_id), *found;
    cr_assert_eq(tarn_test_run(command, 20, &found), 0, "no folder of run %s: %s", run_id, found);
    found[strcspn(found, "\n")] = '\0';
    char *path = tarn_test_format("%s/%s", found, file);
    free(command);
    free(found);
    return path;
}

static char *run_file(const char *run_id, const char *file)
{
    char *path = run_path(run_id, file), *text = tarn_test_read(path, NULL);
    cr_assert_not_null(text, "%s is not there", path);
    free(path);
    return text;
}

static void expect_file(const char *run_id, const char *file, const char *expected)
{
    char *text = run_file(run_id, file);
    cr_assert_str_eq(text, expected, "%s holds \"%s\"", file, text);
    free(text);
}

/* The metric's lines without their times. */
static void expect_points(const char *run_id, const char *key, const char *expected)
{
    char *name = tarn_test_format("metrics/%s", key), *text = run_file(run_id, name), *bare = NULL;
    size_t size;
    FILE *out = open_memstream(&bare, &size);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *blank = strchr(line, ' ');
        cr_assert(blank && blank - line == 13, "no time in milliseconds: %s", line);
        fprintf(out, "%s;", blank + 1);
    }
    fclose(out);
    cr_assert_str_eq(bare, expected);
    free(bare);
    free(text);
    free(name);
}

Test(track, keys)
{
    static const char *const good[] = {"loss", "validation.loss", "a/b/c", "with blank", "x-1_2:3", ".a", "a..b",
                                       "a..."};
    static const char *const bad[] = {"",  "/a",  "a//b",  "a/",  "..",       "../a", "..a", "a/../b", "a/..",
                                      ".", "./a", "a/./b", "a\n", "\xc3\xa4", "a=b",  "a*",  "a\\b"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        cr_expect_null(tarn_track_key_problem(good[i]), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_not_null(tarn_track_key_problem(bad[i]), "%s", bad[i]);
    char length[252];
    memset(length, 'x', 251);
    length[251] = '\0';
    cr_assert_not_null(tarn_track_key_problem(length));
    length[250] = '\0';
    cr_assert_null(tarn_track_key_problem(length));
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

/* A wrong log call has a status; it is told once a function and counted, and the context has no error of it. */
Test(track, wrong_log_calls_fail_nothing_else)
{
    tarn_tracker *tracker = open_run("wrong", NULL, NULL);
    char key[300], refusal[512];
    memset(key, 'k', sizeof key);
    key[251] = '\0';
#define REFUSED_CALL(call, wanted, part, told)                                                                         \
    do {                                                                                                               \
        cr_assert_eq(call, wanted, "accepted: %s", #call);                                                             \
        cr_assert_null(tarn_get_error(context), "%s", #call);                                                          \
        tarn_track_refusal(tracker, refusal, sizeof refusal);                                                          \
        cr_assert(strstr(refusal, part), "%s", refusal);                                                               \
        cr_assert_eq(warnings, told, "%s: %d warnings: %s", #call, warnings, heard);                                   \
    } while (0)
    REFUSED_CALL(tarn_log_metric(tracker, "acc (top|5)", 1, 0), TARN_ERROR_ARGUMENT,
                 "\"acc (top|5)\" cannot name a metric: only letters", 1);
    cr_assert(strstr(heard, "acc (top|5)") && strstr(heard, "the run goes on"), "%s", heard);
    for (int64_t step = 1; step < 100; step++)
        REFUSED_CALL(tarn_log_metric(tracker, "acc (top|5)", 1, step), TARN_ERROR_ARGUMENT, "acc (top|5)", 1);
    REFUSED_CALL(tarn_log_metric(tracker, key, 1, 0), TARN_ERROR_ARGUMENT, "longer than 250", 1);
    REFUSED_CALL(tarn_log_metric(tracker, NULL, 1, 0), TARN_ERROR_ARGUMENT, "(null)", 1);
    cr_assert_eq(tarn_log_metric(tracker, "a", 1, 0), TARN_OK);
    REFUSED_CALL(tarn_log_metric(tracker, "a/b", 1, 0), TARN_ERROR_ARGUMENT, "a file and a folder at once", 1);
    REFUSED_CALL(tarn_log_param(tracker, "../x", "1"), TARN_ERROR_ARGUMENT, "begins with ..", 2);
    REFUSED_CALL(tarn_log_tag(tracker, "", "1"), TARN_ERROR_ARGUMENT, "it is empty", 3);
    REFUSED_CALL(tarn_log_artifact(tracker, "/nowhere/file", NULL), TARN_ERROR_IO, "/nowhere/file", 4);
    REFUSED_CALL(tarn_log_artifact(tracker, "/tmp", NULL), TARN_ERROR_IO, "no regular file", 4);
    REFUSED_CALL(tarn_log_artifact(tracker, "/etc/passwd", "../up"), TARN_ERROR_ARGUMENT, "folder of artifacts", 4);
    REFUSED_CALL(tarn_log_artifact(tracker, NULL, NULL), TARN_ERROR_ARGUMENT, "NULL", 4);
    cr_assert_eq(tarn_track_lost(tracker), 0);
    *heard = '\0';
    cr_assert_eq(tarn_track_close(tracker, "FINISHED"), TARN_OK);
    cr_assert(strstr(heard, "109 log calls were refused (103 metrics, 1 parameter, 1 tag, 4 artifacts)") &&
                  strstr(heard, "the first: \"acc (top|5)\" cannot name a metric"),
              "%s", heard);
}

/* What is longer than MLflow keeps is cut between characters, as other ranks' values are. */
Test(track, too_long_values_are_cut)
{
    tarn_tracker *tracker = open_run("long", NULL, NULL);
    char text[9000];
    memset(text, 'x', sizeof text);
    memcpy(text + 5999, "\xc3\xa4", 2); /* an umlaut over the end of a parameter, */
    memcpy(text + 7998, "\xc3\xb6", 2); /* one that ends with a tag */
    text[8999] = '\0';
    cr_assert_eq(tarn_log_param(tracker, "note", text), TARN_OK);
    cr_assert(strstr(heard, "\"note\" has 8999 bytes, MLflow keeps 6000"), "%s", heard);
    cr_assert_eq(tarn_log_tag(tracker, "note", text), TARN_OK);
    cr_assert_eq(warnings, 2, "%s", heard);
    cr_assert_eq(tarn_log_param(tracker, "note", text), TARN_OK); /* the same again */
    cr_assert_eq(warnings, 2, "%s", heard);
    cr_assert_null(tarn_get_error(context));
    *heard = '\0';
    cr_assert_eq(tarn_track_close(tracker, "FINISHED"), TARN_OK);
    cr_assert(strstr(heard, "3 too long values were cut") && !strstr(heard, "refused"), "%s", heard);
    char *command = tarn_test_format("cd '%s' && cat */*/params/note | wc -c && cat */*/tags/note | wc -c", store),
         *sizes;
    cr_assert_eq(tarn_test_run(command, 20, &sizes), 0);
    cr_assert_str_eq(sizes, "5999\n8000\n");
    free(sizes);
    free(command);
}

Test(track, wrong_calls)
{
    tarn_tracker *tracker = open_run("wrong", NULL, NULL);
#define REFUSED(call, wanted, part)                                                                                    \
    do {                                                                                                               \
        tarn_error_clear(context);                                                                                     \
        cr_assert_eq(call, wanted, "accepted: %s", #call);                                                             \
        cr_assert(strstr(tarn_get_error(context)->message, part), "%s", tarn_get_error(context)->message);             \
    } while (0)
    REFUSED(tarn_track_close(tracker, "DONE"), TARN_ERROR_ARGUMENT, "FINISHED, FAILED or KILLED");
    /* Commands refuse stores that are none. */
    char *file = tarn_test_format("%s/file", folder), *inside = tarn_test_format("%s/store", file);
    tarn_test_write(file, "x", 1);
    REFUSED(tarn_track_open_strict(&tracker, context, &(tarn_track_options){.store = inside, .spool = spool}),
            TARN_ERROR_CONFIG, "track.store");
    cr_assert_null(tracker);
    REFUSED(tarn_track_open_strict(&tracker, context, &(tarn_track_options){.store = "sqlite:///x.db", .spool = spool}),
            TARN_ERROR_CONFIG, "is a database");
    REFUSED(tarn_track_open(&tracker, context, &(tarn_track_options){.store = store, .spool = spool, .run_id = "7"}),
            TARN_ERROR_ARGUMENT, "32 hex digits");
    REFUSED(tarn_track_open(&tracker, context, &(tarn_track_options){.store = store, .spool = spool, .name = "\xff"}),
            TARN_ERROR_ARGUMENT, "UTF-8");
    free(file);
    free(inside);
    /* No tracker: nothing happens. */
    tarn_error_clear(context);
    cr_assert_eq(tarn_log_metric(NULL, "a", 1, 0), TARN_OK);
    cr_assert_eq(tarn_track_close(NULL, "FINISHED"), TARN_OK);
    cr_assert_null(tarn_track_run_id(NULL));
}

Test(track, a_wrong_store_costs_a_warning_and_the_spool_is_pushed)
{
    static const struct {
        bool by_key;
        const char *text, *part;
    } wrong[] = {{true, "ftp://host/a", "has a scheme that is not known here"},
                 {false, "sqlite:///x.db", "is a database"},
                 {false, "databricks", "Databricks"},
                 {true, "http://", "names no host"},
                 {true, "http://user@", "names no host"},
                 {true, "/dev/null/store", "cannot write to the tracking store"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        tarn_tracker *tracker;
        tarn_spool_pushed pushed;
        tarn_track_options options = {.store = wrong[i].by_key ? wrong[i].text : NULL, .spool = spool};
        warnings = 0;
        heard[0] = '\0';
        if (!wrong[i].by_key) setenv("MLFLOW_TRACKING_URI", wrong[i].text, 1);
        cr_assert_eq(tarn_track_open(&tracker, context, &options), TARN_OK);
        unsetenv("MLFLOW_TRACKING_URI");
        char *run = strdup(tarn_track_spool(tracker)),
             *push = tarn_test_format("tarn track push %s --store STORE", run);
        char id[33];
        snprintf(id, sizeof id, "%s", tarn_track_run_id(tracker));
        cr_assert(warnings == 1 && strstr(heard, wrong[i].part) && strstr(heard, run), "%s", heard);
        for (int64_t step = 0; step < 3; step++) cr_assert_eq(tarn_log_metric(tracker, "loss", 0.5, step), TARN_OK);
        cr_assert_not(tarn_track_flush(tracker, 1), "a store that is none has nothing");
        cr_assert_eq(tarn_track_close(tracker, "FINISHED"), TARN_OK);
        cr_assert(warnings == 2 && strstr(heard, push), "%s", heard);
        cr_assert_null(tarn_get_error(context));
        options.store = store;
        cr_assert_eq(tarn_spool_push(run, &options, &pushed), TARN_OK, "%s", pushed.problem);
        expect_points(id, "loss", "0.5 0;0.5 1;0.5 2;");
        free(run);
        free(push);
    }
    /* An id that is none is passed over. */
    warnings = 0;
    setenv("MLFLOW_RUN_ID", "xyz", 1);
    tarn_tracker *tracker = open_run("own id", NULL, NULL);
    cr_assert(warnings == 1 && strstr(heard, "\"xyz\" in MLFLOW_RUN_ID: expected 32 hex digits") &&
                  strstr(heard, tarn_track_run_id(tracker)),
              "%s", heard);
    tarn_track_close(tracker, "FINISHED");
    unsetenv("MLFLOW_RUN_ID");
    cr_assert_eq(warnings, 1, "%s", heard);
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

/* ---- the real MLflow --------------------------------------------------------------------------------------------- */

static const tarn_document_entry *entry_of(const tarn_document *document, const char *key)
{
    for (int i = 0; i < document->count; i++)
        if (!strcmp(document->entries[i].key, key)) return &document->entries[i];
    cr_assert_fail("MLflow returned no %s", key);
    return NULL;
}

static void expect_entry(const tarn_document *document, const char *key, const char *expected)
{
    const tarn_document_entry *entry = entry_of(document, key);
    cr_assert_eq(entry->kind, TARN_DOCUMENT_SCALAR);
    cr_assert_str_eq(entry->items[0].text, expected, "%s is \"%s\"", key, entry->items[0].text);
}

static double curve(int64_t step)
{
    return 4.0 / sqrt((double)step + 1.0);
}

static void expect_history(const tarn_document *document, const char *metric, int64_t count, int64_t stride,
                           double sign)
{
    char *values = tarn_test_format("values.%s", metric), *steps = tarn_test_format("steps.%s", metric),
         *times = tarn_test_format("times.%s", metric);
    const tarn_document_entry *value = entry_of(document, values), *step = entry_of(document, steps),
                              *time = entry_of(document, times);
    cr_assert(value->count == count && step->count == count && time->count == count, "%s has %d points, expected %lld",
              metric, value->count, (long long)count);
    for (int64_t i = 0; i < count; i++) {
        cr_assert_eq(atoll(step->items[i].text), i * stride);
        cr_assert_eq(strtod(value->items[i].text, NULL), sign * curve(i * stride), "%s at %lld: %s", metric,
                     (long long)(i * stride), value->items[i].text);
        cr_assert(atoll(time->items[i].text) > 1600000000000 &&
                  (!i || atoll(time->items[i].text) >= atoll(time->items[i - 1].text)));
    }
    free(values);
    free(steps);
    free(times);
}

/* A Python that has mlflow, or NULL after saying why not. */
static const char *python_with_mlflow(void)
{
    const char *python = getenv("TARN_TEST_PYTHON");
    if (!python || !*python) {
        cr_log_warn("skipped: TARN_TEST_PYTHON names no Python (scripts/test makes one with mlflow)");
        return NULL;
    }
    char *command = tarn_test_format("'%s' -c 'import mlflow'", python), *output;
    int code = tarn_test_run(command, TARN_TEST_SECONDS, &output);
    if (code) cr_log_warn("skipped: %s cannot import mlflow: %.300s", python, output);
    free(command);
    free(output);
    return code ? NULL : python;
}

static void log_steps(tarn_tracker *tracker, int64_t first, int64_t last)
{
    for (int64_t step = first; step < last; step++) {
        tarn_log_metric(tracker, "loss", curve(step), step);
        tarn_log_metric(tracker, "system/node 0/free", -curve(step), step);
        if (step % 10 == 0) tarn_log_metric(tracker, "validation.loss", curve(step), step);
    }
}

Test(track, mlflow_reads_it_back, .timeout = 300)
{
    const char *python = python_with_mlflow();
    if (!python) cr_skip_test("no Python with mlflow");
    tarn_track_close(open_run("real \xc3\xa4 \"name\": #1", "a neighbour without metrics", NULL), "FAILED");
    tarn_tracker *tracker = open_run("real \xc3\xa4 \"name\": #1", "run: \"one\" # \xc3\xa4", NULL);
    char id[33];
    snprintf(id, sizeof id, "%s", tarn_track_run_id(tracker));
    tarn_log_param(tracker, "optim.lr", "0.001");
    tarn_log_param(tracker, "model/sizes", "[784, 128, 10]");
    tarn_log_param(tracker, "empty", "");
    tarn_log_param(tracker, "lines", "one\ntwo: \xc3\xa4");
    tarn_log_metric(tracker, "accuracy", NAN, 3);
    log_steps(tracker, 0, 70);
    char *config = tarn_test_format("%s/config.yaml", folder);
    tarn_test_write(config, "seed: 1\n", 8);
    tarn_log_artifact(tracker, config, NULL);
    tarn_log_artifact(tracker, config, "deep/er");
    tarn_track_close(tracker, "KILLED");
    tracker = open_run(NULL, NULL, id);
    log_steps(tracker, 40, 101); /* resumed at a checkpoint of step 40 */
    tarn_log_tag(tracker, "mlflow.note.content", "it went on");
    tarn_track_close(tracker, "FINISHED");

    char *command =
             tarn_test_format("'%s' '%s/tests/python/read_mlflow.py' '%s' %s", python, TARN_SOURCE_DIR, store, id),
         *json;
    int code = tarn_test_run(command, 120, &json);
    cr_assert_eq(code, 0, "%s", json);
    const char *object = strchr(json, '{'); /* after warnings of Python's libraries */
    tarn_document document;
    cr_assert_not_null(object, "%s", json);
    cr_assert(tarn_document_parse(&document, object, strlen(object)), "%s in\n%s", document.problem, json);
    expect_entry(&document, "experiment", "real \xc3\xa4 \"name\": #1");
    expect_entry(&document, "experiments", "1");
    expect_entry(&document, "status", "FINISHED");
    expect_entry(&document, "run_name", "run: \"one\" # \xc3\xa4");
    cr_assert_eq(entry_of(&document, "searched")->count, 2);
    cr_assert_str_eq(entry_of(&document, "by_name")->items[0].text,
                     entry_of(&document, "experiment_id")->items[0].text);
    cr_assert(atoll(entry_of(&document, "end_time")->items[0].text) >=
              atoll(entry_of(&document, "start_time")->items[0].text));
    expect_history(&document, "loss", 101, 1, 1);
    expect_history(&document, "system/node 0/free", 101, 1, -1);
    expect_history(&document, "validation.loss", 11, 10, 1);
    cr_assert_eq(strtod(entry_of(&document, "latest.loss")->items[0].text, NULL), curve(100));
    expect_entry(&document, "params.optim.lr", "0.001");
    expect_entry(&document, "params.model/sizes", "[784, 128, 10]");
    expect_entry(&document, "params.empty", "");
    expect_entry(&document, "params.lines", "one\ntwo: \xc3\xa4");
    expect_entry(&document, "tags.nonfinite.accuracy", "nan at step 3");
    expect_entry(&document, "tags.mlflow.note.content", "it went on");
    expect_entry(&document, "tags.mlflow.source.type", "LOCAL");
    expect_entry(&document, "tags.mlflow.runName", "run: \"one\" # \xc3\xa4");
    cr_assert(strlen(entry_of(&document, "tags.mlflow.user")->items[0].text) > 0);
    const tarn_document_entry *artifacts = entry_of(&document, "artifacts"),
                              *texts = entry_of(&document, "artifact_texts");
    cr_assert(artifacts->count == 2 && texts->count == 2);
    cr_assert_str_eq(artifacts->items[0].text, "config.yaml");
    cr_assert_str_eq(artifacts->items[1].text, "deep/er/config.yaml");
    cr_assert_str_eq(texts->items[1].text, "seed: 1\n");
    tarn_document_free(&document);
    free(config);
    free(command);
    free(json);
}
