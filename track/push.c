/* push.c - replaying a spool: what a run recorded where no destination could be reached goes there now. */
#include "track/inbox.h"
#include "track/json.h"
#include "track/tracker_internal.h"
#include "runtime/base/context.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How often progress is looked at. */
#define LOOK_SECONDS 0.2

/* The texts of the run's first BEGIN, to be freed; NULL where the spool has none. */
static void read_begin(const char *folder, char **experiment, char **name)
{
    char problem[TARN_SINK_PROBLEM];
    tarn_track_event event;
    tarn_spool_reader *reader = tarn_spool_open_reader(folder, problem);
    *experiment = *name = NULL;
    if (reader) tarn_spool_read_whole(reader);
    while (reader && tarn_spool_read(reader, &event, 1)) {
        if (event.kind != TARN_TRACK_BEGIN) continue;
        cJSON *json = cJSON_Parse(event.text);
        const char *found = tarn_json_string(json, "experiment");
        if (found) *experiment = strdup(found);
        found = tarn_json_string(json, "name");
        if (found) *name = strdup(found);
        cJSON_Delete(json);
        break;
    }
    tarn_spool_close_reader(reader);
}

static tarn_status refuse(tarn_spool_pushed *report, tarn_status status, const char *folder, const char *why)
{
    snprintf(report->problem, sizeof report->problem, "cannot push %.200s: %.290s", folder, why);
    return status;
}

static _Thread_local tarn_path link_found;

static int stop_at_link(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info, (void)place;
    return kind == FTW_SL && !tarn_path_make(link_found, "%s", path);
}

/* Whether a folder, which may come from anybody, has a symbolic link in it: no process puts one there, and it would
 * have us read, or write, elsewhere. */
static bool has_link(const char *folder)
{
    return nftw(folder, stop_at_link, 16, FTW_PHYS) == 1;
}

/* Finds out what is to be pushed where. */
static tarn_status prepare(tarn_tracker *tracker, const char *folder, const tarn_track_options *options,
                           tarn_spool_pushed *report)
{
    tarn_path path;
    int64_t *first;
    if (!realpath(folder, path)) return refuse(report, TARN_ERROR_ARGUMENT, folder, strerror(errno));
    int count = tarn_spool_segments(path, &first);
    free(first);
    const char *id = strrchr(path, '/') + 1;
    if (count < 0) return refuse(report, TARN_ERROR_ARGUMENT, folder, strerror(errno));
    if (!tarn_track_is_run_id(id))
        return refuse(report, TARN_ERROR_ARGUMENT, folder,
                      "it is not the spool of a run, a folder SPOOL/RUN whose name is the run's id of 32 hex digits");
    if (has_link(path)) {
        char why[256];
        snprintf(why, sizeof why, "%.150s in it is a symbolic link: replace it by what it points at, if that is yours",
                 link_found + strlen(path) + 1);
        return refuse(report, TARN_ERROR_ARGUMENT, folder, why);
    }
    char *experiment, *name;
    read_begin(path, &experiment, &name);
    tarn_track_options asked = *options;
    asked.run_id = id;
    if (!asked.experiment && experiment) asked.experiment = experiment;
    if (!asked.name && name) asked.name = name;
    tarn_status status = tarn_track_resolve(&tracker->to, &asked, false, report->problem);
    tracker->name = asked.name == name ? name : NULL; /* the options point at it */
    if (!tracker->name) free(name);
    free(experiment);
    if (status) return status;
    strcpy(tracker->run_id, id);
    memcpy(tracker->folder, path, sizeof path);
    return TARN_OK;
}

static tarn_status open_spool(tarn_tracker *tracker, tarn_spool_pushed *report)
{
    bool events;
    switch (tarn_spool_open_writer(&tracker->spool, tracker->folder, tracker->to.options.spool_limit)) {
    case TARN_SPOOL_HELD:
        return refuse(report, TARN_ERROR_STATE, tracker->folder,
                      "a process writes it, and publishes it by itself: wait for its end");
    case TARN_SPOOL_FAILED:
        return refuse(report, TARN_ERROR_IO, tracker->folder, strerror(errno));
    default:
        break;
    }
    tracker->holds = true;
    tracker->inbox = tarn_inbox_create(tracker->folder);
    if (!tracker->inbox) return refuse(report, TARN_ERROR_MEMORY, tracker->folder, "out of memory");
    tarn_status status = tarn_tracker_recall_spool(tracker, &events, report->problem);
    if (!status) status = tarn_tracker_open_sinks(tracker, true, false, report->problem);
    if (!status && !tracker->drain_count)
        status = refuse(report, TARN_ERROR_ARGUMENT, tracker->folder,
                        "no destination is named: give one with track.store or MLFLOW_TRACKING_URI");
    return status;
}

/* Waits for the sinks as long as one of them moves. */
static void wait_for_sinks(tarn_tracker *tracker, int64_t last)
{
    int64_t before = -1;
    double moved_at = tarn_seconds();
    for (;;) {
        int64_t sum = 0;
        bool all = true;
        double until = tarn_seconds() + LOOK_SECONDS;
        for (int i = 0; i < tracker->drain_count; i++) {
            tarn_drain_state state;
            all = tarn_drain_wait(tracker->drains[i], last, until) && all;
            tarn_drain_get(tracker->drains[i], &state);
            sum += state.acknowledged;
        }
        if (all) return;
        if (sum != before) moved_at = tarn_seconds();
        before = sum;
        if (tarn_seconds() > moved_at + tracker->to.options.flush_timeout) return;
    }
}

/* What of the inbox did not come into the spool. The writer has ended. */
static void count_inbox(const tarn_tracker *tracker, tarn_spool_pushed *report)
{
    int64_t unwritten = tracker->lost + tracker->queue.dropped, refused = tracker->refused.total;
    int64_t left = tarn_inbox_left(tracker->inbox);
    if (tracker->failing)
        left += unwritten; /* the spool does not say that they were taken in */
    else
        refused += unwritten;
    report->lost += refused;
    report->behind += left;
    if (refused)
        snprintf(report->problem, sizeof report->problem, "of what other processes left in the inbox of %.200s: %.250s",
                 tracker->folder, tracker->refused.total ? tracker->refused.first : "memory did not suffice");
    if (left)
        snprintf(report->problem, sizeof report->problem, "%lld event%s in the inbox of %.300s%s", (long long)left,
                 left == 1 ? " waits" : "s wait", tracker->folder,
                 tracker->failing ? ": the spool cannot be written" : "");
}

static tarn_status push(tarn_tracker *tracker, tarn_spool_pushed *report)
{
    tarn_drain_state state;
    /* The writer takes in what other ranks and processes left in the inbox, and ends. */
    if (tarn_tracker_start_writer(tracker)) return refuse(report, TARN_ERROR_IO, tracker->folder, strerror(errno));
    tarn_tracker_end_writer(tracker);
    int64_t last = tracker->spool.next - 1;
    for (int i = 0; i < tracker->drain_count; i++) {
        tarn_drain_flush(tracker->drains[i]);
        tarn_drain_show(tracker->drains[i], last);
    }
    wait_for_sinks(tracker, last);
    report->sinks = tracker->drain_count;
    report->corrupt = tracker->corrupt + tarn_inbox_corrupt(tracker->inbox);
    for (int i = 0; i < tracker->drain_count; i++) {
        tarn_drain_get(tracker->drains[i], &state);
        report->events += state.taken - state.lost; /* numbers of events have gaps: damaged lines, what was thinned */
        report->lost += state.lost;
        if (last - state.acknowledged > report->behind) report->behind = last - state.acknowledged;
        if (state.lost || state.acknowledged < last)
            snprintf(report->problem, sizeof report->problem, "%.80s: %.400s", tarn_drain_name(tracker->drains[i]),
                     *state.problem                                 ? state.problem
                     : state.acknowledged < last || !*state.refusal ? "it took no more events in time"
                                                                    : state.refusal);
    }
    count_inbox(tracker, report);
    return report->behind ? TARN_ERROR_IO : TARN_OK;
}

tarn_status tarn_spool_push(const char *folder, const tarn_track_options *options, tarn_spool_pushed *report)
{
    static const tarn_track_options defaults;
    *report = (tarn_spool_pushed){0};
    tarn_tracker *tracker = tarn_tracker_create(NULL);
    if (!tracker) return refuse(report, TARN_ERROR_MEMORY, folder, "out of memory");
    tarn_status status = prepare(tracker, folder, options ? options : &defaults, report);
    if (!status) status = open_spool(tracker, report);
    if (!status) status = push(tracker, report);
    tarn_tracker_free(tracker);
    return status;
}
