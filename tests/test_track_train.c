/* test_track_train.c - what `tarn train` records: through the program, on one rank and on two, over a kill; and, with
 * TARN_TEST_PYTHON, as the real MLflow reads it. tests/test_track_commands.c has `tarn track`. */
#include "tests/track_train_support.h"
#include "track/environment.h"
#include "train/system_metrics.h"
#include "train/trainer.h"

#include <math.h>

TestSuite(track_train, .init = set_up, .fini = tear_down, .timeout = 900);

/* What `tarn track show RUN --json` says. */
static cJSON *show(const char *run)
{
    char *arguments = tarn_test_format("track show '%s' --json", run), *text;
    expect_tarn("", 0, arguments, 0, &text);
    cJSON *json = cJSON_Parse(text);
    cr_assert(json, "%s", text);
    free(arguments);
    free(text);
    return json;
}

static const cJSON *at(const cJSON *object, const char *section, const char *key)
{
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(object, section), key);
    cr_assert(found, "no %s %s", section, key);
    return found;
}

static void expect_text(const cJSON *object, const char *section, const char *key, const char *expected)
{
    const char *text = at(object, section, key)->valuestring;
    cr_assert_str_eq(text, expected, "%s %s is %s", section, key, text);
}

static void expect_metric(const cJSON *run, const char *key, double points, double last_step)
{
    const cJSON *metric = at(run, "metrics", key);
    if (points) cr_expect_eq(number(metric, "points"), points, "%s has %g points", key, number(metric, "points"));
    if (last_step) cr_expect_eq(number(metric, "step"), last_step, "%s ends at %g", key, number(metric, "step"));
    cr_expect_geq(number(metric, "least"), 0, "%s", key);
}

Test(track_train, two_ranks_record_what_a_person_looks_for)
{
    static const char *const parts[] = {"data", "compute", "reduce", "update", "save", "track"};
    expect_tarn("", 2, "train run.yaml --quiet", 0, NULL);
    cJSON *run = show("recorded");
    expect_metric(run, "train.loss", 40, 40);
    expect_metric(run, "train.lr", 40, 40);
    expect_metric(run, "train.gradient_norm", 40, 40);
    expect_metric(run, "validation.loss", 4, 40);
    expect_metric(run, "system/step_seconds", 4, 40);
    expect_metric(run, "system/samples_per_second", 4, 40);
    expect_metric(run, "system/tokens_per_second", 4, 40);
    expect_metric(run, "system/arrival_skew_seconds", 4, 40);
    expect_metric(run, "system/evaluation_seconds", 4, 40);
    expect_metric(run, "system/checkpoint_seconds", 0, 40);
    double step = number(at(run, "metrics", "system/step_seconds"), "last"), sum = 0;
    for (int rank = 0; rank < 2; rank++)
        for (int part = 0; part < 6; part++) {
            char key[64];
            snprintf(key, sizeof key, "system/rank_%d/%s_seconds", rank, parts[part]);
            expect_metric(run, key, 4, 40);
            if (rank == 0 && part < 4) sum += number(at(run, "metrics", key), "last");
        }
    /* The parts are of the step: no more than it, and a good part of it. reduce and update lag by a step. */
    cr_expect(sum > 0.2 * step && sum < 1.5 * step, "parts %g of a step of %g", sum, step);
    double samples = number(at(run, "metrics", "system/samples_per_second"), "last"),
           tokens = number(at(run, "metrics", "system/tokens_per_second"), "last");
    cr_expect(fabs(tokens / samples - 16) < 1e-6, "%g tokens and %g samples a second", tokens, samples);

    static const char *const sampled[] = {"cpu_utilization_percentage",     "system_memory_usage_megabytes",
                                          "system_memory_usage_percentage", "disk_usage_percentage",
                                          "disk_usage_megabytes",           "disk_available_megabytes",
                                          "network_receive_megabytes",      "network_transmit_megabytes"};
    for (size_t i = 0; i < sizeof sampled / sizeof *sampled; i++) {
        char key[96];
        snprintf(key, sizeof key, "system/%s", sampled[i]);
        expect_metric(run, key, 0, 0);
        if (strstr(key, "percentage")) cr_expect_leq(number(at(run, "metrics", key), "greatest"), 100, "%s", key);
    }
    expect_text(run, "tags", "tarn.version", TARN_VERSION_STRING);
    expect_text(run, "tags", "tarn.ranks", "2");
    expect_text(run, "tags", "mlflow.source.type", "LOCAL");
    cr_expect(strstr(at(run, "tags", "tarn.starts")->valuestring, ":0:2"));
    expect_text(run, "params", "train.steps", "40");
    expect_text(run, "params", "model.dropout", "0.1");
    const cJSON *datasets = cJSON_GetObjectItem(run, "datasets");
    cr_assert_eq(cJSON_GetArraySize(datasets), 2);
    cJSON_Delete(run);
    /* The digest is that of the file. */
    expect_shell(
        "d=$(sha256sum text.txt | cut -c1-32); grep -l \"digest: \\\"$d\\\"\" mlruns/*/datasets/*/meta.yaml | wc -l",
        "2");
    expect_shell("grep -h ^name mlruns/*/datasets/*/meta.yaml | LC_ALL=C sort",
                 "name: \"text.txt (validation part)\"\nname: \"text.txt\"");
    expect_shell("grep -c '^train:' mlruns/*/*/artifacts/config/run.yaml", "1");
    expect_shell("grep -c 'tarn .* begins at step 0 of 40, on 2 ranks\\|ends after step 40: finished\\|step 40 of 40: "
                 "loss' mlruns/*/*/artifacts/log/train.log",
                 "3");
}

Test(track_train, tracking_changes_no_bits)
{
    expect_tarn("", 0, "train run.yaml --quiet checkpoint.dir=with", 0, NULL);
    expect_tarn("", 0, "train run.yaml --quiet checkpoint.dir=without track.store=null", 0, NULL);
    char *with = tarn_test_digest(folder, "with"), *without = tarn_test_digest(folder, "without");
    cr_assert_eq(strlen(with), 64);
    cr_assert_str_eq(with, without);
    expect_shell("ls -d mlruns/*/*/metrics | wc -l; ls without | grep -c 'spool\\|train.log'", "1\n0");
    free(with);
    free(without);
}

Test(track_train, a_killed_run_goes_on_in_the_same_record)
{
    /* Killed behind its first checkpoint, as hard as it gets, long before its end. */
    char *line = tarn_test_format(
        "cd '%s' && { TARN_TEST=1 %s train run.yaml --quiet train.steps=2000 & } && pid=$! && "
        "until ls checkpoints/ckpt-*.h5 >/dev/null 2>&1; do sleep 0.01; done; kill -9 $pid; wait $pid; true",
        folder, TARN_PROGRAM);
    cr_assert_eq(tarn_test_run(line, 240, NULL), 0);
    free(line);
    expect_shell("ls checkpoints/ckpt-000000002000.h5 2>/dev/null", "");
    expect_tarn("TARN_RESTART_REASON='rank 0 was ended by signal 9'", 0, "train run.yaml --quiet train.steps=2000", 0,
                NULL);
    expect_shell("ls -d mlruns/*/*/metrics | wc -l", "1");
    /* Each step once, and none missing; samples of the host, too, whose numbers go on. */
    expect_shell("f=$(ls mlruns/*/*/metrics/train.loss); cut -d' ' -f3 $f | sort -n | uniq | wc -l; wc -l <$f; "
                 "tail -n1 $f | cut -d' ' -f3",
                 "2000\n2000\n2000");
    expect_shell("for f in $(find mlruns/*/*/metrics -type f); do cut -d' ' -f3 $f | sort | uniq -d; done | wc -l",
                 "0");
    expect_shell("f=$(ls mlruns/*/*/metrics/system/disk_usage_percentage); [ $(tail -n1 $f | cut -d' ' -f3) = "
                 "$(($(wc -l <$f) - 1)) ] && [ $(wc -l <$f) -gt 2 ] && echo counted",
                 "counted");
    cJSON *run = show("recorded");
    const char *starts = at(run, "tags", "tarn.starts")->valuestring;
    long long first_ms, second_ms, resumed;
    cr_assert_eq(sscanf(starts, "%lld:0:1 %lld:%lld:1", &first_ms, &second_ms, &resumed), 3, "%s", starts);
    cr_expect(first_ms < second_ms && resumed >= 10 && resumed % 10 == 0, "%s", starts);
    expect_text(run, "tags", "tarn.restart_reason", "rank 0 was ended by signal 9");
    cJSON_Delete(run);
    expect_shell("grep -c 'begins at step' mlruns/*/*/artifacts/log/train.log", "2");
}

/* A resume may change keys: that is no warning, and told once; the tag and config/run.yaml have the new values. */
Test(track_train, changed_keys_of_a_resume_are_told_once)
{
    char *output;
    expect_tarn("", 0, "train run.yaml --quiet", 0, NULL);
    expect_tarn("TARN_LOG=info", 0, "train run.yaml --quiet train.steps=60 checkpoint.keep=5", 0, &output);
    cr_assert(strstr(output, "train.steps=60, checkpoint.keep=5 now; parameters of a record cannot change, its "
                             "config/run.yaml has them"),
              "%s", output);
    free(output);
    expect_shell("cat mlruns/*/*/tags/tarn.changed_parameters; echo; cat mlruns/*/*/params/train.steps",
                 "train.steps=60, checkpoint.keep=5\n40");
    /* Changed, and the same as the last time: neither is a warning. */
    expect_tarn("", 0, "train run.yaml --quiet train.steps=80 checkpoint.keep=5", 0, &output);
    cr_assert(!strstr(output, "tracking: "), "%s", output);
    free(output);
    expect_tarn("TARN_LOG=info", 0, "train run.yaml --quiet train.steps=80 checkpoint.keep=5", 0, &output);
    cr_assert(!strstr(output, "train.steps="), "%s", output);
    free(output);
    expect_shell("cat mlruns/*/*/tags/tarn.changed_parameters", "train.steps=80, checkpoint.keep=5");
    expect_shell("grep -c 'steps: 80' mlruns/*/*/artifacts/config/run.yaml", "1");
}

/* Before the first step, not when the run has ended. */
Test(track_train, a_name_that_the_registry_refuses_is_an_error_of_the_run_file)
{
    static const char *const names[][2] = {{"a/b", "/"}, {"a:b", ":"}, {"'a\\b'", "\\"}, {"a%b", "%"}, {"'\"\"'", ""}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *output, *arguments = tarn_test_format("train run.yaml --quiet track.register=%s", names[i][0]);
        expect_tarn("", 0, arguments, 2, &output);
        cr_expect(strstr(output, "on the command line: track.register: ") &&
                      strstr(output, "cannot name a registered model"),
                  "%s: %s", names[i][0], output);
        free(output);
        free(arguments);
    }
    char *longer = tarn_test_format("name: x\n%s  register: %0260d\n", run_file + strlen("name: recorded\n"), 7),
         *file = tarn_test_format("%s/run.yaml", folder), *output;
    /* The last section is the flow mapping of track: in a block of its own here. */
    char *track = strstr(longer, "track: {system_every: 0.05}");
    memcpy(track, "track:                     ", strlen("track: {system_every: 0.05}"));
    cr_assert(tarn_test_write(file, longer, strlen(longer)));
    expect_tarn("", 0, "train run.yaml --quiet", 2, &output);
    cr_expect(strstr(output, "run.yaml:8: track.register: ") && strstr(output, "longer than 250"), "%s", output);
    free(output);
    expect_shell("ls", "run.yaml\ntext.txt");
    free(longer);
    free(file);
}

/* The supervisor tells the next start how the one before ended. */
Test(track_train, tarn_run_says_why_it_started_again)
{
    char *line = tarn_test_format(
        "cd '%s' && { TARN_TEST=1 %s run -n 1 -- %s train run.yaml --quiet train.steps=6000 & } && run=$! && "
        "until ls checkpoints/ckpt-*.h5 >/dev/null 2>&1; do sleep 0.01; done; child=$(pgrep -P $run | head -n1); "
        "rank=$(pgrep -P $child | head -n1); kill -9 ${rank:-$child}; wait $run",
        folder, TARN_PROGRAM, TARN_PROGRAM);
    char *output;
    cr_assert_eq(tarn_test_run_mpi(line, 240, &output), 0, "%s", output);
    cJSON *run = show("recorded");
    const char *reason = at(run, "tags", "tarn.restart_reason")->valuestring;
    cr_expect(strstr(reason, "signal 9"), "%s", reason);
    cr_expect(strchr(at(run, "tags", "tarn.starts")->valuestring, ' '));
    expect_metric(run, "train.loss", 6000, 6000);
    cJSON_Delete(run);
    free(output);
    free(line);
}

Test(track_train, keys_stand_above_the_environment)
{
    static const char base[] = "train run.yaml --quiet train.steps=2 train.eval_every=0 checkpoint.dir=%s %s";
    static const struct {
        const char *environment, *keys, *where;
    } cases[] = {{"", "", "mlruns/0"},
                 {"MLFLOW_TRACKING_URI=elsewhere", "", "elsewhere/0"},
                 {"MLFLOW_TRACKING_URI=file:$PWD/as-file", "", "as-file/0"},
                 {"MLFLOW_TRACKING_URI=not-here", "track.store=by-key", "by-key/0"},
                 {"MLFLOW_EXPERIMENT_NAME=from-environment", "track.store=named", "named/*"},
                 {"MLFLOW_EXPERIMENT_NAME=from-environment", "track.store=keyed track.experiment=from-key", "keyed/*"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *directory = tarn_test_format("c%zu", i), *arguments = tarn_test_format(base, directory, cases[i].keys),
             *line = tarn_test_format("ls %s/*/metrics/train.loss | wc -l", cases[i].where);
        expect_tarn(cases[i].environment, 0, arguments, 0, NULL);
        expect_shell(line, "1");
        free(directory);
        free(arguments);
        free(line);
    }
    expect_shell("ls -d not-here 2>/dev/null; grep -h ^name named/*/meta.yaml keyed/*/meta.yaml | sort",
                 "name: \"from-environment\"\nname: \"from-key\"");
    static const char id[] = "0123456789abcdef0123456789abcdef", other[] = "fedcba9876543210fedcba9876543210";
    char *environment = tarn_test_format("MLFLOW_RUN_ID=%s", id),
         *arguments = tarn_test_format(base, "ids", "track.store=ids-store");
    expect_tarn(environment, 0, arguments, 0, NULL);
    expect_shell("ls ids-store/0 | grep 0123456789abcdef", id);
    free(arguments);
    char *key = tarn_test_format("track.store=ids-store track.run_id=%s", other);
    arguments = tarn_test_format(base, "ids2", key);
    expect_tarn(environment, 0, arguments, 0, NULL);
    expect_shell("ls ids-store/0 | grep fedcba", other);
    free(arguments);
    free(key);
    free(environment);
    expect_tarn("", 0, "train run.yaml --quiet track.run_id=nonsense", 2, NULL);
}

Test(track_train, a_wrong_store_and_a_wrong_run_id_stop_no_training)
{
    static const char line[] =
        "train run.yaml --quiet train.steps=%d train.eval_every=0 checkpoint.dir=wrong track.store=%s";
    char *output, *arguments = tarn_test_format(line, 2, "ftp://host/a");
    expect_tarn("MLFLOW_RUN_ID=xyz", 2, arguments, 0, &output);
    const char *first = strstr(output, "\"ftp://host/a\" has a scheme that is not known here");
    cr_expect(first && !strstr(first + 2, "ftp://host"), "told once: %s", output);
    cr_expect(strstr(output, "\"xyz\" in MLFLOW_RUN_ID: expected 32 hex digits"), "%s", output);
    cr_expect(strstr(output, "tarn track push ") && strstr(output, " --store STORE"), "%s", output);
    free(arguments);
    free(output);
    /* It goes on in the same record, whose spool has the beginning for a store that is one. */
    arguments = tarn_test_format(line, 4, "right");
    expect_tarn("MLFLOW_RUN_ID=xyz", 2, arguments, 0, &output);
    expect_shell("ls wrong/spool | wc -l", "1");
    expect_shell("cut -d' ' -f3 right/0/*/metrics/train.loss | tr '\\n' ' '", "1 2 3 4 ");
    free(arguments);
    free(output);
    /* Commands name the mistake and fail. */
    expect_tarn("MLFLOW_TRACKING_URI=ftp://host/a", 0, "track push wrong/spool", 2, &output);
    cr_expect(strstr(output, "has a scheme that is not known here"), "%s", output);
    free(output);
    expect_tarn("", 0, "train run.yaml --quiet checkpoint.dir=port metrics.listen=nonsense", 2, NULL);
}

Test(track_train, passwords_in_addresses_stay_out_of_the_record)
{
    static const struct {
        const char *before, *after;
    } texts[] = {{"http://me:secret@host:5000/x", "http://***@host:5000/x"},
                 {"a: https://t@h, b: http://u:p@ss@h/@y", "a: https://*@h, b: http://***@h/@y"},
                 {"http://host/a@b", "http://host/a@b"},
                 {"file:///x@y", "file:///x@y"},
                 {"http://@h", "http://@h"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char text[128];
        snprintf(text, sizeof text, "%s", texts[i].before);
        tarn_environment_hide_logins(text);
        cr_expect_str_eq(text, texts[i].after, "%s became %s", texts[i].before, text);
    }
    /* Nothing listens there. */
    expect_tarn("", 0,
                "train run.yaml --quiet train.steps=2 track.flush_timeout=0 track.spool=s "
                "track.store=http://me:secret@127.0.0.1:9/",
                0, NULL);
    expect_shell("grep -rl secret s/*/events-* s/*/files 2>/dev/null; grep -c 'http://[*][*][*]@127.0.0.1:9' "
                 "s/*/files/*run.yaml",
                 "1");
}

/* ---- samples of a host ------------------------------------------------------------------------------------------- */

Test(track_train, the_kernels_counters)
{
    tarn_system_counters counters = {0};
    cr_assert(tarn_system_parse_stat("cpu  100 10 50 800 40 0 5 3 7 1\ncpu0 1 1 1 1\n", &counters));
    cr_expect_eq(counters.total, 1008);
    cr_expect_eq(counters.busy, 168);
    cr_expect_not(tarn_system_parse_stat("intr 5", &counters));
    cr_assert(
        tarn_system_parse_memory("MemTotal:       1000 kB\nMemFree: 100 kB\nMemAvailable:    400 kB\n", &counters));
    cr_expect_eq(counters.memory, 1024000);
    cr_expect_eq(counters.memory_used, 614400);
    cr_expect_not(tarn_system_parse_memory("MemTotal: 1000 kB\n", &counters));
    cr_assert(tarn_system_parse_network("Inter-|   Receive                    |  Transmit\n"
                                        " face |bytes    packets errs drop fifo frame compressed multicast|bytes\n"
                                        "    lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n"
                                        "eth0:123456789012 1 0 0 0 0 0 0 25 1 0 0 0 0 0 0\n",
                                        &counters));
    cr_expect_eq(counters.received, 123456789112.0);
    cr_expect_eq(counters.transmitted, 125);
    cr_expect_not(tarn_system_parse_network("", &counters));
}

Test(track_train, hosts_are_numbered_by_their_first_ranks)
{
    char hosts[5][TARN_HOST_BYTES] = {"b", "b", "a", "b", "c"};
    static const int expected[5][2] = {{0, 1}, {0, 0}, {1, 1}, {0, 0}, {2, 1}};
    for (int rank = 0; rank < 5; rank++) {
        int node, nodes;
        bool first;
        tarn_trainer_place_among_hosts(hosts, 5, rank, &node, &nodes, &first);
        cr_expect(node == expected[rank][0] && first == expected[rank][1] && nodes == 3, "rank %d: node %d, first %d",
                  rank, node, first);
    }
}

/* ---- models ------------------------------------------------------------------------------------------------------ */

Test(track_train, a_registered_model_gets_a_version_a_run_and_an_alias)
{
    char *output;
    expect_tarn("", 2, "train run.yaml --quiet track.register=digits", 0, NULL);
    expect_tarn("", 0, "train run.yaml --quiet track.register=digits train.steps=45", 0, NULL);
    expect_tarn("", 0, "track alias digits champion 2", 0, &output);
    cr_expect(strstr(output, "digits@champion is version 2 now"), "%s", output);
    free(output);
    expect_shell("cat mlruns/models/digits/aliases/champion; ls mlruns/models/digits; ls mlruns/0/*/outputs | wc -l",
                 "2aliases\nmeta.yaml\nversion-1\nversion-2\n2");
    cJSON *run = show("recorded");
    cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(run, "models")), 2);
    cJSON_Delete(run);
    /* What was packed for the record does not stay in the spool's way, and one that is asked for by no key is not made.
     */
    expect_shell("ls checkpoints/spool/*/ | grep -c '^model-'", "0");
    expect_tarn("", 0, "train run.yaml --quiet checkpoint.dir=plain track.store=plain-store", 0, NULL);
    expect_shell("ls plain-store/0/models 2>/dev/null; ls plain-store/models 2>/dev/null", "");
    const char *python = getenv("TARN_TEST_PYTHON");
    char *line = tarn_test_format("cd '%s' && '%s' -c 'import mlflow, onnxruntime'", folder, python ? python : "false");
    if (tarn_test_run(line, TARN_TEST_SECONDS, NULL)) cr_skip_test("no Python with mlflow and onnxruntime");
    free(line);
    line = tarn_test_format("cd '%s' && '%s' '%s/tests/python/load_registered.py' mlruns models:/digits@champion 2 7",
                            folder, python, TARN_SOURCE_DIR);
    cr_assert_eq(tarn_test_run(line, 300, &output), 0, "%s", output);
    char *id = shell("basename $(dirname $(ls -d mlruns/0/*/metrics))"), *expected = tarn_test_format("run %s", id);
    cr_expect(strstr(output, "shape (2, 7, ") && strstr(output, expected), "%s", output);
    free(output);
    free(line);
    free(id);
    free(expected);
}

/* ---- the real MLflow --------------------------------------------------------------------------------------------- */

Test(track_train, mlflow_reads_and_moves_it)
{
    const char *python = getenv("TARN_TEST_PYTHON");
    if (!python || !*python) cr_skip_test("TARN_TEST_PYTHON names no Python (scripts/test makes one with mlflow)");
    char *check = tarn_test_format("'%s' -c 'import mlflow, sqlalchemy'", python), *output;
    if (tarn_test_run(check, TARN_TEST_SECONDS, NULL)) cr_skip_test("no mlflow with its database");
    free(check);
    expect_tarn("", 2, "train run.yaml --quiet", 0, NULL);
    char *id = shell("basename $(dirname $(ls -d mlruns/0/*/metrics))"),
         *line = tarn_test_format("'%s' '%s/tests/python/read_mlflow.py' mlruns %s", python, TARN_SOURCE_DIR, id),
         *command = tarn_test_format("cd '%s' && %s 2>/dev/null", folder, line);
    cr_assert_eq(tarn_test_run(command, 300, &output), 0, "%s", output);
    cJSON *run = cJSON_Parse(strchr(output, '{'));
    cr_assert(run, "%s", output);
    cr_expect_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(run, "run_name")), "recorded");
    cr_expect_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(run, "status")), "FINISHED");
    cr_expect_eq(cJSON_GetArraySize(at(run, "steps", "train.loss")), 40);
    cr_expect_eq(cJSON_GetArraySize(at(run, "steps", "system/rank_1/compute_seconds")), 4);
    const cJSON *training = at(run, "datasets", "text.txt");
    expect_text(training, "tags", "mlflow.data.context", "training");
    const char *schema = cJSON_GetStringValue(cJSON_GetObjectItem(training, "schema"));
    cr_expect(strstr(schema, "mlflow_tensorspec"), "%s", schema);
    cJSON_Delete(run);
    free(command);
    free(line);
    free(output);
    command = tarn_test_format("cd '%s' && '%s' '%s/tests/python/migrate_mlflow.py' mlruns mlflow.db", folder, python,
                               TARN_SOURCE_DIR);
    cr_assert_eq(tarn_test_run(command, 300, &output), 0, "%s", output);
    cr_expect(strstr(output, "same: 1 runs"), "%s", output);
    free(command);
    free(output);
    free(id);
}
