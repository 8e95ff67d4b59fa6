/* hub.c - see hub.h. */
#include "launch/supervisor/hub.h"
#include "runtime/base/context.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINE = 8192, STRANGERS = 64, STACK_BYTES = 1 << 20 };
static const double HELLO_SECONDS = 10; /* a connection that has said nothing by then is closed */

struct tarn_hub_connection {
    int file, rank; /* rank -1 before hello */
    double opened;
    size_t used;
    bool overlong; /* inside a line that was cut */
    char line[LINE];
};

/* ---- life -------------------------------------------------------------------------------------------------------- */

bool tarn_hub_open(tarn_hub *hub, bool every_interface)
{
    *hub = (tarn_hub){.listener = -1, .every_interface = every_interface};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(every_interface ? INADDR_ANY : INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    hub->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (hub->listener < 0) return false;
    if (bind(hub->listener, (struct sockaddr *)&address, sizeof address) || listen(hub->listener, 1024) ||
        getsockname(hub->listener, (struct sockaddr *)&address, &length)) {
        int error = errno;
        tarn_hub_close(hub);
        errno = error;
        return false;
    }
    hub->port = ntohs(address.sin_port);
    return true;
}

static void forget(tarn_hub *hub)
{
    for (int i = 0; i < hub->connection_count; i++) close(hub->connection[i].file);
    for (int i = 0; i < hub->rank_count; i++) free(hub->rank[i].stacks);
    free(hub->connection);
    free(hub->rank);
    hub->connection = NULL;
    hub->rank = NULL;
    hub->connection_count = hub->rank_count = 0;
}

bool tarn_hub_begin(tarn_hub *hub, int ranks)
{
    forget(hub);
    unsigned char bytes[TARN_HUB_TOKEN / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) return false;
    for (size_t i = 0; i < sizeof bytes; i++) snprintf(hub->token + 2 * i, 3, "%02x", bytes[i]);
    hub->rank = calloc((size_t)ranks, sizeof *hub->rank);
    hub->connection = calloc((size_t)ranks + STRANGERS, sizeof *hub->connection);
    if (!hub->rank || !hub->connection) return false;
    hub->rank_count = ranks;
    for (int i = 0; i < ranks; i++) hub->rank[i].step = -1;
    hub->stop_sent = hub->directory_told = false;
    hub->directory[0] = hub->stopping[0] = 0;
    hub->reached = hub->resumed = hub->saved = hub->timed_step = -1;
    hub->first_lost = hub->timed_at = 0;
    hub->step_seconds = (tarn_median){0};
    return true;
}

void tarn_hub_close(tarn_hub *hub)
{
    forget(hub);
    if (hub->listener >= 0) close(hub->listener);
    hub->listener = -1;
}

void tarn_hub_address(const tarn_hub *hub, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    struct ifaddrs *list = NULL;
    if (hub->every_interface && !getifaddrs(&list))
        for (struct ifaddrs *at = list; at; at = at->ifa_next) {
            if (!at->ifa_addr || at->ifa_addr->sa_family != AF_INET || (at->ifa_flags & IFF_LOOPBACK) ||
                !(at->ifa_flags & IFF_UP))
                continue;
            struct in_addr address = ((struct sockaddr_in *)(void *)at->ifa_addr)->sin_addr;
            char text[INET_ADDRSTRLEN];
            if (!inet_ntop(AF_INET, &address, text, sizeof text) || used + 64 + TARN_HUB_TOKEN > size) continue;
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? "," : "", text);
        }
    if (list) freeifaddrs(list);
    if (!used) used = (size_t)snprintf(out, size, "127.0.0.1");
    snprintf(out + used, size - used, ":%d/%s", hub->port, hub->token);
}

/* ---- what ranks say ---------------------------------------------------------------------------------------------- */

/* Takes the next field off the line: up to the blank, which becomes its end. "" at the end of the line. */
static char *field(char **line)
{
    char *begin = *line, *blank = strchr(begin, ' ');
    if (blank) *blank = 0;
    *line = blank ? blank + 1 : begin + strlen(begin);
    return begin;
}

static bool number(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end) return false;
    *out = value;
    return true;
}

/* Whoever does not read what is sent hangs, which the watch finds: nothing waits for it here. */
static void say(const tarn_hub_connection *connection, const char *line)
{
    (void)!send(connection->file, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void raise_to(int64_t *value, int64_t at_least)
{
    if (*value < at_least) *value = at_least;
}

static bool hello(tarn_hub *hub, tarn_hub_connection *connection, char *line)
{
    int64_t version, rank, ranks, pid;
    if (strcmp(field(&line), "hello") || strcmp(field(&line), hub->token) || !number(field(&line), &version) ||
        !number(field(&line), &rank) || !number(field(&line), &ranks) || !number(field(&line), &pid) || version != 1 ||
        rank < 0 || rank >= hub->rank_count)
        return false;
    for (int i = 0; i < hub->connection_count; i++)
        if (hub->connection[i].rank == rank) hub->connection[i].rank = -1; /* the newer one counts */
    tarn_hub_rank *known = &hub->rank[rank];
    free(known->stacks);
    double now = tarn_seconds();
    *known = (tarn_hub_rank){.known = true,
                             .connected = true,
                             .pid = (pid_t)pid,
                             .step = known->known ? known->step : -1,
                             .progress = -1,
                             .heard = now,
                             .moved = now};
    snprintf(known->host, sizeof known->host, "%s", line);
    connection->rank = (int)rank;
    if (hub->stop_sent) say(connection, "stop\n");
    return true;
}

static void time_steps(tarn_hub *hub, int64_t step, double now)
{
    if (step <= hub->timed_step) return;
    if (hub->timed_step >= 0)
        tarn_median_add(&hub->step_seconds, (now - hub->timed_at) / (double)(step - hub->timed_step));
    hub->timed_step = step;
    hub->timed_at = now;
}

static void at(tarn_hub *hub, tarn_hub_rank *rank, char *line, double now)
{
    int64_t step, progress, waiting;
    if (!number(field(&line), &step) || !number(field(&line), &progress) || !number(field(&line), &waiting)) return;
    char *end;
    double still = strtod(field(&line), &end);
    if (*end || !(still >= 0)) still = 0;
    /* The rank knows better than the arrival of its reports since when it has not moved. */
    if (progress != rank->progress || (step >= 0 && step != rank->step)) rank->moved = now - (still < 2 ? still : 2);
    if (step >= 0) rank->step = step; /* after training: the last one stays */
    rank->progress = progress;
    rank->waiting = waiting != 0;
    snprintf(rank->what, sizeof rank->what, "%s", line);
    raise_to(&hub->reached, step);
    if (rank == hub->rank) time_steps(hub, step, now);
}

static void add_stack(tarn_hub_rank *rank, const char *line)
{
    if (!strcmp(line, ".")) {
        rank->stacks_complete = true;
        return;
    }
    size_t length = strlen(line);
    if (rank->stacks_bytes + length + 2 > STACK_BYTES) return;
    char *grown = realloc(rank->stacks, rank->stacks_bytes + length + 2);
    if (!grown) return;
    rank->stacks = grown;
    memcpy(grown + rank->stacks_bytes, line, length);
    memcpy(grown + rank->stacks_bytes + length, "\n", 2);
    rank->stacks_bytes += length + 1;
}

/* A rank that waits while another one computes is not to give up: the supervisor judges who hangs. Reports come every
 * second; two may be late. */
static bool others_work(const tarn_hub *hub, const tarn_hub_rank *asking, double now)
{
    for (int i = 0; i < hub->rank_count; i++)
        if (&hub->rank[i] != asking && hub->rank[i].connected && now - hub->rank[i].moved < 3) return true;
    return false;
}

/* False: not one of us, close. Words that are not known are passed over, so that a newer rank may say more. */
static bool take_line(tarn_hub *hub, tarn_hub_connection *connection, char *line)
{
    if (connection->rank < 0) return hello(hub, connection, line);
    tarn_hub_rank *rank = &hub->rank[connection->rank];
    double now = tarn_seconds();
    rank->heard = now;
    const char *word = field(&line);
    int64_t value;
    if (!strcmp(word, "at")) {
        at(hub, rank, line, now);
        say(connection, others_work(hub, rank, now) ? "ok working\n" : "ok\n");
    } else if (!strcmp(word, "directory")) {
        snprintf(hub->directory, sizeof hub->directory, "%s", line);
        hub->directory_told = true;
    } else if (!strcmp(word, "resumed") && number(line, &value)) {
        hub->resumed = value;
    } else if (!strcmp(word, "saved") && number(line, &value)) {
        raise_to(&hub->saved, value);
        raise_to(&hub->reached, value);
    } else if (!strcmp(word, "stopping")) {
        /* A spot notice says more than "supervisor" or "signal", whichever rank is heard first. */
        if (!hub->stopping[0] || !strncmp(line, "spot ", 5)) snprintf(hub->stopping, sizeof hub->stopping, "%s", line);
    } else if (!strcmp(word, "stack")) {
        add_stack(rank, line);
    } else if (!strcmp(word, "failed")) {
        if (!rank->failed) rank->failed_at = now;
        rank->failed = true;
        snprintf(rank->status, sizeof rank->status, "%s", field(&line));
        snprintf(rank->message, sizeof rank->message, "%s", line);
    } else if (!strcmp(word, "bye") && number(line, &value)) {
        rank->bye = true;
        rank->bye_code = (int)value;
    }
    return true;
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void drop(tarn_hub *hub, int index)
{
    tarn_hub_connection *connection = &hub->connection[index];
    if (connection->rank >= 0) {
        tarn_hub_rank *rank = &hub->rank[connection->rank];
        rank->connected = false;
        if (!rank->bye) {
            rank->lost = true;
            if (hub->first_lost == 0) {
                hub->first_lost = tarn_seconds();
                hub->first_lost_rank = connection->rank;
            }
        }
    }
    close(connection->file);
    if (index != --hub->connection_count) *connection = hub->connection[hub->connection_count];
}

static void accept_all(tarn_hub *hub)
{
    for (;;) {
        int file = accept4(hub->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (file < 0) return;
        if (hub->connection_count >= hub->rank_count + STRANGERS) {
            close(file);
            continue;
        }
        setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        tarn_hub_connection *connection = &hub->connection[hub->connection_count++];
        connection->file = file;
        connection->rank = -1;
        connection->opened = tarn_seconds();
        connection->used = 0;
        connection->overlong = false;
    }
}

/* Takes the complete lines out of the buffer; false when the connection is to be closed. */
static bool take_lines(tarn_hub *hub, tarn_hub_connection *connection)
{
    char *begin = connection->line, *limit = begin + connection->used, *end;
    while ((end = memchr(begin, '\n', (size_t)(limit - begin)))) {
        *end = 0;
        bool cut = connection->overlong;
        connection->overlong = false;
        if (!cut && !take_line(hub, connection, begin)) return false;
        begin = end + 1;
    }
    connection->used = (size_t)(limit - begin);
    memmove(connection->line, begin, connection->used);
    if (connection->used < LINE - 1) return true;
    if (connection->rank < 0) return false;
    /* Longer than any line of ours: what there is of it counts, the rest is passed over. */
    connection->line[LINE - 1] = 0;
    if (!connection->overlong) take_line(hub, connection, connection->line);
    connection->overlong = true;
    connection->used = 0;
    return true;
}

/* Reads what has come; false when the connection has ended. At most a buffer's worth at a time: no rank that talks
 * without end keeps the others waiting. */
static bool read_some(tarn_hub *hub, tarn_hub_connection *connection)
{
    ssize_t got =
        recv(connection->file, connection->line + connection->used, LINE - 1 - connection->used, MSG_DONTWAIT);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (!got) return false;
    connection->used += (size_t)got;
    return take_lines(hub, connection);
}

void tarn_hub_serve(tarn_hub *hub, int other, int milliseconds)
{
    for (int round = 0; round < 64; round++) { /* until quiet, but never for ever */
        int count = hub->connection_count, ready;
        struct pollfd *files = calloc((size_t)count + 2, sizeof *files);
        if (!files) return;
        for (int i = 0; i < count; i++) files[i] = (struct pollfd){.fd = hub->connection[i].file, .events = POLLIN};
        files[count] = (struct pollfd){.fd = hub->listener, .events = POLLIN};
        files[count + 1] = (struct pollfd){.fd = round ? -1 : other, .events = POLLIN};
        ready = poll(files, (nfds_t)count + 2, round ? 0 : milliseconds);
        /* From the last: a dropped one's place is taken by one that has been looked at. */
        for (int i = count - 1; ready > 0 && i >= 0; i--)
            if (files[i].revents && !read_some(hub, &hub->connection[i])) drop(hub, i);
        if (ready > 0 && files[count].revents) accept_all(hub);
        free(files);
        if (ready <= 0) break;
    }
    double now = tarn_seconds();
    for (int i = hub->connection_count - 1; i >= 0; i--)
        if (hub->connection[i].rank < 0 && now - hub->connection[i].opened > HELLO_SECONDS) drop(hub, i);
}

static void say_to_all(tarn_hub *hub, const char *line)
{
    for (int i = 0; i < hub->connection_count; i++)
        if (hub->connection[i].rank >= 0) say(&hub->connection[i], line);
}

void tarn_hub_stop(tarn_hub *hub)
{
    hub->stop_sent = true;
    say_to_all(hub, "stop\n");
}

void tarn_hub_claimed(tarn_hub *hub)
{
    hub->directory_told = false;
    say_to_all(hub, "claimed\n");
}

void tarn_hub_ask_stacks(tarn_hub *hub)
{
    for (int i = 0; i < hub->rank_count; i++) {
        tarn_hub_rank *rank = &hub->rank[i];
        free(rank->stacks);
        rank->stacks = NULL;
        rank->stacks_bytes = 0;
        rank->stacks_complete = false;
    }
    say_to_all(hub, "stacks\n");
}

int tarn_hub_known(const tarn_hub *hub)
{
    int known = 0;
    for (int i = 0; i < hub->rank_count; i++) known += hub->rank[i].known;
    return known;
}
