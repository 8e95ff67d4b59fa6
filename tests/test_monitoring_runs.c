/* test_monitoring_runs.c - runs that are watched: addresses that cannot be served, and a real Prometheus that scrapes
 * one. */
#include "runtime/http/http.h"
#include "tests/monitoring_support.h"
#include "tests/server_support.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <math.h>
#include <netinet/in.h>
#include <sys/socket.h>

TestSuite(monitoring, .init = set_up, .fini = tear_down, .timeout = 900);

/* ---- runs that cannot serve -------------------------------------------------------------------------------------- */

static int times(const char *text, const char *what)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, what)); at++) count++;
    return count;
}

Test(monitoring, a_wrong_address_ends_all_ranks_and_a_taken_port_is_one_warning)
{
    char *output;
    int code = tarn_test_tarn(folder, "", 2, "train gpt.yaml metrics.listen=nowhere", &output);
    cr_expect_eq(code, 2, "%d: %s", code, output);
    cr_expect(strstr(output, "metrics.listen: \"nowhere\" is no ADDRESS:PORT"), "%s", output);
    free(output);
    code = tarn_test_tarn(folder, "", 0, "train gpt.yaml metrics.file=missing/tarn.prom", &output);
    cr_expect_eq(code, 2, "%d: %s", code, output);
    cr_expect(strstr(output, "metrics.file missing/tarn.prom"), "%s", output);
    free(output);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_not(bind(file, (struct sockaddr *)&address, length));
    cr_assert_not(listen(file, 1));
    cr_assert_not(getsockname(file, (struct sockaddr *)&address, &length));
    char *arguments = tarn_test_format("train gpt.yaml metrics.listen=127.0.0.1:%d", ntohs(address.sin_port));
    code = tarn_test_tarn(folder, "", 0, arguments, &output);
    cr_expect_eq(code, 0, "%s", output);
    cr_expect_eq(times(output, "metrics.listen"), 1, "%s", output);
    cr_expect(strstr(output, "Address already in use; training goes on"), "%s", output);
    free(output);
    free(arguments);
    close(file);
}

/* ---- a real Prometheus ------------------------------------------------------------------------------------------- */

/* A command in the test's folder, its output in `log`. */
static pid_t start(const char *command, const char *log)
{
    char *line = tarn_test_format("cd %s && exec %s >%s 2>&1", folder, command, log);
    pid_t pid = fork();
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    free(line);
    return pid;
}

static int stop(pid_t pid)
{
    int status = 0;
    kill(pid, SIGTERM);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A GET of the server's API, its answer as JSON to delete; *code may be NULL. */
static cJSON *ask(int port, const char *path, const char *text, int *code)
{
    char *url = tarn_test_format("http://127.0.0.1:%d%s", port, path);
    for (const char *at = text; *at; at++) {
        char *longer = tarn_test_format(isalnum((unsigned char)*at) ? "%s%c" : "%s%%%02X", url, *at);
        free(url);
        url = longer;
    }
    tarn_http *http = tarn_http_open();
    tarn_http_answer answer;
    tarn_http_error error = tarn_http_perform(http, &(tarn_http_request){.url = url, .direct = true}, &answer);
    cJSON *json = error ? NULL : cJSON_Parse(answer.body);
    if (code) *code = error ? -1 : answer.code;
    tarn_http_answer_free(&answer);
    tarn_http_close(http);
    free(url);
    return json;
}

/* The first value of an instant query, NAN when there is none; *series: how many there are, -1: an error. */
static double query(int port, const char *expression, int *series)
{
    int code;
    cJSON *json = ask(port, "/api/v1/query?query=", expression, &code);
    const cJSON *result = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "data"), "result");
    const char *value =
        cJSON_GetStringValue(cJSON_GetArrayItem(cJSON_GetObjectItem(cJSON_GetArrayItem(result, 0), "value"), 1));
    double number = value ? strtod(value, NULL) : NAN;
    *series = code == 200 ? cJSON_GetArraySize(result) : -1;
    cJSON_Delete(json);
    return number;
}

static int asked_port, with_series;

/* What only an evaluation shows: labels that match twice, for one. */
static void ask_panel(const cJSON *object, void *user)
{
    if (!text_in(object, "expr")) return;
    char *expression = with_variables(text_in(object, "expr"), user);
    int series;
    query(asked_port, expression, &series);
    cr_expect_geq(series, 0, "%s cannot be evaluated", expression);
    with_series += series > 0;
    free(expression);
}

/* Asks until there is an answer of at least `least`, for two minutes at most. */
static double query_until(int port, const char *expression, double least)
{
    double value = NAN;
    int series = 0;
    for (int i = 0; i < 600 && !(value >= least); i++) {
        value = query(port, expression, &series);
        if (!(value >= least)) tarn_test_pause(0.2);
    }
    cr_expect(value >= least, "%s is %g, not at least %g", expression, value, least);
    cr_expect_eq(series, 1, "%s has %d series", expression, series);
    return value;
}

/* The value of a name's first series; NAN when there is none. */
static double value_of(const char *text, const char *name)
{
    char *begin = tarn_test_format("\n%s{", name);
    const char *at = text ? strstr(text, begin) : NULL, *value = at ? strstr(at, "} ") : NULL;
    free(begin);
    return value ? strtod(value + 2, NULL) : NAN;
}

Test(monitoring, a_run_that_was_killed_goes_on_counting)
{
    char *output, *text = NULL;
    pid_t run = start(TARN_PROGRAM " train gpt.yaml train.steps=100000000 checkpoint.every=50 train.eval_every=50",
                      "train.log");
    for (int i = 0; i < 600 && !(value_of(text, "tarn_checkpoints_total") >= 2); i++) {
        tarn_test_pause(0.2);
        free(text);
        text = read_in("gpt.prom");
    }
    cr_assert_geq(value_of(text, "tarn_checkpoints_total"), 2);
    cr_expect_eq(value_of(text, "tarn_restarts_total"), 0);
    free(text);
    tarn_test_pause(4); /* so that the file, a moment behind, has most of the steps */
    kill(run, SIGKILL);
    waitpid(run, NULL, 0);
    text = read_in("gpt.prom");
    double steps = value_of(text, "tarn_steps_total"), checkpoints = value_of(text, "tarn_checkpoints_total");
    cr_expect(strstr(text, "status=\"running\"} 1\n"), "a killed run stays behind as running");
    free(text);
    char *arguments =
        tarn_test_format("train gpt.yaml train.steps=%.0f checkpoint.every=50 train.eval_every=50", 2 * steps + 100);
    int code = tarn_test_tarn(folder, "", 0, arguments, &output);
    cr_expect_eq(code, 0, "%s", output);
    text = read_in("gpt.prom");
    cr_expect_eq(value_of(text, "tarn_restarts_total"), 1);
    cr_expect_geq(value_of(text, "tarn_steps_total"), 2 * steps + 100);
    cr_expect_geq(value_of(text, "tarn_last_checkpoint_step"), 2 * steps + 100);
    cr_expect_gt(value_of(text, "tarn_checkpoints_total"), checkpoints);
    cr_expect_eq(value_of(text, "tarn_broken_promise"), 0);
    cr_expect_eq(value_of(text, "tarn_track_lost_total"), 0);
    free(text);
    free(arguments);
    free(output);
}

Test(monitoring, prometheus_scrapes_a_run)
{
    if (!has("prometheus")) return;
    int metrics = tarn_test_free_port(), server = tarn_test_free_port();
    cr_assert(metrics && server);
    char *config = tarn_test_format("global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
                                    "rule_files: [" MONITORING "alerts.yaml]\n"
                                    "scrape_configs:\n"
                                    "  - {job_name: tarn, static_configs: [{targets: [\"127.0.0.1:%d\"]}]}\n",
                                    metrics);
    write_in("prometheus.yaml", config, strlen(config));
    char *train = tarn_test_format(TARN_PROGRAM " train gpt.yaml train.steps=100000000 metrics.listen=127.0.0.1:%d "
                                                "metrics.file=null",
                                   metrics);
    char *serve = tarn_test_format("prometheus --config.file=prometheus.yaml --storage.tsdb.path=data "
                                   "--web.listen-address=127.0.0.1:%d",
                                   server);
    pid_t run = start(train, "train.log"), prometheus = start(serve, "prometheus.log");
    query_until(server, "up{job=\"tarn\"}", 1);
    query_until(server, "tarn_train_loss", 0.01);
    query_until(server, "tarn_steps_total", 30);
    query_until(server, "tarn_checkpoints_total", 1);
    query_until(server, "tarn_validation_loss", 0.01);
    query_until(server, "tarn_run_status{status=\"running\",name=\"watched\"}", 1);
    query_until(server, "tarn_track_events_total", 100);
    query_until(server, "time()-tarn_last_step_timestamp_seconds<60", 0);
    query_until(server, "count({__name__=~\"tarn_.+\"})", 30);
    query_until(server, "rate(tarn_steps_total[10s])", 0.001);
    cJSON *json = dashboard();
    asked_port = server;
    walk(json, ask_panel, ".*");
    cJSON_Delete(json);
    cr_expect_gt(with_series, 30, "%d expressions of the dashboard show something of a run on one rank", with_series);
    json = ask(server, "/api/v1/rules", "", NULL);
    char *rules = cJSON_PrintUnformatted(json);
    cr_expect(strstr(rules, "TarnRunStalled") && !strstr(rules, "\"health\":\"err\""), "%s", rules);
    free(rules);
    cJSON_Delete(json);
    int series;
    query(server, "ALERTS{alertname=~\"TarnRun.+\"}", &series);
    cr_expect_eq(series, 0, "a run that steps is no alarm");
    cr_expect_eq(stop(run), 75);
    stop(prometheus);
    char *log = read_in("train.log");
    cr_expect_null(strstr(log, "metrics."), "%s", log);
    free(log);
    free(serve);
    free(train);
    free(config);
}
