/* test_track_catalog.c - datasets, logged models and the model registry of a file store: what stands there, that
 * writing it again changes nothing, wrong names; and, with TARN_TEST_PYTHON, that the real MLflow reads all of it, and
 * that `mlflow migrate-filestore` moves a whole store of ours without loss. */
#include "track/file_store/catalog.h"
#include "track/tracker.h"
#include "tests/support.h"

#include <criterion/criterion.h>
#include <math.h>
#include <sys/wait.h>

static tarn_context *context;
static char *folder, *store, *spool, *run, *model_files;
static char run_id[33];
static tarn_tracker *tracker;
static char problem[TARN_SINK_PROBLEM];

static void write_text(const char *parent, const char *name, const char *text)
{
    char *path = tarn_test_format("%s/%s", parent, name);
    cr_assert(tarn_test_write(path, text, strlen(text)));
    free(path);
}

/* The output of a shell line in the store, its last newline off. */
static char *shell(const char *line)
{
    char *command = tarn_test_format("cd '%s' && %s", store, line), *output;
    cr_assert_eq(tarn_test_run(command, 30, &output), 0, "%s: %s", line, output);
    size_t length = strlen(output);
    if (length && output[length - 1] == '\n') output[length - 1] = 0;
    free(command);
    return output;
}

static void expect_shell(const char *line, const char *expected)
{
    char *output = shell(line);
    cr_assert_str_eq(output, expected, "%s: %s", line, output);
    free(output);
}

static void begin(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    folder = tarn_test_directory();
    store = tarn_test_format("%s/mlruns", folder);
    spool = tarn_test_format("%s/spool", folder);
    cr_assert_eq(tarn_track_open(&tracker, context,
                                 &(tarn_track_options){.store = store, .spool = spool, .experiment = "an \"exp\""}),
                 TARN_OK);
    snprintf(run_id, sizeof run_id, "%s", tarn_track_run_id(tracker));
    tarn_log_metric(tracker, "train.loss", 0.5, 1);
    tarn_track_settle(tracker, tarn_track_mark(tracker));
    char *found = tarn_test_format("until ls -d */%s/meta.yaml 2>/dev/null; do sleep 0.05; done", run_id),
         *path = shell(found);
    *strrchr(path, '/') = 0;
    run = tarn_test_format("%s/%s", store, path);
    model_files = tarn_test_format("%s/model", folder);
    char *line = tarn_test_format("mkdir -p '%s/data'", model_files);
    cr_assert_eq(tarn_test_run(line, 20, NULL), 0);
    write_text(model_files, "MLmodel", "flavors: {}\n");
    write_text(model_files, "data/model.onnx", "not really");
    free(line);
    free(path);
    free(found);
}

static void end(void)
{
    tarn_track_close(tracker, "FINISHED");
    tarn_test_remove(folder);
    free(folder);
    free(store);
    free(spool);
    free(run);
    free(model_files);
    tarn_error_clear(context);
    tarn_exit(context);
}

TestSuite(track_catalog, .init = begin, .fini = end, .timeout = 600);

static int input(const char *name, const char *text)
{
    tarn_track_event event = {.kind = TARN_TRACK_INPUT, .key = name, .text = text, .time_ms = 1700000000000};
    return tarn_file_store_input(run, &event, problem);
}

static int model(const char *name, const char *text)
{
    tarn_track_event event = {
        .kind = TARN_TRACK_MODEL, .key = name, .text = text, .file = model_files, .time_ms = 1700000000123};
    return tarn_file_store_model(run, &event, problem);
}

static const char training[] =
    "{\"digest\":\"0123456789abcdef0123456789abcdef\",\"source\":{\"uri\":\"/data/a b.txt\"},"
    "\"source_type\":\"local\",\"context\":\"training\",\"schema\":\"{\\\"x\\\":1}\","
    "\"profile\":{\"num_rows\":5}}";
#define FIRST  "m-00000000000000000000000000000001"
#define SECOND "m-00000000000000000000000000000002"

Test(track_catalog, a_dataset_stands_once_under_mlflows_name)
{
    cr_assert_eq(input("corpus: \xc3\xa4.txt", training), 0, "%s", problem);
    cr_assert_eq(input("corpus: \xc3\xa4.txt", training), 0, "%s", problem);
    /* md5 of name and digest */
    expect_shell("printf 'corpus: \xc3\xa4.txt0123456789abcdef0123456789abcdef' | md5sum | cut -c1-32 >../id; "
                 "ls */datasets | diff - ../id && echo same",
                 "same");
    expect_shell("grep profile */datasets/*/meta.yaml", "profile: \"{\\\"num_rows\\\":5}\"");
    expect_shell("cat */*/inputs/*/meta.yaml | grep context", "  mlflow.data.context: \"training\"");
    cr_assert_eq(input("corpus: \xc3\xa4.txt", "{\"digest\":\"other\"}"), 0);
    expect_shell("ls */datasets | wc -l; ls */*/inputs | wc -l", "2\n2");
    cr_assert_eq(input("broken", "{"), -1);
    cr_assert(strstr(problem, "\"broken\": its description is no JSON"), "%s", problem);
    expect_shell("find . -name '.tarn-folder*' | wc -l", "0");
}

Test(track_catalog, a_model_is_copied_whole_and_registered_once)
{
    char *first = strdup("{\"model_id\":\"" FIRST "\",\"register\":\"digits\",\"alias\":\"champion\",\"step\":7,"
                         "\"model_type\":\"mlp\",\"params\":{\"train.steps\":\"7\",\"a//b\":\"no key\"}}");
    cr_assert_eq(model("digits", first), 0, "%s", problem);
    cr_assert_eq(model("digits", first), 0, "%s", problem);
    expect_shell("cat */models/" FIRST "/artifacts/data/model.onnx", "not really");
    expect_shell("cd */models/" FIRST " && find . -type f | sort | tr '\\n' ' '",
                 "./artifacts/MLmodel ./artifacts/data/model.onnx ./meta.yaml ./params/train.steps ");
    expect_shell("ls models/digits", "aliases\nmeta.yaml\nversion-1");
    cr_assert_eq(model("digits", "{\"model_id\":\"" SECOND "\",\"register\":\"digits\"}"), 0, "%s", problem);
    expect_shell("grep -h ^version: models/digits/version-*/meta.yaml; cat models/digits/aliases/champion",
                 "version: 1\nversion: 2\n1");
    cr_assert_eq(tarn_registry_alias(store, "digits", "champion", 2, 1700000000999, problem), 0, "%s", problem);
    expect_shell("cat models/digits/aliases/champion; grep last_upd models/digits/meta.yaml",
                 "2last_updated_timestamp: 1700000000999");
    free(first);
}

Test(track_catalog, wrong_names)
{
    static const struct {
        const char *name, *alias;
        int64_t version;
        const char *says;
    } aliases[] = {{"digits", "champion", 3, "has no version 3; its newest is 1"},
                   {"nobody", "champion", 1, "has no registered model \"nobody\": track.register"},
                   {"../digits", "champion", 1, "can be no registered model: it must not have"},
                   {"..", "champion", 1, "can be no registered model"},
                   {"digits", "latest", 1, "MLflow keeps \"latest\""},
                   {"digits", "V12", 1, "MLflow keeps v and a number"},
                   {"digits", "../../x", 1, "letters, digits, _ and -"},
                   {"digits", "", 1, "it is empty"}};
    cr_assert_eq(model("digits", "{\"model_id\":\"" FIRST "\",\"register\":\"digits\"}"), 0, "%s", problem);
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        cr_assert_eq(tarn_registry_alias(store, aliases[i].name, aliases[i].alias, aliases[i].version, 1, problem), -1);
        cr_assert(strstr(problem, aliases[i].says), "%zu: %s", i, problem);
    }
    cr_assert_eq(tarn_registry_alias(store, "digits", "v", 1, 1, problem), 0, "%s", problem);
    cr_assert_eq(model("my.model", "{\"model_id\":\"" SECOND "\"}"), -1);
    cr_assert(strstr(problem, "must not have any of / : ."), "%s", problem);
    cr_assert_eq(model("fine", "{\"model_id\":\"m-1\"}"), -1);
    cr_assert_eq(model("fine", "{\"model_id\":\"" SECOND "\",\"register\":\"a/b\"}"), -1);
    cr_assert(strstr(problem, "no model can be registered as \"a/b\""), "%s", problem);
}

Test(track_catalog, processes_get_versions_of_their_own)
{
    enum { PROCESSES = 6 };
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i]) continue;
        char id[40];
        snprintf(id, sizeof id, "m-%032d", i + 10);
        tarn_registry_entry entry = {
            .name = "raced", .model_id = id, .run_id = run_id, .location = folder, .time_ms = 1700000000000 + i};
        int64_t version;
        _exit(tarn_registry_add(store, run, &entry, &version, problem) ? 1 : 0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        waitpid(children[i], &status, 0);
        cr_expect_eq(status, 0);
    }
    expect_shell("grep -h ^model_id models/raced/version-*/meta.yaml | sort -u | wc -l", "6");
    expect_shell("ls models/raced", "meta.yaml\nversion-1\nversion-2\nversion-3\nversion-4\nversion-5\nversion-6");
}

/* ---- the real MLflow --------------------------------------------------------------------------------------------- */

/* Runs a script of tests/python; NULL (after saying why) where there is no Python for it. Freed by the caller. */
static char *python(const char *module, const char *script, const char *arguments)
{
    const char *program = getenv("TARN_TEST_PYTHON");
    if (!program || !*program) {
        cr_log_warn("skipped: TARN_TEST_PYTHON names no Python (scripts/test makes one with mlflow)");
        return NULL;
    }
    char *command = tarn_test_format("'%s' -c 'import %s'", program, module), *output = NULL;
    if (tarn_test_run(command, TARN_TEST_SECONDS, &output)) {
        cr_log_warn("skipped: %s cannot import %s: %.300s", program, module, output);
        free(command);
        free(output);
        return NULL;
    }
    free(command);
    free(output);
    command = tarn_test_format("'%s' '%s/tests/python/%s' %s", program, TARN_SOURCE_DIR, script, arguments);
    int code = tarn_test_run(command, 300, &output);
    cr_assert_eq(code, 0, "%s: %s", script, output);
    free(command);
    return output;
}

static void fill(void)
{
    cr_assert_eq(input("corpus: \xc3\xa4.txt", training), 0, "%s", problem);
    cr_assert_eq(input("held out", "{\"digest\":\"ff\",\"source\":\"{}\",\"context\":\"validation\"}"), 0, "%s",
                 problem);
    cr_assert_eq(model("digits", "{\"model_id\":\"" FIRST "\",\"register\":\"digits \xc3\xa4\",\"alias\":\"champion\","
                                 "\"step\":7,\"model_type\":\"mlp\",\"params\":{\"train.steps\":\"7\"}}"),
                 0, "%s", problem);
    cr_assert_eq(model("again", "{\"model_id\":\"" SECOND "\",\"register\":\"digits \xc3\xa4\",\"step\":9}"), 0, "%s",
                 problem);
    cr_assert_eq(tarn_registry_alias(store, "digits \xc3\xa4", "challenger", 2, 1700000000999, problem), 0);
}

Test(track_catalog, mlflow_reads_datasets_models_and_registry)
{
    fill();
    char *arguments = tarn_test_format("'%s' %s", store, run_id), *json = python("mlflow", "read_mlflow.py", arguments);
    if (!json) cr_skip_test("no Python with mlflow");
    static const char *const expected[] = {
        "\"digest\": \"0123456789abcdef0123456789abcdef\"",
        "\"source\": \"{\\\"uri\\\":\\\"/data/a b.txt\\\"}\"",
        "\"mlflow.data.context\": \"training\"",
        "\"mlflow.data.context\": \"validation\"",
        "\"profile\": \"{\\\"num_rows\\\":5}\"",
        "\"corpus: \xc3\xa4.txt\": {",
        "\"model_type\": \"mlp\"",
        "\"model_type\": null",
        "\"status\": \"READY\"",
        "\"step\": 7",
        "\"train.steps\": \"7\"",
        "\"data/model.onnx\"",
        "\"champion\": \"1\"",
        "\"challenger\": \"2\"",
        "\"source\": \"models:/" SECOND "\"",
        "\"digits \xc3\xa4\": {",
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        cr_expect(strstr(json, expected[i]), "no %s in\n%s", expected[i], json);
    free(json);
    free(arguments);
}

Test(track_catalog, migrate_filestore_moves_all_of_it)
{
    fill();
    write_text(folder, "notes.txt", "of \xc3\xa4 run\n");
    char *notes = tarn_test_format("%s/notes.txt", folder);
    for (int64_t step = 0; step < 300; step++) {
        tarn_log_metric(tracker, "train.lr", 1e-3 / (double)(step + 1), step);
        tarn_log_metric(tracker, "system/rank_0/data_seconds", sin((double)step), step);
    }
    tarn_log_param(tracker, "model.kind", "mlp");
    tarn_log_param(tracker, "empty", "");
    tarn_log_tag(tracker, "mlflow.note.content", "two\nlines \xc3\xa4");
    tarn_log_artifact(tracker, notes, "deep/er");
    tarn_log_artifact(tracker, notes, NULL);
    tarn_track_close(tracker, "FINISHED");
    /* A second run, in another experiment, that was killed and has nothing. */
    cr_assert_eq(
        tarn_track_open(&tracker, context, &(tarn_track_options){.store = store, .spool = spool, .name = "empty"}),
        TARN_OK);
    tarn_track_close(tracker, "KILLED");
    tracker = NULL;
    char *arguments = tarn_test_format("'%s' '%s/mlflow.db'", store, folder),
         *output = python("sqlalchemy, mlflow", "migrate_mlflow.py", arguments);
    if (!output) cr_skip_test("no Python with mlflow and its database");
    /* 600 points and the loss; 2 artifacts; the tags of both runs and the note. */
    cr_expect(strstr(output, "same: 2 runs, 601 metric points, 2 params, "), "%s", output);
    cr_expect(strstr(output, " 2 artifacts, 2 datasets, 2 models, 2 versions, 2 aliases"), "%s", output);
    free(output);
    free(arguments);
    free(notes);
}
