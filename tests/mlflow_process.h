/* mlflow_process.h - the real `mlflow server` over SQLite, for tests and benchmarks: starting and killing it. It runs
 * in a process group of its own that ends with us; tests/python/mlflow_server.py holds its settings. Nothing here
 * asserts.
 */
#ifndef TARN_TESTS_MLFLOW_PROCESS_H
#define TARN_TESTS_MLFLOW_PROCESS_H

#include "runtime/http/http.h"
#include "tests/server_support.h"

typedef struct tarn_test_mlflow {
    const char *python; /* one that has mlflow */
    char *folder;       /* its data base, artifacts, log and port; the caller's */
    pid_t group;        /* 0: not running */
    int port;           /* 0: a free one, chosen at the first start */
    char address[64];
} tarn_test_mlflow;

static inline bool tarn_test_mlflow_answers(const tarn_test_mlflow *server)
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

/* Ends it as a failing machine would. */
static inline void tarn_test_mlflow_kill(tarn_test_mlflow *server)
{
    if (server->group <= 0) return;
    kill(-server->group, SIGKILL);
    waitpid(server->group, NULL, 0);
    server->group = 0;
}

/* Starts it, or starts it again on its port; whether it answers. `log` in its folder says why it does not. */
static inline bool tarn_test_mlflow_start(tarn_test_mlflow *server, bool login)
{
    char *file = tarn_test_format("%s/port", server->folder), *log = tarn_test_format("%s/log", server->folder), *text;
    char number[16];
    snprintf(number, sizeof number, "%d", server->port);
    server->group = fork();
    if (!server->group) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!freopen(log, "a", stdout) || dup2(1, 2) < 0) _exit(126);
        execl(server->python, server->python, TARN_SOURCE_DIR "/tests/python/mlflow_server.py", server->folder,
              "--port", number, login ? "--auth" : (char *)NULL, (char *)NULL);
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
    for (int i = 0; i < 1500 && !(up = tarn_test_mlflow_answers(server)); i++) {
        if (waitpid(server->group, NULL, WNOHANG)) break;
        tarn_test_pause(0.1);
    }
    free(file);
    free(log);
    return up;
}

#endif
