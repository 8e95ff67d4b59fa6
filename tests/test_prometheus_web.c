/* test_prometheus_web.c - the server of /metrics: pages and methods, many readers, readers that never end, signals. */
#include "tests/prometheus_support.h"
#include "track/prometheus/web.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

TestSuite(prometheus, .init = set_up, .fini = tear_down, .timeout = 600);

/* ---- support ----------------------------------------------------------------------------------------------------- */

/* A connection to the sink, nothing sent. */
static int connect_to(const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(file, (struct sockaddr *)&to, sizeof to)) {
        close(file);
        return -1;
    }
    return file;
}

/* The whole answer, headers and all, to a request written by hand. */
static char *raw(const char *address, const char *request)
{
    int file = connect_to(address);
    cr_assert(file >= 0);
    cr_assert_eq(send(file, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    char *text = calloc(1, 1 << 20);
    size_t used = 0;
    for (ssize_t got; used < (1 << 20) - 1 && (got = recv(file, text + used, (1 << 20) - 1 - used, 0)) > 0;)
        used += (size_t)got;
    close(file);
    return text;
}

/* ---- the web server ---------------------------------------------------------------------------------------------- */

Test(prometheus, pages_methods_and_headers)
{
    char notice[TARN_SINK_PROBLEM], address[80];
    int code;
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_listen = "localhost:0"}, notice);
    tarn_prometheus_sink_address(sink, address);
    cr_assert(strstr(sink->where, address), "port 0 says which it is: %s", sink->where);
    cr_expect_str_eq(notice, "", "which is nothing to be warned of");
    give(sink, metric("train.loss", 1.25, 5));
    char *answer = raw(address, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    cr_expect(strstr(answer, "200 OK"), "%s", answer);
    cr_expect(strstr(answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "%s", answer);
    cr_expect_eq(value_of(strstr(answer, "\r\n\r\n") + 4, "tarn_train_loss", NULL), 1.25);
    free(answer);
    answer = raw(address, "HEAD /metrics HTTP/1.0\r\n\r\n");
    cr_expect(strstr(answer, "200 OK") && !strstr(answer, "tarn_train_loss"), "%s", answer);
    free(answer);
    answer = raw(address, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
    cr_expect(strstr(answer, "405 ") && strstr(answer, "Allow: GET, HEAD\r\n"), "%s", answer);
    free(answer);
    answer = raw(address, "nonsense\r\n\r\n");
    cr_expect_null(strstr(answer, "tarn_"), "%s", answer);
    free(answer);
    static const struct {
        const char *path, *part;
        int code;
    } pages[] = {{"/", "href=\"/metrics\"", 200},
                 {"/healthz", "ok\n", 200},
                 {"/metrics/", "no such page", 404},
                 {"/metrics?name=x", "tarn_train_loss", 200},
                 {"/../../etc/passwd", "no such page", 404}};
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        char *body = get(address, pages[i].path, &code);
        cr_expect_eq(code, pages[i].code, "%s: %d %s", pages[i].path, code, body);
        cr_expect(strstr(body, pages[i].part), "%s: %s", pages[i].path, body);
        free(body);
    }
    sink->destroy(sink);
    cr_expect_lt(connect_to(address), 0, "nobody listens any more");
}

typedef struct scraper {
    const char *address;
    int scrapes, bad;
    double newest;
} scraper;

static void *scrape(void *user)
{
    scraper *it = user;
    for (int i = 0; i < it->scrapes; i++) {
        int code;
        char *text = get(it->address, "/metrics", &code);
        double now = code == 200 ? value_of(text, "tarn_train_loss", NULL) : -1;
        /* whole, and never older than what was seen before */
        if (code != 200 || text[strlen(text) - 1] != '\n' || !(now >= it->newest) || !strstr(text, "tarn_user_zz"))
            it->bad++;
        it->newest = now;
        free(text);
    }
    return NULL;
}

Test(prometheus, many_scrapers_at_once_see_whole_texts)
{
    enum { SCRAPERS = 12 };
    char notice[TARN_SINK_PROBLEM], address[80];
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_listen = "127.0.0.1:0"}, notice);
    tarn_prometheus_sink_address(sink, address);
    give(sink, metric("train.loss", 0, 0));
    for (int i = 0; i < 500; i++) {
        char key[32];
        snprintf(key, sizeof key, "user.%d", i);
        give(sink, metric(key, i, 0));
    }
    give(sink, metric("user.zz", 1, 0));
    pthread_t threads[SCRAPERS];
    scraper scrapers[SCRAPERS];
    for (int i = 0; i < SCRAPERS; i++) {
        scrapers[i] = (scraper){.address = address, .scrapes = 25};
        cr_assert_not(pthread_create(&threads[i], NULL, scrape, &scrapers[i]));
    }
    for (int step = 1; step < 20000; step++) give(sink, metric("train.loss", step, step));
    for (int i = 0; i < SCRAPERS; i++) {
        pthread_join(threads[i], NULL);
        cr_expect_eq(scrapers[i].bad, 0, "scraper %d: %d bad answers", i, scrapers[i].bad);
    }
    sink->destroy(sink);
}

Test(prometheus, readers_that_never_end_hold_nothing_up)
{
    enum { SILENT = TARN_WEB_CONNECTIONS / 2 };
    char notice[TARN_SINK_PROBLEM], address[80];
    int files[SILENT], code;
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_listen = "127.0.0.1:0"}, notice);
    tarn_prometheus_sink_address(sink, address);
    for (int i = 0; i < 3000; i++) {
        char key[32];
        snprintf(key, sizeof key, "user.%d", i);
        give(sink, metric(key, i, 0));
    }
    /* Some say nothing, some half a request, some ask and do not read. */
    for (int i = 0; i < SILENT; i++) {
        const char *say = i % 3 == 0 ? "" : i % 3 == 1 ? "GET /met" : "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
        files[i] = connect_to(address);
        cr_assert(files[i] >= 0);
        cr_assert_eq(send(files[i], say, strlen(say), MSG_NOSIGNAL), (ssize_t)strlen(say));
    }
    for (int step = 1; step < 2000; step++) give(sink, metric("train.loss", step, step));
    char *text = get(address, "/metrics", &code);
    cr_expect_eq(code, 200);
    cr_expect_eq(value_of(text, "tarn_train_loss", NULL), 1999);
    free(text);
    /* Destroying does not wait for them either. */
    sink->destroy(sink);
    for (int i = 0; i < SILENT; i++) close(files[i]);
}

Test(prometheus, a_crowd_is_served_when_the_silent_ones_leave)
{
    enum { SILENT = TARN_WEB_CONNECTIONS + 20 };
    char notice[TARN_SINK_PROBLEM], address[80];
    int files[SILENT], code;
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_listen = "127.0.0.1:0"}, notice);
    tarn_prometheus_sink_address(sink, address);
    for (int i = 0; i < SILENT; i++) {
        files[i] = connect_to(address);
        cr_assert(files[i] >= 0, "connection %d: the kernel keeps those that wait", i);
    }
    give(sink, metric("train.loss", 4, 4)); /* is not held up */
    for (int i = 0; i < SILENT; i++) close(files[i]);
    char *text = get(address, "/metrics", &code);
    cr_expect_eq(code, 200, "%s", text);
    cr_expect_eq(value_of(text, "tarn_train_loss", NULL), 4);
    free(text);
    sink->destroy(sink);
}

Test(prometheus, threads_of_the_sink_leave_signals_to_the_main_thread)
{
    char notice[TARN_SINK_PROBLEM];
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_listen = "127.0.0.1:0"}, notice);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int signal = 1; signal < 32; signal++)
        cr_expect_eq(sigismember(&before, signal), sigismember(&after, signal), "the caller's mask stays");
    DIR *tasks = opendir("/proc/self/task");
    int others = 0;
    for (struct dirent *entry; (entry = readdir(tasks));) {
        if (atoi(entry->d_name) <= 0 || atoi(entry->d_name) == (int)gettid()) continue;
        char *path = tarn_test_format("/proc/self/task/%s/status", entry->d_name);
        char *status = tarn_test_read(path, NULL), *blocked = status ? strstr(status, "SigBlk:") : NULL;
        free(path);
        if (blocked) {
            unsigned long long mask = strtoull(blocked + 7, NULL, 16);
            cr_expect(mask & 1ull << (SIGTERM - 1) && mask & 1ull << (SIGINT - 1) && mask & 1ull << (SIGUSR1 - 1));
            others++;
        }
        free(status);
    }
    closedir(tasks);
    cr_expect_geq(others, 2, "the server's and the publisher's thread");
    sink->destroy(sink);
}
