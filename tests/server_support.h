/* server_support.h - the test servers (tests/python/metadata_server.py, mlflow_fake.py): starting one, telling it what
 * to answer, reading what it was asked. Nothing here asserts.
 */
#ifndef TARN_TESTS_SERVER_SUPPORT_H
#define TARN_TESTS_SERVER_SUPPORT_H

#include "tests/support.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

typedef struct tarn_test_server {
    char *folder;
    pid_t pid;
    char address[64]; /* http://127.0.0.1:PORT */
} tarn_test_server;

static inline void tarn_test_pause(double seconds)
{
    nanosleep(&(struct timespec){(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)}, NULL);
}

/* A port of 127.0.0.1 at which nobody listens; 0: none. */
static inline int tarn_test_free_port(void)
{
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof place;
    int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool bound = file >= 0 && !bind(file, (struct sockaddr *)&place, length) &&
                 !getsockname(file, (struct sockaddr *)&place, &length);
    if (file >= 0) close(file);
    return bound ? ntohs(place.sin_port) : 0;
}

/* Starts a server of tests/python; server->folder may be there with files for it. */
static inline bool tarn_test_server_start_script(tarn_test_server *server, const char *name)
{
    *server = (tarn_test_server){.folder = server->folder ? server->folder : tarn_test_directory()};
    char *script = tarn_test_format("%s/tests/python/%s", TARN_SOURCE_DIR, name);
    char *port = tarn_test_format("%s/port", server->folder);
    server->pid = fork();
    if (!server->pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that crashes leaves no server behind */
        execlp("python3", "python3", script, server->folder, (char *)NULL);
        _exit(127);
    }
    char *text = NULL;
    for (int i = 0; !text && i < 1200; i++) {
        tarn_test_pause(0.05);
        text = tarn_test_read(port, NULL);
    }
    if (text) snprintf(server->address, sizeof server->address, "http://127.0.0.1:%d", atoi(text));
    free(text);
    free(port);
    free(script);
    return *server->address != 0;
}

static inline bool tarn_test_server_start(tarn_test_server *server)
{
    *server = (tarn_test_server){0};
    return tarn_test_server_start_script(server, "metadata_server.py");
}

static inline void tarn_test_server_stop(tarn_test_server *server)
{
    if (server->pid > 0) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
    }
    if (server->folder) tarn_test_remove(server->folder);
    free(server->folder);
    *server = (tarn_test_server){0};
}

/* What it answers from now on, see the script. */
static inline void tarn_test_server_mode(tarn_test_server *server, const char *mode)
{
    char *path = tarn_test_format("%s/mode", server->folder), *next = tarn_test_format("%s/mode.new", server->folder);
    tarn_test_write(next, mode, strlen(mode));
    rename(next, path);
    free(path);
    free(next);
}

/* How many requests it had that hold the text. */
static inline int tarn_test_server_requests(tarn_test_server *server, const char *text)
{
    char *path = tarn_test_format("%s/requests", server->folder), *all = tarn_test_read(path, NULL);
    int count = 0;
    for (char *at = all; at && (at = strstr(at, text)); at += strlen(text)) count++;
    free(all);
    free(path);
    return count;
}

#endif
