/* track_server.c - how fast metrics get into an MLflow server, three ways in one run: mlflow's own log_metric, Tarn
 * (the sink alone, and the whole way from tarn_log_metric through the spool), and a bare loop of libcurl that posts the
 * same bodies over one connection.
 *
 * usage: track_server PYTHON [REQUESTS]   PYTHON has mlflow, and starts the server (tests/python/mlflow_server.py)
 *
 * Sink and curl take turns, so that both meet the same machine; each round is a run of its own at the server. Prints
 * the medians of metrics a second and their ratios.
 */
#include "runtime/base/clock.h"
#include "runtime/config/number.h"
#include "tests/mlflow_process.h"
#include "track/mlflow/mlflow.h"

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <tarn/track.h>

enum { MOST_REQUESTS = 1000, AT_ONCE = 1000, OWN = 200, WHOLE = 4, WHOLE_METRICS = 16000 };

static tarn_test_mlflow server;

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_size);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void quit(const char *why)
{
    fprintf(stderr, "track_server: %s\n", why);
    tarn_test_mlflow_kill(&server);
    exit(1);
}

/* ---- a bare loop ------------------------------------------------------------------------------------------------- */

static char answer[65536];
static size_t answered;

static size_t keep(char *data, size_t size, size_t count, void *user)
{
    (void)user;
    size_t room = sizeof answer - 1 - answered, bytes = size * count < room ? size * count : room;
    memcpy(answer + answered, data, bytes);
    answered += bytes;
    answer[answered] = '\0';
    return size * count;
}

static long post(CURL *curl, const char *path, const char *body)
{
    char url[256];
    long code = 0;
    snprintf(url, sizeof url, "%s/%s", server.address, path);
    answered = 0;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    if (body) {
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }
    if (!curl_easy_perform(curl)) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    return code;
}

static CURL *open_curl(void)
{
    CURL *curl = curl_easy_init();
    struct curl_slist *headers =
        curl_slist_append(curl_slist_append(NULL, "Content-Type: application/json"), "Expect:");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
    return curl;
}

static double value_of(int64_t i)
{
    return 3.0 / (double)(i + 7);
}

/* Makes a run; its id. */
static void curl_run(CURL *curl, char id[64])
{
    if (post(curl, "api/2.0/mlflow/runs/create", "{\"experiment_id\":\"0\",\"start_time\":1795400000000}") != 200)
        quit("no run was made");
    cJSON *made = cJSON_Parse(answer);
    const cJSON *info = cJSON_GetObjectItem(cJSON_GetObjectItem(made, "run"), "info");
    snprintf(id, 64, "%s", cJSON_GetObjectItem(info, "run_id")->valuestring);
    cJSON_Delete(made);
}

/* The time to post request number k: the body that the sink makes of the same metrics, made beforehand. */
static double curl_request(CURL *curl, const char *run, int64_t k)
{
    char *text = NULL;
    size_t size;
    FILE *body = open_memstream(&text, &size);
    fprintf(body, "{\"run_id\":\"%s\",\"metrics\":[", run);
    for (int64_t i = k * AT_ONCE; i < (k + 1) * AT_ONCE; i++) {
        char value[TARN_NUMBER_TEXT];
        tarn_number_print(value, value_of(i));
        fprintf(body, "%s{\"key\":\"train.loss\",\"value\":%s,\"timestamp\":%lld,\"step\":%lld}",
                i % AT_ONCE ? "," : "", value, 1795400000000LL + i, (long long)i);
    }
    fputs("]}", body);
    fclose(body);
    double start = tarn_seconds();
    if (post(curl, "api/2.0/mlflow/runs/log-batch", text) != 200) quit("a batch of curl was refused");
    double seconds = tarn_seconds() - start;
    free(text);
    return seconds;
}

/* ---- ours -------------------------------------------------------------------------------------------------------- */

static tarn_sink *open_sink(void)
{
    char *state = tarn_test_format("%s/state", server.folder);
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    mkdir(state, 0777);
    tarn_sink *sink;
    if (tarn_mlflow_sink_open(
            &sink, &(tarn_track_options){.store = server.address},
            &(tarn_sink_run){.run_id = "00000000000000000000000000000001", .experiment = "Default", .state = state},
            notice, problem))
        quit(problem);
    tarn_track_event begin = {.kind = TARN_TRACK_BEGIN, .text = "{}", .time_ms = 1795400000000};
    tarn_sink_report report;
    sink->write(sink, &begin, 1, &report);
    if (report.taken != 1) quit(report.problem);
    free(state);
    return sink;
}

static double sink_request(tarn_sink *sink, int64_t k)
{
    static tarn_track_event events[AT_ONCE];
    for (int64_t i = 0; i < AT_ONCE; i++)
        events[i] = (tarn_track_event){.kind = TARN_TRACK_METRIC,
                                       .key = "train.loss",
                                       .value = value_of(k * AT_ONCE + i),
                                       .step = k * AT_ONCE + i,
                                       .time_ms = 1795400000000 + k * AT_ONCE + i};
    tarn_sink_report report;
    double start = tarn_seconds();
    sink->write(sink, events, AT_ONCE, &report);
    if (report.taken != AT_ONCE || report.lost) quit(report.problem);
    return tarn_seconds() - start;
}

/* From the first tarn_log_metric to the end of the run at the server. */
static double whole_round(tarn_context *context, int64_t metrics)
{
    char *spool = tarn_test_format("%s/spool", server.folder);
    tarn_tracker *tracker;
    if (tarn_track_open(&tracker, context,
                        &(tarn_track_options){.store = server.address, .spool = spool, .flush_timeout = 600}))
        quit(tarn_get_error(context)->message);
    double start = tarn_seconds();
    for (int64_t i = 0; i < metrics; i++)
        tarn_log_metric(tracker, "train.loss", value_of(i), i); /* the queue holds them */
    tarn_track_close(tracker, "FINISHED");
    free(spool);
    return (double)metrics / (tarn_seconds() - start);
}

/* ---- mlflow's own ------------------------------------------------------------------------------------------------ */

static double own_round(const char *python)
{
    char *command = tarn_test_format(
        "MLFLOW_DISABLE_TELEMETRY=true GIT_PYTHON_REFRESH=quiet %s -c \"\nimport time, mlflow\n"
        "mlflow.set_tracking_uri('%s')\nclient = mlflow.MlflowClient()\nrun = client.create_run('0').info.run_id\n"
        "client.log_metric(run, 'warm', 1.0)\nstart = time.perf_counter()\n"
        "for step in range(%d):\n    client.log_metric(run, 'train.loss', 3.0 / (step + 7), step=step)\n"
        "print('rate', %d / (time.perf_counter() - start))\n\"",
        python, server.address, OWN, OWN);
    char *output;
    if (tarn_test_run(command, 600, &output)) quit(output);
    const char *rate = strstr(output, "rate ");
    double value = rate ? atof(rate + 5) : 0;
    free(command);
    free(output);
    return value;
}

int main(int argc, char **argv)
{
    int requests = argc > 2 ? atoi(argv[2]) : 40;
    if (argc < 2 || requests < WHOLE || requests > MOST_REQUESTS) {
        fprintf(stderr, "usage: track_server PYTHON [REQUESTS, %d to %d]\n", WHOLE, MOST_REQUESTS);
        return 2;
    }
    server = (tarn_test_mlflow){.python = argv[1], .folder = tarn_test_directory()};
    tarn_context *context;
    if (tarn_init(&context, NULL, NULL)) quit("tarn does not start");
    CURL *curl = open_curl();
    if (!tarn_test_mlflow_start(&server, false)) quit("the MLflow server does not start: has that Python mlflow?");
    static double ours[MOST_REQUESTS], bare[MOST_REQUESTS], ratios[MOST_REQUESTS];
    double own[2], whole[WHOLE];
    char run[64];
    tarn_sink *sink = open_sink();
    curl_run(curl, run);
    own[0] = own_round(argv[1]);
    for (int k = -1; k < requests; k++) { /* the first pair warms up */
        double mine = k % 2 ? sink_request(sink, k + 1) : 0, wire = curl_request(curl, run, k + 1);
        if (k % 2 == 0) mine = sink_request(sink, k + 1);
        if (k < 0) continue;
        ours[k] = AT_ONCE / mine;
        bare[k] = AT_ONCE / wire;
        ratios[k] = wire / mine;
        for (int i = 0; i < WHOLE; i++)
            if (k == (i + 1) * requests / WHOLE - 1) whole[i] = whole_round(context, WHOLE_METRICS);
    }
    own[1] = own_round(argv[1]);
    sink->destroy(sink);
    double mine = median(ours, requests), wire = median(bare, requests), ratio = median(ratios, requests);
    double theirs = (own[0] + own[1]) / 2, all = median(whole, WHOLE);
    printf("metrics a second: mlflow's log_metric %.1f and %.1f, sink %.0f, curl %.0f, whole way %.0f (%.0f to %.0f)\n",
           own[0], own[1], mine, wire, all, whole[0], whole[WHOLE - 1]);
    printf("sink over log_metric %.0fx, whole way over log_metric %.0fx, sink over curl %.3fx\n", mine / theirs,
           all / theirs, ratio);
    tarn_test_mlflow_kill(&server);
    tarn_exit(context);
    tarn_test_remove(server.folder);
    free(server.folder);
    return 0;
}
