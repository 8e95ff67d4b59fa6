/* prometheus.c - see prometheus.h. */
#include "track/prometheus/prometheus.h"
#include "runtime/base/context.h"
#include "runtime/base/text.h"
#include "track/files.h"
#include "track/prometheus/table.h"
#include "track/prometheus/web.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Seconds: between two texts in the file, between two looks at a taken port, and between two copies of the state when
 * nothing weighty happened. */
#define TEXT_EVERY  1.0
#define PORT_EVERY  5.0
#define STATE_EVERY 15.0
enum { STATE_LIMIT = 16 << 20 };

typedef struct prometheus_sink {
    tarn_sink sink;
    tarn_prometheus_table *table;
    char *listen, *file, *temporary, *state, *state_temporary; /* NULL: not asked for */
    char title[160];
    pthread_t publisher;
    bool has_publisher;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    bool ends;
    tarn_web *web;
    char problem[TARN_SINK_PROBLEM]; /* to be told with the next events */
    bool told;
} prometheus_sink;

/* ---- pages ------------------------------------------------------------------------------------------------------- */

static void release_text(void *data)
{
    tarn_prometheus_text_release((tarn_prometheus_text *)((char *)data - offsetof(tarn_prometheus_text, data)));
}

static char index_page[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tarn</title>"
    "<meta name=\"viewport\" content=\"width=device-width\"></head>\n"
    "<body style=\"font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:2em auto;padding:0 1em\">"
    "<h1>Tarn</h1><p>A training run serves its numbers here.</p>"
    "<ul><li><a href=\"/metrics\">/metrics</a>: for Prometheus</li>"
    "<li><a href=\"/healthz\">/healthz</a>: whether the process is there</li></ul></body></html>\n";
static char health_page[] = "ok\n";

static int page_of(void *user, const char *path, tarn_web_page *page)
{
    prometheus_sink *sink = user;
    if (!strcmp(path, "/metrics")) {
        tarn_prometheus_text *text = tarn_prometheus_table_text(sink->table);
        if (!text) return 503;
        *page = (tarn_web_page){.type = "text/plain; version=0.0.4; charset=utf-8",
                                .data = text->data,
                                .bytes = text->bytes,
                                .release = release_text};
        return 200;
    }
    if (!strcmp(path, "/healthz"))
        *page =
            (tarn_web_page){.type = "text/plain; charset=utf-8", .data = health_page, .bytes = sizeof health_page - 1};
    else if (!strcmp(path, "/"))
        *page = (tarn_web_page){.type = "text/html; charset=utf-8", .data = index_page, .bytes = sizeof index_page - 1};
    else
        return 404;
    return 200;
}

/* ---- the publisher: everything that may wait --------------------------------------------------------------------- */

static void complain(prometheus_sink *sink, const char *what, const char *path)
{
    int error = errno;
    pthread_mutex_lock(&sink->lock);
    if (!sink->told)
        snprintf(sink->problem, sizeof sink->problem, "%s %.300s: %s; it is tried again, and training goes on", what,
                 path, strerror(error));
    sink->told = true;
    pthread_mutex_unlock(&sink->lock);
}

static bool write_file(prometheus_sink *sink)
{
    tarn_prometheus_text *text = tarn_prometheus_table_text(sink->table);
    if (!text) return false;
    bool written = !tarn_file_put(sink->file, sink->temporary, text->data, text->bytes);
    if (!written) complain(sink, "cannot write metrics.file", sink->file);
    tarn_prometheus_text_release(text);
    return written;
}

static bool write_state(prometheus_sink *sink)
{
    char *text = tarn_prometheus_table_save(sink->table);
    if (!text) return false;
    bool written = !tarn_file_put(sink->state, sink->state_temporary, text, strlen(text));
    if (!written) complain(sink, "cannot keep the counters for Prometheus in", sink->state);
    free(text);
    return written;
}

/* A restarted run often meets the port of the process before it, which is about to end. */
static void try_port(prometheus_sink *sink)
{
    char problem[TARN_WEB_PROBLEM];
    tarn_web *web;
    if (tarn_web_open(&web, sink->listen, page_of, sink, problem)) return;
    pthread_mutex_lock(&sink->lock);
    sink->web = web;
    if (!*sink->problem)
        snprintf(sink->problem, sizeof sink->problem, "metrics.listen: the port is free, http://%s/metrics serves now",
                 tarn_web_address(web));
    pthread_mutex_unlock(&sink->lock);
}

static void *publish(void *user)
{
    prometheus_sink *sink = user;
    int64_t in_file = -1, in_state = 0, weighty, kept_weighty;
    double port_tried = tarn_seconds(), state_written = tarn_seconds();
    tarn_prometheus_table_changes(sink->table, &kept_weighty);
    for (bool ends = false; !ends;) {
        int64_t changes = tarn_prometheus_table_changes(sink->table, &weighty);
        double now = tarn_seconds();
        pthread_mutex_lock(&sink->lock);
        ends = sink->ends;
        bool serves = sink->web;
        pthread_mutex_unlock(&sink->lock);
        if (ends) changes = tarn_prometheus_table_changes(sink->table, &weighty); /* all there will be */
        if (sink->file && changes != in_file && write_file(sink)) in_file = changes;
        if (changes != in_state && (ends || weighty != kept_weighty || now - state_written >= STATE_EVERY)) {
            if (write_state(sink)) {
                in_state = changes;
                kept_weighty = weighty;
            }
            state_written = now;
        }
        if (sink->listen && !serves && !ends && now - port_tried >= PORT_EVERY) {
            try_port(sink);
            port_tried = now;
        }
        double until = tarn_seconds() + TEXT_EVERY;
        pthread_mutex_lock(&sink->lock);
        while (!ends && !sink->ends && tarn_condition_wait(&sink->wake, &sink->lock, until)) continue;
        pthread_mutex_unlock(&sink->lock);
    }
    return NULL;
}

/* ---- the sink ---------------------------------------------------------------------------------------------------- */

static void write_events(tarn_sink *base, const tarn_track_event *events, int64_t count, tarn_sink_report *report)
{
    prometheus_sink *sink = (prometheus_sink *)base;
    *report = (tarn_sink_report){.taken = count};
    for (int64_t i = 0; i < count; i++)
        if (tarn_prometheus_table_take(sink->table, &events[i])) {
            snprintf(report->problem, sizeof report->problem, "no memory for another metric of Prometheus");
            report->lost++;
        }
    pthread_mutex_lock(&sink->lock);
    if (*sink->problem && !*report->problem) memcpy(report->problem, sink->problem, sizeof report->problem);
    *sink->problem = '\0';
    pthread_mutex_unlock(&sink->lock);
}

static void take_statistics(tarn_sink *base, const tarn_track_statistics *statistics)
{
    tarn_prometheus_table_statistics(((prometheus_sink *)base)->table, statistics);
}

static void destroy(tarn_sink *base)
{
    prometheus_sink *sink = (prometheus_sink *)base;
    if (sink->has_publisher) {
        pthread_mutex_lock(&sink->lock);
        sink->ends = true;
        pthread_cond_signal(&sink->wake);
        pthread_mutex_unlock(&sink->lock);
        pthread_join(sink->publisher, NULL);
    }
    tarn_web_close(sink->web);
    tarn_prometheus_table_destroy(sink->table);
    pthread_mutex_destroy(&sink->lock);
    pthread_cond_destroy(&sink->wake);
    free(sink->listen);
    free(sink->file);
    free(sink->temporary);
    free(sink->state);
    free(sink->state_temporary);
    free(sink);
}

void tarn_prometheus_sink_address(tarn_sink *base, char out[80])
{
    prometheus_sink *sink = (prometheus_sink *)base;
    pthread_mutex_lock(&sink->lock);
    snprintf(out, 80, "%s", sink->web ? tarn_web_address(sink->web) : "");
    pthread_mutex_unlock(&sink->lock);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* The table that an earlier process left; one that cannot be read begins anew, which costs counts and no more. */
static void restore(prometheus_sink *sink, char notice[TARN_SINK_PROBLEM])
{
    FILE *file = fopen(sink->state, "rbe");
    if (!file) return;
    struct stat info;
    size_t bytes = !fstat(fileno(file), &info) && info.st_size < STATE_LIMIT ? (size_t)info.st_size : 0;
    char *text = calloc(1, bytes + 1);
    bool good = text && fread(text, 1, bytes, file) == bytes && tarn_prometheus_table_restore(sink->table, text);
    free(text);
    fclose(file);
    if (!good)
        snprintf(notice, TARN_SINK_PROBLEM,
                 "the counters for Prometheus in %.300s cannot be read: they begin anew, everything else goes on",
                 sink->state);
}

static tarn_status open_file(prometheus_sink *sink, const char *path, char notice[TARN_SINK_PROBLEM],
                             char problem[TARN_SINK_PROBLEM])
{
    struct stat info;
    if (asprintf(&sink->temporary, "%s.%d.tmp", path, (int)getpid()) < 0) sink->temporary = NULL;
    sink->file = strdup(path);
    if (!sink->file || !sink->temporary) return TARN_ERROR_MEMORY;
    bool folder = !stat(path, &info) && S_ISDIR(info.st_mode);
    int file = folder ? -1 : open(sink->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0) {
        snprintf(problem, TARN_SINK_PROBLEM,
                 "cannot write metrics.file %.200s: %s; give a file in a folder that is there and can be written, such "
                 "as the one that node exporter's --collector.textfile.directory names, or leave metrics.file out",
                 path, folder ? "it is a folder" : strerror(errno));
        return TARN_ERROR_CONFIG;
    }
    close(file);
    unlink(sink->temporary);
    if (!tarn_text_ends(path, ".prom"))
        snprintf(notice, TARN_SINK_PROBLEM,
                 "metrics.file %.300s does not end in .prom: node exporter reads only files that do", path);
    return TARN_OK;
}

static tarn_status open_port(prometheus_sink *sink, const char *listen, char notice[TARN_SINK_PROBLEM],
                             char problem[TARN_SINK_PROBLEM])
{
    char text[TARN_WEB_PROBLEM];
    sink->listen = strdup(listen);
    if (!sink->listen) return TARN_ERROR_MEMORY;
    tarn_web_error error = tarn_web_open(&sink->web, listen, page_of, sink, text);
    switch (error) {
    case TARN_WEB_OK:
        if (strlen(listen) > 2 && !strcmp(listen + strlen(listen) - 2, ":0"))
            snprintf(sink->sink.where, TARN_SINK_PROBLEM, "metrics.listen: serving at http://%s/metrics",
                     tarn_web_address(sink->web));
        return TARN_OK;
    case TARN_WEB_BUSY:
    case TARN_WEB_FAILED:
        snprintf(notice, TARN_SINK_PROBLEM,
                 "metrics.listen: %s; training goes on without a scrape, and tries again every %.0f seconds", text,
                 PORT_EVERY);
        return TARN_OK;
    default:
        snprintf(problem, TARN_SINK_PROBLEM, "metrics.listen: %s; or leave metrics.listen out", text);
        return error == TARN_WEB_UNAVAILABLE ? TARN_ERROR_UNSUPPORTED : TARN_ERROR_CONFIG;
    }
}

static tarn_status start(prometheus_sink *sink, const tarn_track_options *options, const tarn_sink_run *run,
                         char notice[TARN_SINK_PROBLEM], char problem[TARN_SINK_PROBLEM])
{
    sink->table = tarn_prometheus_table_create(run);
    if (asprintf(&sink->state, "%s/counters.json", run->state) < 0) sink->state = NULL;
    if (asprintf(&sink->state_temporary, "%s/.counters.new", run->state) < 0) sink->state_temporary = NULL;
    if (!sink->table || !sink->state || !sink->state_temporary) return TARN_ERROR_MEMORY;
    restore(sink, notice);
    tarn_status status = TARN_OK;
    if (options->metrics_file && *options->metrics_file)
        status = open_file(sink, options->metrics_file, notice, problem);
    if (!status && options->metrics_listen && *options->metrics_listen)
        status = open_port(sink, options->metrics_listen, notice, problem);
    if (status) return status;
    sigset_t before;
    tarn_block_signals(&before);
    sink->has_publisher = !pthread_create(&sink->publisher, NULL, publish, sink);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return sink->has_publisher ? TARN_OK : TARN_ERROR_MEMORY;
}

tarn_status tarn_prometheus_sink_open(tarn_sink **out, const tarn_track_options *options, const tarn_sink_run *run,
                                      char notice[TARN_SINK_PROBLEM], char problem[TARN_SINK_PROBLEM])
{
    *out = NULL;
    *notice = *problem = '\0';
    bool asked =
        (options->metrics_listen && *options->metrics_listen) || (options->metrics_file && *options->metrics_file);
    if (!asked) return TARN_OK;
    prometheus_sink *sink = calloc(1, sizeof *sink);
    tarn_status status = sink ? TARN_OK : TARN_ERROR_MEMORY;
    if (sink) {
        sink->sink =
            (tarn_sink){.name = "prometheus", .write = write_events, .statistics = take_statistics, .destroy = destroy};
        pthread_mutex_init(&sink->lock, NULL);
        tarn_condition_init(&sink->wake);
        status = start(sink, options, run, notice, problem);
    }
    if (!status) {
        *out = &sink->sink;
        return TARN_OK;
    }
    if (sink) destroy(&sink->sink);
    if (!*problem)
        snprintf(problem, TARN_SINK_PROBLEM, "no memory or threads are left for metrics.listen and metrics.file");
    return status;
}
