/* tracker.c - a tracker's life: opening a run and its spool, marks, questions about the run. Its end is in close.c.
 *
 *   tarn_log_* (log.c) -> queue (queue.c) -> writer thread (writer.c) -> spool on disk -> drains (drain.c) -> sinks
 *
 * Invariants
 *  1. Nothing that happens to the spool or a destination fails a step: one warning when it begins, one when it ends,
 *     the counts at the end.
 *  2. What is settled is in the spool and durable: a checkpoint is never ahead of its record.
 */
#include "track/enter.h"
#include "track/environment.h"
#include "track/file_store/file_store.h"
#include "track/inbox.h"
#include "runtime/base/context.h"
#include "runtime/comm/agree.h"
#include "runtime/config/document.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- lines for the log ------------------------------------------------------------------------------------------- */

/* Takes the line over. Lock held. */
static void leave_line(tarn_tracker *tracker, tarn_log_level level, char *line)
{
    if (line && tracker->line_count < TARN_TRACKER_LINES) {
        tracker->levels[tracker->line_count] = level;
        tracker->lines[tracker->line_count++] = line;
    } else
        free(line); /* the counts at the end tell of it */
}

void tarn_tracker_tell_locked(tarn_tracker *tracker, const char *format, ...)
{
    char *line = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&line, format, arguments);
    va_end(arguments);
    leave_line(tracker, TARN_LOG_WARN, length < 0 ? NULL : line);
}

void tarn_tracker_tell(void *user, tarn_log_level level, const char *line)
{
    tarn_tracker *tracker = user;
    pthread_mutex_lock(&tracker->lock);
    leave_line(tracker, level, strdup(line));
    if (level == TARN_LOG_INFO) tarn_tracker_add_news(tracker, line);
    pthread_mutex_unlock(&tracker->lock);
}

static _Thread_local bool is_quiet;

void tarn_track_quiet_thread(void)
{
    is_quiet = true;
}

void tarn_tracker_unlock(tarn_tracker *tracker)
{
    if (is_quiet) {
        pthread_mutex_unlock(&tracker->lock);
        return;
    }
    char *lines[TARN_TRACKER_LINES];
    tarn_log_level levels[TARN_TRACKER_LINES];
    int count = tracker->line_count;
    if (count) memcpy(lines, tracker->lines, sizeof lines);
    if (count) memcpy(levels, tracker->levels, sizeof levels);
    tracker->line_count = 0;
    pthread_mutex_unlock(&tracker->lock);
    for (int i = 0; i < count; i++) {
        tarn_log(tracker->context, levels[i], "tracking: %s", lines[i]);
        free(lines[i]);
    }
}

void tarn_tracker_add_news(tarn_tracker *tracker, const char *line)
{
    if (tracker->news_count == TARN_TRACKER_NEWS) return;
    snprintf(tracker->news[tracker->news_count++], TARN_SINK_PROBLEM, "%s", line);
}

bool tarn_track_news(tarn_tracker *tracker, char line[TARN_SINK_PROBLEM])
{
    if (!tracker) return false;
    pthread_mutex_lock(&tracker->lock);
    bool any = tracker->news_count > 0;
    if (any) {
        memcpy(line, tracker->news[0], TARN_SINK_PROBLEM);
        tracker->news_count--;
        memmove(tracker->news[0], tracker->news[1], (size_t)tracker->news_count * TARN_SINK_PROBLEM);
    }
    pthread_mutex_unlock(&tracker->lock);
    return any;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* This process is not the one that holds the spool: what it logs goes to a file of the inbox. */
static tarn_status open_inbox(tarn_tracker *tracker, const char *kind, int64_t number)
{
    char name[80];
    snprintf(name, sizeof name, "%s-%lld-%s", kind, (long long)number, tracker->token);
    if (!tarn_inbox_open_writer(&tracker->spool, tracker->folder, name)) return TARN_OK;
    return tarn_fail(tracker->context, TARN_ERROR_CONFIG, TARN_HERE,
                     "cannot write the spool %s: %s; choose a directory that all ranks can write with track.spool",
                     tracker->folder, strerror(errno));
}

/* Enters what the spool holds in the record. *events: whether it holds any. */
static tarn_status recall(tarn_tracker *tracker, bool *events)
{
    char problem[TARN_SINK_PROBLEM];
    if (!tracker->inbox)
        return tarn_fail(tracker->context, TARN_ERROR_MEMORY, TARN_HERE,
                         "out of memory while opening the record of the run");
    tarn_status status = tarn_tracker_recall_spool(tracker, events, problem);
    if (status) return tarn_fail(tracker->context, status, TARN_HERE, "%s", problem);
    if (tracker->corrupt)
        tarn_log(tracker->context, TARN_LOG_WARN,
                 "tracking: %lld damaged line%s in the spool %s %s passed over; the rest is kept",
                 (long long)tracker->corrupt, tracker->corrupt == 1 ? "" : "s", tracker->folder,
                 tracker->corrupt == 1 ? "is" : "are");
    return TARN_OK;
}

static tarn_status open_spool(tarn_tracker *tracker, bool *events)
{
    if (tarn_path_make(tracker->folder, "%s/%s", tracker->to.spool, tracker->run_id))
        return tarn_fail(tracker->context, TARN_ERROR_CONFIG, TARN_HERE, "the path of the spool %.200s is too long",
                         tracker->to.spool);
    switch (tarn_spool_open_writer(&tracker->spool, tracker->folder, tracker->to.options.spool_limit)) {
    case TARN_SPOOL_OPENED:
        tracker->holds = true;
        snprintf(tracker->folder, sizeof tracker->folder, "%s", tracker->spool.folder);
        tracker->inbox = tarn_inbox_create(tracker->folder);
        return recall(tracker, events);
    case TARN_SPOOL_HELD:
        tarn_log(tracker->context, TARN_LOG_WARN,
                 "tracking: another process writes the spool %s: what this one logs is handed to it", tracker->folder);
        return open_inbox(tracker, "process", (int64_t)getpid());
    default:
        return tarn_fail(tracker->context, TARN_ERROR_CONFIG, TARN_HERE,
                         "cannot write the spool %s: %s; choose a directory that can be written with track.spool",
                         tracker->folder, strerror(errno));
    }
}

/* ---- the first events -------------------------------------------------------------------------------------------- */

static char *begin_text(const tarn_tracker *tracker, int64_t resumed_step)
{
    char user[256], source[4096], commit[65];
    tarn_environment_user(user, sizeof user);
    tarn_environment_source(source, sizeof source);
    tarn_environment_commit(commit);
    char *clean_source = tarn_document_clean(source), *clean_user = tarn_document_clean(user), *text = NULL;
    cJSON *json = cJSON_CreateObject();
    const char *name = tracker->to.options.name;
    bool made = json && clean_source && clean_user && cJSON_AddStringToObject(json, "run_id", tracker->run_id) &&
                cJSON_AddStringToObject(json, "experiment", tracker->to.options.experiment) &&
                (!name || cJSON_AddStringToObject(json, "name", name)) &&
                cJSON_AddStringToObject(json, "user", clean_user) &&
                cJSON_AddStringToObject(json, "source", clean_source) &&
                (!*commit || cJSON_AddStringToObject(json, "commit", commit)) &&
                cJSON_AddNumberToObject(json, "ranks", tarn_ranks(tracker->context)) &&
                (resumed_step < 0 || cJSON_AddNumberToObject(json, "resumed_step", (double)resumed_step));
    if (made) text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    free(clean_source);
    free(clean_user);
    return text;
}

/* Logs a tag that the record does not hold: a process that was killed in its first moments may have left it out. */
static void log_if_missing(tarn_tracker *tracker, const char *key, const char *value)
{
    pthread_mutex_lock(&tracker->lock);
    bool missing = !tarn_record_find(tracker->record, TARN_TRACK_TAG, key);
    pthread_mutex_unlock(&tracker->lock);
    if (missing && *value) tarn_log_tag(tracker, key, value);
}

/* named: the run may be there under a name of its own, which only one that was given replaces. */
static tarn_status log_begin(tarn_tracker *tracker, bool named, int64_t resumed_step)
{
    tarn_queued_event begin = {.kind = TARN_TRACK_BEGIN, .text = begin_text(tracker, resumed_step)};
    if (!begin.text)
        return tarn_fail(tracker->context, TARN_ERROR_MEMORY, TARN_HERE,
                         "out of memory while opening the record of the run");
    pthread_mutex_lock(&tracker->lock);
    tarn_tracker_push(tracker, &begin);
    tarn_tracker_unlock(tracker);
    char text[4096], made[64];
    snprintf(made, sizeof made, "tarn-%.8s", tracker->run_id);
    if (tracker->to.options.name)
        tarn_log_tag(tracker, "mlflow.runName", tracker->to.options.name);
    else if (!named)
        log_if_missing(tracker, "mlflow.runName", made);
    tarn_environment_user(text, sizeof text);
    log_if_missing(tracker, "mlflow.user", text);
    tarn_environment_source(text, sizeof text);
    log_if_missing(tracker, "mlflow.source.name", text);
    log_if_missing(tracker, "mlflow.source.type", "LOCAL");
    tarn_environment_commit(text);
    log_if_missing(tracker, "mlflow.source.git.commit", text);
    return TARN_OK;
}

static tarn_status open_holder(tarn_tracker *tracker, bool planned, int64_t resumed_step)
{
    bool events = false;
    if (!tracker->to.run_id[0]) {
        if (tarn_environment_new_id(tracker->run_id))
            return tarn_fail(tracker->context, TARN_ERROR_IO, TARN_HERE, "cannot make a run id: %s", strerror(errno));
    } else
        strcpy(tracker->run_id, tracker->to.run_id);
    tarn_status status = open_spool(tracker, &events);
    if (status || !tracker->holds) return status;
    /* The run's spool stayed on another machine: what its file store holds is known all the same. */
    if (!events && tracker->to.run_id[0] && tracker->to.place == TARN_TRACK_FILES) {
        int result = tarn_file_store_recall(tracker->to.store, tracker->run_id, tracker->record);
        if (result < 0 && !tracker->forgiving)
            return tarn_fail(tracker->context, TARN_ERROR_IO, TARN_HERE,
                             "cannot read run %s in the tracking store %s: %s", tracker->run_id, tracker->to.store,
                             strerror(errno));
        if (result < 0)
            tarn_log(tracker->context, TARN_LOG_WARN,
                     "tracking: cannot read run %s in the tracking store %s: %s; steps that are run again are recorded "
                     "again",
                     tracker->run_id, tracker->to.store, strerror(errno));
    }
    char problem[TARN_SINK_PROBLEM];
    if (*tracker->to.wrong_store)
        tarn_tracker_go_on_without(tracker, "the tracking store", "--store STORE", tracker->to.wrong_store);
    if (*tracker->to.wrong_run_id)
        tarn_log(tracker->context, TARN_LOG_WARN, "tracking: %s; this run is recorded as run %s",
                 tracker->to.wrong_run_id, tracker->run_id);
    status = tarn_tracker_open_sinks(tracker, events, events || !planned, problem);
    if (status) return tarn_fail(tracker->context, status, TARN_HERE, "%s", problem);
    return log_begin(tracker, !planned && tracker->to.run_id[0], resumed_step);
}

/* The file that shows other ranks whether they see the spool of rank 0. */
static int launch_file(tarn_path path, const tarn_tracker *tracker)
{
    return tarn_path_make(path, "%s/inbox/.launch-%s", tracker->folder, tracker->token);
}

/* What rank 0 opened, told to the others. */
static tarn_status join_ranks(tarn_tracker *tracker)
{
    struct {
        char run_id[33], token[33];
        tarn_path folder;
    } run = {0};
    tarn_context *context = tracker->context;
    tarn_path path;
    if (tarn_rank(context) == 0) {
        memcpy(run.run_id, tracker->run_id, sizeof run.run_id);
        memcpy(run.token, tracker->token, sizeof run.token);
        memcpy(run.folder, tracker->folder, sizeof run.folder);
        if (!launch_file(path, tracker)) {
            int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
            if (file >= 0) close(file);
        }
    }
    tarn_status status = tarn_comm_broadcast(tarn_get_comm(context), &run, sizeof run, 0, "opening the tracking run");
    if (status || tarn_rank(context) == 0) return status;
    memcpy(tracker->run_id, run.run_id, sizeof run.run_id);
    memcpy(tracker->token, run.token, sizeof run.token);
    memcpy(tracker->folder, run.folder, sizeof run.folder);
    if (!launch_file(path, tracker) && access(path, F_OK))
        tarn_log(
            context, TARN_LOG_WARN,
            "tracking: rank 0's spool %s is not seen here: what this rank logs stays in the folder of that name on "
            "its host (tarn track push); choose a directory that all ranks share with track.spool",
            tracker->folder);
    return open_inbox(tracker, "rank", tarn_rank(context));
}

static tarn_status open_tracker(tarn_tracker **out, tarn_context *context, const tarn_track_options *options,
                                bool forgiving, bool planned, int64_t resumed_step)
{
    static const tarn_track_options defaults;
    char problem[TARN_SINK_PROBLEM];
    *out = NULL;
    if (!options) options = &defaults;
    tarn_tracker *tracker = tarn_tracker_create(context);
    if (!tracker)
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory while opening the record of the run");
    tracker->forgiving = forgiving;
    tarn_status status =
        (forgiving ? tarn_track_resolve_run : tarn_track_resolve)(&tracker->to, options, planned, problem);
    if (status) tarn_fail(context, status, TARN_HERE, "%s", problem);
    if (!status && tarn_environment_new_id(tracker->token))
        status = tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "cannot make an id: %s", strerror(errno));
    if (!status && tarn_rank(context) == 0) status = open_holder(tracker, planned, resumed_step);
    bool several = tarn_ranks(context) > 1;
    if (several) status = tarn_agree(context, status, "opening the tracking run");
    if (!status && several) status = join_ranks(tracker);
    if (!status && (status = tarn_tracker_start_writer(tracker)))
        tarn_fail(context, status, TARN_HERE, "cannot start the thread that writes the record: %s", strerror(errno));
    if (several) status = tarn_agree(context, status, "joining the tracking run");
    tarn_path path; /* all have looked for it */
    if (several && tarn_rank(context) == 0 && !launch_file(path, tracker)) unlink(path);
    if (status) {
        tarn_tracker_end_writer(tracker);
        tarn_tracker_free(tracker);
        return status;
    }
    *out = tracker;
    return TARN_OK;
}

tarn_status tarn_track_open(tarn_tracker **out, tarn_context *context, const tarn_track_options *options)
{
    return open_tracker(out, context, options, true, false, -1);
}

tarn_status tarn_track_open_run(tarn_tracker **out, tarn_context *context, const tarn_track_options *options,
                                bool planned, int64_t resumed_step)
{
    return open_tracker(out, context, options, true, planned, resumed_step);
}

tarn_status tarn_track_open_strict(tarn_tracker **out, tarn_context *context, const tarn_track_options *options)
{
    return open_tracker(out, context, options, false, false, -1);
}

/* ---- marks ------------------------------------------------------------------------------------------------------- */

int64_t tarn_track_mark(tarn_tracker *tracker)
{
    if (!tracker) return 0;
    pthread_mutex_lock(&tracker->lock);
    int64_t mark = tracker->queue.added;
    tarn_tracker_unlock(tracker);
    return mark;
}

void tarn_track_settle(tarn_tracker *tracker, int64_t mark)
{
    if (!tracker) return;
    pthread_mutex_lock(&tracker->lock);
    int64_t attempts = tracker->attempts;
    while (tracker->durable < mark && tracker->attempts == attempts) {
        tracker->hurry = true;
        pthread_cond_signal(&tracker->wake);
        pthread_cond_wait(&tracker->moved, &tracker->lock);
    }
    pthread_mutex_unlock(&tracker->lock);
}

bool tarn_track_flush(tarn_tracker *tracker, double seconds)
{
    if (!tracker) return true;
    double until = tarn_seconds() + seconds;
    tarn_track_settle(tracker, tarn_track_mark(tracker));
    pthread_mutex_lock(&tracker->lock);
    int64_t shown = tracker->shown;
    pthread_mutex_unlock(&tracker->lock);
    bool all = !tracker->unopened_count;
    for (int i = 0; i < tracker->drain_count; i++) all = tarn_drain_wait(tracker->drains[i], shown, until) && all;
    return all;
}

int64_t tarn_track_lost(tarn_tracker *tracker)
{
    if (!tracker) return 0;
    pthread_mutex_lock(&tracker->lock);
    int64_t lost = tracker->lost + tracker->queue.dropped;
    pthread_mutex_unlock(&tracker->lock);
    return lost;
}

bool tarn_track_tag(tarn_tracker *tracker, const char *key, char *out, size_t size)
{
    if (!tracker) return false;
    pthread_mutex_lock(&tracker->lock);
    const tarn_record_key *found = tarn_record_find(tracker->record, TARN_TRACK_TAG, key);
    bool fits = found && found->value && strlen(found->value) < size;
    if (fits) strcpy(out, found->value);
    pthread_mutex_unlock(&tracker->lock);
    return fits;
}

bool tarn_track_param_differs(tarn_tracker *tracker, const char *key, const char *value)
{
    if (!tracker) return false;
    char *clean = tarn_document_clean(value);
    if (!clean) return false;
    tarn_value_shorten(clean, TARN_PARAM_MOST);
    pthread_mutex_lock(&tracker->lock);
    const tarn_record_key *found = tarn_record_find(tracker->record, TARN_TRACK_PARAM, key);
    bool differs = found && found->value && strcmp(found->value, clean) != 0;
    pthread_mutex_unlock(&tracker->lock);
    free(clean);
    return differs;
}

int64_t tarn_track_next_step(tarn_tracker *tracker, const char *key)
{
    if (!tracker) return 0;
    pthread_mutex_lock(&tracker->lock);
    const tarn_record_key *found = tarn_record_find(tracker->record, TARN_TRACK_METRIC, key);
    int64_t step = found ? tarn_record_next_step(found) : 0;
    pthread_mutex_unlock(&tracker->lock);
    return step;
}

const char *tarn_track_run_id(const tarn_tracker *tracker)
{
    return tracker ? tracker->run_id : NULL;
}

const char *tarn_track_spool(const tarn_tracker *tracker)
{
    return tracker ? tracker->folder : NULL;
}
