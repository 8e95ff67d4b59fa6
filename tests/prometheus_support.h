/* prometheus_support.h - the Prometheus sink of a run called small, and reading what it serves or writes. */
#ifndef TARN_TESTS_PROMETHEUS_SUPPORT_H
#define TARN_TESTS_PROMETHEUS_SUPPORT_H

#include "runtime/http/http.h"
#include "tests/support.h"
#include "track/prometheus/prometheus.h"

#include <criterion/criterion.h>
#include <stdint.h>

#define RUN_ID "0123456789abcdef0123456789abcdef"

static char *folder;

__attribute__((unused)) static void set_up(void)
{
    folder = tarn_test_directory();
    cr_assert(folder);
}

__attribute__((unused)) static void tear_down(void)
{
    tarn_test_remove(folder);
    free(folder);
}

__attribute__((unused)) static tarn_sink_run run_of(const char *name)
{
    return (tarn_sink_run){.run_id = RUN_ID, .experiment = "Default", .name = name, .state = folder};
}

__attribute__((unused)) static tarn_sink *open_sink(const tarn_track_options *options, char notice[TARN_SINK_PROBLEM])
{
    char problem[TARN_SINK_PROBLEM];
    const tarn_sink_run run = run_of("small");
    tarn_sink *sink = NULL;
    cr_assert_eq(tarn_prometheus_sink_open(&sink, options, &run, notice, problem), TARN_OK, "%s", problem);
    cr_assert(sink);
    return sink;
}

__attribute__((unused)) static tarn_track_event metric(const char *key, double value, int64_t step)
{
    return (tarn_track_event){
        .kind = TARN_TRACK_METRIC, .key = key, .value = value, .step = step, .time_ms = 1700000000000 + step};
}

__attribute__((unused)) static tarn_track_event begin(int64_t time_ms)
{
    return (tarn_track_event){.kind = TARN_TRACK_BEGIN, .text = "{\"ranks\":4}", .time_ms = time_ms};
}

__attribute__((unused)) static void give(tarn_sink *sink, tarn_track_event event)
{
    tarn_sink_report report;
    sink->write(sink, &event, 1, &report);
    cr_expect_eq(report.taken, 1);
    cr_expect_eq(report.lost, 0, "%s", report.problem);
}

/* The value of a line that begins with `series` followed by its labels (a part of them in `labels`, or NULL); NAN when
 * there is none. */
__attribute__((unused)) static double value_of(const char *text, const char *series, const char *labels)
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

__attribute__((unused)) static char *get(const char *address, const char *path, int *code)
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

__attribute__((unused)) static bool has_promtool(void)
{
    return system("command -v promtool >/dev/null 2>&1") == 0;
}

/* promtool's opinion of a text: parses, and follows the rules for names. */
__attribute__((unused)) static void check_text(const char *text)
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

#endif
