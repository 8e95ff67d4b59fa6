/* mlflow_server_support.h - `mlflow server` over SQLite: starting and killing it, reading back what it has. Needs
 * TARN_TEST_PYTHON, a Python that has mlflow. */
#ifndef TARN_TESTS_MLFLOW_SERVER_SUPPORT_H
#define TARN_TESTS_MLFLOW_SERVER_SUPPORT_H

#include "tests/mlflow_process.h"
#include "tests/mlflow_support.h"

__attribute__((unused)) static const char *python(void)
{
    const char *path = getenv("TARN_TEST_PYTHON");
    if (!path || !*path) cr_skip_test("TARN_TEST_PYTHON names no Python that has mlflow");
    return path;
}

/* Starts it, or starts it again on its port; waits until it answers. */
__attribute__((unused)) static void start_server(tarn_test_mlflow *server, bool login)
{
    if (!server->folder) server->folder = tarn_test_directory();
    server->python = python();
    bool up = tarn_test_mlflow_start(server, login);
    char *log = tarn_test_format("%s/log", server->folder), *text = up ? NULL : tarn_test_read(log, NULL);
    cr_assert(up, "the MLflow server did not start: %s", text);
    free(log);
}

__attribute__((unused)) static void end_server(tarn_test_mlflow *server)
{
    tarn_test_mlflow_kill(server);
    tarn_test_remove(server->folder);
    free(server->folder);
}

__attribute__((unused)) static cJSON *read_back(const char *address, const char *arguments)
{
    char *output;
    char *command = tarn_test_format("%s %s/tests/python/mlflow_read.py %s %s 2>/tmp/tarn-test-read.$$ || { cat "
                                     "/tmp/tarn-test-read.$$; rm -f /tmp/tarn-test-read.$$; exit 1; }; rm -f "
                                     "/tmp/tarn-test-read.$$",
                                     python(), TARN_SOURCE_DIR, address, arguments);
    cr_assert_eq(tarn_test_run(command, 240, &output), 0, "%s", output);
    cJSON *json = cJSON_Parse(output);
    cr_assert(json, "%s", output);
    free(command);
    free(output);
    return json;
}

__attribute__((unused)) static const cJSON *get(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

__attribute__((unused)) static void expect_text(const cJSON *object, const char *name, const char *expected)
{
    cr_expect_str_eq(tarn_test_text(object, name), expected, "%s is \"%s\", not \"%s\"", name,
                     tarn_test_text(object, name), expected);
}

#endif
