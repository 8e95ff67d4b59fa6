/* enter.c - what is logged, here or by another rank: is it allowed, is it new, into the queue.
 *
 * Invariants
 *  1. A (key, step) is queued once in the life of a run, resumed or not. Another value for it breaks the promise of the
 *     same bits, except of a measurement (a key in system/), where nobody promised anything: the first one stays.
 *  2. No value that is not finite goes beyond here: it becomes the tag nonfinite.<key>.
 *  3. Nothing here calls the operating system: the lock is held.
 */
#include "track/enter.h"
#include "track/environment.h"
#include "track/json.h"
#include "runtime/config/document.h"
#include "runtime/config/number.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

bool tarn_tracker_push(tarn_tracker *tracker, tarn_queued_event *event)
{
    tarn_queue *queue = &tracker->queue;
    if (!event->time_ms) event->time_ms = tarn_environment_time_ms();
    for (int i = 0; event->files && i < event->files->count; i++) queue->open_files += event->files->list[i].file >= 0;
    bool put = tarn_queue_put(queue, event);
    if (queue->dropped && !tracker->told_full) {
        tracker->told_full = true;
        tarn_tracker_tell_locked(tracker,
                                 "more is logged than the spool %s takes; training goes on, the oldest of the waiting "
                                 "metrics are lost and counted",
                                 tracker->folder);
    }
    if (queue->count == TARN_QUEUE_MOST / 8) tracker->hurry = true;
    if (queue->count == 1 || queue->count == TARN_QUEUE_MOST / 8) pthread_cond_signal(&tracker->wake);
    return put;
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

/* The key of that name, made when it is new. Lock held; NULL: problem says why. */
static tarn_record_key *key_of(tarn_tracker *tracker, tarn_track_kind kind, const char *name,
                               char problem[TARN_SINK_PROBLEM], tarn_status *status)
{
    static const char *const kinds[TARN_TRACK_KINDS] = {
        [TARN_TRACK_METRIC] = "metric",  [TARN_TRACK_PARAM] = "parameter", [TARN_TRACK_TAG] = "tag",
        [TARN_TRACK_INPUT] = "data set", [TARN_TRACK_MODEL] = "model",     [TARN_TRACK_HISTOGRAM] = "histogram"};
    tarn_record_key *key = name ? tarn_record_find(tracker->record, kind, name) : NULL;
    *status = TARN_OK;
    if (key) return key;
    bool is_path = kind != TARN_TRACK_INPUT;
    const char *wrong = is_path ? tarn_track_key_problem(name) : NULL;
    const tarn_record_key *conflict = is_path && !wrong ? tarn_record_conflict(tracker->record, kind, name) : NULL;
    *status = TARN_ERROR_ARGUMENT;
    if (wrong)
        snprintf(problem, TARN_SINK_PROBLEM, "\"%.260s\" cannot name a %s: %s", name ? name : "(null)", kinds[kind],
                 wrong);
    else if (conflict)
        snprintf(problem, TARN_SINK_PROBLEM,
                 "\"%.200s\" cannot name a %s beside \"%.200s\": one would be a file and a folder at once", name,
                 kinds[kind], conflict->name);
    else if (!(key = tarn_record_add(tracker->record, kind, name))) {
        *status = TARN_ERROR_MEMORY;
        snprintf(problem, TARN_SINK_PROBLEM, "out of memory for the %s \"%.200s\"", kinds[kind], name);
    } else
        *status = TARN_OK;
    return key;
}

static tarn_status no_memory(char problem[TARN_SINK_PROBLEM], const char *name)
{
    snprintf(problem, TARN_SINK_PROBLEM, "out of memory for \"%.200s\"", name);
    return TARN_ERROR_MEMORY;
}

bool tarn_value_shorten(char *text, size_t most)
{
    if (strlen(text) <= most) return false;
    while (most && ((unsigned char)text[most] & 0xc0) == 0x80) most--;
    text[most] = '\0';
    return true;
}

static size_t most_of(tarn_track_kind kind)
{
    return kind == TARN_TRACK_PARAM ? TARN_PARAM_MOST : kind == TARN_TRACK_TAG ? TARN_TAG_MOST : SIZE_MAX;
}

/* Queues a value of a kind of which one stands for a key, unless it stands there already; `keep`: another one that
 * stands there stays, and is told. Lock held. */
tarn_status tarn_enter_value(tarn_tracker *tracker, tarn_track_kind kind, const char *name, const char *value,
                             bool keep, int64_t time_ms, char problem[TARN_SINK_PROBLEM])
{
    tarn_status status;
    tarn_record_key *key = key_of(tracker, kind, name, problem, &status);
    if (!key) return status;
    char *clean = tarn_document_clean(value);
    if (!clean) return no_memory(problem, name);
    size_t length = strlen(clean);
    if (tarn_value_shorten(clean, most_of(kind))) tarn_tracker_cut_locked(tracker, kind, name, length, most_of(kind));
    bool same = key->value && !strcmp(key->value, clean);
    if (!same && keep && key->value && kind == TARN_TRACK_PARAM && !tracker->refused.changed++)
        tarn_tracker_tell_locked(tracker,
                                 "parameter %s was recorded as \"%.200s\" and is \"%.200s\" now; the first value stays "
                                 "in the record",
                                 name, key->value, clean);
    if (same || (keep && key->value) || !tarn_record_set_value(key, clean)) {
        bool lost = !same && !key->value;
        free(clean);
        return lost ? no_memory(problem, name) : TARN_OK;
    }
    tarn_queued_event event = {.kind = kind, .key = key->name, .text = clean, .time_ms = time_ms};
    if (!tarn_tracker_push(tracker, &event)) {
        free(key->value);
        key->value = NULL;
    }
    return TARN_OK;
}

/* A tag of our own: the first value stays, since the first broken promise is the one to look at. Lock held. */
static void note(tarn_tracker *tracker, const char *name, const char *format, ...) TARN_PRINTF(3, 4);
static void note(tarn_tracker *tracker, const char *name, const char *format, ...)
{
    char value[512], problem[TARN_SINK_PROBLEM];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    tarn_enter_value(tracker, TARN_TRACK_TAG, name, value, true, 0, problem);
}

static void note_nonfinite(tarn_tracker *tracker, const char *key, double value, int64_t step)
{
    char name[251], text[TARN_NUMBER_TEXT];
    snprintf(name, sizeof name, "nonfinite.%.240s", key);
    tarn_number_print(text, value);
    note(tracker, name, "%s at step %lld", text, (long long)step);
}

/* ---- points ------------------------------------------------------------------------------------------------------ */

/* Times and the like: a replayed step has others. */
static bool is_measurement(const char *name)
{
    return !strncmp(name, "system/", 7);
}

static void tell_broken(tarn_tracker *tracker, const char *name, int64_t step, const char *then, const char *now)
{
    note(tracker, "tarn.broken_promise", "%.250s at step %lld: %s before, %s now", name, (long long)step, then, now);
    if (tracker->broken++) return;
    tarn_tracker_tell_locked(tracker,
                             "%s at step %lld was recorded as %s and is %s now: the run did not repeat its bits; the "
                             "first value stays, and the run is tagged tarn.broken_promise",
                             name, (long long)step, then, now);
}

tarn_status tarn_enter_metric(tarn_tracker *tracker, const char *name, double value, int64_t step, int64_t time_ms,
                              char problem[TARN_SINK_PROBLEM])
{
    tarn_status status;
    tarn_record_key *key = key_of(tracker, TARN_TRACK_METRIC, name, problem, &status);
    if (!key) return status;
    if (!isfinite(value)) {
        note_nonfinite(tracker, name, value, step);
        return TARN_OK;
    }
    double before = 0;
    char now[TARN_NUMBER_TEXT], then[TARN_NUMBER_TEXT];
    tarn_queued_event event = {
        .kind = TARN_TRACK_METRIC, .key = key->name, .value = value, .step = step, .time_ms = time_ms};
    switch (tarn_record_point(key, step, value, &before)) {
    case TARN_RECORD_NEW:
        if (!tarn_tracker_push(tracker, &event)) tarn_record_forget(key, step);
        return TARN_OK;
    case TARN_RECORD_DIFFERENT:
        if (is_measurement(name)) return TARN_OK;
        tarn_number_print(now, value);
        tarn_number_print(then, before);
        tell_broken(tracker, name, step, then, now);
        return TARN_OK;
    case TARN_RECORD_NO_MEMORY:
        return no_memory(problem, name);
    default:
        return TARN_OK;
    }
}

tarn_status tarn_enter_nonfinite(tarn_tracker *tracker, tarn_track_kind kind, const char *name, double value,
                                 int64_t step, char problem[TARN_SINK_PROBLEM])
{
    tarn_status status;
    if (key_of(tracker, kind, name, problem, &status)) note_nonfinite(tracker, name, value, step);
    return status;
}

/* A point whose value is a text: the record keeps its hash. */
static double hash_of(const char *text)
{
    return (double)crc32(0, (const unsigned char *)text, (unsigned)strlen(text));
}

/* Takes the text over. Lock held. */
tarn_status tarn_enter_histogram(tarn_tracker *tracker, const char *name, char *text, int64_t step, int64_t time_ms,
                                 char problem[TARN_SINK_PROBLEM])
{
    tarn_status status;
    tarn_record_key *key = key_of(tracker, TARN_TRACK_HISTOGRAM, name, problem, &status);
    double before = 0;
    tarn_record_answer answer = key ? tarn_record_point(key, step, hash_of(text), &before) : TARN_RECORD_NO_MEMORY;
    if (answer == TARN_RECORD_NEW) {
        tarn_queued_event event = {
            .kind = TARN_TRACK_HISTOGRAM, .key = key->name, .text = text, .step = step, .time_ms = time_ms};
        if (!tarn_tracker_push(tracker, &event)) tarn_record_forget(key, step);
        return TARN_OK;
    }
    free(text);
    if (answer == TARN_RECORD_DIFFERENT && !is_measurement(name))
        tell_broken(tracker, name, step, "one histogram", "another");
    if (answer == TARN_RECORD_NO_MEMORY && key) return no_memory(problem, name);
    return status;
}

/* Whether a model's JSON asks for it though the record holds the model. */
static bool is_again(const char *text)
{
    cJSON *json = cJSON_Parse(text);
    bool again = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "again"));
    cJSON_Delete(json);
    return again;
}

/* Takes text, files and stored over. Lock held. */
tarn_status tarn_enter_model(tarn_tracker *tracker, const char *name, char *text, tarn_queued_files *files,
                             char *stored, int64_t step, int64_t time_ms, char problem[TARN_SINK_PROBLEM])
{
    tarn_status status;
    tarn_record_key *key = key_of(tracker, TARN_TRACK_MODEL, name, problem, &status);
    double before;
    tarn_record_answer answer = key ? tarn_record_point(key, step, 0, &before) : TARN_RECORD_SAME;
    tarn_queued_event event = {.kind = TARN_TRACK_MODEL,
                               .key = key ? key->name : NULL,
                               .text = text,
                               .files = files,
                               .stored = stored,
                               .step = step,
                               .time_ms = time_ms};
    if (answer == TARN_RECORD_NEW || (answer == TARN_RECORD_SAME && key && is_again(text))) {
        if (!tarn_tracker_push(tracker, &event) && answer == TARN_RECORD_NEW) tarn_record_forget(key, step);
        return TARN_OK;
    }
    tarn_queued_event_free(&event);
    if (answer == TARN_RECORD_NO_MEMORY) return no_memory(problem, name);
    return status;
}

/* ---- what comes from elsewhere ----------------------------------------------------------------------------------- */

/* The step in a model's JSON. */
static int64_t step_of_model(const char *text)
{
    cJSON *json = cJSON_Parse(text);
    int64_t value = tarn_json_integer(json, "step", 0);
    cJSON_Delete(json);
    return value;
}

bool tarn_tracker_recall(tarn_record *record, const tarn_track_event *event)
{
    tarn_track_kind kind = event->kind;
    if (kind == (tarn_track_kind)TARN_SPOOL_FLOOR)
        kind = !strcmp(event->text, "histogram") ? TARN_TRACK_HISTOGRAM : TARN_TRACK_METRIC;
    if (kind == TARN_TRACK_BEGIN || kind == TARN_TRACK_END || kind == TARN_TRACK_ARTIFACT) return true;
    tarn_record_key *key = tarn_record_find(record, kind, event->key);
    double before;
    if (!key && !(key = tarn_record_add(record, kind, event->key))) return false;
    if (event->kind != kind || kind == (tarn_track_kind)TARN_SPOOL_INBOX) {
        tarn_record_set_floor(key, event->step);
        return true;
    }
    switch (kind) {
    case TARN_TRACK_METRIC:
        return tarn_record_point(key, event->step, event->value, &before) != TARN_RECORD_NO_MEMORY;
    case TARN_TRACK_HISTOGRAM:
        return tarn_record_point(key, event->step, hash_of(event->text), &before) != TARN_RECORD_NO_MEMORY;
    case TARN_TRACK_MODEL:
        return tarn_record_point(key, step_of_model(event->text), 0, &before) != TARN_RECORD_NO_MEMORY;
    case TARN_TRACK_PARAM: /* the first value stays */
        return key->value || tarn_record_set_value(key, event->text);
    default:
        return tarn_record_set_value(key, event->text);
    }
}

static char *copy_of(const char *text)
{
    return text ? strdup(text) : NULL;
}

void tarn_tracker_take_in(tarn_tracker *tracker, const tarn_track_event *event)
{
    char problem[TARN_SINK_PROBLEM] = "";
    char *text = event->kind == TARN_TRACK_HISTOGRAM || event->kind == TARN_TRACK_MODEL ? copy_of(event->text) : NULL;
    tarn_status status = TARN_OK;
    switch (event->kind) {
    case TARN_TRACK_METRIC:
        status = tarn_enter_metric(tracker, event->key, event->value, event->step, event->time_ms, problem);
        break;
    case TARN_TRACK_PARAM:
    case TARN_TRACK_TAG:
    case TARN_TRACK_INPUT:
        status = tarn_enter_value(tracker, event->kind, event->key, event->text, event->kind == TARN_TRACK_PARAM,
                                  event->time_ms, problem);
        break;
    case TARN_TRACK_HISTOGRAM:
        status = text ? tarn_enter_histogram(tracker, event->key, text, event->step, event->time_ms, problem)
                      : no_memory(problem, event->key);
        break;
    case TARN_TRACK_MODEL:
        status = text ? tarn_enter_model(tracker, event->key, text, NULL, copy_of(event->file),
                                         step_of_model(event->text), event->time_ms, problem)
                      : no_memory(problem, event->key);
        break;
    case TARN_TRACK_ARTIFACT: {
        tarn_queued_event artifact = {
            .kind = event->kind, .own = copy_of(event->key), .stored = copy_of(event->file), .time_ms = event->time_ms};
        artifact.key = artifact.own;
        if (artifact.own && artifact.stored)
            tarn_tracker_push(tracker, &artifact);
        else {
            tarn_queued_event_free(&artifact);
            status = no_memory(problem, event->key);
        }
        break;
    }
    default:
        break;
    }
    if (!status) return;
    char said[TARN_SINK_PROBLEM + 32];
    snprintf(said, sizeof said, "of another rank: %s", problem);
    tarn_tracker_refuse_locked(tracker, event->kind, said);
}
