/* mlflow_server_support.h - `mlflow server` over SQLite: starting and killing it, reading back what it has. Needs
 * TARN_TEST_PYTHON, a Python that has mlflow. */
#ifndef TARN_TESTS_MLFLOW_SERVER_SUPPORT_H
#define TARN_TESTS_MLFLOW_SERVER_SUPPORT_H

#include "tests/mlflow_support.h"

#include <signal.h>

typedef struct real_server {
    char *folder;
    pid_t group;
    int port;
    char address[64];
} real_server;

__attribute__((unused)) static const char *python(void)
{
    const char *path = getenv("TARN_TEST_PYTHON");
    if (!path || !*path) cr_skip_test("TARN_TEST_PYTHON names no Python that has mlflow");
    return path;
}

__attribute__((unused)) static bool answers(const real_server *server)
{
    char *url = tarn_test_format("%s/health", server->address);
    tarn_http *http = tarn_http_open();
    tarn_http_answer answer;
    bool fine =
        !tarn_http_perform(http, &(tarn_http_request){.url = url, .direct = true}, &answer) && answer.code == 200;
    tarn_http_answer_free(&answer);
    tarn_http_close(http);
    free(url);
    return fine;
}

__attribute__((unused)) static void kill_server(real_server *server)
{
    if (server->group <= 0) return;
    kill(-server->group, SIGKILL);
    waitpid(server->group, NULL, 0);
    server->group = 0;
}

/* Starts it, or starts it again on its port; waits until it answers. */
__attribute__((unused)) static void start_server(real_server *server, bool login)
{
    if (!server->folder) server->folder = tarn_test_directory();
    char *script = tarn_test_format("%s/tests/python/mlflow_server.py", TARN_SOURCE_DIR);
    char *file = tarn_test_format("%s/port", server->folder), *log = tarn_test_format("%s/log", server->folder), *text;
    char number[16];
    snprintf(number, sizeof number, "%d", server->port);
    const char *path = python();
    server->group = fork();
    if (!server->group) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!freopen(log, "a", stdout) || dup2(1, 2) < 0) _exit(126);
        execl(path, path, script, server->folder, "--port", number, login ? "--auth" : (char *)NULL, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 1500 && !*server->address; i++) {
        tarn_test_pause(0.1);
        if (!(text = tarn_test_read(file, NULL))) continue;
        server->port = atoi(text);
        snprintf(server->address, sizeof server->address, "http://127.0.0.1:%d", server->port);
        free(text);
    }
    bool up = false;
    for (int i = 0; i < 1500 && !(up = answers(server)); i++) {
        if (waitpid(server->group, NULL, WNOHANG)) break;
        tarn_test_pause(0.1);
    }
    text = up ? NULL : tarn_test_read(log, NULL);
    cr_assert(up, "the MLflow server did not start: %s", text);
    free(script);
    free(file);
    free(log);
}

__attribute__((unused)) static void end_server(real_server *server)
{
    kill_server(server);
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
