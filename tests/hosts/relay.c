/* relay.c - a bad network: an Ethernet switch between TAP devices that loses, delays and withholds frames.
 *
 * usage: hosts_relay [SEED]; then commands on standard input, one a line, each answered by a line on standard output:
 *   port NAME             makes the TAP device NAME (anew when its host is gone); whoever asked moves it into a host
 *   loss P                each frame is lost with probability P (0 .. 1)
 *   delay MS [JITTER]     each frame is late by MS and up to JITTER milliseconds more, so frames overtake each other
 *   cut NAME [NAME]       frames between the two ports, or between the port and all others, vanish from now on
 *   join NAME [NAME]      undoes cut
 *   report                answers "forwarded N lost N cut N"
 * It ends at the end of the input.
 *
 * Invariants
 *  1. Frame n to be delivered is lost or not, and late by how much, by the seed and n alone: which frame happens to be
 *     the nth is up to the hosts.
 *  2. A frame that is not lost or cut is delivered whole and once.
 *  3. The queue is bounded: what does not fit is lost and counted, as in any switch.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PORTS = 32, MAX_QUEUE = 16384, MAX_FRAME = 1 << 16, ADDRESS = 6 };

typedef struct port {
    char name[IFNAMSIZ];
    int file;                       /* -1: the host is gone */
    unsigned char address[ADDRESS]; /* of the device beyond, learnt from what it sends */
    bool known;
    bool cut[MAX_PORTS]; /* towards that port */
} port;

typedef struct frame {
    double due; /* seconds */
    uint64_t number;
    int to, bytes;
    unsigned char data[];
} frame;

static port ports[MAX_PORTS];
static int port_count;
static frame *queue[MAX_QUEUE]; /* a heap: the frame due first is at 0 */
static int queued;
static double loss, delay, jitter;
static uint64_t seed, frames, forwarded, lost, withheld;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* SplitMix64 of the seed and a position, in [0, 1). */
static double chance(uint64_t position)
{
    uint64_t x = seed + (position + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (double)((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

static bool before(const frame *a, const frame *b)
{
    return a->due < b->due || (a->due == b->due && a->number < b->number);
}

static void push(frame *added)
{
    int at = queued++;
    for (; at > 0 && before(added, queue[(at - 1) / 2]); at = (at - 1) / 2) queue[at] = queue[(at - 1) / 2];
    queue[at] = added;
}

static frame *pop(void)
{
    frame *first = queue[0], *last = queue[--queued];
    int at = 0;
    for (int child; (child = 2 * at + 1) < queued; at = child) {
        if (child + 1 < queued && before(queue[child + 1], queue[child])) child++;
        if (!before(queue[child], last)) break;
        queue[at] = queue[child];
    }
    queue[at] = last;
    return first;
}

static void deliver(int to, const unsigned char *data, int bytes)
{
    /* A device that is down, full or gone takes nothing: lost, like on a real wire. */
    if (ports[to].file >= 0 && write(ports[to].file, data, (size_t)bytes) == bytes)
        forwarded++;
    else
        lost++;
}

/* One frame from one port to another: its fate. */
static void forward(int from, int to, const unsigned char *data, int bytes)
{
    if (ports[from].cut[to]) {
        withheld++;
        return;
    }
    uint64_t number = frames++;
    if (chance(2 * number) < loss) {
        lost++;
        return;
    }
    double late = (delay + jitter * chance(2 * number + 1)) * 1e-3;
    if (late <= 0 && !queued) {
        deliver(to, data, bytes);
        return;
    }
    frame *copy = queued < MAX_QUEUE ? malloc(sizeof *copy + (size_t)bytes) : NULL;
    if (!copy) {
        lost++;
        return;
    }
    *copy = (frame){.due = now() + late, .number = number, .to = to, .bytes = bytes};
    memcpy(copy->data, data, (size_t)bytes);
    push(copy);
}

/* Everything that a port has to say. */
static void receive(int from)
{
    static unsigned char data[MAX_FRAME];
    for (;;) {
        ssize_t bytes = read(ports[from].file, data, sizeof data);
        if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (bytes < 2 * ADDRESS) { /* EBADFD: the device went away with its host */
            close(ports[from].file);
            ports[from].file = -1;
            ports[from].known = false;
            return;
        }
        memcpy(ports[from].address, data + ADDRESS, ADDRESS);
        ports[from].known = true;
        int to = -1;
        for (int i = 0; i < port_count; i++)
            if (ports[i].known && !memcmp(ports[i].address, data, ADDRESS)) to = i;
        for (int i = 0; i < port_count; i++)
            if (i != from && (to < 0 || i == to)) forward(from, i, data, (int)bytes);
    }
}

/* Its number; -1 when there is no such port. */
static int find(const char *name)
{
    for (int i = 0; i < port_count; i++)
        if (!strcmp(ports[i].name, name)) return i;
    return -1;
}

static const char *make_port(const char *name)
{
    int number = find(name);
    if (number < 0 && port_count == MAX_PORTS) return "error: too many ports";
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    int file = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (file < 0 || ioctl(file, TUNSETIFF, &request)) {
        if (file >= 0) close(file);
        return "error: no TAP device, is /dev/net/tun there and permitted?";
    }
    if (number < 0) {
        number = port_count++;
        snprintf(ports[number].name, sizeof ports[number].name, "%s", name);
    } else if (ports[number].file >= 0) {
        close(ports[number].file);
    }
    ports[number].file = file;
    ports[number].known = false;
    return "ok";
}

static const char *set_cut(const char *first, const char *second, bool value)
{
    int a = find(first), b = *second ? find(second) : -1;
    if (a < 0 || (*second && b < 0)) return "error: no such port";
    for (int i = 0; i < port_count; i++)
        if (i != a && (b < 0 || i == b)) ports[a].cut[i] = ports[i].cut[a] = value;
    return "ok";
}

static void obey(const char *line)
{
    char word[16] = "", first[IFNAMSIZ] = "", second[IFNAMSIZ] = "", report[96];
    const char *answer = "ok";
    int words = sscanf(line, "%15s %15s %15s", word, first, second);
    double a = strtod(first, NULL), b = strtod(second, NULL);
    if (words == 2 && !strcmp(word, "port")) {
        answer = make_port(first);
    } else if (words == 2 && !strcmp(word, "loss") && a >= 0 && a <= 1) {
        loss = a;
    } else if (words >= 2 && !strcmp(word, "delay") && a >= 0 && b >= 0) {
        delay = a;
        jitter = b;
    } else if (words >= 2 && (!strcmp(word, "cut") || !strcmp(word, "join"))) {
        answer = set_cut(first, second, word[0] == 'c');
    } else if (words == 1 && !strcmp(word, "report")) {
        snprintf(report, sizeof report, "forwarded %llu lost %llu cut %llu", (unsigned long long)forwarded,
                 (unsigned long long)lost, (unsigned long long)withheld);
        answer = report;
    } else {
        answer = "error: no such command";
    }
    puts(answer);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    char line[256];
    size_t used = 0;
    for (;;) {
        struct pollfd wait[1 + MAX_PORTS] = {{.fd = STDIN_FILENO, .events = POLLIN}};
        for (int i = 0; i < port_count; i++) wait[1 + i] = (struct pollfd){.fd = ports[i].file, .events = POLLIN};
        struct timespec limit = {0};
        double left = queued ? queue[0]->due - now() : 0;
        if (left > 0)
            limit = (struct timespec){.tv_sec = (time_t)left, .tv_nsec = (long)(1e9 * (left - (double)(time_t)left))};
        int count = port_count; /* commands may add ports */
        nfds_t files = (nfds_t)count + 1;
        if (ppoll(wait, files, queued ? &limit : NULL, NULL) < 0 && errno != EINTR) return 1;
        for (int i = 0; i < count; i++)
            if (ports[i].file >= 0 && wait[1 + i].revents) receive(i);
        for (double time = now(); queued && queue[0]->due <= time;) {
            frame *due = pop();
            deliver(due->to, due->data, due->bytes);
            free(due);
        }
        if (!wait[0].revents) continue;
        ssize_t bytes = read(STDIN_FILENO, line + used, sizeof line - 1 - used);
        if (bytes <= 0) return 0;
        used += (size_t)bytes;
        line[used] = '\0';
        for (char *end; (end = strchr(line, '\n'));
             used -= (size_t)(end + 1 - line), memmove(line, end + 1, used + 1)) {
            *end = '\0';
            obey(line);
        }
        if (used == sizeof line - 1) used = 0; /* no command is that long */
    }
}
