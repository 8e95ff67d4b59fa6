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
