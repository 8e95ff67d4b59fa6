/* track_server.c - how fast metrics get into an MLflow server, three ways in one run: mlflow's own log_metric, Tarn
 * (the sink alone, and the whole way from tarn_log_metric through the spool), and a bare loop of libcurl that posts the
 * same bodies over one connection.
 *
 * usage: track_server PYTHON [ROUNDS [METRICS]]   PYTHON has mlflow, and starts the server
 * (tests/python/mlflow_server.py)
 *
 * Sink and curl take turns, so that both meet the same machine; each round is a run of its own at the server. Prints
 * the medians of metrics a second and their ratios.
 */
#include "runtime/config/number.h"
#include "tests/support.h"
#include "track/mlflow/mlflow.h"

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <tarn/track.h>
#include <time.h>

enum { MOST_ROUNDS = 32, AT_ONCE = 1000, OWN = 200 };

static char address[64], *folder;
static pid_t group;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

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
    if (group > 0) kill(-group, SIGKILL);
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
    snprintf(url, sizeof url, "%s/%s", address, path);
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

/* The bodies that the sink makes of the same metrics, made beforehand. */
static double curl_round(CURL *curl, int64_t metrics)
{
    if (post(curl, "api/2.0/mlflow/runs/create", "{\"experiment_id\":\"0\",\"start_time\":1795400000000}") != 200)
        quit("no run was made");
    cJSON *made = cJSON_Parse(answer);
    const cJSON *info = cJSON_GetObjectItem(cJSON_GetObjectItem(made, "run"), "info");
    int64_t count = metrics / AT_ONCE;
    char **bodies = calloc((size_t)count, sizeof *bodies);
    for (int64_t k = 0; k < count; k++) {
        size_t size;
        FILE *body = open_memstream(&bodies[k], &size);
        fprintf(body, "{\"run_id\":\"%s\",\"metrics\":[", cJSON_GetObjectItem(info, "run_id")->valuestring);
        for (int64_t i = k * AT_ONCE; i < (k + 1) * AT_ONCE; i++) {
            char value[TARN_NUMBER_TEXT];
            tarn_number_print(value, value_of(i));
            fprintf(body, "%s{\"key\":\"train.loss\",\"value\":%s,\"timestamp\":%lld,\"step\":%lld}",
                    i % AT_ONCE ? "," : "", value, (long long)(1795400000000 + i), (long long)i);
        }
        fputs("]}", body);
        fclose(body);
    }
    double start = now();
    for (int64_t k = 0; k < count; k++)
        if (post(curl, "api/2.0/mlflow/runs/log-batch", bodies[k]) != 200) quit("a batch of curl was refused");
    double seconds = now() - start;
    for (int64_t k = 0; k < count; k++) free(bodies[k]);
    free(bodies);
    cJSON_Delete(made);
    return (double)metrics / seconds;
}

/* ---- ours -------------------------------------------------------------------------------------------------------- */

static double sink_round(int64_t metrics, int round)
{
    char *state = tarn_test_format("%s/state-%d", folder, round), id[33];
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    mkdir(state, 0777);
    snprintf(id, sizeof id, "%032d", round);
    tarn_sink *sink;
    if (tarn_mlflow_sink_open(&sink, &(tarn_track_options){.store = address},
                              &(tarn_sink_run){.run_id = id, .experiment = "Default", .state = state}, notice, problem))
        quit(problem);
    tarn_track_event *events = calloc((size_t)metrics, sizeof *events);
    for (int64_t i = 0; i < metrics; i++)
        events[i] = (tarn_track_event){.kind = TARN_TRACK_METRIC,
                                       .key = "train.loss",
                                       .value = value_of(i),
                                       .step = i,
                                       .time_ms = 1795400000000 + i};
    tarn_track_event begin = {.kind = TARN_TRACK_BEGIN, .text = "{}", .time_ms = 1795400000000};
    tarn_sink_report report;
    sink->write(sink, &begin, 1, &report);
    if (report.taken != 1) quit(report.problem);
    double start = now();
    for (int64_t done = 0; done < metrics; done += report.taken) {
        sink->write(sink, events + done, metrics - done < sink->most ? metrics - done : sink->most, &report);
        if (!report.taken || report.lost) quit(report.problem);
    }
    double seconds = now() - start;
    sink->destroy(sink);
    free(events);
    free(state);
    return (double)metrics / seconds;
}

/* From the first tarn_log_metric to the end of the run at the server. */
static double whole_round(tarn_context *context, int64_t metrics)
{
    char *spool = tarn_test_format("%s/spool", folder);
    tarn_tracker *tracker;
    if (tarn_track_open(&tracker, context,
                        &(tarn_track_options){.store = address, .spool = spool, .flush_timeout = 600}))
        quit(tarn_get_error(context)->message);
    double start = now(), logged = 0;
    for (int64_t i = 0; i < metrics; i++) {
        /* As long as the queue holds them; more at once would be lost. */
        if (i && i % 8192 == 0) nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
        double before = i % 64 ? 0 : now();
        tarn_log_metric(tracker, "train.loss", value_of(i), i);
        if (before > 0) logged += now() - before;
    }
    (void)logged;
    tarn_track_close(tracker, "FINISHED");
    free(spool);
    return (double)metrics / (now() - start);
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
        python, address, OWN, OWN);
    char *output;
    if (tarn_test_run(command, 600, &output)) quit(output);
    const char *rate = strstr(output, "rate ");
    double value = rate ? atof(rate + 5) : 0;
    free(command);
    free(output);
    return value;
}

/* ---- the server -------------------------------------------------------------------------------------------------- */

static void start_server(const char *python, CURL *curl)
{
    char *file = tarn_test_format("%s/port", folder), *log = tarn_test_format("%s/log", folder), *text = NULL;
    group = fork();
    if (!group) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!freopen(log, "w", stdout) || dup2(1, 2) < 0) _exit(126);
        execl(python, python, TARN_SOURCE_DIR "/tests/python/mlflow_server.py", folder, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 1200 && !text; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        text = tarn_test_read(file, NULL);
    }
    if (!text) quit("the server did not start");
    snprintf(address, sizeof address, "http://127.0.0.1:%d", atoi(text));
    for (int i = 0; i < 1200; i++) {
        if (post(curl, "health", NULL) == 200) return;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    quit("the server does not answer");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: track_server PYTHON [ROUNDS [METRICS]]\n");
        return 2;
    }
    int rounds = argc > 2 ? atoi(argv[2]) : 5;
    int64_t metrics = argc > 3 ? atoll(argv[3]) / AT_ONCE * AT_ONCE : 20000;
    if (rounds < 1 || rounds > MOST_ROUNDS || metrics < AT_ONCE) quit("1 to 32 rounds of at least 1000 metrics");
    folder = tarn_test_directory();
    tarn_context *context;
    if (tarn_init(&context, NULL, NULL)) quit("tarn does not start");
    CURL *curl = open_curl();
    start_server(argv[1], curl);
    double ours[MOST_ROUNDS], bare[MOST_ROUNDS], ratios[MOST_ROUNDS], whole[MOST_ROUNDS], own[2];
    own[0] = own_round(argv[1]);
    sink_round(AT_ONCE, 0);
    curl_round(curl, AT_ONCE);
    for (int i = 0; i < rounds; i++) {
        bool first = i % 2; /* who goes first takes turns, too */
        if (first) ours[i] = sink_round(metrics, i + 1);
        bare[i] = curl_round(curl, metrics);
        if (!first) ours[i] = sink_round(metrics, i + 1);
        ratios[i] = ours[i] / bare[i];
        whole[i] = whole_round(context, metrics);
        printf("round %d: sink %.0f, curl %.0f, whole way %.0f metrics/s\n", i + 1, ours[i], bare[i], whole[i]);
    }
    own[1] = own_round(argv[1]);
    double mine = median(ours, rounds), theirs = (own[0] + own[1]) / 2, wire = median(bare, rounds);
    double all = median(whole, rounds), ratio = median(ratios, rounds);
    printf("mlflow's log_metric %.1f/s; sink %.0f/s; curl %.0f/s; whole way %.0f/s\n", theirs, mine, wire, all);
    printf("sink over log_metric %.0fx, whole way over log_metric %.0fx, sink over curl %.2fx (median of rounds)\n",
           mine / theirs, all / theirs, ratio);
    kill(-group, SIGKILL);
    waitpid(group, NULL, 0);
    tarn_exit(context);
    tarn_test_remove(folder);
    free(folder);
    return 0;
}
