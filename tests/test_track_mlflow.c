/* test_track_mlflow.c - the real MLflow reads back what a run recorded (with TARN_TEST_PYTHON, a Python that has
 * mlflow). */
#include "runtime/config/document.h"
#include "tests/track_support.h"

#include <math.h>

TestSuite(track, .init = begin, .fini = end_record);

static const tarn_document_entry *entry_of(const tarn_document *document, const char *key)
{
    for (int i = 0; i < document->count; i++)
        if (!strcmp(document->entries[i].key, key)) return &document->entries[i];
    cr_assert_fail("MLflow returned no %s", key);
    return NULL;
}

static void expect_entry(const tarn_document *document, const char *key, const char *expected)
{
    const tarn_document_entry *entry = entry_of(document, key);
    cr_assert_eq(entry->kind, TARN_DOCUMENT_SCALAR);
    cr_assert_str_eq(entry->items[0].text, expected, "%s is \"%s\"", key, entry->items[0].text);
}

static double curve(int64_t step)
{
    return 4.0 / sqrt((double)step + 1.0);
}

static void expect_history(const tarn_document *document, const char *metric, int64_t count, int64_t stride,
                           double sign)
{
    char *values = tarn_test_format("values.%s", metric), *steps = tarn_test_format("steps.%s", metric),
         *times = tarn_test_format("times.%s", metric);
    const tarn_document_entry *value = entry_of(document, values), *step = entry_of(document, steps),
                              *time = entry_of(document, times);
    cr_assert(value->count == count && step->count == count && time->count == count, "%s has %d points, expected %lld",
              metric, value->count, (long long)count);
    for (int64_t i = 0; i < count; i++) {
        cr_assert_eq(atoll(step->items[i].text), i * stride);
        cr_assert_eq(strtod(value->items[i].text, NULL), sign * curve(i * stride), "%s at %lld: %s", metric,
                     (long long)(i * stride), value->items[i].text);
        cr_assert(atoll(time->items[i].text) > 1600000000000 &&
                  (!i || atoll(time->items[i].text) >= atoll(time->items[i - 1].text)));
    }
    free(values);
    free(steps);
    free(times);
}

/* A Python that has mlflow, or NULL after saying why not. */
static const char *python_with_mlflow(void)
{
    const char *python = getenv("TARN_TEST_PYTHON");
    if (!python || !*python) {
        cr_log_warn("skipped: TARN_TEST_PYTHON names no Python (scripts/test makes one with mlflow)");
        return NULL;
    }
    char *command = tarn_test_format("'%s' -c 'import mlflow'", python), *output;
    int code = tarn_test_run(command, TARN_TEST_SECONDS, &output);
    if (code) cr_log_warn("skipped: %s cannot import mlflow: %.300s", python, output);
    free(command);
    free(output);
    return code ? NULL : python;
}

static void log_steps(tarn_tracker *tracker, int64_t first, int64_t last)
{
    for (int64_t step = first; step < last; step++) {
        tarn_log_metric(tracker, "loss", curve(step), step);
        tarn_log_metric(tracker, "system/node 0/free", -curve(step), step);
        if (step % 10 == 0) tarn_log_metric(tracker, "validation.loss", curve(step), step);
    }
}

Test(track, mlflow_reads_it_back, .timeout = 300)
{
    const char *python = python_with_mlflow();
    if (!python) cr_skip_test("no Python with mlflow");
    tarn_track_close(open_run("real \xc3\xa4 \"name\": #1", "a neighbour without metrics", NULL), "FAILED");
    tarn_tracker *tracker = open_run("real \xc3\xa4 \"name\": #1", "run: \"one\" # \xc3\xa4", NULL);
    char id[33];
    snprintf(id, sizeof id, "%s", tarn_track_run_id(tracker));
    tarn_log_param(tracker, "optim.lr", "0.001");
    tarn_log_param(tracker, "model/sizes", "[784, 128, 10]");
    tarn_log_param(tracker, "empty", "");
    tarn_log_param(tracker, "lines", "one\ntwo: \xc3\xa4");
    tarn_log_metric(tracker, "accuracy", NAN, 3);
    log_steps(tracker, 0, 70);
    char *config = tarn_test_format("%s/config.yaml", folder);
    tarn_test_write(config, "seed: 1\n", 8);
    tarn_log_artifact(tracker, config, NULL);
    tarn_log_artifact(tracker, config, "deep/er");
    tarn_track_close(tracker, "KILLED");
    tracker = open_run(NULL, NULL, id);
    log_steps(tracker, 40, 101); /* resumed at a checkpoint of step 40 */
    tarn_log_tag(tracker, "mlflow.note.content", "it went on");
    tarn_track_close(tracker, "FINISHED");

    char *command =
             tarn_test_format("'%s' '%s/tests/python/read_mlflow.py' '%s' %s", python, TARN_SOURCE_DIR, store, id),
         *json;
    int code = tarn_test_run(command, 120, &json);
    cr_assert_eq(code, 0, "%s", json);
    const char *object = strchr(json, '{'); /* after warnings of Python's libraries */
    tarn_document document;
    cr_assert_not_null(object, "%s", json);
    cr_assert(tarn_document_parse(&document, object, strlen(object)), "%s in\n%s", document.problem, json);
    expect_entry(&document, "experiment", "real \xc3\xa4 \"name\": #1");
    expect_entry(&document, "experiments", "1");
    expect_entry(&document, "status", "FINISHED");
    expect_entry(&document, "run_name", "run: \"one\" # \xc3\xa4");
    cr_assert_eq(entry_of(&document, "searched")->count, 2);
    cr_assert_str_eq(entry_of(&document, "by_name")->items[0].text,
                     entry_of(&document, "experiment_id")->items[0].text);
    cr_assert(atoll(entry_of(&document, "end_time")->items[0].text) >=
              atoll(entry_of(&document, "start_time")->items[0].text));
    expect_history(&document, "loss", 101, 1, 1);
    expect_history(&document, "system/node 0/free", 101, 1, -1);
    expect_history(&document, "validation.loss", 11, 10, 1);
    cr_assert_eq(strtod(entry_of(&document, "latest.loss")->items[0].text, NULL), curve(100));
    expect_entry(&document, "params.optim.lr", "0.001");
    expect_entry(&document, "params.model/sizes", "[784, 128, 10]");
    expect_entry(&document, "params.empty", "");
    expect_entry(&document, "params.lines", "one\ntwo: \xc3\xa4");
    expect_entry(&document, "tags.nonfinite.accuracy", "nan at step 3");
    expect_entry(&document, "tags.mlflow.note.content", "it went on");
    expect_entry(&document, "tags.mlflow.source.type", "LOCAL");
    expect_entry(&document, "tags.mlflow.runName", "run: \"one\" # \xc3\xa4");
    cr_assert(strlen(entry_of(&document, "tags.mlflow.user")->items[0].text) > 0);
    const tarn_document_entry *artifacts = entry_of(&document, "artifacts"),
                              *texts = entry_of(&document, "artifact_texts");
    cr_assert(artifacts->count == 2 && texts->count == 2);
    cr_assert_str_eq(artifacts->items[0].text, "config.yaml");
    cr_assert_str_eq(artifacts->items[1].text, "deep/er/config.yaml");
    cr_assert_str_eq(texts->items[1].text, "seed: 1\n");
    tarn_document_free(&document);
    free(config);
    free(command);
    free(json);
}
