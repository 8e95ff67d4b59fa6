/* mlflow_fake_support.h - the MLflow server that misbehaves as it is told (tests/python/mlflow_fake.py): starting it,
 * giving it events, what it has. */
#ifndef TARN_TESTS_MLFLOW_FAKE_SUPPORT_H
#define TARN_TESTS_MLFLOW_FAKE_SUPPORT_H

#include "tests/mlflow_support.h"

static tarn_test_server server;
static char *folder, *state;
static tarn_test_events *events;
static char reason[TARN_SINK_PROBLEM];

__attribute__((unused)) static void set_up(void)
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

__attribute__((unused)) static void start(void)
{
    set_up();
    cr_assert(tarn_test_server_start_script(&server, "mlflow_fake.py"), "the server did not start");
}

__attribute__((unused)) static void stop(void)
{
    tarn_test_server_stop(&server);
    tarn_test_remove(folder);
    free(folder);
    free(state);
    free(events);
}

__attribute__((unused)) static cJSON *dump(void)
{
    char *url = tarn_test_format("%s/dump", server.address);
    cJSON *all = tarn_test_get(url);
    free(url);
    return all;
}

__attribute__((unused)) static int64_t deliver(tarn_sink *sink)
{
    return tarn_test_deliver(sink, events->at, events->count, reason);
}

__attribute__((unused)) static const cJSON *get(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* The only run of the server. */
__attribute__((unused)) static const cJSON *the_run(const cJSON *all)
{
    cr_assert_eq(cJSON_GetArraySize(get(all, "runs")), 1);
    return get(all, "runs")->child;
}

__attribute__((unused)) static void expect_metrics(const cJSON *run, int expected)
{
    cr_expect_eq(cJSON_GetArraySize(get(run, "metrics")), expected, "%d metrics, not %d",
                 cJSON_GetArraySize(get(run, "metrics")), expected);
}

#endif
