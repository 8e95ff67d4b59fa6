/* test_track_api.c - addresses and MLflow's environment; histograms, data sets and models as events; the queue and the
 * bound of the record. */
#include "tests/spool_support.h"
#include "track/address.h"
#include "track/queue.h"
#include "track/record.h"

#include <criterion/criterion.h>
#include <math.h>

static tarn_context *context;
static char *folder, *spool;
static char heard[4096];

static void hear(void *user, tarn_log_level level, const char *line)
{
    (void)user;
    if (level == TARN_LOG_WARN) snprintf(heard + strlen(heard), sizeof heard - strlen(heard), "%s\n", line);
}

static void begin(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_set_log(context, hear, NULL);
    folder = tarn_test_directory();
    spool = tarn_test_format("%s/spool", folder);
    static const char *const names[] = {"MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"};
    for (int i = 0; i < 3; i++) unsetenv(names[i]);
    use_taker();
}

static void end(void)
{
    tarn_test_remove(folder);
    free(folder);
    free(spool);
    forget_taken();
    tarn_error_clear(context);
    tarn_exit(context);
}

TestSuite(track_api, .init = begin, .fini = end, .timeout = 120);

static tarn_tracker *open_run(const char *run_id)
{
    tarn_tracker *tracker = NULL;
    tarn_track_options options = {.store = "none", .spool = spool, .run_id = run_id, .flush_timeout = 60};
    cr_assert_eq(tarn_track_open(&tracker, context, &options), TARN_OK);
    return tracker;
}

#define REFUSED(call, wanted, part)                                                                                    \
    do {                                                                                                               \
        char refusal[512];                                                                                             \
        cr_assert_eq(call, wanted, "accepted: %s", #call);                                                             \
        cr_assert_null(tarn_get_error(context), "a wrong log call fails nothing else: %s", #call);                     \
        tarn_track_refusal(tracker, refusal, sizeof refusal);                                                          \
        cr_assert(strstr(refusal, part), "%s", refusal);                                                               \
    } while (0)

/* ---- where the record goes -------------------------------------------------------------------------------------- */

Test(track_api, addresses)
{
    static const struct {
        const char *store;
        tarn_track_place place;
        const char *text; /* of a refusal: part of what is said */
        bool refused;
    } cases[] = {{"mlruns", TARN_TRACK_FILES, "mlruns", false},
                 {"/a/b c", TARN_TRACK_FILES, "/a/b c", false},
                 {"file:/a/b", TARN_TRACK_FILES, "/a/b", false},
                 {"file:///a/b%20c%C3%A4", TARN_TRACK_FILES, "/a/b c\xc3\xa4", false},
                 {"file:a", TARN_TRACK_FILES, "a", false},
                 {"file://localhost/a", TARN_TRACK_FILES, "/a", false},
                 {"none", TARN_TRACK_NOWHERE, "none", false},
                 {"http://127.0.0.1:5000", TARN_TRACK_SERVER, "http://127.0.0.1:5000", false},
                 {"https://host/path//", TARN_TRACK_SERVER, "https://host/path", false},
                 {"sqlites", TARN_TRACK_FILES, "sqlites", false},
                 {"", 0, "is empty", true},
                 {"file:", 0, "names no directory", true},
                 {"file://host/a", 0, "three slashes", true},
                 {"file:///a%2", 0, "wrong %XX", true},
                 {"file:///a%00b", 0, "wrong %XX", true},
                 {"http://", 0, "names no host", true},
                 {"http:// host", 0, "names no host", true},
                 {"sqlite:///mlflow.db", 0, "mlflow server --backend-store-uri", true},
                 {"postgresql+psycopg2://u:p@h/db", 0, "is a database", true},
                 {"databricks", 0, "Databricks", true},
                 {"databricks://profile", 0, "Databricks", true},
                 {"s3://bucket/a", 0, "a scheme that is not known", true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tarn_track_place place;
        tarn_path text;
        char problem[TARN_SINK_PROBLEM] = "";
        tarn_status status = tarn_track_address(cases[i].store, &place, text, problem);
        cr_assert_eq(status, cases[i].refused ? TARN_ERROR_CONFIG : TARN_OK, "%s: %s", cases[i].store, problem);
        if (cases[i].refused) {
            cr_assert(strstr(problem, cases[i].text) && strstr(problem, "MLFLOW_TRACKING_URI"), "%s", problem);
            continue;
        }
        cr_assert_eq(place, cases[i].place, "%s", cases[i].store);
        cr_assert_str_eq(text, cases[i].text);
    }
}

Test(track_api, options_go_over_the_environment_which_goes_over_defaults)
{
    static tarn_track_resolved to;
    char problem[TARN_SINK_PROBLEM];
    static const char mine[] = "0123456789abcdef0123456789abcdef", theirs[] = "fedcba9876543210fedcba9876543210";
    cr_assert_eq(tarn_track_resolve(&to, &(tarn_track_options){0}, false, problem), TARN_OK);
    cr_assert_str_eq(to.options.store, "mlruns");
    cr_assert_str_eq(to.options.experiment, "Default");
    cr_assert_str_eq(to.options.run_id, "");
    cr_assert(to.options.spool[0] == '/' && strstr(to.options.spool, "/tarn-spool"));
    cr_assert(to.options.spool_limit == 1 << 30 && to.options.flush_timeout == 10);
    setenv("MLFLOW_TRACKING_URI", "http://host:5000/", 1);
    setenv("MLFLOW_EXPERIMENT_NAME", "theirs", 1);
    setenv("MLFLOW_RUN_ID", theirs, 1);
    cr_assert_eq(tarn_track_resolve(&to, &(tarn_track_options){.flush_timeout = -1}, false, problem), TARN_OK);
    cr_assert_str_eq(to.options.store, "http://host:5000");
    cr_assert_str_eq(to.options.experiment, "theirs");
    cr_assert_str_eq(to.options.run_id, theirs);
    cr_assert_eq(to.options.flush_timeout, 0);
    tarn_track_options own = {.store = "here", .experiment = "mine", .run_id = mine};
    cr_assert_eq(tarn_track_resolve(&to, &own, false, problem), TARN_OK);
    cr_assert_str_eq(to.options.store, "here");
    cr_assert_str_eq(to.options.experiment, "mine");
    cr_assert_str_eq(to.options.run_id, mine);
    /* An id that was only planned for a new run gives way. */
    cr_assert_eq(tarn_track_resolve(&to, &own, true, problem), TARN_OK);
    cr_assert_str_eq(to.options.run_id, theirs);
    setenv("MLFLOW_RUN_ID", "7", 1);
    cr_assert_eq(tarn_track_resolve(&to, &(tarn_track_options){0}, false, problem), TARN_ERROR_ARGUMENT);
    cr_assert(strstr(problem, "MLFLOW_RUN_ID") && strstr(problem, "32 hex digits"), "%s", problem);
}

/* ---- more than numbers ------------------------------------------------------------------------------------------ */

Test(track_api, histograms)
{
    tarn_tracker *tracker = open_run(NULL);
    char id[33];
    snprintf(id, sizeof id, "%s", tarn_track_run_id(tracker));
    double limits[] = {0.5, 1.25}, bad[] = {0.5, INFINITY};
    int64_t counts[] = {3, 4};
    tarn_histogram histogram = {-1, 1.25, 2.5, 0.1 + 0.2, 7, 2, limits, counts};
    cr_assert_eq(tarn_log_histogram(tracker, "w/0", &histogram, 5), TARN_OK);
    cr_assert_eq(tarn_log_histogram(tracker, "w/0", &histogram, 5), TARN_OK, "the same again is nothing new");
    counts[0] = 2;
    cr_assert_eq(tarn_log_histogram(tracker, "w/0", &histogram, 5), TARN_OK);
    cr_assert(strstr(heard, "the run did not repeat its bits"), "%s", heard);
    histogram.limits = bad;
    cr_assert_eq(tarn_log_histogram(tracker, "w/0", &histogram, 6), TARN_OK);
    histogram.limits = NULL;
    REFUSED(tarn_log_histogram(tracker, "w/0", &histogram, 7), TARN_ERROR_ARGUMENT, "no buckets");
    histogram.limits = limits;
    REFUSED(tarn_log_histogram(tracker, "w//0", &histogram, 7), TARN_ERROR_ARGUMENT, "cannot name a histogram");
    tarn_track_close(tracker, "KILLED");
    tracker = open_run(id); /* and in the life of the run */
    counts[0] = 3;
    tarn_log_histogram(tracker, "w/0", &histogram, 5);
    tarn_log_histogram(tracker, "w/0", &histogram, 8);
    tarn_track_close(tracker, "FINISHED");
    cr_assert_eq(taken_of(TARN_TRACK_HISTOGRAM, "w/0"), 2);
    cr_assert_str_eq(taken_first(TARN_TRACK_HISTOGRAM, "w/0")->text,
                     "{\"min\":-1,\"max\":1.25,\"count\":7,\"sum\":2.5,\"sum_squares\":0.30000000000000004,"
                     "\"limits\":[0.5,1.25],\"counts\":[3,4]}");
    cr_assert_str_eq(taken_first(TARN_TRACK_TAG, "nonfinite.w/0")->text, "inf at step 6");
}

Test(track_api, data_sets)
{
    tarn_tracker *tracker = open_run(NULL);
    tarn_track_dataset data = {.name = "text \xff: a/b", .digest = "abc", .source = "/data/x", .context = "training"};
    cr_assert_eq(tarn_log_dataset(tracker, &data), TARN_OK);
    cr_assert_eq(tarn_log_dataset(tracker, &data), TARN_OK);
    data.digest = "0123456789012345678901234567890123456";
    REFUSED(tarn_log_dataset(tracker, &data), TARN_ERROR_ARGUMENT, "36 characters");
    data.name = "";
    REFUSED(tarn_log_dataset(tracker, &data), TARN_ERROR_ARGUMENT, "a name");
    tarn_track_close(tracker, "FINISHED");
    cr_assert_eq(taken_of(TARN_TRACK_INPUT, NULL), 1);
    cr_assert_str_eq(taken_first(TARN_TRACK_INPUT, NULL)->key, "text ?: a/b");
    cr_assert_str_eq(taken_first(TARN_TRACK_INPUT, NULL)->text,
                     "{\"digest\":\"abc\",\"source\":\"/data/x\",\"source_type\":\"local\",\"context\":\"training\"}");
}

Test(track_api, models)
{
    tarn_tracker *tracker = open_run(NULL);
    char id[33];
    snprintf(id, sizeof id, "%s", tarn_track_run_id(tracker));
    char *model = tarn_test_format("%s/model", folder), *file = tarn_test_format("%s/MLmodel", model),
         *inside = tarn_test_format("%s/data", model), *weights = tarn_test_format("%s/weights.bin", inside);
    mkdir(model, 0777);
    mkdir(inside, 0777);
    tarn_test_write(weights, "0123", 4);
    tarn_track_model logged = {
        .name = "net", .folder = model, .register_as = "best net", .alias = "champion", .step = 10};
    REFUSED(tarn_log_model(tracker, &logged), TARN_ERROR_IO, "no file MLmodel");
    tarn_test_write(file, "flavors:\n", 9);
    cr_assert_eq(tarn_log_model(tracker, &logged), TARN_OK);
    tarn_test_remove(model); /* opened, so it may go */
    tarn_track_close(tracker, "KILLED");
    const taken_event *event = taken_first(TARN_TRACK_MODEL, "net");
    cr_assert(event && strstr(event->text, "\"model_id\":\"m-") && strstr(event->text, "\"register\":\"best net\"") &&
                  strstr(event->text, "\"alias\":\"champion\"") && strstr(event->text, "\"step\":10"),
              "%s", event ? event->text : "no model");
    char *copy = tarn_test_format("%s/data/weights.bin", event->file), *text = tarn_test_read(copy, NULL);
    cr_assert_str_eq(text, "0123");
    free(copy);
    free(text);
    /* After a crash it is logged again, at the same step: one model. */
    mkdir(model, 0777);
    tarn_test_write(file, "flavors:\n", 9);
    tracker = open_run(id);
    cr_assert_eq(tarn_log_model(tracker, &logged), TARN_OK);
    logged.name = "a/b";
    REFUSED(tarn_log_model(tracker, &logged), TARN_ERROR_ARGUMENT, "/ and :");
    logged.name = "net";
    logged.register_as = NULL;
    REFUSED(tarn_log_model(tracker, &logged), TARN_ERROR_ARGUMENT, "register_as");
    logged.register_as = "best/net";
    REFUSED(tarn_log_model(tracker, &logged), TARN_ERROR_ARGUMENT, "\"best/net\" in the registry: it must not have");
    logged.register_as = "best net";
    logged.alias = "v3";
    REFUSED(tarn_log_model(tracker, &logged), TARN_ERROR_ARGUMENT, "\"v3\" in the registry: MLflow keeps v");
    tarn_track_close(tracker, "FINISHED");
    cr_assert_eq(taken_of(TARN_TRACK_MODEL, NULL), 1);
    free(model);
    free(file);
    free(inside);
    free(weights);
}

Test(track_api, steps_of_measurements)
{
    tarn_tracker *tracker = open_run(NULL);
    cr_assert_eq(tarn_track_next_step(tracker, "system/cpu"), 0);
    tarn_log_metric(tracker, "system/cpu", 1, 41);
    tarn_log_metric(tracker, "system/cpu", 1, 7);
    cr_assert_eq(tarn_track_next_step(tracker, "system/cpu"), 42);
    tarn_track_close(tracker, "FINISHED");
    /* Nothing happens without a tracker. */
    cr_assert_eq(tarn_log_histogram(NULL, "a", NULL, 0), TARN_OK);
    cr_assert_eq(tarn_log_dataset(NULL, NULL), TARN_OK);
    cr_assert_eq(tarn_log_model(NULL, NULL), TARN_OK);
    cr_assert(tarn_track_flush(NULL, 0));
}

/* ---- what memory holds ------------------------------------------------------------------------------------------ */

Test(track_api, the_queue_drops_its_oldest_metrics_only)
{
    tarn_queue queue;
    cr_assert(tarn_queue_create(&queue));
    int64_t params = 0;
    for (int64_t i = 0; i < 4 * TARN_QUEUE_MOST; i++) {
        bool param = i % 1000 == 0;
        params += param;
        tarn_queued_event event = {.kind = param ? TARN_TRACK_PARAM : TARN_TRACK_METRIC,
                                   .key = "k",
                                   .text = param ? strdup("text") : NULL,
                                   .step = i};
        cr_assert(tarn_queue_put(&queue, &event));
        cr_assert(queue.count <= TARN_QUEUE_MOST);
    }
    cr_assert_eq(queue.added, 4 * TARN_QUEUE_MOST);
    cr_assert_eq(queue.dropped + (int64_t)queue.count, queue.added);
    tarn_queued_event events[100];
    int64_t last = -1, seen = 0;
    for (size_t count; (count = tarn_queue_take(&queue, events, 100));)
        for (size_t i = 0; i < count; i++) {
            cr_assert(events[i].step > last);
            last = events[i].step;
            seen += events[i].kind == TARN_TRACK_PARAM;
            tarn_queued_event_free(&events[i]);
        }
    cr_assert_eq(seen, params);
    cr_assert_eq(last, 4 * TARN_QUEUE_MOST - 1);
    tarn_queue_destroy(&queue);
}

Test(track_api, a_record_keeps_the_newest_points_and_a_floor)
{
    tarn_record *record = tarn_record_create();
    tarn_record_key *key = tarn_record_add(record, TARN_TRACK_METRIC, "loss");
    double before = 0;
    for (int64_t step = 0; step < 3 * TARN_RECORD_POINTS; step++)
        cr_assert_eq(tarn_record_point(key, step, (double)step, &before), TARN_RECORD_NEW);
    cr_assert_eq(key->count, TARN_RECORD_POINTS);
    cr_assert(key->room <= 4 * TARN_RECORD_POINTS, "%zu", key->room);
    cr_assert_eq(key->floor, 2 * TARN_RECORD_POINTS - 1);
    cr_assert_eq(tarn_record_point(key, 5, 99, &before), TARN_RECORD_SAME, "below the floor it counts as known");
    cr_assert_eq(tarn_record_point(key, 2 * TARN_RECORD_POINTS, 99, &before), TARN_RECORD_DIFFERENT);
    cr_assert(tarn_record_holds(key, 0) && !tarn_record_holds(key, 3 * TARN_RECORD_POINTS));
    cr_assert_eq(tarn_record_next_step(key), 3 * TARN_RECORD_POINTS);
    /* A gap in the middle can be filled; a step below all others is forgotten at once. */
    tarn_record_forget(key, 2 * TARN_RECORD_POINTS + 10);
    cr_assert_eq(tarn_record_point(key, 2 * TARN_RECORD_POINTS + 10, 1, &before), TARN_RECORD_NEW);
    tarn_record_destroy(record);
}
