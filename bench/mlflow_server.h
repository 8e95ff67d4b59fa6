/* mlflow_server.h - the real `mlflow server` for benchmarks: started in a process group of its own that ends with us.
 * Included by one file a program; needs libcurl. tests/python/mlflow_server.py holds the server's settings. */
#ifndef TARN_BENCH_MLFLOW_SERVER_H
#define TARN_BENCH_MLFLOW_SERVER_H

#include "tests/support.h"

#include <curl/curl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

typedef struct mlflow_server {
    const char *python; /* one that has mlflow */
    char *folder;       /* its data base, log and port */
    pid_t group;        /* 0: not running */
    char address[64];
} mlflow_server;

/* Ends it as a failing machine would. */
static void mlflow_server_kill(mlflow_server *server)
{
    if (server->group <= 0) return;
    kill(-server->group, SIGKILL);
    waitpid(server->group, NULL, 0);
    server->group = 0;
}

static bool mlflow_server_answers(const mlflow_server *server)
{
    char url[128];
    snprintf(url, sizeof url, "%s/health", server->address);
    CURL *curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    bool fine = !curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    return fine;
}

/* port: 0 = a free one. NULL once it answers, else what is wrong. */
static const char *mlflow_server_start(mlflow_server *server, int port)
{
    char *file = tarn_test_format("%s/port", server->folder), *log = tarn_test_format("%s/log", server->folder);
    char *text = NULL, number[16];
    snprintf(number, sizeof number, "%d", port);
    server->group = fork();
    if (!server->group) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!freopen(log, "w", stdout) || dup2(1, 2) < 0) _exit(126);
        execl(server->python, server->python, TARN_SOURCE_DIR "/tests/python/mlflow_server.py", server->folder,
              "--port", number, (char *)NULL);
        _exit(127);
    }
    bool up = false;
    for (int i = 0; i < 1200 && !up; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        if (!text && (text = tarn_test_read(file, NULL)))
            snprintf(server->address, sizeof server->address, "http://127.0.0.1:%d", atoi(text));
        up = text && mlflow_server_answers(server);
    }
    free(text);
    free(file);
    free(log);
    return up ? NULL : "the MLflow server does not start: is mlflow installed in that Python?";
}

#endif
