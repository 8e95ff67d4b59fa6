/* test_prometheus.c - /metrics and the textfile: names of series, the text, the web server, the files, many readers,
 * addresses that are none. promtool looks at what comes out where it is installed. tests/test_monitoring.c has whole
 * runs, the dashboard and the alerts.
 */
#include "runtime/http/http.h"
#include "tests/support.h"
#include "track/prometheus/families.h"
#include "track/prometheus/names.h"
#include "track/prometheus/prometheus.h"
#include "track/prometheus/table.h"
#include "track/prometheus/web.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>

#define RUN_ID "0123456789abcdef0123456789abcdef"

static char *folder;

static void set_up(void)
{
    folder = tarn_test_directory();
    cr_assert(folder);
}

static void tear_down(void)
{
    tarn_test_remove(folder);
    free(folder);
}

TestSuite(prometheus, .init = set_up, .fini = tear_down, .timeout = 600);

/* ---- support ----------------------------------------------------------------------------------------------------- */

static tarn_sink_run run_of(const char *name)
{
    return (tarn_sink_run){.run_id = RUN_ID, .experiment = "Default", .name = name, .state = folder};
}

static tarn_sink *open_sink(const tarn_track_options *options, char notice[TARN_SINK_PROBLEM])
{
    char problem[TARN_SINK_PROBLEM];
    const tarn_sink_run run = run_of("small");
    tarn_sink *sink = NULL;
    cr_assert_eq(tarn_prometheus_sink_open(&sink, options, &run, notice, problem), TARN_OK, "%s", problem);
    cr_assert(sink);
    return sink;
}

static tarn_track_event metric(const char *key, double value, int64_t step)
{
    return (tarn_track_event){
        .kind = TARN_TRACK_METRIC, .key = key, .value = value, .step = step, .time_ms = 1700000000000 + step};
}

static tarn_track_event begin(int64_t time_ms)
{
    return (tarn_track_event){.kind = TARN_TRACK_BEGIN, .text = "{\"ranks\":4}", .time_ms = time_ms};
}

static void give(tarn_sink *sink, tarn_track_event event)
{
    tarn_sink_report report;
    sink->write(sink, &event, 1, &report);
    cr_expect_eq(report.taken, 1);
    cr_expect_eq(report.lost, 0, "%s", report.problem);
}

static tarn_prometheus_table *table_of(const tarn_track_event *events, int count)
{
    const tarn_sink_run run = run_of("small");
    tarn_prometheus_table *table = tarn_prometheus_table_create(&run);
    cr_assert(table);
    for (int i = 0; i < count; i++) cr_assert_not(tarn_prometheus_table_take(table, &events[i]));
    return table;
}

static char *text_of(tarn_prometheus_table *table)
{
    tarn_prometheus_text *text = tarn_prometheus_table_text(table);
    cr_assert(text);
    cr_assert_eq(strlen(text->data), text->bytes);
    char *copy = strdup(text->data);
    tarn_prometheus_text_release(text);
    return copy;
}

/* The value of a line that begins with `series` followed by its labels (a part of them in `labels`, or NULL); NAN when
 * there is none. */
static double value_of(const char *text, const char *series, const char *labels)
{
    size_t length = strlen(series);
    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, series, length) || line[length] != '{') continue;
        const char *end = strchr(line, '\n');
        char *whole = strndup(line, (size_t)(end - line));
        bool found = !labels || strstr(whole, labels);
        double value = strtod(strrchr(whole, ' '), NULL);
        free(whole);
        if (found) return value;
    }
    return __builtin_nan("");
}

static char *get(const char *address, const char *path, int *code)
{
    char *url = tarn_test_format("http://%s%s", address, path);
    tarn_http *http = tarn_http_open();
    tarn_http_answer answer;
    tarn_http_error error = tarn_http_perform(
        http, &(tarn_http_request){.url = url, .direct = true, .most_bytes = 64 << 20, .total_seconds = 60}, &answer);
    char *body = error ? tarn_test_format("%s", answer.problem) : strdup(answer.body);
    if (code) *code = error ? -1 : answer.code;
    tarn_http_answer_free(&answer);
    tarn_http_close(http);
    free(url);
    return body;
}

/* A connection to the sink, nothing sent. */
static int connect_to(const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(file, (struct sockaddr *)&to, sizeof to)) {
        close(file);
        return -1;
    }
    return file;
}

/* The whole answer, headers and all, to a request written by hand. */
static char *raw(const char *address, const char *request)
{
    int file = connect_to(address);
    cr_assert(file >= 0);
    cr_assert_eq(send(file, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    char *text = calloc(1, 1 << 20);
    size_t used = 0;
    for (ssize_t got; used < (1 << 20) - 1 && (got = recv(file, text + used, (1 << 20) - 1 - used, 0)) > 0;)
        used += (size_t)got;
    close(file);
    return text;
}

static bool has_promtool(void)
{
    return system("command -v promtool >/dev/null 2>&1") == 0;
}

/* promtool's opinion of a text: parses, and follows the rules for names. */
static void check_text(const char *text)
{
    char *path = tarn_test_format("%s/look.prom", folder), *output;
    cr_assert(tarn_test_write(path, text, strlen(text)));
    char *command = tarn_test_format("promtool check metrics < %s", path);
    cr_expect_eq(tarn_test_run(command, 60, &output), 0, "%s\n%s", output, text);
    cr_expect_str_eq(output, "");
    free(output);
    free(command);
    unlink(path);
    free(path);
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

Test(prometheus, keys_become_names_labels_and_base_units)
{
    static const struct {
        const char *key, *name, *part, *part_value;
        double scale;
        bool whole;
    } rows[] = {
        {"train.loss", "tarn_train_loss", NULL, "", 1, true},
        {"train.gradient_norm", "tarn_train_gradient_norm", NULL, "", 1, true},
        {"train_gradient.norm", "tarn_train_gradient_norm", NULL, "", 1, false},
        {"train/loss", "tarn_train_loss", NULL, "", 1, false},
        {"accuracy", "tarn_accuracy", NULL, "", 1, true},
        {"my_accuracy", "tarn_my_accuracy", NULL, "", 1, false},
        {"my.accuracy", "tarn_my_accuracy", NULL, "", 1, true},
        {"system/step_seconds", "tarn_system_step_seconds", NULL, "", 1, true},
        {"system.step_seconds", "tarn_system_step_seconds", NULL, "", 1, false},
        {"system/rank_12/compute_seconds", "tarn_rank_compute_seconds", "rank", "12", 1, true},
        {"system/node_0/cpu_utilization_percentage", "tarn_node_cpu_utilization_ratio", "node", "0", 0.01, false},
        {"system/rank_x/compute", "tarn_system_rank_x_compute", NULL, "", 1, false},
        {"system/rank_1", "tarn_system_rank_1", NULL, "", 1, true},
        {"system/rank_/a", "tarn_system_rank_a", NULL, "", 1, false},
        {"system/system_memory_usage_megabytes", "tarn_system_memory_usage_bytes", NULL, "", 1e6, false},
        {"system/node_3/system_memory_usage_percentage", "tarn_node_memory_usage_ratio", "node", "3", 0.01, false},
        {"system_memory", "tarn_system_memory", NULL, "", 1, false},
        {"system/memory", "tarn_system_memory", NULL, "", 1, true},
        {"eval.latency_milliseconds", "tarn_eval_latency_seconds", NULL, "", 1e-3, false},
        {"tokens_total", "tarn_tokens_total_value", NULL, "", 1, false},
        {"steps.total", "tarn_steps_total_value", NULL, "", 1, false},
        {"run.info", "tarn_run_info_value", NULL, "", 1, false},
        {"valLoss", "tarn_val_loss", NULL, "", 1, false},
        {"ROUGE-L", "tarn_rouge_l", NULL, "", 1, false},
        {"a..b", "tarn_a_b", NULL, "", 1, false},
        {"-", "tarn_value", NULL, "", 1, false},
        {"value", "tarn_value", NULL, "", 1, true},
        {"system/rank_1/-", "tarn_rank_value", "rank", "1", 1, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tarn_prometheus_name name;
        tarn_prometheus_name_of(&name, rows[i].key);
        cr_expect_str_eq(name.name, rows[i].name, "%s: %s", rows[i].key, name.name);
        cr_expect_str_eq(name.part ? name.part : "-", rows[i].part ? rows[i].part : "-", "%s", rows[i].key);
        cr_expect_str_eq(name.part_value, rows[i].part_value, "%s", rows[i].key);
        cr_expect_eq(name.times / name.over, rows[i].scale, "%s", rows[i].key);
        cr_expect_eq(name.whole, rows[i].whole, "%s", rows[i].key);
    }
}

static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

Test(prometheus, random_keys_become_valid_series_that_are_never_the_same)
{
    enum { KEYS = 40000, LONGEST = 250 };
    /* Few characters and few lengths, so that many keys come near each other. */
    static const char *const words[] = {"system", "rank", "node", "train", "loss",       "_",   ".",  "/",
                                        "-",      " ",    ":",    "A",     "b",          "0",   "_1", "total",
                                        "bytes",  "days", "mega", "count", "percentage", "info"};
    static char *keys[KEYS], *series[KEYS];
    uint64_t state = 88172645463325252u;
    for (int i = 0; i < KEYS; i++) {
        char key[LONGEST + 1] = "";
        int pieces = 1 + (int)(draw(&state) % (i % 100 ? 6 : 60));
        for (int k = 0; k < pieces; k++) {
            const char *word = words[draw(&state) % (sizeof words / sizeof *words)];
            if (strlen(key) + strlen(word) <= LONGEST) strcat(key, word);
        }
        keys[i] = strdup(key);
    }
    qsort(keys, KEYS, sizeof *keys, by_text);
    int count = 0;
    for (int i = 0; i < KEYS; i++) {
        if (i && !strcmp(keys[i], keys[i - 1])) continue;
        tarn_prometheus_name name;
        tarn_prometheus_name_of(&name, keys[i]);
        cr_assert(!strncmp(name.name, "tarn_", 5), "%s", keys[i]);
        cr_assert_eq(strspn(name.name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(name.name), "%s: %s", keys[i],
                     name.name);
        cr_assert_null(strstr(name.name, "__"), "%s: %s", keys[i], name.name);
        cr_assert_not(tarn_prometheus_is_own(name.name), "%s: %s", keys[i], name.name);
        size_t length = strlen(name.name);
        cr_assert(length < 6 || strcmp(name.name + length - 6, "_total"), "%s", keys[i]);
        series[count++] = tarn_test_format("%s{%s=%s}%s", name.name, name.part ? name.part : "", name.part_value,
                                           name.whole ? "" : keys[i]);
    }
    cr_assert(count > KEYS / 2);
    qsort(series, (size_t)count, sizeof *series, by_text);
    for (int i = 1; i < count; i++) cr_assert(strcmp(series[i - 1], series[i]), "two keys are %s", series[i]);
    for (int i = 0; i < KEYS; i++) free(keys[i]);
    for (int i = 0; i < count; i++) free(series[i]);
}

/* ---- the text ---------------------------------------------------------------------------------------------------- */

static const tarn_track_event some_events[] = {
    {.kind = TARN_TRACK_BEGIN,
     .text = "{\"user\":\"ann\",\"source\":\"tarn\",\"commit\":\"abc\",\"ranks\":4}",
     .time_ms = 1700000000000},
    {.kind = TARN_TRACK_PARAM, .key = "optim.lr", .text = "0.1", .time_ms = 1700000000000},
    {.kind = TARN_TRACK_METRIC, .key = "train.loss", .value = 2.5, .step = 1, .time_ms = 1700000001000},
    {.kind = TARN_TRACK_METRIC, .key = "train.loss", .value = 0.1, .step = 2, .time_ms = 1700000002500},
    {.kind = TARN_TRACK_METRIC, .key = "train_loss", .value = 7, .step = 2, .time_ms = 1700000002500},
    {.kind = TARN_TRACK_METRIC, .key = "validation.loss", .value = 1e300, .step = 2, .time_ms = 1700000002500},
    {.kind = TARN_TRACK_METRIC, .key = "system/rank_10/compute_seconds", .value = 3, .step = 2},
    {.kind = TARN_TRACK_METRIC, .key = "system/rank_9/compute_seconds", .value = 4, .step = 2},
    {.kind = TARN_TRACK_METRIC, .key = "system/system_memory_usage_megabytes", .value = 1.5, .step = 2},
    {.kind = TARN_TRACK_METRIC, .key = "system/node_1/cpu_utilization_percentage", .value = 24.3, .step = 2},
    {.kind = TARN_TRACK_METRIC, .key = "train.skipped", .value = 3, .step = 2, .time_ms = 1700000002500},
    {.kind = TARN_TRACK_METRIC, .key = "big.megabytes", .value = 1e308, .step = 2, .time_ms = 1700000002500},
    {.kind = TARN_TRACK_TAG, .key = "nonfinite.train.accuracy", .text = "nan at step 2", .time_ms = 1700000002500},
};
enum { SOME = sizeof some_events / sizeof *some_events };

Test(prometheus, the_text_has_the_newest_value_of_each_metric)
{
    tarn_prometheus_table *table = table_of(some_events, SOME);
    char *text = text_of(table);
    cr_expect_eq(value_of(text, "tarn_train_loss", "{run=\"" RUN_ID "\",experiment=\"Default\",name=\"small\"}"), 0.1);
    cr_expect_eq(value_of(text, "tarn_train_loss", "key=\"train_loss\""), 7);
    cr_expect_eq(value_of(text, "tarn_validation_loss", NULL), 1e300);
    cr_expect_eq(value_of(text, "tarn_rank_compute_seconds", "rank=\"9\""), 4);
    cr_expect(strstr(text, "rank=\"9\"") < strstr(text, "rank=\"10\""), "ranks are in their order");
    cr_expect_eq(value_of(text, "tarn_system_memory_usage_bytes", NULL), 1.5e6);
    cr_expect_eq(value_of(text, "tarn_node_cpu_utilization_ratio", "node=\"1\""), 0.243);
    cr_expect_eq(value_of(text, "tarn_steps_total", NULL), 2);
    cr_expect_eq(value_of(text, "tarn_last_step_timestamp_seconds", NULL), 1700000002.5);
    cr_expect_eq(value_of(text, "tarn_begin_timestamp_seconds", NULL), 1700000000);
    cr_expect_eq(value_of(text, "tarn_skipped_steps_total", NULL), 3);
    cr_expect_eq(value_of(text, "tarn_restarts_total", NULL), 0);
    cr_expect_eq(value_of(text, "tarn_nonfinite", "key=\"train.accuracy\""), 1);
    cr_expect(strstr(text, "tarn_train_accuracy") == NULL, "a metric without a finite value has no series");
    cr_expect_eq(value_of(text, "tarn_run_status", "status=\"running\""), 1);
    cr_expect_eq(value_of(text, "tarn_run_status", "status=\"failed\""), 0);
    cr_expect_eq(value_of(text, "tarn_run_info", "user=\"ann\",source=\"tarn\",commit=\"abc\",ranks=\"4\""), 1);
    cr_expect_eq(value_of(text, "tarn_build_info", "version=\"" TARN_VERSION_STRING "\""), 1);
    cr_expect(strstr(text, "name=\"small\",key=\"big.megabytes\"} +Inf\n"), "infinity has the word of the format");
    cr_expect_eq(text[strlen(text) - 1], '\n');
    /* HELP and TYPE once a name, before its series. */
    for (const char *at = text; (at = strstr(at, "# TYPE ")); at++) {
        char name[300], type[20];
        cr_assert_eq(sscanf(at, "# TYPE %299s %19s", name, type), 2);
        char *line = tarn_test_format("# TYPE %s ", name);
        cr_expect_eq(strstr(text, line), at, "%s twice", line);
        free(line);
        bool total = strlen(name) > 6 && !strcmp(name + strlen(name) - 6, "_total");
        cr_expect_str_eq(type, total ? "counter" : "gauge", "%s", name);
    }
    if (has_promtool()) check_text(text);
    free(text);
    tarn_prometheus_table_destroy(table);
}

Test(prometheus, taking_events_twice_changes_nothing)
{
    tarn_prometheus_table *table = table_of(some_events, SOME);
    char *once = text_of(table);
    for (int i = 0; i < SOME; i++) tarn_prometheus_table_take(table, &some_events[i]);
    for (int i = 0; i < SOME; i++) tarn_prometheus_table_take(table, &some_events[i]);
    char *thrice = text_of(table);
    cr_expect_str_eq(once, thrice);
    const tarn_track_event older[] = {metric("train.loss", 99, 1), metric("train.skipped", 1, 1), begin(1600000000000)};
    for (int i = 0; i < 3; i++) tarn_prometheus_table_take(table, &older[i]);
    free(thrice);
    thrice = text_of(table);
    cr_expect_str_eq(once, thrice, "what is older changes nothing");
    free(once);
    free(thrice);
    tarn_prometheus_table_destroy(table);
}

Test(prometheus, names_of_runs_are_escaped_and_stay_utf8)
{
    static const char *const names[] = {"a \"b\" \\ c\nd", "gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x9A\x80",
                                        "torn \xC3", "bad \xFF\xC0\xAF\xED\xA0\x80 end", ""};
    static const char *const shown[] = {"name=\"a \\\"b\\\" \\\\ c\\nd\"",
                                        "name=\"gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x9A\x80\"", "name=\"torn ?\"",
                                        "name=\"bad ?????? end\"", "name=\"tarn-01234567\""};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const tarn_sink_run run = run_of(names[i]);
        tarn_prometheus_table *table = tarn_prometheus_table_create(&run);
        char *text = text_of(table);
        cr_expect(strstr(text, shown[i]), "%s in\n%s", shown[i], text);
        if (has_promtool()) check_text(text);
        free(text);
        tarn_prometheus_table_destroy(table);
    }
}

Test(prometheus, too_many_keys_are_counted)
{
    tarn_prometheus_table *table = table_of(NULL, 0);
    for (int i = 0; i < TARN_PROMETHEUS_SERIES + 7; i++) {
        char key[40];
        snprintf(key, sizeof key, "user.%d", i * 7919 % (TARN_PROMETHEUS_SERIES + 7));
        const tarn_track_event event = metric(key, i, 1);
        cr_assert_not(tarn_prometheus_table_take(table, &event));
    }
    char *text = text_of(table);
    cr_expect_eq(value_of(text, "tarn_left_out_values_total", NULL), 7);
    int lines = 0;
    for (const char *at = text; (at = strstr(at, "\ntarn_user_")); at++) lines++;
    cr_expect_eq(lines, TARN_PROMETHEUS_SERIES);
    free(text);
    tarn_prometheus_table_destroy(table);
}

Test(prometheus, tracking_says_how_far_behind_it_is)
{
    char notice[TARN_SINK_PROBLEM], address[80];
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_listen = "127.0.0.1:0"}, notice);
    sink->statistics(sink, &(tarn_track_statistics){.events = 12,
                                                    .lost = 3,
                                                    .thinned = 2,
                                                    .spool_bytes = 4096,
                                                    .sinks = 2,
                                                    .sink = {{"files", 0}, {"mlflow", 77}}});
    tarn_prometheus_sink_address(sink, address);
    char *text = get(address, "/metrics", NULL);
    cr_expect_eq(value_of(text, "tarn_track_events_total", NULL), 12);
    cr_expect_eq(value_of(text, "tarn_track_lost_total", NULL), 3);
    cr_expect_eq(value_of(text, "tarn_track_thinned_total", NULL), 2);
    cr_expect_eq(value_of(text, "tarn_track_spool_bytes", NULL), 4096);
    cr_expect_eq(value_of(text, "tarn_track_behind_events", "sink=\"mlflow\""), 77);
    cr_expect_eq(value_of(text, "tarn_track_behind_events", "sink=\"files\""), 0);
    if (has_promtool()) check_text(text);
    free(text);
    sink->destroy(sink);
}

/* ---- the web server ---------------------------------------------------------------------------------------------- */

Test(prometheus, pages_methods_and_headers)
{
    char notice[TARN_SINK_PROBLEM], address[80];
    int code;
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_listen = "localhost:0"}, notice);
    tarn_prometheus_sink_address(sink, address);
    cr_assert(strstr(sink->where, address), "port 0 says which it is: %s", sink->where);
    cr_expect_str_eq(notice, "", "which is nothing to be warned of");
    give(sink, metric("train.loss", 1.25, 5));
    char *answer = raw(address, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    cr_expect(strstr(answer, "200 OK"), "%s", answer);
    cr_expect(strstr(answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "%s", answer);
    cr_expect_eq(value_of(strstr(answer, "\r\n\r\n") + 4, "tarn_train_loss", NULL), 1.25);
    free(answer);
    answer = raw(address, "HEAD /metrics HTTP/1.0\r\n\r\n");
    cr_expect(strstr(answer, "200 OK") && !strstr(answer, "tarn_train_loss"), "%s", answer);
    free(answer);
    answer = raw(address, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
    cr_expect(strstr(answer, "405 ") && strstr(answer, "Allow: GET, HEAD\r\n"), "%s", answer);
    free(answer);
    answer = raw(address, "nonsense\r\n\r\n");
    cr_expect_null(strstr(answer, "tarn_"), "%s", answer);
    free(answer);
    static const struct {
        const char *path, *part;
        int code;
    } pages[] = {{"/", "href=\"/metrics\"", 200},
                 {"/healthz", "ok\n", 200},
                 {"/metrics/", "no such page", 404},
                 {"/metrics?name=x", "tarn_train_loss", 200},
                 {"/../../etc/passwd", "no such page", 404}};
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        char *body = get(address, pages[i].path, &code);
        cr_expect_eq(code, pages[i].code, "%s: %d %s", pages[i].path, code, body);
        cr_expect(strstr(body, pages[i].part), "%s: %s", pages[i].path, body);
        free(body);
    }
    sink->destroy(sink);
    cr_expect_lt(connect_to(address), 0, "nobody listens any more");
}

typedef struct scraper {
    const char *address;
    int scrapes, bad;
    double newest;
} scraper;

static void *scrape(void *user)
{
    scraper *it = user;
    for (int i = 0; i < it->scrapes; i++) {
        int code;
        char *text = get(it->address, "/metrics", &code);
        double now = code == 200 ? value_of(text, "tarn_train_loss", NULL) : -1;
        /* whole, and never older than what was seen before */
        if (code != 200 || text[strlen(text) - 1] != '\n' || !(now >= it->newest) || !strstr(text, "tarn_user_zz"))
            it->bad++;
        it->newest = now;
        free(text);
    }
    return NULL;
}

Test(prometheus, many_scrapers_at_once_see_whole_texts)
{
    enum { SCRAPERS = 12 };
    char notice[TARN_SINK_PROBLEM], address[80];
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_listen = "127.0.0.1:0"}, notice);
    tarn_prometheus_sink_address(sink, address);
    give(sink, metric("train.loss", 0, 0));
    for (int i = 0; i < 500; i++) {
        char key[32];
        snprintf(key, sizeof key, "user.%d", i);
        give(sink, metric(key, i, 0));
    }
    give(sink, metric("user.zz", 1, 0));
    pthread_t threads[SCRAPERS];
    scraper scrapers[SCRAPERS];
    for (int i = 0; i < SCRAPERS; i++) {
        scrapers[i] = (scraper){.address = address, .scrapes = 25};
        cr_assert_not(pthread_create(&threads[i], NULL, scrape, &scrapers[i]));
    }
    for (int step = 1; step < 20000; step++) give(sink, metric("train.loss", step, step));
    for (int i = 0; i < SCRAPERS; i++) {
        pthread_join(threads[i], NULL);
        cr_expect_eq(scrapers[i].bad, 0, "scraper %d: %d bad answers", i, scrapers[i].bad);
    }
    sink->destroy(sink);
}

Test(prometheus, readers_that_never_end_hold_nothing_up)
{
    enum { SILENT = TARN_WEB_CONNECTIONS / 2 };
    char notice[TARN_SINK_PROBLEM], address[80];
    int files[SILENT], code;
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_listen = "127.0.0.1:0"}, notice);
    tarn_prometheus_sink_address(sink, address);
    for (int i = 0; i < 3000; i++) {
        char key[32];
        snprintf(key, sizeof key, "user.%d", i);
        give(sink, metric(key, i, 0));
    }
    /* Some say nothing, some half a request, some ask and do not read. */
    for (int i = 0; i < SILENT; i++) {
        const char *say = i % 3 == 0 ? "" : i % 3 == 1 ? "GET /met" : "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
        files[i] = connect_to(address);
        cr_assert(files[i] >= 0);
        cr_assert_eq(send(files[i], say, strlen(say), MSG_NOSIGNAL), (ssize_t)strlen(say));
    }
    for (int step = 1; step < 2000; step++) give(sink, metric("train.loss", step, step));
    char *text = get(address, "/metrics", &code);
    cr_expect_eq(code, 200);
    cr_expect_eq(value_of(text, "tarn_train_loss", NULL), 1999);
    free(text);
    /* Destroying does not wait for them either. */
    sink->destroy(sink);
    for (int i = 0; i < SILENT; i++) close(files[i]);
}

Test(prometheus, a_crowd_is_served_when_the_silent_ones_leave)
{
    enum { SILENT = TARN_WEB_CONNECTIONS + 20 };
    char notice[TARN_SINK_PROBLEM], address[80];
    int files[SILENT], code;
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_listen = "127.0.0.1:0"}, notice);
    tarn_prometheus_sink_address(sink, address);
    for (int i = 0; i < SILENT; i++) {
        files[i] = connect_to(address);
        cr_assert(files[i] >= 0, "connection %d: the kernel keeps those that wait", i);
    }
    give(sink, metric("train.loss", 4, 4)); /* is not held up */
    for (int i = 0; i < SILENT; i++) close(files[i]);
    char *text = get(address, "/metrics", &code);
    cr_expect_eq(code, 200, "%s", text);
    cr_expect_eq(value_of(text, "tarn_train_loss", NULL), 4);
    free(text);
    sink->destroy(sink);
}

Test(prometheus, threads_of_the_sink_leave_signals_to_the_main_thread)
{
    char notice[TARN_SINK_PROBLEM];
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_listen = "127.0.0.1:0"}, notice);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int signal = 1; signal < 32; signal++)
        cr_expect_eq(sigismember(&before, signal), sigismember(&after, signal), "the caller's mask stays");
    DIR *tasks = opendir("/proc/self/task");
    int others = 0;
    for (struct dirent *entry; (entry = readdir(tasks));) {
        if (atoi(entry->d_name) <= 0 || atoi(entry->d_name) == (int)gettid()) continue;
        char *path = tarn_test_format("/proc/self/task/%s/status", entry->d_name);
        char *status = tarn_test_read(path, NULL), *blocked = status ? strstr(status, "SigBlk:") : NULL;
        free(path);
        if (blocked) {
            unsigned long long mask = strtoull(blocked + 7, NULL, 16);
            cr_expect(mask & 1ull << (SIGTERM - 1) && mask & 1ull << (SIGINT - 1) && mask & 1ull << (SIGUSR1 - 1));
            others++;
        }
        free(status);
    }
    closedir(tasks);
    cr_expect_geq(others, 2, "the server's and the publisher's thread");
    sink->destroy(sink);
}

/* ---- addresses and files that are none --------------------------------------------------------------------------- */

Test(prometheus, wrong_addresses_are_errors_that_name_key_and_remedy)
{
    static const struct {
        const char *listen, *part;
    } rows[] = {{"9464", "is no ADDRESS:PORT"},
                {"127.0.0.1", "is no ADDRESS:PORT"},
                {"127.0.0.1:", "is no ADDRESS:PORT"},
                {"127.0.0.1:http", "is no ADDRESS:PORT"},
                {"127.0.0.1:65536", "is no ADDRESS:PORT"},
                {"127.0.0.1:123456789012", "is no ADDRESS:PORT"},
                {"127.0.0.1:-1", "is no ADDRESS:PORT"},
                {"::1:9464", "is no ADDRESS:PORT"},
                {"[]:9464", "is no ADDRESS:PORT"},
                {"[::1:9464", "is no ADDRESS:PORT"},
                {"http://127.0.0.1:9464", "is no ADDRESS:PORT"},
                {"metrics.example.org:9464", "is no ADDRESS:PORT"},
                {"300.1.2.3:9464", "is no ADDRESS:PORT"},
                {"192.0.2.1:9464", "it is not an address of this machine"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
        const tarn_sink_run run = run_of(NULL);
        tarn_sink *sink = NULL;
        tarn_status status = tarn_prometheus_sink_open(&sink, &(tarn_track_options){.metrics_listen = rows[i].listen},
                                                       &run, notice, problem);
        cr_expect_eq(status, TARN_ERROR_CONFIG, "%s: %d", rows[i].listen, status);
        cr_expect_null(sink);
        cr_expect(strstr(problem, "metrics.listen") && strstr(problem, rows[i].part), "%s: %s", rows[i].listen,
                  problem);
    }
}

Test(prometheus, nothing_asked_for_is_no_sink)
{
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    const tarn_sink_run run = run_of(NULL);
    tarn_sink *sink = (tarn_sink *)folder;
    cr_expect_eq(tarn_prometheus_sink_open(&sink, &(tarn_track_options){.store = "none"}, &run, notice, problem),
                 TARN_OK);
    cr_expect_null(sink);
    cr_expect_eq(tarn_prometheus_sink_open(&sink, &(tarn_track_options){.metrics_listen = "", .metrics_file = ""}, &run,
                                           notice, problem),
                 TARN_OK);
    cr_expect_null(sink);
}

Test(prometheus, a_taken_port_is_a_warning_and_served_once_it_is_free)
{
    char notice[TARN_SINK_PROBLEM], address[80], later[80] = "";
    tarn_sink *first = open_sink(&(tarn_track_options){.metrics_listen = "127.0.0.1:0"}, notice);
    tarn_prometheus_sink_address(first, address);
    tarn_sink *second = open_sink(&(tarn_track_options){.metrics_listen = address}, notice);
    cr_expect(strstr(notice, "metrics.listen") && strstr(notice, "training goes on"), "%s", notice);
    give(second, metric("train.loss", 3, 3));
    tarn_prometheus_sink_address(second, later);
    cr_expect_str_eq(later, "");
    first->destroy(first);
    for (int i = 0; i < 600 && !*later; i++) {
        usleep(100000);
        tarn_prometheus_sink_address(second, later);
    }
    cr_expect_str_eq(later, address);
    tarn_track_event event = metric("train.loss", 3, 4);
    tarn_sink_report report;
    second->write(second, &event, 1, &report);
    cr_expect(strstr(report.problem, "metrics.listen") && strstr(report.problem, address), "%s", report.problem);
    char *text = get(address, "/metrics", NULL);
    cr_expect_eq(value_of(text, "tarn_train_loss", NULL), 3, "%s", text);
    free(text);
    second->destroy(second);
}

Test(prometheus, without_libmicrohttpd_the_package_is_named)
{
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    const tarn_sink_run run = run_of(NULL);
    tarn_sink *sink = NULL;
    setenv("TARN_MICROHTTPD", "/nowhere/libmicrohttpd.so", 1);
    tarn_status status =
        tarn_prometheus_sink_open(&sink, &(tarn_track_options){.metrics_listen = "127.0.0.1:0"}, &run, notice, problem);
    cr_expect_eq(status, TARN_ERROR_UNSUPPORTED);
    cr_expect_null(sink);
    cr_expect(strstr(problem, "package libmicrohttpd12") && strstr(problem, "metrics.listen"), "%s", problem);
    /* The file needs no server. */
    char *path = tarn_test_format("%s/tarn.prom", folder);
    sink = open_sink(&(tarn_track_options){.metrics_file = path}, notice);
    sink->destroy(sink);
    cr_expect_eq(access(path, R_OK), 0);
    free(path);
}

Test(prometheus, files_that_cannot_be_written_are_errors)
{
    char *no_folder = tarn_test_format("%s/missing/tarn.prom", folder);
    const char *const paths[] = {no_folder, folder, "/proc/tarn.prom"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
        const tarn_sink_run run = run_of(NULL);
        tarn_sink *sink = NULL;
        cr_expect_eq(
            tarn_prometheus_sink_open(&sink, &(tarn_track_options){.metrics_file = paths[i]}, &run, notice, problem),
            TARN_ERROR_CONFIG);
        cr_expect_null(sink);
        cr_expect(strstr(problem, "metrics.file") && strstr(problem, paths[i]), "%s", problem);
    }
    free(no_folder);
    char notice[TARN_SINK_PROBLEM], *path = tarn_test_format("%s/metrics.txt", folder);
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_file = path}, notice);
    cr_expect(strstr(notice, ".prom"), "%s", notice);
    sink->destroy(sink);
    free(path);
}

/* ---- the file, and what outlives a process ----------------------------------------------------------------------- */

Test(prometheus, the_file_is_whole_at_every_moment_and_ends_with_the_last_values)
{
    char notice[TARN_SINK_PROBLEM], *path = tarn_test_format("%s/tarn.prom", folder);
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_file = path}, notice);
    int looks = 0;
    for (int step = 1; step <= 400; step++) {
        for (int i = 0; i < 50; i++) give(sink, metric("train.loss", step, step));
        char *text = tarn_test_read(path, NULL);
        if (text) {
            looks++;
            cr_expect(*text == '#' && text[strlen(text) - 1] == '\n' && strstr(text, "tarn_run_status"), "%s", text);
        }
        free(text);
        usleep(5000);
    }
    cr_expect_gt(looks, 0, "the file is there before the end");
    give(sink, (tarn_track_event){.kind = TARN_TRACK_END, .text = "FINISHED", .time_ms = 1700000100000});
    sink->destroy(sink);
    char *text = tarn_test_read(path, NULL);
    cr_assert(text);
    cr_expect_eq(value_of(text, "tarn_train_loss", NULL), 400);
    cr_expect_eq(value_of(text, "tarn_run_status", "status=\"finished\""), 1);
    cr_expect_eq(value_of(text, "tarn_run_status", "status=\"running\""), 0);
    if (has_promtool()) check_text(text);
    free(text);
    int files = 0;
    DIR *directory = opendir(folder);
    for (struct dirent *entry; (entry = readdir(directory));) files += entry->d_name[0] != '.';
    closedir(directory);
    cr_expect_eq(files, 2, "nothing is left beside the file and the counters");
    free(path);
}

Test(prometheus, counters_go_on_in_the_next_process)
{
    char notice[TARN_SINK_PROBLEM], *path = tarn_test_format("%s/tarn.prom", folder);
    const tarn_track_options options = {.metrics_file = path};
    for (int process = 0; process < 4; process++) {
        tarn_sink *sink = open_sink(&options, notice);
        cr_expect_str_eq(notice, "");
        give(sink, begin(1700000000000 + process));
        give(sink, begin(1700000000000 + process)); /* may come again */
        if (!process) {
            give(sink, metric("train.loss", 0.1, 100));
            give(sink, metric("validation.loss", 1.0 / 3, 100));
            give(sink, metric("train.skipped", 2, 100));
            give(sink, (tarn_track_event){.kind = TARN_TRACK_TAG, .key = "nonfinite.train.loss", .text = "nan"});
        }
        sink->destroy(sink);
    }
    char *text = tarn_test_read(path, NULL);
    cr_assert(text);
    cr_expect_eq(value_of(text, "tarn_restarts_total", NULL), 3);
    cr_expect_eq(value_of(text, "tarn_steps_total", NULL), 100);
    cr_expect_eq(value_of(text, "tarn_skipped_steps_total", NULL), 2);
    cr_expect_eq(value_of(text, "tarn_validation_loss", NULL), 1.0 / 3);
    cr_expect_eq(value_of(text, "tarn_nonfinite", "key=\"train.loss\""), 1);
    cr_expect_eq(value_of(text, "tarn_last_step_timestamp_seconds", NULL), 1700000000.1);
    free(text);
    free(path);
}

Test(prometheus, broken_counters_begin_anew)
{
    static const char *const broken[] = {
        "", "{", "[]", "{\"format\":1}", "{\"format\":2,\"metrics\":[]}", "{\"format\":1,\"metrics\":[3]}", "\xFF\xFE"};
    char *path = tarn_test_format("%s/counters.json", folder), *file = tarn_test_format("%s/tarn.prom", folder);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        char notice[TARN_SINK_PROBLEM];
        cr_assert(tarn_test_write(path, broken[i], strlen(broken[i])));
        tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_file = file}, notice);
        cr_expect(strstr(notice, "counters.json"), "%s: %s", broken[i], notice);
        give(sink, metric("train.loss", 1, 1));
        sink->destroy(sink);
        char *text = tarn_test_read(file, NULL);
        cr_expect_eq(value_of(text, "tarn_steps_total", NULL), 1);
        free(text);
    }
    free(path);
    free(file);
}

Test(prometheus, a_folder_that_goes_away_is_told_once_and_nothing_is_lost)
{
    char notice[TARN_SINK_PROBLEM], *inside = tarn_test_format("%s/textfile", folder);
    cr_assert_not(mkdir(inside, 0755));
    char *path = tarn_test_format("%s/tarn.prom", inside);
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_file = path}, notice);
    char *away = tarn_test_format("%s/away", folder);
    cr_assert_not(rename(inside, away)); /* at once, whatever the publisher is doing in it */
    int told = 0;
    for (int step = 1; step < 100; step++) {
        tarn_track_event event = metric("train.loss", step, step);
        tarn_sink_report report;
        sink->write(sink, &event, 1, &report);
        cr_assert_eq(report.taken, 1);
        cr_assert_eq(report.lost, 0);
        if (*report.problem) {
            told++;
            cr_expect(strstr(report.problem, "metrics.file") && strstr(report.problem, path), "%s", report.problem);
        }
        usleep(50000);
    }
    cr_expect_eq(told, 1);
    sleep(2);                           /* so that the last values were tried, too */
    cr_assert_not(mkdir(inside, 0755)); /* and comes back */
    sink->destroy(sink);
    char *text = tarn_test_read(path, NULL);
    cr_expect(text && value_of(text, "tarn_train_loss", NULL) == 99);
    free(text);
    free(path);
    free(away);
    free(inside);
}
