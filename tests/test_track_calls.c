/* test_track_calls.c - log calls and places that are wrong: keys, values that are too long, stores that are none. */
#include "tests/track_support.h"
#include "track/record.h"
#include "track/spool.h"

TestSuite(track, .init = begin, .fini = end_record);

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
