/* channel.c - the connection of a rank to its supervisor: lines over TCP, never blocking.
 *
 * Invariants
 *  1. Only the monitor's thread comes here.
 *  2. No call waits, names of hosts apart, which are looked up while only this thread waits.
 *  3. A connection that was made and then ends is final: there is no second one, since the supervisor that ended it
 *     starts the ranks again.
 */
#include "runtime/monitor/monitor_internal.h"
#include "runtime/base/context.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Seconds for a connection before the next address is tried, and between two attempts. */
#define ATTEMPT_SECONDS 3.0
#define PAUSE_SECONDS   0.2
/* Bytes that may wait for a supervisor that does not read; more are dropped. A second of reports is 200 bytes. */
#define MOST_WAITING ((size_t)1 << 20)

/* ADDR[,ADDR...]:PORT/TOKEN; an address may hold colons. */
tarn_status tarn_channel_open(monitor_channel *channel, tarn_context *context, const char *address)
{
    *channel = (monitor_channel){.socket = -1};
    char *text = channel->storage = strdup(address);
    if (!text) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for the supervisor's address");
    char *slash = strrchr(text, '/');
    if (slash) *slash = '\0';
    char *colon = slash ? strrchr(text, ':') : NULL;
    if (colon) *colon = '\0';
    bool fits = colon && *text && strlen(colon + 1) < sizeof channel->port &&
                strspn(colon + 1, "0123456789") == strlen(colon + 1) && colon[1] &&
                strlen(slash + 1) < sizeof channel->token && slash[1] && !strpbrk(slash + 1, " \n");
    if (!fits) {
        tarn_channel_close(channel);
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                         "TARN_SUPERVISOR=%s: expected ADDRESS[,ADDRESS...]:PORT/TOKEN, as tarn run sets it; unset it "
                         "to run without a supervisor",
                         address);
    }
    snprintf(channel->port, sizeof channel->port, "%s", colon + 1);
    snprintf(channel->token, sizeof channel->token, "%s", slash + 1);
    char *rest = text;
    for (char *one; channel->address_count < TARN_MONITOR_ADDRESSES && (one = strsep(&rest, ","));)
        if (*one) channel->addresses[channel->address_count++] = one;
    return TARN_OK;
}

void tarn_channel_close(monitor_channel *channel)
{
    if (channel->socket >= 0) close(channel->socket);
    free(channel->storage);
    free(channel->out);
    *channel = (monitor_channel){.socket = -1};
}

bool tarn_channel_put(monitor_channel *channel, const char *line)
{
    size_t length = strlen(line), needed = channel->out_used + length + 1;
    if (needed > MOST_WAITING) return false;
    if (needed > channel->out_capacity) {
        size_t capacity = 2 * needed + 1024;
        char *grown = realloc(channel->out, capacity);
        if (!grown) return false;
        channel->out = grown;
        channel->out_capacity = capacity;
    }
    for (size_t i = 0; i < length; i++) channel->out[channel->out_used + i] = line[i] == '\n' ? ' ' : line[i];
    channel->out[channel->out_used + length] = '\n';
    channel->out_used = needed;
    return true;
}

static void give_up_attempt(monitor_channel *channel, double now)
{
    if (channel->socket >= 0) close(channel->socket);
    channel->socket = -1;
    channel->connected = false;
    channel->next_address = (channel->next_address + 1) % channel->address_count;
    channel->attempt_ends = now + PAUSE_SECONDS;
}

static void begin_attempt(monitor_channel *channel, double now)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
    if (getaddrinfo(channel->addresses[channel->next_address], channel->port, &hints, &found)) {
        give_up_attempt(channel, now);
        return;
    }
    channel->socket = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int code = channel->socket < 0 ? -1 : connect(channel->socket, found->ai_addr, found->ai_addrlen);
    if (code && (channel->socket < 0 || errno != EINPROGRESS))
        give_up_attempt(channel, now);
    else
        channel->attempt_ends = now + ATTEMPT_SECONDS;
    freeaddrinfo(found);
}

/* True once the connection is made. */
static bool connection_made(tarn_monitor *monitor, double now)
{
    monitor_channel *channel = &monitor->channel;
    struct pollfd wait = {.fd = channel->socket, .events = POLLOUT};
    int error = 0;
    socklen_t size = sizeof error;
    if (poll(&wait, 1, 0) < 1) {
        if (now > channel->attempt_ends) give_up_attempt(channel, now);
        return false;
    }
    if (getsockopt(channel->socket, SOL_SOCKET, SO_ERROR, &error, &size) || error) {
        give_up_attempt(channel, now);
        return false;
    }
    int yes = 1;
    setsockopt(channel->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    channel->connected = true;
    /* Before what was queued until now. */
    char hello[256], *queued = channel->out;
    size_t used = channel->out_used;
    channel->out = NULL;
    channel->out_used = channel->out_capacity = 0;
    snprintf(hello, sizeof hello, "hello %s 1 %d %d %d %s", channel->token, monitor->rank, monitor->ranks,
             (int)getpid(), monitor->host);
    tarn_channel_put(channel, hello);
    if (used) {
        queued[used - 1] = '\0';
        char *rest = queued;
        for (char *line; (line = strsep(&rest, "\n"));) tarn_channel_put(channel, line);
    }
    free(queued);
    return true;
}

static channel_news ended(monitor_channel *channel)
{
    close(channel->socket);
    channel->socket = -1;
    channel->closed = true;
    channel->out_used = 0;
    return CHANNEL_GONE;
}

static channel_news receive(tarn_monitor *monitor)
{
    monitor_channel *channel = &monitor->channel;
    for (;;) {
        size_t room = sizeof channel->in - 1 - channel->in_used;
        ssize_t got = recv(channel->socket, channel->in + channel->in_used, room, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return CHANNEL_NOTHING;
        if (got <= 0) return ended(channel);
        channel->greeted = true;
        channel->in_used += (size_t)got;
        char *begin = channel->in, *end;
        channel->in[channel->in_used] = '\0';
        while ((end = memchr(begin, '\n', channel->in_used - (size_t)(begin - channel->in)))) {
            *end = '\0';
            tarn_monitor_heard(monitor, begin);
            begin = end + 1;
        }
        channel->in_used -= (size_t)(begin - channel->in);
        memmove(channel->in, begin, channel->in_used);
        /* A line as long as the buffer is none of ours. */
        if (channel->in_used == sizeof channel->in - 1) channel->in_used = 0;
    }
}

static channel_news send_waiting(monitor_channel *channel)
{
    while (channel->out_used) {
        ssize_t sent = send(channel->socket, channel->out, channel->out_used, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return CHANNEL_NOTHING;
        if (sent < 0) return ended(channel);
        channel->out_used -= (size_t)sent;
        memmove(channel->out, channel->out + sent, channel->out_used);
    }
    return CHANNEL_NOTHING;
}

channel_news tarn_channel_work(tarn_monitor *monitor, double now)
{
    monitor_channel *channel = &monitor->channel;
    if (channel->closed) return CHANNEL_NOTHING;
    if (channel->socket < 0) {
        if (now < channel->attempt_ends) return CHANNEL_NOTHING;
        begin_attempt(channel, now);
    }
    if (channel->socket < 0 || (!channel->connected && !connection_made(monitor, now))) return CHANNEL_NOTHING;
    channel_news news = receive(monitor);
    return news == CHANNEL_NOTHING ? send_waiting(channel) : news;
}

short tarn_channel_events(const monitor_channel *channel)
{
    if (channel->socket < 0) return 0;
    if (!channel->connected) return POLLOUT;
    return channel->out_used ? POLLIN | POLLOUT : POLLIN;
}
