/* hub.h - a small supervisor's end of the channel, for tests: it listens on the loopback, keeps every line a rank
 * sends, and answers as the test says.
 */
#ifndef TARN_TESTS_HUB_H
#define TARN_TESTS_HUB_H

#include "tests/support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#define HUB_TOKEN "0123456789abcdef0123456789abcdef"

typedef struct tarn_test_hub tarn_test_hub;

struct tarn_test_hub {
    /* Called for every line, under the lock; `line` without newline, `rank` -1 before hello. Answers by hub_say; false
     * closes the connection. */
    bool (*answer)(tarn_test_hub *hub, int connection, int rank, const char *line);
    int listener, port;
    pthread_mutex_t lock;
    char *log; /* "RANK line\n" */
    size_t used;
    int reports; /* `at` lines so far */
    int state;   /* the test's own */
    double when;
};

typedef struct hub_connection {
    tarn_test_hub *hub;
    int socket;
} hub_connection;

__attribute__((unused)) static void hub_say(int connection, const char *line)
{
    char text[64];
    int length = snprintf(text, sizeof text, "%s\n", line);
    if (send(connection, text, (size_t)length, MSG_NOSIGNAL) < 0) return;
}

static void *hub_serve(void *argument)
{
    hub_connection connection = *(hub_connection *)argument;
    free(argument);
    tarn_test_hub *hub = connection.hub;
    FILE *in = fdopen(connection.socket, "r");
    char line[8192];
    int rank = -1;
    bool open = in != NULL;
    while (open && fgets(line, sizeof line, in)) {
        line[strcspn(line, "\n")] = '\0';
        char token[80];
        if (rank < 0 && sscanf(line, "hello %79s 1 %d", token, &rank) != 2) rank = -1;
        pthread_mutex_lock(&hub->lock);
        hub->log = realloc(hub->log, hub->used + strlen(line) + 32);
        hub->used += (size_t)sprintf(hub->log + hub->used, "%d %s\n", rank, line);
        hub->reports += !strncmp(line, "at ", 3);
        open = hub->answer(hub, connection.socket, rank, line);
        pthread_mutex_unlock(&hub->lock);
    }
    if (in) fclose(in);
    return NULL;
}

static void *hub_accept(void *argument)
{
    tarn_test_hub *hub = argument;
    for (;;) {
        int socket = accept(hub->listener, NULL, NULL);
        if (socket < 0) return NULL;
        hub_connection *connection = malloc(sizeof *connection);
        *connection = (hub_connection){hub, socket};
        pthread_t thread;
        if (pthread_create(&thread, NULL, hub_serve, connection)) return NULL;
        pthread_detach(thread);
    }
}

/* Listens, and sets TARN_SUPERVISOR for what is launched from here on. Lives until the test's process ends. */
__attribute__((unused)) static bool hub_start(tarn_test_hub *hub,
                                              bool (*answer)(tarn_test_hub *, int, int, const char *))
{
    *hub = (tarn_test_hub){.answer = answer};
    pthread_mutex_init(&hub->lock, NULL);
    hub->log = strdup("");
    hub->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    pthread_t thread;
    if (bind(hub->listener, (struct sockaddr *)&address, sizeof address) || listen(hub->listener, 16) ||
        getsockname(hub->listener, (struct sockaddr *)&address, &size) ||
        pthread_create(&thread, NULL, hub_accept, hub))
        return false;
    hub->port = ntohs(address.sin_port);
    char text[128];
    snprintf(text, sizeof text, "127.0.0.1:%d/" HUB_TOKEN, hub->port);
    return !setenv("TARN_SUPERVISOR", text, 1);
}

/* A copy of what was heard so far. */
__attribute__((unused)) static char *hub_log(tarn_test_hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    char *copy = strdup(hub->log);
    pthread_mutex_unlock(&hub->lock);
    return copy;
}

#endif
