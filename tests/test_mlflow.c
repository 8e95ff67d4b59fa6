/* test_mlflow.c - the MLflow sink against a server of the tests: what is sent, that nothing is there twice, named runs,
 * models and files. tests/test_mlflow_trouble.c and tests/test_mlflow_login.c have what goes wrong there,
 * tests/test_mlflow_server.c does the same with MLflow itself. */
#include "tests/mlflow_fake_support.h"
#include "track/mlflow/registry.h"

TestSuite(mlflow, .init = start, .fini = stop, .timeout = 180);

static void everything(const char *file, const char *model)
{
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, TARN_TEST_START);
    tarn_test_event(events, TARN_TRACK_PARAM, "optimizer.lr", "0.1");
    tarn_test_event(events, TARN_TRACK_PARAM, "text", "\"quoted\" \\ \n\t\x01 \xff \xc3\xa9");
    tarn_test_metrics(events, "train.loss", 0, 2500);
    tarn_test_event(events, TARN_TRACK_TAG, "state", "one");
    tarn_test_event(events, TARN_TRACK_TAG, "state", "two");
    tarn_test_event(events, TARN_TRACK_HISTOGRAM, "weights", "{}");
    tarn_test_event(events, TARN_TRACK_INPUT, "corpus",
                    "{\"digest\":\"0123456789012345678901234567890123456789\",\"source\":\"/data/corpus\","
                    "\"source_type\":\"local\",\"context\":\"training\",\"profile\":\"{\\\"num_rows\\\":3}\"}");
    tarn_test_event(events, TARN_TRACK_ARTIFACT, "logs/a file 100%.txt", NULL)->file = file;
    tarn_test_event(events, TARN_TRACK_MODEL, "gpt.1",
                    "{\"register\":\"Words\",\"alias\":\"champion\",\"step\":40,\"model_type\":\"gpt\",\"params\":"
                    "{\"layers\":\"2\"}}")
        ->file = model;
    tarn_test_event(events, TARN_TRACK_END, NULL, "FINISHED");
}

static void check_everything(void)
{
    cJSON *all = dump();
    const cJSON *run = the_run(all), *info = get(run, "info"), *tags = get(run, "tags");
    cr_expect_str_eq(tarn_test_text(info, "status"), "FINISHED");
    cr_expect_str_eq(tarn_test_text(info, "run_name"), "first");
    cr_expect_str_eq(tarn_test_text(info, "user_id"), "mo");
    cr_expect_eq(get(info, "start_time")->valuedouble, (double)events->at[0].time_ms);
    cr_expect_eq(get(info, "end_time")->valuedouble, (double)events->at[events->count - 1].time_ms);
    cr_expect_str_eq(tarn_test_text(tags, "tarn.run_id"), TARN_TEST_RUN);
    cr_expect_str_eq(tarn_test_text(tags, "mlflow.source.git.commit"), "abc123");
    cr_expect_str_eq(tarn_test_text(tags, "state"), "two");
    cr_expect_str_eq(tarn_test_text(get(run, "params"), "optimizer.lr"), "0.1");
    cr_expect_str_eq(tarn_test_text(get(run, "params"), "text"), "\"quoted\" \\ \n\t\x01 ? \xc3\xa9");
    expect_metrics(run, 2500);
    int64_t step = 0;
    const cJSON *metric;
    cJSON_ArrayForEach(metric, get(run, "metrics"))
    {
        cr_assert_eq(get(metric, "step")->valuedouble, (double)step);
        cr_assert_eq(get(metric, "value")->valuedouble, (double)step / 3 - 7, "the value of step %d lost digits",
                     (int)step);
        step++;
    }
    const cJSON *dataset = get(get(run, "inputs")->child, "dataset");
    cr_expect_eq(cJSON_GetArraySize(get(run, "inputs")), 1);
    cr_expect_str_eq(tarn_test_text(dataset, "source"), "{\"uri\":\"/data/corpus\"}");
    cr_expect_eq(strlen(tarn_test_text(dataset, "digest")), 36);
    cr_expect_eq(cJSON_GetArraySize(get(all, "models")), 1);
    const cJSON *model = get(get(all, "models")->child, "info");
    cr_expect_str_eq(tarn_test_text(model, "status"), "LOGGED_MODEL_READY");
    cr_expect_str_eq(tarn_test_text(model, "name"), "gpt_1");
    cr_expect_eq(cJSON_GetArraySize(get(get(run, "outputs"), "model_outputs")), 1);
    cr_expect_eq(cJSON_GetArraySize(get(get(all, "registered"), "Words")), 1);
    cr_expect_str_eq(tarn_test_text(get(all, "aliases"), "Words@champion"), "1");
    char *artifact = tarn_test_format("1/%s/artifacts/logs/a file 100%%.txt", run->string);
    char *mlmodel = tarn_test_format("1/models/%s/artifacts/MLmodel", tarn_test_text(model, "model_id"));
    char *weights = tarn_test_format("1/models/%s/artifacts/data/model.onnx", tarn_test_text(model, "model_id"));
    char *id = tarn_test_format("\nrun_id: %s\n", run->string);
    const cJSON *files = get(all, "artifacts");
    cr_expect_str_eq(tarn_test_text(files, artifact), "the file");
    cr_expect_str_eq(tarn_test_text(files, weights), "weights");
    cr_expect(strstr(tarn_test_text(files, mlmodel), id), "%s", tarn_test_text(files, mlmodel));
    cr_expect_null(strstr(tarn_test_text(files, mlmodel), "local"));
    free(artifact);
    free(mlmodel);
    free(weights);
    free(id);
    cJSON_Delete(all);
}

Test(mlflow, everything_arrives_and_again_changes_nothing)
{
    char *file = tarn_test_format("%s/file", folder), *model = tarn_test_model(folder);
    cr_assert(tarn_test_write(file, "the file", 8));
    everything(file, model);
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    cr_expect_eq(deliver(sink), 0, "%s", reason);
    check_everything();
    cr_expect_eq(deliver(sink), 0, "%s", reason); /* as after a crash before anything was acknowledged */
    check_everything();
    sink->destroy(sink);
    sink = tarn_test_sink(server.address, state, NULL); /* the next process */
    cr_expect_eq(deliver(sink), 0, "%s", reason);
    sink->destroy(sink);
    check_everything();
    char *elsewhere = tarn_test_format("%s/other", folder); /* the notes are lost */
    mkdir(elsewhere, 0777);
    sink = tarn_test_sink(server.address, elsewhere, NULL);
    cr_expect_eq(deliver(sink), 0, "%s", reason);
    sink->destroy(sink);
    check_everything();
    free(elsewhere);
    free(file);
    free(model);
}

/* The run that MLFLOW_RUN_ID names is gone on with where the server has it. */
Test(mlflow, a_named_run_is_gone_on_with)
{
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, "{\"name\":\"made elsewhere\"}");
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    deliver(sink);
    sink->destroy(sink);
    char *other = tarn_test_format("%s/other", folder);
    mkdir(other, 0777);
    tarn_sink *named = NULL;
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    cr_assert_eq(tarn_mlflow_sink_open(
                     &named,
                     &(tarn_track_options){.store = server.address, .run_id = "00000000000000000000000000000001"},
                     &(tarn_sink_run){.run_id = "ffffffffffffffffffffffffffffffff", .experiment = "X", .state = other},
                     notice, problem),
                 TARN_OK);
    events->count = 0;
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, "{}");
    tarn_test_metrics(events, "loss", 0, 3);
    deliver(named);
    named->destroy(named);
    cJSON *all = dump();
    expect_metrics(the_run(all), 3);
    cr_expect_str_eq(tarn_test_text(get(the_run(all), "tags"), "tarn.run_id"), "ffffffffffffffffffffffffffffffff");
    cr_expect_str_eq(tarn_test_text(get(the_run(all), "info"), "run_name"), "made elsewhere");
    cJSON_Delete(all);
    free(other);
}

/* One that the server lacks is begun anew, and that is told once, with where to see it. */
Test(mlflow, a_named_run_that_is_not_there_begins_anew_and_is_told)
{
    static const char wanted[] = "00000000000000000000000000000042";
    tarn_sink *sink = NULL;
    tarn_sink_report report;
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    cr_assert_eq(
        tarn_mlflow_sink_open(&sink, &(tarn_track_options){.store = server.address, .run_id = wanted},
                              &(tarn_sink_run){.run_id = wanted, .experiment = "X", .state = state, .named = true},
                              notice, problem),
        TARN_OK);
    cr_expect(strstr(sink->where, server.address) && strstr(sink->where, wanted), "%s", sink->where);
    events->count = 0;
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, "{}");
    sink->write(sink, events->at, 1, &report);
    cr_expect(report.taken == 1 && !report.lost);
    cr_expect(strstr(report.problem, "does not hold run 00000000000000000000000000000042: its record begins anew"),
              "%s", report.problem);
    cJSON *all = dump();
    char *url = tarn_test_format("%s/#/experiments/%s/runs/%s", server.address,
                                 tarn_test_text(get(the_run(all), "info"), "experiment_id"), the_run(all)->string);
    cr_expect(strstr(report.information, url), "%s in %s", url, report.information);
    sink->write(sink, events->at, 1, &report);
    cr_expect(!*report.problem && !*report.information, "told once");
    sink->destroy(sink);
    cJSON_Delete(all);
    free(url);
}

/* A model that is there is asked for again: another alias, another name, no second version, no second upload; what is
 * done is not done again. */
Test(mlflow, a_model_that_is_there_gets_another_alias_and_another_name)
{
    static const char *const texts[] = {
        "{\"model_id\":\"m-00000000000000000000000000000001\",\"register\":\"Words\",\"alias\":\"champion\",\"step\":"
        "3}",
        "{\"model_id\":\"m-00000000000000000000000000000002\",\"register\":\"Words\",\"alias\":\"champion\",\"step\":"
        "4}",
        "{\"model_id\":\"m-00000000000000000000000000000001\",\"register\":\"Words\",\"alias\":\"champion\",\"step\":"
        "3}",
        "{\"model_id\":\"m-00000000000000000000000000000001\",\"register\":\"Others\",\"alias\":\"best\",\"step\":3}"};
    char *files = tarn_test_format("%s/again", folder), *mlmodel = tarn_test_format("%s/MLmodel", files);
    char version[TARN_MLFLOW_VERSION], problem[TARN_SINK_PROBLEM];
    mkdir(files, 0777);
    tarn_test_write(mlmodel, "run_id: local\n", 14);
    events->count = 0;
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, "{}");
    for (int i = 0; i < 4; i++) tarn_test_event(events, TARN_TRACK_MODEL, "net", texts[i])->file = files;
    for (int again = 0; again < 2; again++) {
        tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
        deliver(sink);
        sink->destroy(sink);
        cJSON *all = dump();
        cr_expect_eq(cJSON_GetArraySize(get(all, "models")), 2);
        cr_expect_eq(cJSON_GetArraySize(get(get(all, "registered"), "Words")), 2);
        cr_expect_eq(cJSON_GetArraySize(get(get(all, "registered"), "Others")), 1);
        cr_expect_str_eq(tarn_test_text(get(all, "aliases"), "Words@champion"), again ? "2" : "1");
        cr_expect_str_eq(tarn_test_text(get(all, "aliases"), "Others@best"), "1");
        cJSON_Delete(all);
        /* Moved by someone else: the events that come again leave it. */
        cr_assert_eq(tarn_mlflow_set_alias(server.address, "Words", "champion", "2", problem), TARN_OK);
    }
    cr_expect(tarn_mlflow_noted_version(state, "m-00000000000000000000000000000001", "Others", "best", version) &&
              !strcmp(version, "1"));
    cr_expect(tarn_mlflow_noted_version(state, "m-00000000000000000000000000000002", "Words", NULL, version) &&
              !strcmp(version, "2"));
    cr_expect_not(tarn_mlflow_noted_version(state, "m-00000000000000000000000000000002", "Others", NULL, version));
    free(files);
    free(mlmodel);
}

Test(mlflow, an_older_server_gets_models_as_artifacts)
{
    tarn_test_server_mode(&server, "mlflow2");
    char *file = tarn_test_format("%s/file", folder), *model = tarn_test_model(folder);
    cr_assert(tarn_test_write(file, "the file", 8));
    everything(file, model);
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    cr_expect_eq(deliver(sink), 0, "%s", reason);
    sink->destroy(sink);
    cJSON *all = dump();
    const cJSON *run = the_run(all);
    char *weights = tarn_test_format("1/%s/artifacts/gpt_1/data/model.onnx", run->string);
    char *source = tarn_test_format("mlflow-artifacts:/1/%s/artifacts/gpt_1", run->string);
    cr_expect_str_eq(tarn_test_text(get(all, "artifacts"), weights), "weights");
    cr_expect_str_eq(tarn_test_text(get(get(all, "registered"), "Words")->child, "source"), source);
    cJSON_Delete(all);
    free(weights);
    free(source);
    free(file);
    free(model);
}

/* A large file goes out piece by piece; a store that takes no files is not in the way of all that follows. */
Test(mlflow, files_large_and_unwanted)
{
    char *large = tarn_test_format("%s/large", folder);
    FILE *file = fopen(large, "wb");
    cr_assert(file && !ftruncate(fileno(file), 64 << 20) && !fclose(file));
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, TARN_TEST_START);
    tarn_test_event(events, TARN_TRACK_ARTIFACT, "large", NULL)->file = large;
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    cr_expect_eq(deliver(sink), 0, "%s", reason);
    tarn_test_server_mode(&server, "noserve");
    tarn_test_event(events, TARN_TRACK_ARTIFACT, "second", NULL)->file = large;
    tarn_test_metrics(events, "loss", 0, 3);
    cr_expect_eq(tarn_test_deliver(sink, events->at + 2, events->count - 2, reason), 1);
    cr_expect(strstr(reason, "--no-serve-artifacts"), "%s", reason);
    sink->destroy(sink);
    cJSON *all = dump();
    char *name = tarn_test_format("1/%s/artifacts/large", the_run(all)->string);
    cr_expect_str_eq(tarn_test_text(get(all, "artifacts"), name), "67108864 bytes");
    expect_metrics(the_run(all), 3);
    cJSON_Delete(all);
    free(name);
    free(large);
}

Test(mlflow, aliases_are_moved_by_address)
{
    char problem[TARN_SINK_PROBLEM], *file = tarn_test_format("%s/file", folder), *model = tarn_test_model(folder);
    cr_assert(tarn_test_write(file, "the file", 8));
    everything(file, model);
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    deliver(sink);
    sink->destroy(sink);
    cr_expect_eq(tarn_mlflow_set_alias(server.address, "Words", "best one", "1", problem), TARN_OK, "%s", problem);
    cr_expect_eq(tarn_mlflow_set_alias(server.address, "Words", "best", "7", problem), TARN_ERROR_ARGUMENT);
    cr_expect(strstr(problem, "Model Version (name=Words, version=7) not found"), "%s", problem);
    cr_expect_eq(tarn_mlflow_set_alias("http://127.0.0.1:9", "Words", "best", "1", problem), TARN_ERROR_IO);
    cr_expect_eq(tarn_mlflow_set_alias("mlruns", "Words", "best", "1", problem), TARN_ERROR_CONFIG);
    cJSON *all = dump();
    cr_expect_str_eq(tarn_test_text(get(all, "aliases"), "Words@best one"), "1");
    cJSON_Delete(all);
    free(file);
    free(model);
}
