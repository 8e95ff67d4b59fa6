/* test_prometheus_text.c - what Prometheus is told: names of series, the text of a table. promtool looks at it where it
 * is installed. */
#include "tests/prometheus_support.h"
#include "track/prometheus/families.h"
#include "track/prometheus/names.h"
#include "track/prometheus/table.h"

TestSuite(prometheus, .init = set_up, .fini = tear_down, .timeout = 600);

/* ---- support ----------------------------------------------------------------------------------------------------- */

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
