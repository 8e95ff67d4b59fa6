/* mlflow_support.h - what tests of the MLflow sink share: making events, opening the sink, reading what a server has.
 */
#ifndef TARN_TESTS_MLFLOW_SUPPORT_H
#define TARN_TESTS_MLFLOW_SUPPORT_H

#include "runtime/http/http.h"
#include "tests/server_support.h"
#include "track/mlflow/mlflow.h"

#include <cjson/cJSON.h>
#include <criterion/criterion.h>

#define TARN_TEST_RUN   "0123456789abcdef0123456789abcdef"
#define TARN_TEST_BEGIN INT64_C(1795400000000) /* milliseconds */
#define TARN_TEST_START                                                                                                \
    "{\"experiment\":\"an experiment\",\"name\":\"first\",\"user\":\"mo\",\"source\":\"tarn\",\"commit\":\"abc123\"}"

enum { TARN_TEST_EVENTS = 20000 };

typedef struct tarn_test_events {
    tarn_track_event at[TARN_TEST_EVENTS];
    int64_t count;
} tarn_test_events;

/* Adds an event; texts are borrowed. Its time follows from its place: the same whenever it is made. */
__attribute__((unused)) static tarn_track_event *tarn_test_event(tarn_test_events *events, tarn_track_kind kind,
                                                                 const char *key, const char *text)
{
    tarn_track_event *event = &events->at[events->count++];
    *event = (tarn_track_event){.kind = kind, .key = key, .text = text, .time_ms = TARN_TEST_BEGIN + events->count};
    return event;
}

__attribute__((unused)) static void tarn_test_metrics(tarn_test_events *events, const char *key, int64_t from,
                                                      int64_t to)
{
    for (int64_t step = from; step < to; step++) {
        tarn_track_event *event = tarn_test_event(events, TARN_TRACK_METRIC, key, NULL);
        event->step = step;
        event->value = (double)step / 3 - 7;
    }
}

__attribute__((unused)) static tarn_sink *tarn_test_sink(const char *address, const char *state, const char *wanted)
{
    tarn_sink *sink = NULL;
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    tarn_status status = tarn_mlflow_sink_open(
        &sink, &(tarn_track_options){.store = address, .run_id = wanted},
        &(tarn_sink_run){.run_id = TARN_TEST_RUN, .experiment = "an experiment", .state = state}, notice, problem);
    cr_assert_eq(status, TARN_OK, "%s", problem);
    cr_assert(sink);
    cr_expect_str_eq(notice, "");
    return sink;
}

/* Offers all events until they are taken, as a drain does; returns how many were lost. */
__attribute__((unused)) static int64_t tarn_test_deliver(tarn_sink *sink, const tarn_track_event *events, int64_t count,
                                                         char reason[TARN_SINK_PROBLEM])
{
    int64_t lost = 0, done = 0;
    reason[0] = '\0';
    for (int idle = 0; done < count && idle < 600;) {
        int64_t most = count - done < sink->most ? count - done : sink->most;
        tarn_sink_report report;
        sink->write(sink, events + done, most, &report);
        done += report.taken;
        lost += report.lost;
        if (*report.problem && (report.lost || !*reason)) snprintf(reason, TARN_SINK_PROBLEM, "%s", report.problem);
        idle = report.taken ? 0 : idle + 1;
        if (!report.taken) tarn_test_pause(0.1);
    }
    cr_assert_eq(done, count, "only %lld of %lld events were taken: %s", (long long)done, (long long)count, reason);
    return lost;
}

/* GET of an address as JSON; to be deleted. */
__attribute__((unused)) static cJSON *tarn_test_get(const char *url)
{
    tarn_http *http = tarn_http_open();
    tarn_http_answer answer;
    tarn_http_error error = tarn_http_perform(
        http, &(tarn_http_request){.url = url, .most_bytes = 256 << 20, .total_seconds = 120}, &answer);
    cr_assert(!error && answer.code == 200, "%s: %d %s", url, answer.code, answer.problem);
    cJSON *json = cJSON_Parse(answer.body);
    tarn_http_answer_free(&answer);
    tarn_http_close(http);
    return json;
}

/* A folder with a model in it: MLmodel and one file of weights. Freed by the caller. */
__attribute__((unused)) static char *tarn_test_model(const char *folder)
{
    static const char text[] = "artifact_path: model\nflavors:\n  python_function:\n    loader_module: mlflow.onnx\n"
                               "model_uuid: 0000\nrun_id: local\nutc_time_created: '2026-01-01 00:00:00'\n";
    char *model = tarn_test_format("%s/the model", folder), *data = tarn_test_format("%s/data", model);
    char *file = tarn_test_format("%s/MLmodel", model), *weights = tarn_test_format("%s/model.onnx", data);
    mkdir(model, 0777);
    mkdir(data, 0777);
    cr_assert(tarn_test_write(file, text, sizeof text - 1) && tarn_test_write(weights, "weights", 7));
    free(data);
    free(file);
    free(weights);
    return model;
}

__attribute__((unused)) static const char *tarn_test_text(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text ? text : "(none)";
}

#endif
