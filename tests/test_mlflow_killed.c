/* test_mlflow_killed.c - server and sender are killed on the way, `mlflow server` and a whole training: every point is
 * there once. Needs TARN_TEST_PYTHON, a Python that has mlflow. */
#include "tests/mlflow_server_support.h"
#include "tests/run_support.h"

#include <math.h>

TestSuite(mlflow_server, .timeout = 600);

/* ---- killed on the way ------------------------------------------------------------------------------------------ */

static pid_t start_sender(const char *address, const char *state, const char *count, const char *log)
{
    pid_t sender = fork();
    if (!sender) {
        if (!freopen(log, "a", stdout)) _exit(126);
        execl(TARN_BINARY_DIR "/tests/case_mlflow", "case_mlflow", address, state, count, (char *)NULL);
        _exit(127);
    }
    return sender;
}

static long long acknowledged(const char *state)
{
    char *path = tarn_test_format("%s/acknowledged", state), *text = tarn_test_read(path, NULL);
    long long number = text ? atoll(text) : 0;
    free(text);
    free(path);
    return number;
}

static void wait_for(const char *state, long long number)
{
    for (int i = 0; i < 2400 && acknowledged(state) < number; i++) tarn_test_pause(0.05);
    cr_assert_geq(acknowledged(state), number);
}

Test(mlflow_server, killed_servers_and_senders_cost_no_point_and_double_none)
{
    enum { COUNT = 24000 };
    tarn_test_mlflow server = {0};
    char *folder = tarn_test_directory(), *state = tarn_test_format("%s/state", folder);
    char *log = tarn_test_format("%s/log", folder);
    int status;
    mkdir(state, 0777);
    start_server(&server, false);
    pid_t sender = start_sender(server.address, state, "24000", log);
    wait_for(state, 2000);
    kill(sender, SIGKILL);
    waitpid(sender, &status, 0);
    cr_assert(WIFSIGNALED(status), "the sender ended before it was killed");
    sender = start_sender(server.address, state, "24000", log);
    wait_for(state, 6000);
    tarn_test_mlflow_kill(&server);
    tarn_test_pause(1);
    cr_assert_eq(waitpid(sender, NULL, WNOHANG), 0);
    start_server(&server, false);
    wait_for(state, 12000);
    kill(sender, SIGKILL);
    waitpid(sender, &status, 0);
    char *note = tarn_test_format("%s/run.json", state);
    unlink(note); /* and its memory of the run's id */
    sender = start_sender(server.address, state, "24000", log);
    waitpid(sender, &status, 0);
    char *said = tarn_test_read(log, NULL);
    cr_assert(WIFEXITED(status) && !WEXITSTATUS(status), "%s", said);
    cr_expect_null(strstr(said, "lost 1"), "%s", said);
    cJSON *run = read_back(server.address, "abcdefabcdefabcdefabcdefabcdefab"), *series;
    cr_assert_eq(get(run, "runs")->valuedouble, 1);
    expect_text(run, "status", "FINISHED");
    cr_expect_eq(cJSON_GetArraySize(get(run, "params")), 150);
    static bool seen[COUNT + 200];
    int points = 0;
    cJSON_ArrayForEach(series, get(run, "metrics"))
    {
        const cJSON *point;
        cJSON_ArrayForEach(point, series)
        {
            double value = strtod(cJSON_GetArrayItem(point, 1)->valuestring, NULL);
            int64_t number = (int64_t)cJSON_GetArrayItem(point, 2)->valuedouble - INT64_C(1795400000000);
            cr_assert(number > 150 && number <= COUNT + 150 && !seen[number], "event %lld is there twice",
                      (long long)number);
            cr_assert_eq(value, 1.0 / (double)number);
            seen[number] = true;
            points++;
        }
    }
    cr_expect_eq(points, COUNT - 24, "%d points of %d", points, COUNT - 24); /* 24 of the events are tags */
    cJSON_Delete(run);
    end_server(&server);
    tarn_test_remove(folder);
    free(folder);
    free(state);
    free(log);
    free(note);
    free(said);
}

/* ---- the whole way ---------------------------------------------------------------------------------------------- */

/* A training that is killed while the server is dead, and goes on while it comes back. */
Test(mlflow_server, a_killed_training_is_one_run_with_every_point_once)
{
    static const char run_file[] =
        "name: recorded\nseed: 5\n"
        "model: {kind: gpt, layers: 1, heads: 2, width: 32, context: 16, dropout: 0.1}\n"
        "data: {kind: text, path: text.txt, validation: 0.1}\n"
        "train: {batch: 16, steps: 6000, eval_every: 500, threads: 1}\n"
        "checkpoint: {dir: checkpoints, every: 200}\n"
        "track: {system_every: 0.2, register: words, flush_timeout: 200, experiment: whole}\n";
    tarn_test_mlflow server = {0};
    char *folder = tarn_test_directory(), *text = tarn_test_format("%s/text.txt", folder), *output;
    char *file = tarn_test_format("%s/run.yaml", folder);
    cr_assert(tarn_test_write_text(text, 300) && tarn_test_write(file, run_file, sizeof run_file - 1));
    start_server(&server, false);
    setenv("MLFLOW_TRACKING_URI", server.address, 1);
    char *line = tarn_test_format(
        "cd '%s' && { TARN_TEST=1 %s train run.yaml --quiet & } && pid=$! && until ls checkpoints/ckpt-*.h5 >/dev/null "
        "2>&1; do sleep 0.01; done; kill -9 -%d; sleep 0.1; kill -9 $pid; wait $pid; [ $? = 137 ]",
        folder, TARN_PROGRAM, (int)server.group);
    cr_assert_eq(tarn_test_run(line, 240, NULL), 0);
    free(line);
    waitpid(server.group, NULL, 0);
    /* It goes on without a server, and is killed again: behind its last step, while it waits for the server. */
    line = tarn_test_format(
        "cd '%s' && { TARN_TEST=1 %s train run.yaml --quiet & } && pid=$! && until [ -e "
        "checkpoints/ckpt-000000006000.h5 ]; do sleep 0.1; done; kill -9 $pid; wait $pid; [ $? = 137 ]",
        folder, TARN_PROGRAM);
    cr_assert_eq(tarn_test_run(line, 240, NULL), 0);
    free(line);
    line = tarn_test_format("cd '%s' && TARN_TEST=1 %s train run.yaml >log 2>&1", folder, TARN_PROGRAM);
    pid_t training = fork();
    if (!training) {
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    free(line);
    start_server(&server, false);
    int status;
    waitpid(training, &status, 0);
    char *log = tarn_test_format("%s/log", folder), *said = tarn_test_read(log, NULL);
    cr_assert(WIFEXITED(status) && !WEXITSTATUS(status), "%s", said);
    cr_expect(strstr(said, "finished already: 6000 steps"), "%s", said);
    cr_expect_eq(tarn_test_tarn(folder, "", 0, "track alias words champion 1", &output), 0, "%s", output);
    free(output);
    line = tarn_test_format("ls %s/checkpoints/spool", folder);
    cr_assert_eq(tarn_test_run(line, 20, &output), 0);
    output[strcspn(output, "\n")] = '\0';
    char *arguments = tarn_test_format("%s words champion 16", output);
    cJSON *run = read_back(server.address, arguments);
    cr_assert_eq(get(run, "runs")->valuedouble, 1);
    expect_text(run, "status", "FINISHED");
    expect_text(run, "run_name", "recorded");
    expect_text(get(run, "params"), "train.steps", "6000");
    static bool seen[6001];
    const cJSON *points = get(get(run, "metrics"), "train.loss"), *point;
    cr_assert_eq(cJSON_GetArraySize(points), 6000);
    cJSON_ArrayForEach(point, points)
    {
        int step = (int)cJSON_GetArrayItem(point, 0)->valuedouble;
        cr_assert(step >= 1 && step <= 6000 && !seen[step], "step %d", step);
        seen[step] = true;
    }
    cr_expect_eq(cJSON_GetArraySize(get(get(run, "metrics"), "validation.loss")), 12);
    cr_expect_eq(cJSON_GetArraySize(get(run, "datasets")), 2);
    cr_expect_geq(cJSON_GetArraySize(get(run, "artifacts")), 2); /* the configuration and the log */
    cr_expect_eq(get(run, "versions")->valuedouble, 1);
    expect_text(get(run, "loaded"), "run_id", tarn_test_text(run, "run_id"));
    cr_expect_gt(cJSON_GetArraySize(get(run, "prediction")), 16);
    cJSON_ArrayForEach(point, get(run, "prediction")) cr_expect(isfinite(point->valuedouble));
    cJSON_Delete(run);
    end_server(&server);
    tarn_test_remove(folder);
    free(folder);
    free(text);
    free(file);
    free(line);
    free(log);
    free(said);
    free(arguments);
    free(output);
}
