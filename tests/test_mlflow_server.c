/* test_mlflow_server.c - the MLflow sink against `mlflow server` itself, over SQLite and with served artifacts: the
 * real MlflowClient reads back all that was sent; logins are asked for. Needs TARN_TEST_PYTHON, a Python that has
 * mlflow and Flask-WTF. tests/test_mlflow_killed.c kills server and sender. */
#include "tests/mlflow_server_support.h"
#include "track/mlflow/registry.h"

/* Every point of a series once, with its value to the last digit and its time. */
static void expect_series(const cJSON *all, const char *key, const tarn_test_events *events)
{
    const cJSON *points = get(get(all, "metrics"), key), *point = points ? points->child : NULL;
    for (int64_t i = 0; i < events->count; i++) {
        const tarn_track_event *event = &events->at[i];
        if (event->kind != TARN_TRACK_METRIC || strcmp(event->key, key) != 0) continue;
        cr_assert(point, "%s ends before step %lld", key, (long long)event->step);
        cr_assert_eq(cJSON_GetArrayItem(point, 0)->valuedouble, (double)event->step);
        cr_assert_eq(strtod(cJSON_GetArrayItem(point, 1)->valuestring, NULL), event->value, "%s at step %lld", key,
                     (long long)event->step);
        cr_assert_eq(cJSON_GetArrayItem(point, 2)->valuedouble, (double)event->time_ms);
        point = point->next;
    }
    cr_assert_null(point, "%s has more points than were sent", key);
}

/* A model that mlflow.pyfunc can load with Python alone: it doubles what it gets. */
static char *make_model(const char *folder)
{
    static const char mlmodel[] =
        "artifact_path: model\nflavors:\n  python_function:\n    code: code\n    env:\n      conda: conda.yaml\n      "
        "virtualenv: python_env.yaml\n    loader_module: tarn_test_loader\n    python_version: 3.11.0\nmlflow_version: "
        "3.17.2\nmodel_uuid: 0123\nrun_id: local\nutc_time_created: '2026-01-01 00:00:00.000000'\n";
    static const char loader[] =
        "import os\n\n\nclass Model:\n    def __init__(self, path):\n        with open(path) as "
        "file:\n            self.factor = float(file.read())\n\n    def predict(self, data, "
        "params=None):\n        return [self.factor * value for value in data]\n\n\ndef "
        "_load_pyfunc(path):\n    return Model(os.path.join(path, \"data\", \"factor\"))\n";
    static const struct {
        const char *name, *text;
    } files[] = {{"MLmodel", mlmodel},
                 {"code/tarn_test_loader.py", loader},
                 {"data/factor", "2.5"},
                 {"conda.yaml", "name: none\ndependencies: []\n"},
                 {"python_env.yaml", "python: 3.11.0\n"}};
    char *model = tarn_test_format("%s/model", folder), *code = tarn_test_format("%s/code", model);
    char *data = tarn_test_format("%s/data", model);
    mkdir(model, 0777);
    mkdir(code, 0777);
    mkdir(data, 0777);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = tarn_test_format("%s/%s", model, files[i].name);
        cr_assert(tarn_test_write(path, files[i].text, strlen(files[i].text)));
        free(path);
    }
    free(code);
    free(data);
    return model;
}

TestSuite(mlflow_server, .timeout = 600);

Test(mlflow_server, mlflow_reads_back_what_was_sent)
{
    tarn_test_mlflow server = {0};
    char *folder = tarn_test_directory(), *state = tarn_test_format("%s/state", folder), reason[TARN_SINK_PROBLEM];
    char *file = tarn_test_format("%s/file", folder), *model = make_model(folder),
         *tree = tarn_test_format("%s/tree/below", folder), *leaf = tarn_test_format("%s/leaf", tree);
    static tarn_test_events all;
    start_server(&server, false);
    mkdir(state, 0777);
    *strrchr(tree, '/') = '\0';
    mkdir(tree, 0777);
    tree[strlen(tree)] = '/';
    mkdir(tree, 0777);
    *strrchr(tree, '/') = '\0';
    cr_assert(tarn_test_write(file, "bytes \0\xff", 8) && tarn_test_write(leaf, "leaf", 4));
    static char keys[150][16], long_text[6001];
    memset(long_text, 'v', 6000);
    tarn_test_event(&all, TARN_TRACK_BEGIN, NULL, TARN_TEST_START);
    for (int i = 0; i < 150; i++) {
        snprintf(keys[i], sizeof keys[i], "param.%d", i);
        tarn_test_event(&all, TARN_TRACK_PARAM, keys[i], i == 7 ? long_text : i == 8 ? "" : keys[i]);
    }
    tarn_test_event(&all, TARN_TRACK_PARAM, "text", "\"quoted\" \\ \n\t\xc3\xa9 \xf0\x9f\x90\xa7");
    tarn_test_metrics(&all, "train.loss", 0, 3000);
    tarn_test_metrics(&all, "system/node_1/cpu_utilization_percentage", 0, 20);
    static const double edges[] = {1.7976931348623157e308, 5e-324, -0.1, 1.0 / 3, 1e20, 123456789012345678.0, 0.0};
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        tarn_track_event *event = tarn_test_event(&all, TARN_TRACK_METRIC, "edges", NULL);
        event->value = edges[i];
        event->step = (int64_t)i - 3;
    }
    tarn_test_event(&all, TARN_TRACK_TAG, "state", "one");
    tarn_test_event(&all, TARN_TRACK_TAG, "state", "two");
    tarn_test_event(&all, TARN_TRACK_TAG, "mlflow.note.content", "what it is about");
    tarn_test_event(&all, TARN_TRACK_PARAM, "param.3", "changed"); /* lost */
    tarn_test_event(&all, TARN_TRACK_METRIC, "bad*key", NULL);     /* lost */
    tarn_test_event(
        &all, TARN_TRACK_INPUT, "corpus",
        "{\"digest\":\"0123456789abcdef\",\"source\":\"/data/corpus\",\"source_type\":\"local\",\"context\":"
        "\"training\",\"profile\":\"{\\\"num_rows\\\":3}\"}");
    tarn_test_event(&all, TARN_TRACK_ARTIFACT, "logs/a file + more.bin", NULL)->file = file;
    tarn_test_event(&all, TARN_TRACK_ARTIFACT, "tree", NULL)->file = tree;
    tarn_test_event(&all, TARN_TRACK_MODEL, "gpt",
                    "{\"register\":\"Words\",\"alias\":\"champion\",\"step\":40,\"model_type\":\"gpt\",\"params\":{"
                    "\"layers\":\"2\"}}")
        ->file = model;
    tarn_test_event(&all, TARN_TRACK_END, NULL, "FINISHED");
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    cr_expect_eq(tarn_test_deliver(sink, all.at, all.count, reason), 2, "%s", reason);
    sink->destroy(sink);
    tarn_test_remove(state); /* the notes are lost, and all is offered again: nothing may be there twice */
    mkdir(state, 0777);
    sink = tarn_test_sink(server.address, state, NULL);
    cr_expect_eq(tarn_test_deliver(sink, all.at, all.count, reason), 2, "%s", reason);
    sink->destroy(sink);
    cJSON *run = read_back(server.address, TARN_TEST_RUN " Words champion");
    cr_assert_eq(get(run, "runs")->valuedouble, 1);
    expect_text(run, "status", "FINISHED");
    expect_text(run, "experiment", "an experiment");
    expect_text(run, "run_name", "first");
    expect_text(run, "user_id", "mo");
    cr_expect_eq(get(run, "start_time")->valuedouble, (double)all.at[0].time_ms);
    cr_expect_eq(get(run, "end_time")->valuedouble, (double)all.at[all.count - 1].time_ms);
    cr_expect_eq(cJSON_GetArraySize(get(run, "params")), 151);
    for (int i = 0; i < 150; i++) expect_text(get(run, "params"), keys[i], i == 7 ? long_text : i == 8 ? "" : keys[i]);
    expect_text(get(run, "params"), "text", "\"quoted\" \\ \n\t\xc3\xa9 \xf0\x9f\x90\xa7");
    cr_expect_eq(cJSON_GetArraySize(get(run, "metrics")), 3);
    expect_series(run, "train.loss", &all);
    expect_series(run, "system/node_1/cpu_utilization_percentage", &all);
    expect_series(run, "edges", &all);
    static const char *const tags[][2] = {{"state", "two"},
                                          {"mlflow.note.content", "what it is about"},
                                          {"mlflow.user", "mo"},
                                          {"mlflow.source.name", "tarn"},
                                          {"mlflow.source.type", "LOCAL"},
                                          {"mlflow.source.git.commit", "abc123"},
                                          {"mlflow.runName", "first"},
                                          {"tarn.run_id", TARN_TEST_RUN}};
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) expect_text(get(run, "tags"), tags[i][0], tags[i][1]);
    cr_expect_eq(cJSON_GetArraySize(get(run, "artifacts")), 2);
    cr_expect_eq(cJSON_GetArraySize(get(run, "datasets")), 1);
    expect_text(get(run, "artifacts"), "tree/below/leaf", "leaf");
    cr_expect(get(get(run, "artifacts"), "logs/a file + more.bin"));
    const cJSON *dataset = get(run, "datasets")->child;
    expect_text(dataset, "name", "corpus");
    expect_text(dataset, "digest", "0123456789abcdef");
    expect_text(dataset, "source", "{\"uri\":\"/data/corpus\"}");
    expect_text(dataset, "profile", "{\"num_rows\":3}");
    expect_text(get(dataset, "tags"), "mlflow.data.context", "training");
    cr_expect_eq(cJSON_GetArraySize(get(run, "models")), 1);
    const cJSON *logged = get(run, "models")->child, *version = get(run, "version");
    expect_text(logged, "name", "gpt");
    expect_text(logged, "status", "READY");
    expect_text(logged, "source_run_id", tarn_test_text(run, "run_id"));
    expect_text(get(logged, "params"), "layers", "2");
    cr_expect_eq(get(get(run, "outputs")->child, "step")->valuedouble, 40);
    cr_expect_eq(get(run, "versions")->valuedouble, 1);
    expect_text(version, "version", "1");
    expect_text(version, "run_id", tarn_test_text(run, "run_id"));
    expect_text(get(run, "loaded"), "run_id", tarn_test_text(run, "run_id"));
    expect_text(get(run, "loaded"), "model_id", tarn_test_text(logged, "model_id"));
    cr_expect_eq(cJSON_GetArrayItem(get(run, "prediction"), 2)->valuedouble, 7.5);
    cJSON_Delete(run);
    char found[TARN_MLFLOW_VERSION];
    cr_expect_eq(tarn_mlflow_set_alias(server.address, "Words", "next", "1", reason), TARN_OK, "%s", reason);
    cr_expect_eq(tarn_mlflow_get_alias(server.address, "Words", "next", found, reason), TARN_OK, "%s", reason);
    cr_expect_str_eq(found, "1");
    cr_expect_eq(tarn_mlflow_set_alias(server.address, "Words", "latest", "1", reason), TARN_ERROR_ARGUMENT);
    cr_expect(strstr(reason, "reserved"), "%s", reason);
    cr_expect_eq(tarn_mlflow_set_alias(server.address, "Words", "next", "5", reason), TARN_ERROR_ARGUMENT);
    cr_expect(strstr(reason, "version=5"), "%s", reason);
    cr_expect_eq(tarn_mlflow_delete_alias(server.address, "Words", "next", reason), TARN_OK, "%s", reason);
    cr_expect_neq(tarn_mlflow_get_alias(server.address, "Words", "next", found, reason), TARN_OK);
    end_server(&server);
    tarn_test_remove(folder);
    free(folder);
    free(state);
    free(file);
    free(model);
    free(tree);
    free(leaf);
}

Test(mlflow_server, a_server_with_logins)
{
    tarn_test_mlflow server = {0};
    char *folder = tarn_test_directory(), *state = tarn_test_format("%s/state", folder), reason[TARN_SINK_PROBLEM];
    char *file = tarn_test_format("%s/file", folder);
    static tarn_test_events all;
    char *command = tarn_test_format("%s -c 'import flask_wtf'", python());
    if (tarn_test_run(command, 60, NULL)) cr_skip_test("TARN_TEST_PYTHON has no Flask-WTF");
    free(command);
    mkdir(state, 0777);
    cr_assert(tarn_test_write(file, "the file", 8));
    start_server(&server, true);
    tarn_test_event(&all, TARN_TRACK_BEGIN, NULL, TARN_TEST_START);
    tarn_test_metrics(&all, "loss", 0, 100);
    tarn_test_event(&all, TARN_TRACK_ARTIFACT, "file", NULL)->file = file;
    static const struct {
        const char *user, *password, *words, *remedy;
    } cases[] = {{NULL, NULL, "You are not authenticated", "set MLFLOW_TRACKING_USERNAME"},
                 {"admin", "not the password", "You are not authenticated", "check MLFLOW_TRACKING_USERNAME"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].user) setenv("MLFLOW_TRACKING_USERNAME", cases[i].user, 1);
        if (cases[i].password) setenv("MLFLOW_TRACKING_PASSWORD", cases[i].password, 1);
        tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
        tarn_sink_report report;
        sink->write(sink, all.at, all.count, &report);
        cr_expect_eq(report.taken + report.lost, 0);
        cr_expect(strstr(report.problem, cases[i].words), "%s", report.problem);
        cr_expect(strstr(report.problem, cases[i].remedy), "%s", report.problem);
        cr_expect_null(strstr(report.problem, "not the password"), "%s", report.problem);
        sink->destroy(sink);
    }
    setenv("MLFLOW_TRACKING_PASSWORD", "correct horse 12", 1);
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    cr_expect_eq(tarn_test_deliver(sink, all.at, all.count, reason), 0, "%s", reason);
    sink->destroy(sink);
    cJSON *run = read_back(server.address, TARN_TEST_RUN);
    expect_series(run, "loss", &all);
    expect_text(get(run, "artifacts"), "file", "the file");
    cJSON_Delete(run);
    /* the same login in the address alone */
    unsetenv("MLFLOW_TRACKING_USERNAME");
    unsetenv("MLFLOW_TRACKING_PASSWORD");
    char *address = tarn_test_format("http://admin:correct%%20horse%%2012@127.0.0.1:%d", server.port);
    sink = tarn_test_sink(address, state, NULL);
    cr_expect_eq(tarn_test_deliver(sink, all.at, all.count, reason), 0, "%s", reason);
    sink->destroy(sink);
    end_server(&server);
    tarn_test_remove(folder);
    free(address);
    free(folder);
    free(state);
    free(file);
}
