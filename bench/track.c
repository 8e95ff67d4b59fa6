/* track.c - what one tarn_log_metric costs the thread that calls it: median and 99th percentile, with a file store,
 * with a destination that takes nothing (a dead server), with TARN_TRACK_STORE (the address of a real one), from one
 * thread and from two.
 *
 * usage: bench/track [points]      points a thread, default 200000; they come in bursts of 20 as in a training step,
 * and the thread works for 50 microseconds in between. */
#include "runtime/base/context.h"
#include "track/sinks.h"
#include "track/tracker.h"

#include <tarn/tarn.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BURST = 20 };

static void refuse(tarn_sink *sink, const tarn_track_event *events, int64_t count, tarn_sink_report *report)
{
    (void)sink, (void)events, (void)count;
    snprintf(report->problem, sizeof report->problem, "it is dead");
}

static void nothing(tarn_sink *sink)
{
    (void)sink;
}

static tarn_sink dead_sink = {.name = "dead", .write = refuse, .destroy = nothing};

static tarn_status open_dead(tarn_sink **out, const tarn_track_options *options, const tarn_sink_run *run,
                             char notice[TARN_SINK_PROBLEM], char problem[TARN_SINK_PROBLEM])
{
    (void)options, (void)run;
    *notice = *problem = '\0';
    *out = &dead_sink;
    return TARN_OK;
}

static const tarn_sink_row dead_row = {"dead", -1, false, open_dead, NULL};

typedef struct work {
    tarn_tracker *tracker;
    int thread;
    int64_t points;
    float *nanoseconds;
} work;

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void *log_points(void *user)
{
    work *job = user;
    char keys[BURST][32];
    for (int i = 0; i < BURST; i++) snprintf(keys[i], sizeof keys[i], "train.value_%d_%d", job->thread, i);
    for (int64_t i = 0; i < job->points; i++) {
        float value = (float)i * 0.37f; /* as a loss: 17 digits */
        int64_t begin = now();
        tarn_log_metric(job->tracker, keys[i % BURST], value, i / BURST);
        job->nanoseconds[i] = (float)(now() - begin);
        if (i % BURST == BURST - 1)
            while (now() < begin + 50000) {
            }
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int measure(tarn_context *context, const char *what, const tarn_track_options *options, int threads,
                   int64_t points)
{
    tarn_tracker *tracker;
    work jobs[2];
    pthread_t ids[2];
    float *times = malloc(sizeof *times * (size_t)(threads * points));
    if (!times || tarn_track_open(&tracker, context, options)) return 1;
    for (int i = 0; i < threads; i++) {
        jobs[i] = (work){tracker, i, points, times + i * points};
        if (pthread_create(&ids[i], NULL, log_points, &jobs[i])) return 1;
    }
    for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
    int64_t lost = tarn_track_lost(tracker);
    qsort(times, (size_t)(threads * points), sizeof *times, compare);
    printf("%-22s %d thread%s  median %6.0f ns   99%% %7.0f ns   most %8.0f ns   lost %lld\n", what, threads,
           threads > 1 ? "s" : " ", times[threads * points / 2], times[threads * points / 100 * 99],
           times[threads * points - 1], (long long)lost);
    fflush(stdout);
    free(times);
    return tarn_track_close(tracker, "FINISHED") != TARN_OK;
}

static void drop(void *user, tarn_log_level level, const char *line)
{
    (void)user, (void)level, (void)line;
}

int main(int argc, char **argv)
{
    tarn_context *context;
    if (tarn_init(&context, &argc, &argv)) return tarn_exit(context);
    tarn_set_log(context, drop, NULL);
    int64_t points = argc > 1 ? atoll(argv[1]) : 200000;
    char folder[] = "/tmp/tarn-bench-XXXXXX", store[64], spool[64];
    if (points < 100 || !mkdtemp(folder)) return 2;
    snprintf(store, sizeof store, "%s/mlruns", folder);
    snprintf(spool, sizeof spool, "%s/spool", folder);
    float *times = malloc(sizeof *times * 10001);
    for (int i = 0; times && i < 10001; i++) {
        int64_t begin = now();
        times[i] = (float)(now() - begin);
    }
    if (times) qsort(times, 10001, sizeof *times, compare);
    printf("isa %s; the clock itself: median %.0f ns, contained in each figure\n", tarn_isa_name(context),
           times ? times[5000] : 0);
    free(times);
    tarn_track_options options = {.store = store, .spool = spool, .flush_timeout = 60};
    const tarn_sink_row *rows = tarn_sink_rows;
    int count = tarn_sink_row_count, failed = 0;
    for (int threads = 1; threads <= 2 && !failed; threads++) {
        failed = measure(context, "file store", &options, threads, points);
        tarn_sink_rows = &dead_row;
        tarn_sink_row_count = 1;
        tarn_track_options dead = options;
        dead.flush_timeout = -1;
        if (!failed) failed = measure(context, "takes nothing", &dead, threads, points);
        tarn_sink_rows = rows;
        tarn_sink_row_count = count;
        const char *real = getenv("TARN_TRACK_STORE");
        tarn_track_options named = options;
        named.store = real;
        if (!failed && real) failed = measure(context, "TARN_TRACK_STORE", &named, threads, points);
    }
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command)) failed = 1;
    int code = tarn_exit(context);
    return code ? code : failed;
}
