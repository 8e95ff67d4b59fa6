/* tracker.c - the face of tracking: a bounded queue between the training thread and a sink fed by a thread of its own.
 *
 * Invariants
 *  1. A log call never waits for the disk: it takes a lock held for moments only, copies, and returns. When the queue
 * is full the event is lost and counted.
 *  2. Nothing the sink meets fails a step: one warning, and the number of lost events at the end.
 *  3. The user's log function is called from the threads that call this API only, never from the writer.
 *  4. A (key, step) is queued once in the life of a run, resumed or not. Another value for it breaks the promise of the
 *     same bits, except of a measurement (a key in system/), where nobody promised anything: the first one stays.
 */
#include "track/tracker.h"
#include "runtime/base/context.h"
#include "runtime/config/document.h"
#include "runtime/config/number.h"
#include "track/environment.h"
#include "track/file_store/file_store.h"
#include "track/record.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define QUEUE     16384
#define ARTIFACTS 256 /* each holds an open file */
/* The writer lets events gather this long, so that it wakes a few times a second however short a step is. */
#define GATHER_MS 250

/* An event on its way to the sink; owns its text and file. */
typedef struct queued_event {
    tarn_track_kind kind;
    int id;
    const char *key; /* of the record, except of an artifact */
    char *text;      /* value of a param or tag; path inside artifacts/ of an artifact */
    double value;
    int64_t step, time_ms;
    int file; /* open for reading, of an artifact; -1 otherwise */
} queued_event;

struct tarn_tracker {
    tarn_context *context;
    bool writes; /* rank 0 */
    char run_id[33];
    tarn_sink *sink;
    pthread_t writer;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake, drained;
    tarn_record *record;
    queued_event *queue; /* being filled */
    queued_event *batch; /* being written; the writer's without the lock */
    int64_t count;
    int64_t queued, handed; /* events put into the queue, and handed to the sink, since the tracker was opened */
    int artifacts;
    bool hurry, closing;
    int64_t lost, broken;
    char problem[TARN_SINK_PROBLEM];
    bool warn, warned;
};

/* ---- the writer
 * ------------------------------------------------------------------------------------------------------- */

static void free_events(queued_event *events, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        free(events[i].text);
        if (events[i].kind == TARN_TRACK_ARTIFACT) close(events[i].file);
    }
}

/* Waits for events, then a little for more of them. False: closing, and nothing is left. */
static bool gather(tarn_tracker *tracker)
{
    while (!tracker->count && !tracker->closing) pthread_cond_wait(&tracker->wake, &tracker->lock);
    if (!tracker->count) return false;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += GATHER_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    while (!tracker->closing && !tracker->hurry)
        if (pthread_cond_timedwait(&tracker->wake, &tracker->lock, &until)) break;
    return true;
}

/* Hands events to the sink; returns how many were lost. */
static int64_t hand_over(tarn_tracker *tracker, const queued_event *queued, int64_t count,
                         char problem[TARN_SINK_PROBLEM])
{
    tarn_sink_report report = {0};
    tarn_track_event *events = calloc((size_t)count, sizeof *events);
    char(*files)[32] = calloc((size_t)count, sizeof *files);
    if (events && files) {
        for (int64_t i = 0; i < count; i++) {
            const queued_event *from = &queued[i];
            bool artifact = from->kind == TARN_TRACK_ARTIFACT;
            events[i] = (tarn_track_event){.kind = from->kind,
                                           .id = from->id,
                                           .key = artifact ? from->text : from->key,
                                           .text = artifact ? NULL : from->text,
                                           .value = from->value,
                                           .step = from->step,
                                           .time_ms = from->time_ms};
            if (!artifact) continue;
            snprintf(files[i], sizeof files[i], "/proc/self/fd/%d", from->file);
            events[i].file = files[i];
        }
        tracker->sink->write(tracker->sink, events, count, &report);
    } else {
        report.lost = count;
        snprintf(report.problem, sizeof report.problem, "out of memory");
    }
    free(events);
    free(files);
    memcpy(problem, report.problem, sizeof report.problem);
    return report.lost;
}

static void *write_queue(void *user)
{
    tarn_tracker *tracker = user;
    pthread_mutex_lock(&tracker->lock);
    while (gather(tracker)) {
        queued_event *events = tracker->queue;
        int64_t count = tracker->count;
        tracker->queue = tracker->batch;
        tracker->batch = events;
        tracker->count = 0;
        tracker->hurry = false;
        pthread_mutex_unlock(&tracker->lock);
        char problem[TARN_SINK_PROBLEM] = "";
        int64_t lost = hand_over(tracker, events, count, problem);
        int artifacts = 0;
        for (int64_t i = 0; i < count; i++) artifacts += events[i].kind == TARN_TRACK_ARTIFACT;
        free_events(events, count);
        pthread_mutex_lock(&tracker->lock);
        tracker->artifacts -= artifacts;
        tracker->handed += count;
        tracker->lost += lost;
        if (lost && !tracker->warned && !tracker->warn) {
            memcpy(tracker->problem, problem, sizeof problem);
            tracker->warn = true;
        }
        pthread_cond_broadcast(&tracker->drained);
    }
    pthread_mutex_unlock(&tracker->lock);
    return NULL;
}

/* Takes the event over, text and file included. Lock held. */
static bool push(tarn_tracker *tracker, queued_event event)
{
    event.time_ms = tarn_environment_time_ms();
    bool artifact = event.kind == TARN_TRACK_ARTIFACT;
    if (tracker->count == QUEUE || (artifact && tracker->artifacts == ARTIFACTS)) {
        free_events(&event, 1);
        tracker->lost++;
        if (!tracker->warned && !tracker->warn) {
            snprintf(tracker->problem, sizeof tracker->problem, "the store is slower than the events come");
            tracker->warn = true;
        }
        return false;
    }
    tracker->queue[tracker->count++] = event;
    tracker->queued++;
    tracker->artifacts += artifact;
    if (tracker->count > QUEUE / 2) tracker->hurry = true;
    if (tracker->count == 1 || tracker->count == QUEUE / 2 + 1) pthread_cond_signal(&tracker->wake);
    return true;
}

/* Unlocks, and says once what the writer met. */
static void unlock(tarn_tracker *tracker)
{
    char problem[TARN_SINK_PROBLEM];
    bool warn = tracker->warn;
    if (warn) {
        memcpy(problem, tracker->problem, sizeof problem);
        tracker->warn = false;
        tracker->warned = true;
    }
    pthread_mutex_unlock(&tracker->lock);
    if (warn)
        tarn_log(tracker->context, TARN_LOG_WARN, "tracking: cannot record: %s; training goes on, points are lost",
                 problem);
}

/* ---- keys
 * ------------------------------------------------------------------------------------------------------------- */

static const char *const kinds[] = {"metric", "parameter", "tag", "artifact"};

/* The key of that name, made when it is new. Lock held; on failure *status is set and the caller unlocks. */
static tarn_record_key *key_of(tarn_tracker *tracker, tarn_track_kind kind, const char *name, tarn_status *status)
{
    tarn_record_key *key = name ? tarn_record_find(tracker->record, kind, name) : NULL;
    if (key) return key;
    const char *problem = tarn_track_key_problem(name);
    const tarn_record_key *conflict = problem ? NULL : tarn_record_conflict(tracker->record, kind, name);
    if (problem)
        *status = tarn_fail(tracker->context, TARN_ERROR_ARGUMENT, TARN_HERE, "\"%.260s\" cannot name a %s: %s",
                            name ? name : "(null)", kinds[kind], problem);
    else if (conflict)
        *status = tarn_fail(tracker->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                            "\"%s\" cannot name a %s beside \"%s\": one would be a file and a folder at once", name,
                            kinds[kind], conflict->name);
    else if (!(key = tarn_record_add(tracker->record, kind, name)))
        *status = tarn_fail(tracker->context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory for the %s \"%s\"",
                            kinds[kind], name);
    return key;
}

/* Queues a param or tag unless it has that value; `keep`: an existing other value stays. Lock held. *differs (may be
 * NULL) becomes a copy of the other value. */
static tarn_status set_value(tarn_tracker *tracker, tarn_track_kind kind, const char *name, const char *value,
                             bool keep, char **differs)
{
    tarn_status status = TARN_OK;
    tarn_record_key *key = key_of(tracker, kind, name, &status);
    if (!key) return status;
    char *kept = tarn_document_clean(value), *queued = kept ? strdup(kept) : NULL;
    if (!queued) {
        free(kept);
        return tarn_fail(tracker->context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory for the %s \"%s\"", kinds[kind],
                         name);
    }
    bool same = key->value && !strcmp(key->value, kept);
    if (same || (keep && key->value)) {
        if (!same && differs) *differs = strdup(key->value);
        free(kept);
        free(queued);
        return TARN_OK;
    }
    free(key->value);
    key->value = kept;
    if (!push(tracker, (queued_event){.kind = kind, .key = key->name, .text = queued, .file = -1})) {
        free(key->value);
        key->value = NULL;
    }
    return TARN_OK;
}

/* A tag of our own: the first value stays, since the first broken promise is the one to look at. Lock held. */
static void note(tarn_tracker *tracker, const char *name, const char *format, ...) TARN_PRINTF(3, 4);
static void note(tarn_tracker *tracker, const char *name, const char *format, ...)
{
    char value[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    set_value(tracker, TARN_TRACK_TAG, name, value, true, NULL);
}

/* ---- logging
 * ---------------------------------------------------------------------------------------------------------- */

static void note_nonfinite(tarn_tracker *tracker, const char *key, double value, int64_t step)
{
    char name[251], text[TARN_NUMBER_TEXT];
    snprintf(name, sizeof name, "nonfinite.%.240s", key);
    tarn_number_print(text, value);
    note(tracker, name, "%s at step %lld", text, (long long)step);
}

/* Times and the like: a replayed step has others. */
static bool is_measurement(const char *name)
{
    return !strncmp(name, "system/", 7);
}

tarn_status tarn_log_metric(tarn_tracker *tracker, const char *name, double value, int64_t step)
{
    if (!tracker || !tracker->writes) return TARN_OK;
    tarn_status status = TARN_OK;
    char now[TARN_NUMBER_TEXT], then[TARN_NUMBER_TEXT];
    double before = 0;
    bool broken = false;
    pthread_mutex_lock(&tracker->lock);
    tarn_record_key *key = key_of(tracker, TARN_TRACK_METRIC, name, &status);
    if (key && !isfinite(value))
        note_nonfinite(tracker, name, value, step);
    else if (key) {
        switch (tarn_record_point(key, step, value, &before)) {
        case TARN_RECORD_NEW:
            if (!push(tracker, (queued_event){.kind = TARN_TRACK_METRIC,
                                              .id = key->id,
                                              .key = key->name,
                                              .value = value,
                                              .step = step,
                                              .file = -1}))
                tarn_record_forget(key, step);
            break;
        case TARN_RECORD_DIFFERENT:
            if (is_measurement(name)) break;
            tarn_number_print(now, value);
            tarn_number_print(then, before);
            broken = !tracker->broken++;
            note(tracker, "tarn.broken_promise", "%.250s at step %lld: %s before, %s now", name, (long long)step, then,
                 now);
            break;
        case TARN_RECORD_NO_MEMORY:
            status =
                tarn_fail(tracker->context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory for the metric \"%s\"", name);
            break;
        default:
            break;
        }
    }
    unlock(tracker);
    if (broken)
        tarn_log(tracker->context, TARN_LOG_WARN,
                 "tracking: %s at step %lld was recorded as %s and is %s now: the run did not repeat its bits; the "
                 "first value "
                 "stays, and the run is tagged tarn.broken_promise",
                 name, (long long)step, then, now);
    return status;
}

static tarn_status check_length(tarn_tracker *tracker, const char *kind, const char *key, const char *value,
                                size_t most)
{
    if (strlen(value) <= most) return TARN_OK;
    return tarn_fail(tracker->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                     "the value of %s \"%s\" has %zu bytes, MLflow keeps %zu: log it as a file with tarn_log_artifact",
                     kind, key, strlen(value), most);
}

tarn_status tarn_log_param(tarn_tracker *tracker, const char *key, const char *value)
{
    if (!tracker || !tracker->writes) return TARN_OK;
    if (!value) value = "";
    tarn_status status = check_length(tracker, "parameter", key, value, 6000);
    if (status) return status;
    char *differs = NULL;
    pthread_mutex_lock(&tracker->lock);
    status = set_value(tracker, TARN_TRACK_PARAM, key, value, true, &differs);
    unlock(tracker);
    if (differs)
        tarn_log(tracker->context, TARN_LOG_WARN,
                 "tracking: parameter %s was recorded as \"%.200s\" and is \"%.200s\" now; the first value stays in "
                 "the record",
                 key, differs, value);
    free(differs);
    return status;
}

tarn_status tarn_log_tag(tarn_tracker *tracker, const char *key, const char *value)
{
    if (!tracker || !tracker->writes) return TARN_OK;
    if (!value) value = "";
    tarn_status status = check_length(tracker, "tag", key, value, 8000);
    if (status) return status;
    pthread_mutex_lock(&tracker->lock);
    status = set_value(tracker, TARN_TRACK_TAG, key, value, false, NULL);
    unlock(tracker);
    return status;
}

tarn_status tarn_log_artifact(tarn_tracker *tracker, const char *path, const char *under)
{
    if (!tracker || !tracker->writes) return TARN_OK;
    const char *problem = under && *under ? tarn_track_key_problem(under) : NULL;
    if (problem)
        return tarn_fail(tracker->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "\"%.260s\" cannot be a folder of artifacts: %s", under, problem);
    /* Opened now: what is copied is the file of this moment, even if the name goes away before the writer comes to it.
     */
    struct stat info;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &info) || !S_ISREG(info.st_mode)) {
        tarn_status status = tarn_fail(tracker->context, TARN_ERROR_IO, TARN_HERE, "cannot read the artifact %s: %s",
                                       path, file < 0 ? strerror(errno) : "it is no regular file");
        if (file >= 0) close(file);
        return status;
    }
    const char *slash = strrchr(path, '/');
    char *name = NULL;
    if (asprintf(&name, "%s%s%s", under ? under : "", under && *under ? "/" : "", slash ? slash + 1 : path) < 0) {
        close(file);
        return tarn_fail(tracker->context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory for the artifact %s", path);
    }
    pthread_mutex_lock(&tracker->lock);
    push(tracker, (queued_event){.kind = TARN_TRACK_ARTIFACT, .text = name, .file = file});
    unlock(tracker);
    return TARN_OK;
}

/* ---- life
 * ------------------------------------------------------------------------------------------------------------- */

static void free_tracker(tarn_tracker *tracker)
{
    if (tracker->sink) tracker->sink->destroy(tracker->sink);
    tarn_record_destroy(tracker->record);
    free(tracker->queue);
    free(tracker->batch);
    pthread_cond_destroy(&tracker->wake);
    pthread_cond_destroy(&tracker->drained);
    pthread_mutex_destroy(&tracker->lock);
    free(tracker);
}

static tarn_status start_writer(tarn_tracker *tracker)
{
    sigset_t before;
    tarn_block_signals(&before);
    int error = pthread_create(&tracker->writer, NULL, write_queue, tracker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error) return TARN_OK;
    return tarn_fail(tracker->context, TARN_ERROR_IO, TARN_HERE, "cannot start the thread that writes the record: %s",
                     strerror(error));
}

static void log_first_tags(tarn_tracker *tracker, const tarn_track_options *options, bool resumed)
{
    char text[4096], made[64];
    bool named = options->name && *options->name;
    snprintf(made, sizeof made, "tarn-%.8s", tracker->run_id);
    if (named || !resumed) tarn_log_tag(tracker, "mlflow.runName", named ? options->name : made);
    if (resumed) return;
    tarn_environment_user(text, sizeof text);
    tarn_log_tag(tracker, "mlflow.user", text);
    tarn_environment_source(text, sizeof text);
    tarn_log_tag(tracker, "mlflow.source.name", text);
    tarn_log_tag(tracker, "mlflow.source.type", "LOCAL");
    tarn_environment_commit(text);
    if (*text) tarn_log_tag(tracker, "mlflow.source.git.commit", text);
}

static tarn_status check_options(tarn_context *context, const tarn_track_options *options)
{
    const char *id = options->run_id;
    if (id && *id && (strlen(id) != 32 || strspn(id, "0123456789abcdef") != 32))
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "run id \"%.100s\": expected 32 hex digits", id);
    if (options->experiment && strlen(options->experiment) > 500)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "the experiment's name is longer than MLflow's 500 bytes");
    if (options->name && strlen(options->name) > 250)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "the run's name is longer than 250 bytes");
    if ((options->name && !tarn_document_is_utf8(options->name)) ||
        (options->experiment && !tarn_document_is_utf8(options->experiment)))
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "the name of a run or of an experiment is not UTF-8");
    return TARN_OK;
}

static tarn_status open_writer(tarn_tracker *tracker, const tarn_track_options *options, bool planned)
{
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    bool resumed;
    tracker->record = tarn_record_create();
    tracker->queue = malloc(QUEUE * sizeof *tracker->queue);
    tracker->batch = malloc(QUEUE * sizeof *tracker->batch);
    if (!tracker->record || !tracker->queue || !tracker->batch)
        return tarn_fail(tracker->context, TARN_ERROR_MEMORY, TARN_HERE,
                         "out of memory while opening the record of the run");
    tarn_status status =
        tarn_file_store_open(&tracker->sink, tracker->record, options, tracker->run_id, &resumed, notice, problem);
    if (status) return tarn_fail(tracker->context, status, TARN_HERE, "%s", problem);
    if (*notice && (resumed || !planned)) tarn_log(tracker->context, TARN_LOG_WARN, "tracking: %s", notice);
    status = start_writer(tracker);
    if (!status) log_first_tags(tracker, options, resumed);
    return status;
}

tarn_status tarn_track_open(tarn_tracker **out, tarn_context *context, const tarn_track_options *options)
{
    return tarn_track_open_run(out, context, options, false);
}

tarn_status tarn_track_open_run(tarn_tracker **out, tarn_context *context, const tarn_track_options *options,
                                bool planned)
{
    static const tarn_track_options defaults;
    *out = NULL;
    if (!options) options = &defaults;
    tarn_status status = check_options(context, options);
    if (status) return status;
    tarn_tracker *tracker = calloc(1, sizeof *tracker);
    if (!tracker)
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory while opening the record of the run");
    tracker->context = context;
    tracker->writes = tarn_rank(context) == 0;
    if (options->run_id) snprintf(tracker->run_id, sizeof tracker->run_id, "%s", options->run_id);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&tracker->wake, &clock);
    pthread_condattr_destroy(&clock);
    pthread_cond_init(&tracker->drained, NULL);
    pthread_mutex_init(&tracker->lock, NULL);
    if (tracker->writes) status = open_writer(tracker, options, planned);
    if (status) {
        free_tracker(tracker);
        return status;
    }
    *out = tracker;
    return TARN_OK;
}

int64_t tarn_track_mark(tarn_tracker *tracker)
{
    if (!tracker || !tracker->writes) return 0;
    pthread_mutex_lock(&tracker->lock);
    int64_t mark = tracker->queued;
    unlock(tracker);
    return mark;
}

void tarn_track_settle(tarn_tracker *tracker, int64_t mark)
{
    if (!tracker || !tracker->writes) return;
    pthread_mutex_lock(&tracker->lock);
    while (tracker->handed < mark) {
        if (tracker->count) {
            tracker->hurry = true;
            pthread_cond_signal(&tracker->wake);
        }
        pthread_cond_wait(&tracker->drained, &tracker->lock);
    }
    pthread_mutex_unlock(&tracker->lock);
}

int64_t tarn_track_lost(tarn_tracker *tracker)
{
    if (!tracker) return 0;
    pthread_mutex_lock(&tracker->lock);
    int64_t lost = tracker->lost;
    pthread_mutex_unlock(&tracker->lock);
    return lost;
}

const char *tarn_track_run_id(const tarn_tracker *tracker)
{
    return tracker ? tracker->run_id : NULL;
}

tarn_status tarn_track_close(tarn_tracker *tracker, const char *status)
{
    if (!tracker) return TARN_OK;
    tarn_context *context = tracker->context;
    bool known = status && (!strcmp(status, "FINISHED") || !strcmp(status, "FAILED") || !strcmp(status, "KILLED"));
    if (tracker->writes) {
        pthread_mutex_lock(&tracker->lock);
        tracker->closing = true;
        pthread_cond_signal(&tracker->wake);
        pthread_mutex_unlock(&tracker->lock);
        pthread_join(tracker->writer, NULL);
        pthread_mutex_lock(&tracker->lock);
        unlock(tracker); /* for its warning */
        tarn_track_event end = {
            .kind = TARN_TRACK_END, .text = known ? status : "FAILED", .time_ms = tarn_environment_time_ms()};
        tarn_sink_report report = {0};
        tracker->sink->write(tracker->sink, &end, 1, &report);
        if (report.lost)
            tarn_log(context, TARN_LOG_WARN, "tracking: cannot record the end of run %s: %s", tracker->run_id,
                     report.problem);
        if (tracker->lost)
            tarn_log(context, TARN_LOG_WARN, "tracking: %lld events of run %s could not be recorded",
                     (long long)tracker->lost, tracker->run_id);
        if (tracker->broken > 1)
            tarn_log(context, TARN_LOG_WARN, "tracking: %lld values of run %s differ from what was recorded before",
                     (long long)tracker->broken, tracker->run_id);
    }
    free_tracker(tracker);
    if (known) return TARN_OK;
    return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                     "status \"%.50s\" of a run: expected FINISHED, FAILED or KILLED", status ? status : "(null)");
}
