/* reader_spool.c - a run as its spool holds it: all that was logged, whatever has become of it elsewhere.
 *
 * A process that began to write is a start, unless the trainer noted its starts (the tag tarn.starts). Points that were
 * thinned, or taken away after they were published, are told of by a line of the spool itself, and counted by the
 * metrics they belong to.
 */
#include "track/reader_internal.h"
#include "track/json.h"
#include "track/spool.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 1024 };

/* Calls `take` with each event; 0, or -1 with errno, or with problem. */
static int each_event(const char *folder, int (*take)(void *user, const tarn_track_event *event), void *user,
                      int64_t *corrupt, char problem[TARN_SINK_PROBLEM])
{
    tarn_spool_reader *reader = tarn_spool_open_reader(folder, problem);
    tarn_track_event *events = reader ? malloc(BATCH * sizeof *events) : NULL;
    int result = events ? 0 : -1;
    if (reader && !events) errno = ENOMEM;
    if (events) tarn_spool_read_all(reader);
    for (int64_t count; !result && (count = tarn_spool_read(reader, events, BATCH)) > 0;)
        for (int64_t i = 0; i < count && !result; i++) result = take(user, &events[i]);
    if (!result && tarn_spool_failed(reader)) result = -1;
    int error = errno;
    *corrupt = reader ? tarn_spool_corrupt(reader) : 0;
    tarn_spool_close_reader(reader);
    free(events);
    errno = error;
    return result;
}

/* ---- the head ---- */

static int begin(tarn_run_head *head, const tarn_track_event *event)
{
    cJSON *json = cJSON_Parse(event->text);
    int result = tarn_run_set(&head->run_id, tarn_json_string(json, "run_id")) ||
                         tarn_run_set(&head->name, tarn_json_string(json, "name")) ||
                         tarn_run_set(&head->experiment, tarn_json_string(json, "experiment")) ||
                         tarn_run_set(&head->user, tarn_json_string(json, "user"))
                     ? -1
                     : 0;
    cJSON_Delete(json);
    if (!head->start_ms) head->start_ms = event->time_ms;
    head->status = "RUNNING";
    head->end_ms = 0;
    return result;
}

static int take_head(void *user, const tarn_track_event *event)
{
    tarn_run_head *head = user;
    switch ((int)event->kind) {
    case TARN_TRACK_BEGIN:
        return begin(head, event);
    case TARN_TRACK_END:
        head->status = tarn_run_status(event->text);
        head->end_ms = event->time_ms;
        return 0;
    case TARN_TRACK_TAG:
        return strcmp(event->key, "mlflow.runName") ? 0 : tarn_run_set(&head->name, event->text);
    default:
        return 0;
    }
}

/* The name that sinks give a run without one. */
static int name_run(tarn_run_head *head)
{
    char made[64];
    if (head->name || !head->run_id) return 0;
    snprintf(made, sizeof made, "tarn-%.8s", head->run_id);
    return tarn_run_set(&head->name, made);
}

int tarn_run_spool_head(tarn_run_head *head, const char *folder)
{
    char problem[TARN_SINK_PROBLEM];
    int64_t *first = NULL, corrupt;
    int segments = tarn_spool_segments(folder, &first);
    free(first);
    *head = (tarn_run_head){.source = TARN_RUN_IN_SPOOL, .status = "UNKNOWN"};
    if (segments <= 0) return segments < 0 && errno != ENOENT && errno != ENOTDIR ? -1 : 0;
    /* The folder has the run's id for a name, should no line with it be left. */
    const char *slash = strrchr(folder, '/');
    if (tarn_run_set(&head->folder, folder) || tarn_run_set(&head->run_id, slash ? slash + 1 : folder) ||
        each_event(folder, take_head, head, &corrupt, problem) || name_run(head) || tarn_run_head_finish(head)) {
        int error = errno;
        tarn_run_head_free(head);
        errno = error;
        return -1;
    }
    return 1;
}

/* ---- the view ---- */

typedef struct taking {
    tarn_run_view *view;
    int most;
    int *curves; /* by the id of a metric: its place among the curves, or -1 */
    int room;
} taking;

static int curve_index(taking *taking, const tarn_track_event *event)
{
    if (event->id >= taking->room) {
        int room = 2 * event->id + 32;
        int *grown = realloc(taking->curves, (size_t)room * sizeof *grown);
        if (!grown) return -1;
        for (int i = taking->room; i < room; i++) grown[i] = -1;
        taking->curves = grown;
        taking->room = room;
    }
    if (taking->curves[event->id] < 0) {
        tarn_run_curve *curve = tarn_run_view_curve(taking->view, event->key);
        if (!curve) return -1;
        taking->curves[event->id] = (int)(curve - taking->view->curves);
    }
    return taking->curves[event->id];
}

static int take_point(taking *taking, const tarn_track_event *event)
{
    int index = curve_index(taking, event);
    if (index < 0) return -1;
    return tarn_run_curve_add(taking->view, &taking->view->curves[index], taking->most, event->step, event->time_ms,
                              event->value);
}

static int take_begin(tarn_run_view *view, const tarn_track_event *event)
{
    cJSON *json = cJSON_Parse(event->text);
    int result = tarn_run_put_start(view, event->time_ms, tarn_json_integer(json, "resumed_step", 0),
                                    (int)tarn_json_integer(json, "ranks", 0));
    cJSON_Delete(json);
    return result;
}

static int take_input(tarn_run_view *view, const tarn_track_event *event)
{
    cJSON *json = cJSON_Parse(event->text);
    int result = tarn_run_put_input(view, event->key, tarn_json_string(json, "digest"),
                                    tarn_json_string(json, "context"), tarn_json_string(json, "source"));
    cJSON_Delete(json);
    return result;
}

static int take_event(void *user, const tarn_track_event *event)
{
    taking *taking = user;
    tarn_run_view *view = taking->view;
    switch ((int)event->kind) {
    case TARN_TRACK_METRIC:
        return take_point(taking, event);
    case TARN_TRACK_PARAM: /* the first value stays */
        return tarn_run_param(view, event->key)
                   ? 0
                   : tarn_run_put_text(&view->params, &view->param_count, &view->param_room, event->key, event->text);
    case TARN_TRACK_TAG:
        return tarn_run_put_text(&view->tags, &view->tag_count, &view->tag_room, event->key, event->text);
    case TARN_TRACK_BEGIN:
        return take_begin(view, event);
    case TARN_TRACK_INPUT:
        return take_input(view, event);
    case TARN_SPOOL_FLOOR:
        if (event->text && !strcmp(event->text, "metric")) view->thinned++;
        return 0;
    default:
        return 0;
    }
}

int tarn_run_spool_read(tarn_run_view *view, int most, char problem[TARN_SINK_PROBLEM])
{
    taking taking = {.view = view, .most = most};
    int64_t corrupt;
    *problem = '\0';
    int result = each_event(view->head.folder, take_event, &taking, &corrupt, problem);
    view->left_out += corrupt;
    /* The trainer's own note of its starts is what a store has, too: the same view from either. */
    const char *starts = tarn_run_tag(view, "tarn.starts");
    if (!result && starts) {
        view->start_count = 0;
        result = tarn_run_put_starts(view, starts);
    }
    free(taking.curves);
    if (result && !*problem)
        snprintf(problem, TARN_SINK_PROBLEM, "cannot read the spool %.300s: %s", view->head.folder, strerror(errno));
    return result;
}
