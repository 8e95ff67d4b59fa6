/* case_supervised.c - a rank that speaks to the supervisor and does what it is told to: no Tarn, no MPI in it, so that
 * the supervisor is tested by itself. Launched by tests/test_run.c through `tarn run`.
 *
 * usage: case_supervised DIRECTORY STEPS SECONDS_PER_STEP [EVENT ...]
 * The "training": a file DIRECTORY/step holds the steps done (rank 0 writes it at every step = a checkpoint). An event
 * is WHAT@STEP[:RANK[:LAUNCH]], done by that rank (default 0) at that step of that launch (default 1, * every):
 *   kill segv abort exit1 exit2 fail (tells `failed`, exit 1) failconfig (exit 2) failformat stop (SIGSTOP itself)
 * stuck (no progress) stopself (as a signal would: all exit 75) spot (all exit 75, naming this host) mute (never says
 * hello) deaf (ignores stop) busy (fails as on a directory another run writes to) kidleft (leaves a child behind)
 *   deadlock (all wait). DIRECTORY/launched says how each launch began.
 */
#include "tests/support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

static int channel = -1, rank, ranks;
static const char *directory;
static bool stop_asked, deaf;
static char host[256];
static volatile sig_atomic_t signalled;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void on_usr1(int number)
{
    (void)number;
    signalled = 1;
}

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    char line[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    line[length] = '\n';
    if (channel >= 0) (void)!send(channel, line, (size_t)length + 1, MSG_NOSIGNAL);
}

static void join(void)
{
    const char *where = getenv("TARN_SUPERVISOR");
    if (!where) return;
    char address[64];
    unsigned port;
    char token[64];
    if (sscanf(where, "%63[^:,]%*[^:]:%u/%63s", address, &port, token) != 3 &&
        sscanf(where, "%63[^:]:%u/%63s", address, &port, token) != 3)
        exit(9);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    inet_pton(AF_INET, address, &to.sin_addr);
    channel = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(channel, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)); /* `bye` must be out before the end */
    if (connect(channel, (struct sockaddr *)&to, sizeof to)) exit(8);
    tell("hello %s 1 %d %d %d %s", token, rank, ranks, (int)getpid(), host);
}

/* A rank that hears nothing for TARN_HANG_SECONDS in which it ran ends itself, as runtime/monitor does. */
static void expect_word(bool heard)
{
    static double last, looked;
    const char *limit = getenv("TARN_HANG_SECONDS");
    double time = now();
    if (heard || time - looked > 1) last = time;
    looked = time;
    if (!limit || time - last < atof(limit)) return;
    fprintf(stderr, "rank %d: no word from the supervisor for %.0f s\n", rank, time - last);
    _exit(1);
}

static void listen_to_supervisor(void)
{
    char buffer[4096];
    ssize_t got = channel < 0 ? -1 : recv(channel, buffer, sizeof buffer - 1, MSG_DONTWAIT);
    if (got == 0) _exit(1); /* the supervisor is gone */
    if (channel >= 0) expect_word(got > 0);
    if (got < 0) return;
    buffer[got] = 0;
    if (strstr(buffer, "stop\n") && !deaf) stop_asked = true;
    if (strstr(buffer, "stacks\n")) {
        tell("stack thread main of rank %d", rank);
        tell("stack   in step");
        tell("stack .");
    }
}

static long read_number(const char *name)
{
    char *path = tarn_test_format("%s/%s", directory, name), *text = tarn_test_read(path, NULL);
    long value = text ? atol(text) : 0;
    free(text);
    free(path);
    return value;
}

static void write_number(const char *name, long value)
{
    char *path = tarn_test_format("%s/%s", directory, name), *temporary = tarn_test_format("%s.tmp", path);
    char *text = tarn_test_format("%ld\n", value);
    tarn_test_write(temporary, text, strlen(text));
    rename(temporary, path);
    free(text);
    free(temporary);
    free(path);
}

static void leave(int code)
{
    tell("bye %d", code);
    exit(code);
}

static void all_stop(const char *why, int code)
{
    tell("stopping %s", why);
    /* mpirun ends all ranks at the first code that is not 0; MPI_Finalize would keep the others from leaving before
     * rank 0 has saved. */
    if (rank) {
        tell("bye %d", code);
        for (;;) pause();
    }
    leave(code);
}

static void work_without_end(bool progress, bool waiting, long step)
{
    for (long i = 0;; i++) {
        listen_to_supervisor();
        tell("at %ld %ld %d %.1f step %ld: shard %d, op matmul [model.c:1]", step, progress ? 1000 + i : 7L, waiting,
             progress ? 0.0 : (double)i * 0.2, step, rank);
        nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    }
}

static void act(const char *what, long step)
{
    static const struct {
        const char *name;
        int number;
    } signals[] = {{"kill", SIGKILL}, {"segv", SIGSEGV}, {"abort", SIGABRT}, {"stop", SIGSTOP}};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (!strcmp(what, signals[i].name)) raise(signals[i].number);
    if (!strcmp(what, "exit1")) exit(1);
    if (!strcmp(what, "exit2")) leave(2);
    if (!strcmp(what, "fail")) {
        tell("failed io the disk of step %ld cannot be read: look at the cable", step);
        exit(1);
    }
    if (!strcmp(what, "failformat")) {
        tell("failed format checkpoint.dir x: none of the 2 checkpoints can be read");
        exit(1);
    }
    if (!strcmp(what, "failconfig")) {
        tell("failed config run.yaml:3: train.steps is wrong");
        exit(2);
    }
    if (!strcmp(what, "busy")) {
        tell("failed state checkpoint.dir x: another run is writing to x (process 1 on y); wait for it to end");
        exit(1);
    }
    if (!strcmp(what, "stuck")) work_without_end(false, false, step);
    if (!strcmp(what, "deadlock")) work_without_end(false, true, step);
    if (!strcmp(what, "stopself")) all_stop("signal 15", 75);
    if (!strcmp(what, "spot")) {
        char *why = tarn_test_format("spot aws host %s: terminate at 2026-01-01T00:00:00Z", host);
        all_stop(why, 75);
    }
    if (!strcmp(what, "deaf")) deaf = true;
    if (!strcmp(what, "kidleft") && !fork()) {
        setsid();
        for (;;) pause();
    }
}

/* "what@step:rank:launch" fits? then *what is a copy of its word. */
static bool fits(const char *event, long step, long launch, char what[32])
{
    long at = 0, of = 0, in = 1;
    char last[16] = "1";
    int fields = sscanf(event, "%31[a-z0-9]@%ld:%ld:%15s", what, &at, &of, last);
    if (fields < 2) exit(7);
    in = last[0] == '*' ? launch : atol(last);
    return at == step && of == rank && in == launch;
}

static bool has(int count, char **events, const char *word, long launch)
{
    char what[32];
    for (int i = 0; i < count; i++)
        if (fits(events[i], -1, launch, what) && !strcmp(what, word)) return true;
    return false;
}

int main(int argc, char **argv)
{
    if (argc < 4) return 2;
    const char *number = getenv("OMPI_COMM_WORLD_RANK"), *count = getenv("OMPI_COMM_WORLD_SIZE");
    rank = number ? atoi(number) : 0;
    ranks = count ? atoi(count) : 1;
    directory = argv[1];
    long steps = atol(argv[2]), events = argc - 4;
    double pace = atof(argv[3]);
    gethostname(host, sizeof host - 1);
    signal(SIGUSR1, on_usr1);
    const char *launched = getenv("TARN_LAUNCH");
    long launch = launched ? atol(launched) : 1;
    if (has((int)events, argv + 4, "mute", launch))
        for (;;) pause();
    join();
    char *absolute = realpath(directory, NULL);
    if (rank == 0) {
        tell("directory %s", absolute);
        char *line = tarn_test_format("%s/launched", directory);
        FILE *file = fopen(line, "a");
        fprintf(file, "ranks %d restarted %s from %ld\n", ranks, getenv("TARN_RESTARTED") ? "yes" : "no",
                read_number("step"));
        fclose(file);
        free(line);
    }
    long step = read_number("step"), begun = step;
    if (rank == 0) tell("resumed %ld", step);
    double reported = 0;
    for (; step < steps; step++) {
        for (int i = 0; i < events; i++) {
            char what[32];
            if (!fits(argv[4 + i], step, launch, what)) continue;
            tell("at %ld %ld 0 0.0 step %ld: shard %d", step, step - begun, step, rank);
            act(what, step);
        }
        for (double until = now() + pace; now() < until;) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        listen_to_supervisor();
        if (now() - reported > 0.2) {
            reported = now();
            tell("at %ld %ld 0 0.0 step %ld: shard %d", step, step - begun + 1, step, rank);
        }
        if (rank == 0) {
            write_number("step", step + 1);
            tell("saved %ld", step + 1);
        }
        if (stop_asked) all_stop("supervisor", 75);
        if (signalled) all_stop("signal 10", 75);
    }
    leave(0);
}
