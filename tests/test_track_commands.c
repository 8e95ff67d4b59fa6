/* test_track_commands.c - `tarn track`: listing, showing and pushing what `tarn train` recorded, and wrong commands. */
#include "tests/server_support.h"
#include "tests/track_train_support.h"

#include <math.h>

TestSuite(track_train, .init = set_up, .fini = tear_down, .timeout = 900);

Test(track_train, commands)
{
    char *output;
    expect_tarn("", 0, "train run.yaml --quiet train.steps=7", 0, NULL);
    expect_tarn(
        "", 0,
        "train run.yaml --quiet train.steps=5 checkpoint.dir=two 'track.experiment=with blank' name='\xc3\xa4 run'", 0,
        NULL);
    expect_tarn("", 0, "track ls", 0, &output);
    cr_expect(strstr(output, "recorded") && strstr(output, "with blank") && strstr(output, "FINISHED"), "%s", output);
    cr_expect(strstr(output, "       7  ") && strstr(output, "       5  "), "%s", output);
    free(output);
    expect_tarn("", 0, "track ls mlruns --json", 0, &output);
    cJSON *list = cJSON_Parse(output);
    cr_assert_eq(cJSON_GetArraySize(list), 2, "%s", output);
    const cJSON *newest = cJSON_GetArrayItem(list, 0);
    cr_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(newest, "name")), "\xc3\xa4 run");
    cr_assert_eq(number(newest, "step"), 5);
    cr_assert(isfinite(number(newest, "loss")));
    cJSON_Delete(list);
    free(output);
    expect_tarn("", 0, "track show recorded", 0, &output);
    cr_expect(strstr(output, "status      FINISHED") && strstr(output, "config/run.yaml") &&
                  strstr(output, "train.gradient_norm") && strstr(output, "training    text.txt"),
              "%s", output);
    free(output);
    expect_tarn("", 0, "track ui", 0, &output);
    cr_expect(strstr(output, "2 runs in the file store") &&
                  strstr(output, "MLFLOW_ALLOW_FILE_STORE=true mlflow server") &&
                  strstr(output, "mlflow migrate-filestore --source /") && strstr(output, " --target sqlite:////"),
              "%s", output);
    free(output);
    expect_tarn("MLFLOW_TRACKING_URI=https://mlflow.example.org/", 0, "track ui", 0, &output);
    cr_expect(strstr(output, "https://mlflow.example.org/#/experiments"), "%s", output);
    free(output);

    static const struct {
        const char *arguments, *says;
    } wrong[] = {{"track", "usage: tarn track ACTION"},
                 {"track lst", "there is no action \"lst\"; did you mean ls?"},
                 {"track shwo recorded", "did you mean show?"},
                 {"track show", "something is missing: tarn track show RUN"},
                 {"track ls a b", "\"b\" is one word too many"},
                 {"track ls --jason", "there is no option --jason; did you mean --json?"},
                 {"track push --store", "--store needs a value"},
                 {"track push x --wait soon", "--wait soon: expected seconds"},
                 {"track push mlruns", "is no spool and holds none"},
                 {"track show recordad", "recordad"},
                 {"track ls nowhere", "there is no file store \"nowhere\""},
                 {"track ui sqlite:///x.db", "sqlite"},
                 {"track alias shakespeare champion one", "\"one\" is no version"},
                 {"track alias shakespeare latest 1", "MLflow keeps \"latest\""},
                 {"track alias shakespeare champion 1", "has no registered model \"shakespeare\""}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        expect_tarn("", 0, wrong[i].arguments, 2, &output);
        cr_expect(strstr(output, wrong[i].says), "tarn %s: %s", wrong[i].arguments, output);
        free(output);
    }
    expect_tarn("", 0, "track --help", 0, &output);
    cr_expect(strstr(output, "tarn track push runs/shakespeare/spool"), "%s", output);
    free(output);
}

/* Whether the line of `output` that begins with `start` ends so. */
static bool line_ends(const char *output, const char *start, const char *end)
{
    const char *line = strstr(output, start), *behind = line ? strchr(line, '\n') : NULL;
    return behind && (size_t)(behind - line) > strlen(end) && !memcmp(behind - strlen(end), end, strlen(end));
}

Test(track_train, a_run_is_shown_by_the_directory_of_its_checkpoints)
{
    char *output;
    static const char *const trainings[] = {
        "train run.yaml --quiet train.steps=3 name=h1 checkpoint.dir=h1 track.store=s1",
        "train run.yaml --quiet train.steps=4 name=other checkpoint.dir=h2 track.store=s2",
        "train run.yaml --quiet train.steps=5 name=h2 checkpoint.dir=h3 track.store=s1"};
    for (size_t i = 0; i < 3; i++) expect_tarn("", 0, trainings[i], 0, NULL);
    static const struct {
        const char *environment, *arguments, *name, *folder;
    } shown[] = {
        /* a store that is named, though a directory has the name of the run */
        {"", "track show h1 --store s1", "h1", "/s1/0/"},
        {"", "track show h2 --store s1", "h2", "/s1/0/"}, /* of that name there, whatever the directory here holds */
        {"", "track show h3 --store s1", "h2", "/s1/0/"},
        /* no store: the spool knows the run; where the store has it, that knows its files, too */
        {"", "track show h1", "h1", "/h1/spool/"},
        {"MLFLOW_TRACKING_URI=http://127.0.0.1:9", "track show h1", "h1", "/h1/spool/"},
        {"MLFLOW_TRACKING_URI=sqlite:///x.db", "track show h1", "h1", "/h1/spool/"},
        {"MLFLOW_TRACKING_URI=s2", "track show h2", "other", "/s2/0/"},
        {"MLFLOW_TRACKING_URI=s2", "track show h2/spool/*", "other", "/h2/spool/"},
    };
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        expect_tarn(shown[i].environment, 0, shown[i].arguments, 0, &output);
        char *name = tarn_test_format("\nname        %s\n", shown[i].name);
        const char *place = strstr(output, "\nfolder ");
        cr_expect(strstr(output, name) && place && strstr(place, shown[i].folder), "%s tarn %s: %s",
                  shown[i].environment, shown[i].arguments, output);
        cr_expect(!strncmp(shown[i].folder, "/s", 2) == !!strstr(output, "config/run.yaml"), "%s", output);
        free(name);
        free(output);
    }
    expect_tarn("", 0, "track ls h1", 0, &output);
    cr_expect(strstr(output, "h1  ") && strstr(output, "       3  "), "%s", output);
    free(output);
    expect_tarn("", 0, "track show nobody --store s1", 2, &output);
    cr_expect(strstr(output, "there is no run \"nobody\" in the file store "), "%s", output);
    free(output);
    expect_tarn("", 0, "track show s1", 2, &output);
    cr_expect(strstr(output, "s1 is neither a run of a file store, nor a spool, nor a directory of checkpoints"), "%s",
              output);
    free(output);
}

Test(track_train, show_cuts_long_values_and_json_has_them_whole)
{
    tarn_context *context;
    tarn_tracker *tracker;
    char *store = tarn_test_format("%s/mlruns", folder), *spool = tarn_test_format("%s/spool", folder), *output;
    char text[5001];
    for (size_t i = 0; i < 5000; i += 2) memcpy(text + i, "\xc3\xa4", 2);
    text[5000] = '\0';
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    cr_assert_eq(
        tarn_track_open(&tracker, context, &(tarn_track_options){.store = store, .spool = spool, .name = "long"}),
        TARN_OK);
    tarn_log_param(tracker, "data.path", text);
    tarn_log_tag(tracker, "note", text);
    tarn_log_tag(tracker, "exact", text + 5000 - 2 * 160);
    cr_assert_eq(tarn_track_close(tracker, "FINISHED"), TARN_OK);
    cr_assert_eq(tarn_exit(context), 0);
    expect_tarn("", 0, "track show long", 0, &output);
    cr_expect(strlen(output) < 3000, "%s", output);
    cr_expect(line_ends(output, "  data.path ", "\xc3\xa4...") && line_ends(output, "  note ", "\xc3\xa4...") &&
                  line_ends(output, "  exact ", "\xc3\xa4"),
              "%s", output);
    free(output);
    expect_tarn("", 0, "track show long --json", 0, &output);
    const char *first = strstr(output, text);
    cr_expect(first && strstr(first + sizeof text, text), "%s", output);
    free(output);
    free(store);
    free(spool);
}

Test(track_train, a_spool_is_pushed_to_another_store)
{
    char *output;
    expect_tarn("", 0, "train run.yaml train.steps=12 track.spool=spools", 0, &output);
    cr_expect(strstr(output, "recording to ") && strstr(output, "/mlruns (run "), "%s", output);
    free(output);
    expect_tarn("", 0, "track ls spools", 0, &output);
    cr_expect(strstr(output, "recorded") && strstr(output, "      12  "), "%s", output);
    free(output);
    tarn_test_pause(1.5); /* a push is later than the run */
    expect_tarn("", 0, "track push spools --store later", 0, &output);
    cr_expect(strstr(output, ": published, "), "%s", output);
    free(output);
    /* Nothing of the record says when it was pushed. The first line is the place. */
    expect_shell("for store in mlruns later; do grep -v ^artifact_uri $store/0/*/meta.yaml | sort "
                 ">$store.meta; done; diff mlruns.meta later.meta && echo same",
                 "same");
    expect_tarn("", 0, "track push spools --store later", 0, &output);
    cr_expect(strstr(output, "everything was published already"), "%s", output);
    free(output);
    /* A directory of checkpoints has its spool inside. */
    expect_shell("mkdir -p checkpoints && cp -r spools checkpoints/spool && echo made", "made");
    expect_tarn("", 0, "track push checkpoints --store third", 0, &output);
    cr_expect(strstr(output, ": published, "), "%s", output);
    free(output);
    expect_tarn("", 0, "track push mlruns --store third", 2, &output);
    cr_expect(strstr(output, "is no spool and holds none: "), "%s", output);
    free(output);
    expect_tarn("", 0, "track push nowhere --store third", 2, &output);
    cr_expect(strstr(output, "nowhere: No such file"), "%s", output);
    free(output);
    expect_tarn("", 0, "track ui nowhere", 2, &output);
    cr_expect(strstr(output, "there is no file store \"nowhere\": `tarn train` makes it"), "%s", output);
    free(output);
    expect_shell("a=$(echo mlruns/0/*/metrics) && b=$(echo later/0/*/metrics) && diff -r $a $b && diff -r $a/../params "
                 "$b/../params && diff -r $a/../artifacts $b/../artifacts && echo same",
                 "same");
}
