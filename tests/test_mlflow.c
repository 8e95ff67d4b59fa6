/* test_mlflow.c - the MLflow sink against a server that misbehaves as it is told (tests/python/mlflow_fake.py): what is
 * sent, what every kind of trouble does, what a refused event costs, that nothing is there twice.
 * tests/test_mlflow_server.c does the same with MLflow itself.
 */
#include "tests/mlflow_support.h"
#include "track/mlflow/client.h"
#include "track/mlflow/registry.h"

#include <math.h>
#include <pthread.h>

static tarn_test_server server;
static char *folder, *state;
static tarn_test_events *events;
static char reason[TARN_SINK_PROBLEM];

static void set_up(void)
{
    static const char *const names[] = {"http_proxy",
                                        "MLFLOW_TRACKING_USERNAME",
                                        "MLFLOW_TRACKING_PASSWORD",
                                        "MLFLOW_TRACKING_TOKEN",
                                        "MLFLOW_TRACKING_INSECURE_TLS",
                                        "MLFLOW_TRACKING_SERVER_CERT_PATH",
                                        "MLFLOW_TRACKING_CLIENT_CERT_PATH",
                                        "MLFLOW_EXPERIMENT_ID",
                                        "MLFLOW_EXPERIMENT_NAME",
                                        "MLFLOW_WORKSPACE",
                                        "REQUESTS_CA_BUNDLE",
                                        "CURL_CA_BUNDLE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
    folder = tarn_test_directory();
    state = tarn_test_format("%s/state", folder);
    mkdir(state, 0777);
    setenv("HOME", folder, 1);
    events = calloc(1, sizeof *events);
    server = (tarn_test_server){0};
}

static void start(void)
{
    set_up();
    cr_assert(tarn_test_server_start_script(&server, "mlflow_fake.py"), "the server did not start");
}

static void stop(void)
{
    tarn_test_server_stop(&server);
    tarn_test_remove(folder);
    free(folder);
    free(state);
    free(events);
}

TestSuite(mlflow, .init = start, .fini = stop, .timeout = 180);
TestSuite(mlflow_login, .init = set_up, .fini = stop, .timeout = 180);

static cJSON *dump(void)
{
    char *url = tarn_test_format("%s/dump", server.address);
    cJSON *all = tarn_test_get(url);
    free(url);
    return all;
}

static int64_t deliver(tarn_sink *sink)
{
    return tarn_test_deliver(sink, events->at, events->count, reason);
}

static const cJSON *get(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* The only run of the server. */
static const cJSON *the_run(const cJSON *all)
{
    cr_assert_eq(cJSON_GetArraySize(get(all, "runs")), 1);
    return get(all, "runs")->child;
}

static void expect_metrics(const cJSON *run, int expected)
{
    cr_expect_eq(cJSON_GetArraySize(get(run, "metrics")), expected, "%d metrics, not %d",
                 cJSON_GetArraySize(get(run, "metrics")), expected);
}

static void everything(const char *file, const char *model)
{
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, TARN_TEST_START);
    tarn_test_event(events, TARN_TRACK_PARAM, "optimizer.lr", "0.1");
    tarn_test_event(events, TARN_TRACK_PARAM, "text", "\"quoted\" \\ \n\t\x01 \xff \xc3\xa9");
    tarn_test_metrics(events, "train.loss", 0, 2500);
    tarn_test_event(events, TARN_TRACK_TAG, "state", "one");
    tarn_test_event(events, TARN_TRACK_TAG, "state", "two");
    tarn_test_event(events, TARN_TRACK_HISTOGRAM, "weights", "{}");
    tarn_test_event(events, TARN_TRACK_INPUT, "corpus",
                    "{\"digest\":\"0123456789012345678901234567890123456789\",\"source\":\"/data/corpus\","
                    "\"source_type\":\"local\",\"context\":\"training\",\"profile\":\"{\\\"num_rows\\\":3}\"}");
    tarn_test_event(events, TARN_TRACK_ARTIFACT, "logs/a file 100%.txt", NULL)->file = file;
    tarn_test_event(events, TARN_TRACK_MODEL, "gpt.1",
                    "{\"register\":\"Words\",\"alias\":\"champion\",\"step\":40,\"model_type\":\"gpt\",\"params\":"
                    "{\"layers\":\"2\"}}")
        ->file = model;
    tarn_test_event(events, TARN_TRACK_END, NULL, "FINISHED");
}

static void check_everything(void)
{
    cJSON *all = dump();
    const cJSON *run = the_run(all), *info = get(run, "info"), *tags = get(run, "tags");
    cr_expect_str_eq(tarn_test_text(info, "status"), "FINISHED");
    cr_expect_str_eq(tarn_test_text(info, "run_name"), "first");
    cr_expect_str_eq(tarn_test_text(info, "user_id"), "mo");
    cr_expect_eq(get(info, "start_time")->valuedouble, (double)events->at[0].time_ms);
    cr_expect_eq(get(info, "end_time")->valuedouble, (double)events->at[events->count - 1].time_ms);
    cr_expect_str_eq(tarn_test_text(tags, "tarn.run_id"), TARN_TEST_RUN);
    cr_expect_str_eq(tarn_test_text(tags, "mlflow.source.git.commit"), "abc123");
    cr_expect_str_eq(tarn_test_text(tags, "state"), "two");
    cr_expect_str_eq(tarn_test_text(get(run, "params"), "optimizer.lr"), "0.1");
    cr_expect_str_eq(tarn_test_text(get(run, "params"), "text"), "\"quoted\" \\ \n\t\x01 ? \xc3\xa9");
    expect_metrics(run, 2500);
    int64_t step = 0;
    const cJSON *metric;
    cJSON_ArrayForEach(metric, get(run, "metrics"))
    {
        cr_assert_eq(get(metric, "step")->valuedouble, (double)step);
        cr_assert_eq(get(metric, "value")->valuedouble, (double)step / 3 - 7, "the value of step %d lost digits",
                     (int)step);
        step++;
    }
    const cJSON *dataset = get(get(run, "inputs")->child, "dataset");
    cr_expect_eq(cJSON_GetArraySize(get(run, "inputs")), 1);
    cr_expect_str_eq(tarn_test_text(dataset, "source"), "{\"uri\":\"/data/corpus\"}");
    cr_expect_eq(strlen(tarn_test_text(dataset, "digest")), 36);
    cr_expect_eq(cJSON_GetArraySize(get(all, "models")), 1);
    const cJSON *model = get(get(all, "models")->child, "info");
    cr_expect_str_eq(tarn_test_text(model, "status"), "LOGGED_MODEL_READY");
    cr_expect_str_eq(tarn_test_text(model, "name"), "gpt_1");
    cr_expect_eq(cJSON_GetArraySize(get(get(run, "outputs"), "model_outputs")), 1);
    cr_expect_eq(cJSON_GetArraySize(get(get(all, "registered"), "Words")), 1);
    cr_expect_str_eq(tarn_test_text(get(all, "aliases"), "Words@champion"), "1");
    char *artifact = tarn_test_format("1/%s/artifacts/logs/a file 100%%.txt", run->string);
    char *mlmodel = tarn_test_format("1/models/%s/artifacts/MLmodel", tarn_test_text(model, "model_id"));
    char *weights = tarn_test_format("1/models/%s/artifacts/data/model.onnx", tarn_test_text(model, "model_id"));
    char *id = tarn_test_format("\nrun_id: %s\n", run->string);
    const cJSON *files = get(all, "artifacts");
    cr_expect_str_eq(tarn_test_text(files, artifact), "the file");
    cr_expect_str_eq(tarn_test_text(files, weights), "weights");
    cr_expect(strstr(tarn_test_text(files, mlmodel), id), "%s", tarn_test_text(files, mlmodel));
    cr_expect_null(strstr(tarn_test_text(files, mlmodel), "local"));
    free(artifact);
    free(mlmodel);
    free(weights);
    free(id);
    cJSON_Delete(all);
}

Test(mlflow, everything_arrives_and_again_changes_nothing)
{
    char *file = tarn_test_format("%s/file", folder), *model = tarn_test_model(folder);
    cr_assert(tarn_test_write(file, "the file", 8));
    everything(file, model);
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    cr_expect_eq(deliver(sink), 0, "%s", reason);
    check_everything();
    cr_expect_eq(deliver(sink), 0, "%s", reason); /* as after a crash before anything was acknowledged */
    check_everything();
    sink->destroy(sink);
    sink = tarn_test_sink(server.address, state, NULL); /* the next process */
    cr_expect_eq(deliver(sink), 0, "%s", reason);
    sink->destroy(sink);
    check_everything();
    char *elsewhere = tarn_test_format("%s/other", folder); /* the notes are lost */
    mkdir(elsewhere, 0777);
    sink = tarn_test_sink(server.address, elsewhere, NULL);
    cr_expect_eq(deliver(sink), 0, "%s", reason);
    sink->destroy(sink);
    check_everything();
    free(elsewhere);
    free(file);
    free(model);
}

Test(mlflow, every_trouble_waits_and_loses_nothing)
{
    static const struct {
        const char *mode, *words;
    } troubles[] = {{"500", "answers 500"},
                    {"html", "no MLflow"},
                    {"garbage", "no MLflow"},
                    {"empty", "without what belongs there"},
                    {"list", "no MLflow"},
                    {"429", "answers 429"},
                    {"401", "You are not authenticated"},
                    {"403", "Permission denied"},
                    {"host", "--allowed-hosts"},
                    {"cut", "does not answer"},
                    {"drop", "does not answer"},
                    {"redirect", "https://elsewhere.example/mlflow"},
                    {"404", "is there an MLflow server at this address"}};
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, TARN_TEST_START);
    tarn_test_metrics(events, "loss", 0, 50);
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    int64_t done = 0;
    for (size_t i = 0; i < sizeof troubles / sizeof *troubles; i++) {
        /* before there is a run, and with one */
        tarn_sink_report report;
        tarn_test_server_mode(&server, troubles[i].mode);
        for (int tries = 0; tries < 9; tries++) {
            sink->write(sink, events->at + done, events->count - done, &report);
            /* an empty object is what a log-batch answers */
            if (i && !strcmp(troubles[i].mode, "empty") && done) break;
            cr_expect_eq(report.taken + report.lost, 0, "%s", troubles[i].mode);
            cr_expect(strstr(report.problem, troubles[i].words), "%s: %s", troubles[i].mode, report.problem);
        }
        cr_expect_eq(report.retry_after, strcmp(troubles[i].mode, "429") ? 0 : 7);
        if (i == 6) { /* half of them with the run open */
            tarn_test_server_mode(&server, "ok");
            sink->write(sink, events->at, 1, &report);
            cr_expect_eq(report.taken, 1);
            done = 1;
        }
    }
    tarn_test_server_mode(&server, "ok");
    cr_expect_eq(tarn_test_deliver(sink, events->at + done, events->count - done, reason), 0);
    sink->destroy(sink);
    cJSON *all = dump();
    expect_metrics(the_run(all), 50);
    cJSON_Delete(all);
}

Test(mlflow, nobody_listens)
{
    tarn_sink *sink = tarn_test_sink("http://127.0.0.1:9/prefix/", state, NULL);
    tarn_sink_report report;
    tarn_test_metrics(events, "loss", 0, 5);
    sink->write(sink, events->at, events->count, &report);
    cr_expect_eq(report.taken, 0);
    cr_expect(strstr(report.problem, "http://127.0.0.1:9/prefix does not answer"), "%s", report.problem);
    sink->destroy(sink);
}

/* One bad event among many costs itself and no other; each is told apart. */
Test(mlflow, bad_events_are_lost_alone)
{
    char keys[100][16];
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, TARN_TEST_START);
    tarn_test_event(events, TARN_TRACK_PARAM, "p50", "from before");
    for (int i = 0; i < 100; i++) {
        snprintf(keys[i], sizeof keys[i], "p%d", i);
        tarn_test_event(events, TARN_TRACK_PARAM, keys[i], "value");
    }
    char long_key[260];
    memset(long_key, 'k', 251);
    long_key[251] = '\0';
    tarn_test_metrics(events, "good", 0, 700);
    tarn_test_metrics(events, "bad*key", 0, 2);
    tarn_test_metrics(events, "good", 700, 1400);
    tarn_test_metrics(events, long_key, 0, 1);
    tarn_test_event(events, TARN_TRACK_METRIC, "nan", NULL)->value = NAN;
    tarn_test_event(events, TARN_TRACK_TAG, "tag*", "x");
    tarn_test_event(events, TARN_TRACK_TAG, "tag", "x");
    tarn_test_event(events, TARN_TRACK_ARTIFACT, "gone", NULL)->file = "/nonexistent/file";
    tarn_test_event(events, TARN_TRACK_ARTIFACT, "a#b", NULL)->file = "/etc/hostname";
    tarn_test_event(events, TARN_TRACK_END, NULL, "FAILED");
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    cr_expect_eq(deliver(sink), 8, "%s", reason);
    cr_expect(strstr(reason, "param \"p50\""), "%s", reason);
    cr_expect(strstr(reason, "Changing param values is not allowed"), "%s", reason);
    sink->destroy(sink);
    cJSON *all = dump();
    const cJSON *run = the_run(all);
    expect_metrics(run, 1400);
    cr_expect_eq(cJSON_GetArraySize(get(run, "params")), 100);
    cr_expect_str_eq(tarn_test_text(get(run, "params"), "p50"), "from before");
    cr_expect_str_eq(tarn_test_text(get(run, "tags"), "tag"), "x");
    cr_expect_str_eq(tarn_test_text(get(run, "info"), "status"), "FAILED");
    cJSON_Delete(all);
}

/* An event that makes the server fail is given up; a server that cannot record anything is waited for. */
Test(mlflow, an_error_of_the_server_is_an_events_fault_only_when_it_records_others)
{
    static const char *const dead[] = {"readonly", "badrequest"};
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, TARN_TEST_START);
    tarn_test_metrics(events, "good", 0, 300);
    tarn_test_metrics(events, "poison", 0, 1);
    tarn_test_metrics(events, "good", 300, 600);
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    tarn_sink_report report;
    sink->write(sink, events->at, 1, &report);
    for (int i = 0; i < 2; i++) {
        tarn_test_server_mode(&server, dead[i]);
        for (int tries = 0; tries < 20; tries++) {
            sink->write(sink, events->at + 1, events->count - 1, &report);
            cr_expect_eq(report.taken + report.lost, 0, "%s", dead[i]);
        }
        cr_expect(strstr(report.problem, "http://127.0.0.1"), "%s", report.problem);
    }
    tarn_test_server_mode(&server, "poison");
    cr_expect_eq(tarn_test_deliver(sink, events->at + 1, events->count - 1, reason), 1, "%s", reason);
    cr_expect(strstr(reason, "metric \"poison\""), "%s", reason);
    sink->destroy(sink);
    cJSON *all = dump();
    expect_metrics(the_run(all), 600);
    cJSON_Delete(all);
}

Test(mlflow, a_run_deleted_at_the_server_is_waited_for_and_a_purged_one_made_anew)
{
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, TARN_TEST_START);
    tarn_test_metrics(events, "loss", 0, 20);
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    tarn_sink_report report;
    sink->write(sink, events->at, 11, &report);
    cr_expect_eq(report.taken, 11);
    char *url = tarn_test_format("%s/delete", server.address);
    cJSON_Delete(tarn_test_get(url));
    for (int i = 0; i < 10; i++) sink->write(sink, events->at + 11, events->count - 11, &report);
    cr_expect_eq(report.taken + report.lost, 0);
    cr_expect(strstr(report.problem, "mlflow runs restore --run-id"), "%s", report.problem);
    sprintf(strstr(url, "/delete"), "/purge");
    cJSON_Delete(tarn_test_get(url));
    cr_expect_eq(tarn_test_deliver(sink, events->at + 11, events->count - 11, reason), 0);
    cr_expect(strstr(reason, "no longer on the MLflow server"), "%s", reason);
    sink->destroy(sink);
    cJSON *all = dump();
    const cJSON *run = the_run(all);
    expect_metrics(run, 10);
    cr_expect_str_eq(tarn_test_text(get(run, "info"), "run_name"), "first");
    cJSON_Delete(all);
    free(url);
}

/* The run that MLFLOW_RUN_ID names is gone on with where the server has it. */
Test(mlflow, a_named_run_is_gone_on_with)
{
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, "{\"name\":\"made elsewhere\"}");
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    deliver(sink);
    sink->destroy(sink);
    char *other = tarn_test_format("%s/other", folder);
    mkdir(other, 0777);
    tarn_sink *named = NULL;
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    cr_assert_eq(tarn_mlflow_sink_open(
                     &named,
                     &(tarn_track_options){.store = server.address, .run_id = "00000000000000000000000000000001"},
                     &(tarn_sink_run){.run_id = "ffffffffffffffffffffffffffffffff", .experiment = "X", .state = other},
                     notice, problem),
                 TARN_OK);
    events->count = 0;
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, "{}");
    tarn_test_metrics(events, "loss", 0, 3);
    deliver(named);
    named->destroy(named);
    cJSON *all = dump();
    expect_metrics(the_run(all), 3);
    cr_expect_str_eq(tarn_test_text(get(the_run(all), "tags"), "tarn.run_id"), "ffffffffffffffffffffffffffffffff");
    cr_expect_str_eq(tarn_test_text(get(the_run(all), "info"), "run_name"), "made elsewhere");
    cJSON_Delete(all);
    free(other);
}

/* One that the server lacks is begun anew, and that is told once, with where to see it. */
Test(mlflow, a_named_run_that_is_not_there_begins_anew_and_is_told)
{
    static const char wanted[] = "00000000000000000000000000000042";
    tarn_sink *sink = NULL;
    tarn_sink_report report;
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    cr_assert_eq(
        tarn_mlflow_sink_open(&sink, &(tarn_track_options){.store = server.address, .run_id = wanted},
                              &(tarn_sink_run){.run_id = wanted, .experiment = "X", .state = state, .named = true},
                              notice, problem),
        TARN_OK);
    cr_expect(strstr(sink->where, server.address) && strstr(sink->where, wanted), "%s", sink->where);
    events->count = 0;
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, "{}");
    sink->write(sink, events->at, 1, &report);
    cr_expect(report.taken == 1 && !report.lost);
    cr_expect(strstr(report.problem, "does not hold run 00000000000000000000000000000042: its record begins anew"),
              "%s", report.problem);
    cJSON *all = dump();
    char *url = tarn_test_format("%s/#/experiments/%s/runs/%s", server.address,
                                 tarn_test_text(get(the_run(all), "info"), "experiment_id"), the_run(all)->string);
    cr_expect(strstr(report.information, url), "%s in %s", url, report.information);
    sink->write(sink, events->at, 1, &report);
    cr_expect(!*report.problem && !*report.information, "told once");
    sink->destroy(sink);
    cJSON_Delete(all);
    free(url);
}

/* A model that is there is asked for again: another alias, another name, no second version, no second upload; what is
 * done is not done again. */
Test(mlflow, a_model_that_is_there_gets_another_alias_and_another_name)
{
    static const char *const texts[] = {
        "{\"model_id\":\"m-00000000000000000000000000000001\",\"register\":\"Words\",\"alias\":\"champion\",\"step\":"
        "3}",
        "{\"model_id\":\"m-00000000000000000000000000000002\",\"register\":\"Words\",\"alias\":\"champion\",\"step\":"
        "4}",
        "{\"model_id\":\"m-00000000000000000000000000000001\",\"register\":\"Words\",\"alias\":\"champion\",\"step\":"
        "3}",
        "{\"model_id\":\"m-00000000000000000000000000000001\",\"register\":\"Others\",\"alias\":\"best\",\"step\":3}"};
    char *files = tarn_test_format("%s/again", folder), *mlmodel = tarn_test_format("%s/MLmodel", files);
    char version[TARN_MLFLOW_VERSION], problem[TARN_SINK_PROBLEM];
    mkdir(files, 0777);
    tarn_test_write(mlmodel, "run_id: local\n", 14);
    events->count = 0;
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, "{}");
    for (int i = 0; i < 4; i++) tarn_test_event(events, TARN_TRACK_MODEL, "net", texts[i])->file = files;
    for (int again = 0; again < 2; again++) {
        tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
        deliver(sink);
        sink->destroy(sink);
        cJSON *all = dump();
        cr_expect_eq(cJSON_GetArraySize(get(all, "models")), 2);
        cr_expect_eq(cJSON_GetArraySize(get(get(all, "registered"), "Words")), 2);
        cr_expect_eq(cJSON_GetArraySize(get(get(all, "registered"), "Others")), 1);
        cr_expect_str_eq(tarn_test_text(get(all, "aliases"), "Words@champion"), again ? "2" : "1");
        cr_expect_str_eq(tarn_test_text(get(all, "aliases"), "Others@best"), "1");
        cJSON_Delete(all);
        /* Moved by someone else: the events that come again leave it. */
        cr_assert_eq(tarn_mlflow_set_alias(server.address, "Words", "champion", "2", problem), TARN_OK);
    }
    cr_expect(tarn_mlflow_noted_version(state, "m-00000000000000000000000000000001", "Others", "best", version) &&
              !strcmp(version, "1"));
    cr_expect(tarn_mlflow_noted_version(state, "m-00000000000000000000000000000002", "Words", NULL, version) &&
              !strcmp(version, "2"));
    cr_expect_not(tarn_mlflow_noted_version(state, "m-00000000000000000000000000000002", "Others", NULL, version));
    free(files);
    free(mlmodel);
}

Test(mlflow, another_process_makes_the_experiment_first)
{
    tarn_test_server_mode(&server, "race");
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, TARN_TEST_START);
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    cr_expect_eq(deliver(sink), 0);
    sink->destroy(sink);
    cJSON *all = dump();
    cr_expect_eq(cJSON_GetArraySize(get(all, "experiments")), 1);
    the_run(all);
    cJSON_Delete(all);
}

Test(mlflow, an_older_server_gets_models_as_artifacts)
{
    tarn_test_server_mode(&server, "mlflow2");
    char *file = tarn_test_format("%s/file", folder), *model = tarn_test_model(folder);
    cr_assert(tarn_test_write(file, "the file", 8));
    everything(file, model);
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    cr_expect_eq(deliver(sink), 0, "%s", reason);
    sink->destroy(sink);
    cJSON *all = dump();
    const cJSON *run = the_run(all);
    char *weights = tarn_test_format("1/%s/artifacts/gpt_1/data/model.onnx", run->string);
    char *source = tarn_test_format("mlflow-artifacts:/1/%s/artifacts/gpt_1", run->string);
    cr_expect_str_eq(tarn_test_text(get(all, "artifacts"), weights), "weights");
    cr_expect_str_eq(tarn_test_text(get(get(all, "registered"), "Words")->child, "source"), source);
    cJSON_Delete(all);
    free(weights);
    free(source);
    free(file);
    free(model);
}

/* A large file goes out piece by piece; a store that takes no files is not in the way of all that follows. */
Test(mlflow, files_large_and_unwanted)
{
    char *large = tarn_test_format("%s/large", folder);
    FILE *file = fopen(large, "wb");
    cr_assert(file && !ftruncate(fileno(file), 64 << 20) && !fclose(file));
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, TARN_TEST_START);
    tarn_test_event(events, TARN_TRACK_ARTIFACT, "large", NULL)->file = large;
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    cr_expect_eq(deliver(sink), 0, "%s", reason);
    tarn_test_server_mode(&server, "noserve");
    tarn_test_event(events, TARN_TRACK_ARTIFACT, "second", NULL)->file = large;
    tarn_test_metrics(events, "loss", 0, 3);
    cr_expect_eq(tarn_test_deliver(sink, events->at + 2, events->count - 2, reason), 1);
    cr_expect(strstr(reason, "--no-serve-artifacts"), "%s", reason);
    sink->destroy(sink);
    cJSON *all = dump();
    char *name = tarn_test_format("1/%s/artifacts/large", the_run(all)->string);
    cr_expect_str_eq(tarn_test_text(get(all, "artifacts"), name), "67108864 bytes");
    expect_metrics(the_run(all), 3);
    cJSON_Delete(all);
    free(name);
    free(large);
}

static void *cancel_soon(void *sink)
{
    tarn_test_pause(0.3);
    ((tarn_sink *)sink)->cancel(sink);
    return NULL;
}

Test(mlflow, cancelling_ends_a_write)
{
    tarn_test_server_mode(&server, "slow");
    tarn_test_metrics(events, "loss", 0, 5);
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    tarn_sink_report report;
    pthread_t thread;
    cr_assert(!pthread_create(&thread, NULL, cancel_soon, sink));
    sink->write(sink, events->at, events->count, &report);
    pthread_join(thread, NULL);
    cr_expect_eq(report.taken, 0);
    cr_expect_str_eq(report.problem, "");
    sink->destroy(sink);
}

/* A server too slow for a whole request gets smaller ones. */
Test(mlflow, a_slow_server_is_asked_for_less)
{
    setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "0.3", 1);
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, TARN_TEST_START);
    tarn_test_metrics(events, "loss", 0, 800);
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    tarn_sink_report report;
    sink->write(sink, events->at, 1, &report);
    tarn_test_server_mode(&server, "slow");
    for (int i = 0; i < 3; i++) sink->write(sink, events->at + 1, events->count - 1, &report);
    cr_expect_eq(report.taken, 0);
    tarn_test_server_mode(&server, "ok");
    cr_expect_eq(tarn_test_deliver(sink, events->at + 1, events->count - 1, reason), 0);
    sink->destroy(sink);
    /* 100, 200, 400, 100 instead of one */
    cr_expect_eq(tarn_test_server_requests(&server, "runs/log-batch 200"), 4);
    unsetenv("MLFLOW_HTTP_REQUEST_TIMEOUT");
}

/* ---- the registry by address ------------------------------------------------------------------------------------ */

Test(mlflow, aliases_are_moved_by_address)
{
    char problem[TARN_SINK_PROBLEM], *file = tarn_test_format("%s/file", folder), *model = tarn_test_model(folder);
    cr_assert(tarn_test_write(file, "the file", 8));
    everything(file, model);
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    deliver(sink);
    sink->destroy(sink);
    cr_expect_eq(tarn_mlflow_set_alias(server.address, "Words", "best one", "1", problem), TARN_OK, "%s", problem);
    cr_expect_eq(tarn_mlflow_set_alias(server.address, "Words", "best", "7", problem), TARN_ERROR_ARGUMENT);
    cr_expect(strstr(problem, "Model Version (name=Words, version=7) not found"), "%s", problem);
    cr_expect_eq(tarn_mlflow_set_alias("http://127.0.0.1:9", "Words", "best", "1", problem), TARN_ERROR_IO);
    cr_expect_eq(tarn_mlflow_set_alias("mlruns", "Words", "best", "1", problem), TARN_ERROR_CONFIG);
    cJSON *all = dump();
    cr_expect_str_eq(tarn_test_text(get(all, "aliases"), "Words@best one"), "1");
    cJSON_Delete(all);
    free(file);
    free(model);
}

/* ---- who we are ------------------------------------------------------------------------------------------------- */

static tarn_mlflow_client *open_client(const char *address)
{
    tarn_mlflow_client *client;
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    cr_assert_eq(tarn_mlflow_client_open(&client, address, notice, problem), TARN_OK, "%s", problem);
    return client;
}

static void expect_login(const char *address, const char *url_login, const char *login, const char *token)
{
    tarn_mlflow_client *client = open_client(address);
    cr_expect_str_eq(client->url_login ? client->url_login : "", url_login);
    cr_expect_str_eq(client->login ? client->login : "", login);
    cr_expect_str_eq(client->authorization ? client->authorization : "", token);
    cr_expect_str_eq(client->base, "http://host:5000/a");
    tarn_mlflow_client_close(client);
}

Test(mlflow_login, logins_have_mlflows_precedence)
{
    char *directory = tarn_test_format("%s/.mlflow", folder), *path = tarn_test_format("%s/credentials", directory);
    expect_login("http://host:5000/a/", "", "", "");
    setenv("MLFLOW_TRACKING_TOKEN", "secret", 1);
    expect_login("http://host:5000/a", "", "", "Authorization: Bearer secret");
    setenv("MLFLOW_TRACKING_USERNAME", "mo", 1); /* without a password: no login */
    expect_login("HTTP://host:5000/a//", "", "", "Authorization: Bearer secret");
    mkdir(directory, 0777);
    static const char text[] = "# mine\n[other]\nmlflow_tracking_password = no\n[mlflow]\nmlflow_tracking_username = "
                               "file\nMLFLOW_TRACKING_PASSWORD : 100%% sure\n";
    cr_assert(tarn_test_write(path, text, sizeof text - 1));
    expect_login("http://host:5000/a", "", "mo:100% sure", ""); /* a complete login goes over the token */
    unsetenv("MLFLOW_TRACKING_USERNAME");
    expect_login("http://host:5000/a", "", "file:100% sure", "");
    setenv("MLFLOW_TRACKING_PASSWORD", "env", 1);
    expect_login("http://url:p%40ss%2@host:5000/a", "url:p@ss%2", "file:env", "");
    free(directory);
    free(path);
}

Test(mlflow_login, what_is_wrong_by_itself_is_told_without_secrets)
{
    static const struct {
        const char *address, *words;
    } wrong[] = {{"http://user:secret@", "names no host"}, {"http://user:secret@/path", "names no host"},
                 {"https://:5000", "names no host"},       {"http://user:secret@host?x=1", "? or #"},
                 {"http://user:sec ret@host", "blank"},    {"ftp://user:secret@host", "does not begin with"}};
    tarn_mlflow_client *client;
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_eq(tarn_mlflow_client_open(&client, wrong[i].address, notice, problem), TARN_ERROR_CONFIG);
        cr_expect(strstr(problem, wrong[i].words), "%s: %s", wrong[i].address, problem);
        cr_expect_null(strstr(problem, "secret"));
    }
    setenv("MLFLOW_TRACKING_TOKEN", "secret\n", 1);
    cr_expect_eq(tarn_mlflow_client_open(&client, "http://host", notice, problem), TARN_ERROR_CONFIG);
    cr_expect(strstr(problem, "MLFLOW_TRACKING_TOKEN") && !strstr(problem, "secret"), "%s", problem);
    unsetenv("MLFLOW_TRACKING_TOKEN");
    setenv("MLFLOW_TRACKING_INSECURE_TLS", "true", 1);
    setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "/etc/hostname", 1);
    cr_expect_eq(tarn_mlflow_client_open(&client, "http://host", notice, problem), TARN_ERROR_CONFIG);
    cr_expect(strstr(problem, "only one of them"), "%s", problem);
    unsetenv("MLFLOW_TRACKING_INSECURE_TLS");
    setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "/nonexistent", 1);
    cr_expect_eq(tarn_mlflow_client_open(&client, "http://host", notice, problem), TARN_ERROR_CONFIG);
    cr_expect(strstr(problem, "/nonexistent"), "%s", problem);
    tarn_sink *sink = (tarn_sink *)1;
    cr_expect_eq(tarn_mlflow_sink_open(&sink, &(tarn_track_options){.store = "/a/path"},
                                       &(tarn_sink_run){.run_id = "x", .experiment = "x", .state = state}, notice,
                                       problem),
                 TARN_OK);
    cr_expect_null(sink);
}

/* The login goes out as mlflow sends it, and never into a message. */
Test(mlflow, logins_arrive)
{
    setenv("MLFLOW_TRACKING_TOKEN", "t0k3n", 1);
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, TARN_TEST_START);
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    deliver(sink);
    sink->destroy(sink);
    cr_expect(tarn_test_server_requests(&server, "Bearer t0k3n"));
    char *address = tarn_test_format("http://us%%40er:secret@%s", server.address + 7);
    sink = tarn_test_sink(address, state, NULL);
    tarn_sink_report report;
    tarn_test_server_mode(&server, "401");
    sink->write(sink, events->at, 1, &report);
    cr_expect(strstr(report.problem, "You are not authenticated"), "%s", report.problem);
    cr_expect(strstr(report.problem, "MLFLOW_TRACKING_USERNAME"), "%s", report.problem);
    cr_expect_null(strstr(report.problem, "secret"), "%s", report.problem);
    cr_expect(tarn_test_server_requests(&server, "Basic dXNAZXI6c2VjcmV0")); /* us@er:secret */
    sink->destroy(sink);
    free(address);
}

Test(mlflow_login, certificates)
{
    server.folder = tarn_test_directory();
    char *certificate = tarn_test_format("%s/cert.pem", server.folder), *output;
    char *client = tarn_test_format("%s/client", server.folder);
    char *command = tarn_test_format("cd %s && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out pub.pem "
                                     "-days 2 -subj /CN=tarn -addext subjectAltName=IP:127.0.0.1 && cat pub.pem "
                                     "key.pem > cert.pem",
                                     server.folder);
    if (tarn_test_run("openssl version", 20, NULL)) cr_skip_test("there is no openssl program to make certificates");
    cr_assert_eq(tarn_test_run(command, 60, &output), 0, "%s", output);
    cr_assert(tarn_test_write(client, "", 0));
    cr_assert(tarn_test_server_start_script(&server, "mlflow_fake.py"));
    char *address = tarn_test_format("https%s", server.address + 4);
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, TARN_TEST_START);
    tarn_sink_report report;
    tarn_sink *sink = tarn_test_sink(address, state, NULL);
    sink->write(sink, events->at, 1, &report);
    cr_expect(strstr(report.problem, "MLFLOW_TRACKING_SERVER_CERT_PATH"), "%s", report.problem);
    sink->destroy(sink);
    setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", certificate, 1);
    sink = tarn_test_sink(address, state, NULL); /* the server asks for ours */
    sink->write(sink, events->at, 1, &report);
    cr_expect_eq(report.taken, 0);
    sink->destroy(sink);
    setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", certificate, 1);
    sink = tarn_test_sink(address, state, NULL);
    cr_expect_eq(deliver(sink), 0);
    sink->destroy(sink);
    unsetenv("MLFLOW_TRACKING_SERVER_CERT_PATH");
    setenv("MLFLOW_TRACKING_INSECURE_TLS", "1", 1);
    sink = tarn_test_sink(address, state, NULL);
    cr_expect_eq(deliver(sink), 0);
    sink->destroy(sink);
    free(certificate);
    free(client);
    free(command);
    free(output);
    free(address);
}
