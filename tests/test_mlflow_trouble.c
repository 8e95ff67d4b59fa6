/* test_mlflow_trouble.c - the MLflow sink against a server that misbehaves: what every kind of trouble does, what a
 * refused event costs. */
#include "tests/mlflow_fake_support.h"

#include <math.h>
#include <pthread.h>

TestSuite(mlflow, .init = start, .fini = stop, .timeout = 180);

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
