/* log.c - the log calls: is it allowed, is it new, into the queue.
 *
 * Invariants
 *  1. A log call never waits for the disk: it takes a lock held for moments only, copies, and returns.
 *  2. A (key, step) is queued once in the life of a run, resumed or not. Another value for it breaks the promise of the
 *     same bits, except of a measurement (a key in system/), where nobody promised anything: the first one stays.
 *  3. No value that is not finite goes beyond this file, in numbers or in JSON: it becomes the tag nonfinite.<key>.
 */
#include "track/environment.h"
#include "track/tracker_internal.h"
#include "runtime/base/context.h"
#include "runtime/config/document.h"
#include "runtime/config/number.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

/* Files kept open for the writer; more are opened by it, by name. */
enum { OPEN_FILES = 256, MODEL_FILES = 4096 };

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

/* ---- keys
 * ------------------------------------------------------------------------------------------------------------- */

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

/* Queues a value of a kind of which one stands for a key, unless it stands there already; `keep`: another one that
 * stands there stays, and is told. Lock held. */
static tarn_status enter_value(tarn_tracker *tracker, tarn_track_kind kind, const char *name, const char *value,
                               bool keep, int64_t time_ms, char problem[TARN_SINK_PROBLEM])
{
    tarn_status status;
    tarn_record_key *key = key_of(tracker, kind, name, problem, &status);
    if (!key) return status;
    char *clean = tarn_document_clean(value);
    if (!clean) return no_memory(problem, name);
    bool same = key->value && !strcmp(key->value, clean);
    if (!same && keep && key->value && kind == TARN_TRACK_PARAM)
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
    enter_value(tracker, TARN_TRACK_TAG, name, value, true, 0, problem);
}

static void note_nonfinite(tarn_tracker *tracker, const char *key, double value, int64_t step)
{
    char name[251], text[TARN_NUMBER_TEXT];
    snprintf(name, sizeof name, "nonfinite.%.240s", key);
    tarn_number_print(text, value);
    note(tracker, name, "%s at step %lld", text, (long long)step);
}

/* ---- points
 * ----------------------------------------------------------------------------------------------------------- */

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

static tarn_status enter_metric(tarn_tracker *tracker, const char *name, double value, int64_t step, int64_t time_ms,
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

/* A point whose value is a text: the record keeps its hash. */
static double hash_of(const char *text)
{
    return (double)crc32(0, (const unsigned char *)text, (unsigned)strlen(text));
}

/* Takes the text over. Lock held. */
static tarn_status enter_histogram(tarn_tracker *tracker, const char *name, char *text, int64_t step, int64_t time_ms,
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

/* Takes text, files and stored over. Lock held. */
static tarn_status enter_model(tarn_tracker *tracker, const char *name, char *text, tarn_queued_files *files,
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
    if (answer == TARN_RECORD_NEW) {
        if (!tarn_tracker_push(tracker, &event)) tarn_record_forget(key, step);
        return TARN_OK;
    }
    tarn_queued_event_free(&event);
    if (answer == TARN_RECORD_NO_MEMORY) return no_memory(problem, name);
    return status;
}

/* ---- what comes from elsewhere
 * ---------------------------------------------------------------------------------------- */

/* The step in a model's JSON. */
static int64_t step_of_model(const char *text)
{
    cJSON *json = cJSON_Parse(text);
    const cJSON *step = cJSON_GetObjectItemCaseSensitive(json, "step");
    int64_t value = cJSON_IsNumber(step) ? (int64_t)step->valuedouble : 0;
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
        status = enter_metric(tracker, event->key, event->value, event->step, event->time_ms, problem);
        break;
    case TARN_TRACK_PARAM:
    case TARN_TRACK_TAG:
    case TARN_TRACK_INPUT:
        status = enter_value(tracker, event->kind, event->key, event->text, event->kind == TARN_TRACK_PARAM,
                             event->time_ms, problem);
        break;
    case TARN_TRACK_HISTOGRAM:
        status = text ? enter_histogram(tracker, event->key, text, event->step, event->time_ms, problem)
                      : no_memory(problem, event->key);
        break;
    case TARN_TRACK_MODEL:
        status = text ? enter_model(tracker, event->key, text, NULL, copy_of(event->file), step_of_model(event->text),
                                    event->time_ms, problem)
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
    tracker->lost++;
    tarn_tracker_tell_locked(tracker, "what another rank logged stays out: %s", problem);
}

/* ---- the public calls
 * ------------------------------------------------------------------------------------------------- */

#define FAILED(tracker, status, problem)                                                                               \
    ((status) ? tarn_fail((tracker)->context, status, TARN_HERE, "%s", problem) : TARN_OK)

tarn_status tarn_log_metric(tarn_tracker *tracker, const char *name, double value, int64_t step)
{
    if (!tracker) return TARN_OK;
    char problem[TARN_SINK_PROBLEM];
    pthread_mutex_lock(&tracker->lock);
    tarn_status status = enter_metric(tracker, name, value, step, 0, problem);
    tarn_tracker_unlock(tracker);
    return FAILED(tracker, status, problem);
}

static tarn_status log_value(tarn_tracker *tracker, tarn_track_kind kind, const char *key, const char *value,
                             size_t most)
{
    if (!tracker) return TARN_OK;
    if (!value) value = "";
    if (strlen(value) > most)
        return tarn_fail(tracker->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "the value of %s \"%s\" has %zu bytes, MLflow keeps %zu: log it as a file with "
                         "tarn_log_artifact",
                         kind == TARN_TRACK_PARAM ? "parameter" : "tag", key ? key : "(null)", strlen(value), most);
    char problem[TARN_SINK_PROBLEM];
    pthread_mutex_lock(&tracker->lock);
    tarn_status status = enter_value(tracker, kind, key, value, kind == TARN_TRACK_PARAM, 0, problem);
    tarn_tracker_unlock(tracker);
    return FAILED(tracker, status, problem);
}

tarn_status tarn_log_param(tarn_tracker *tracker, const char *key, const char *value)
{
    return log_value(tracker, TARN_TRACK_PARAM, key, value, 6000);
}

tarn_status tarn_log_tag(tarn_tracker *tracker, const char *key, const char *value)
{
    return log_value(tracker, TARN_TRACK_TAG, key, value, 8000);
}

/* Adds a file to a list, open when few enough are. 0, or -1 with errno. */
static int add_file(tarn_queued_files *files, const char *name, const char *path, bool may_open)
{
    struct tarn_queued_file *grown = realloc(files->list, (size_t)(files->count + 1) * sizeof *grown);
    if (!grown) return -1;
    files->list = grown;
    struct tarn_queued_file *file = &grown[files->count];
    *file = (struct tarn_queued_file){.name = strdup(name), .path = realpath(path, NULL), .file = -1};
    struct stat info;
    int error = !file->path ? errno : 0;
    if (file->path && file->name) {
        /* Opened now: what is copied is the file of this moment, even if the name goes away before the writer comes. */
        file->file = open(path, O_RDONLY | O_CLOEXEC);
        if (file->file < 0 || fstat(file->file, &info))
            error = errno;
        else if (!S_ISREG(info.st_mode))
            error = S_ISDIR(info.st_mode) ? EISDIR : EINVAL;
        else if (!may_open) {
            close(file->file);
            file->file = -1;
        }
    }
    files->count++;
    errno = error ? error : ENOMEM;
    return error || !file->name ? -1 : 0;
}

static bool may_open(tarn_tracker *tracker)
{
    pthread_mutex_lock(&tracker->lock);
    bool may = tracker->queue.open_files < OPEN_FILES;
    pthread_mutex_unlock(&tracker->lock);
    return may;
}

tarn_status tarn_log_artifact(tarn_tracker *tracker, const char *path, const char *under)
{
    if (!tracker) return TARN_OK;
    if (!path) return tarn_fail(tracker->context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn_log_artifact: path is NULL");
    const char *problem = under && *under ? tarn_track_key_problem(under) : NULL;
    if (problem)
        return tarn_fail(tracker->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "\"%.260s\" cannot be a folder of artifacts: %s", under, problem);
    tarn_queued_event event = {.kind = TARN_TRACK_ARTIFACT, .files = calloc(1, sizeof *event.files)};
    const char *slash = strrchr(path, '/');
    if (!event.files ||
        asprintf(&event.own, "%s%s%s", under ? under : "", under && *under ? "/" : "", slash ? slash + 1 : path) < 0) {
        event.own = NULL;
        tarn_queued_event_free(&event);
        return tarn_fail(tracker->context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory for the artifact %s", path);
    }
    event.key = event.own;
    if (add_file(event.files, "", path, may_open(tracker))) {
        tarn_status status =
            tarn_fail(tracker->context, TARN_ERROR_IO, TARN_HERE, "cannot read the artifact %s: %s", path,
                      errno == EISDIR || errno == EINVAL ? "it is no regular file" : strerror(errno));
        tarn_queued_event_free(&event);
        return status;
    }
    pthread_mutex_lock(&tracker->lock);
    tarn_tracker_push(tracker, &event);
    tarn_tracker_unlock(tracker);
    return TARN_OK;
}

/* ---- JSON
 * ------------------------------------------------------------------------------------------------------------ */

/* The first value of a histogram that is not finite; 0 when all are. */
static double nonfinite_of(const tarn_histogram *histogram)
{
    const double values[] = {histogram->min, histogram->max, histogram->sum, histogram->sum_squares};
    for (int i = 0; i < 4; i++)
        if (!isfinite(values[i])) return values[i];
    for (int i = 0; i < histogram->buckets; i++)
        if (!isfinite(histogram->limits[i])) return histogram->limits[i];
    return 0;
}

static char *histogram_text(const tarn_histogram *histogram)
{
    char *text = NULL, number[TARN_NUMBER_TEXT];
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
    tarn_number_print(number, histogram->min);
    fprintf(out, "{\"min\":%s", number);
    tarn_number_print(number, histogram->max);
    fprintf(out, ",\"max\":%s,\"count\":%lld", number, (long long)histogram->count);
    tarn_number_print(number, histogram->sum);
    fprintf(out, ",\"sum\":%s", number);
    tarn_number_print(number, histogram->sum_squares);
    fprintf(out, ",\"sum_squares\":%s,\"limits\":[", number);
    for (int i = 0; i < histogram->buckets; i++) {
        tarn_number_print(number, histogram->limits[i]);
        fprintf(out, "%s%s", i ? "," : "", number);
    }
    fprintf(out, "],\"counts\":[");
    for (int i = 0; i < histogram->buckets; i++) fprintf(out, "%s%lld", i ? "," : "", (long long)histogram->counts[i]);
    fprintf(out, "]}");
    if (!fclose(out)) return text;
    free(text);
    return NULL;
}

tarn_status tarn_log_histogram(tarn_tracker *tracker, const char *key, const tarn_histogram *histogram, int64_t step)
{
    if (!tracker) return TARN_OK;
    if (!histogram || histogram->buckets < 0 || histogram->count < 0 ||
        (histogram->buckets && (!histogram->limits || !histogram->counts)))
        return tarn_fail(tracker->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "histogram \"%.250s\": it has no buckets, or a negative count", key ? key : "(null)");
    char problem[TARN_SINK_PROBLEM];
    double odd = nonfinite_of(histogram);
    if (odd != 0) { /* NaN, too */
        pthread_mutex_lock(&tracker->lock);
        tarn_status status;
        if (key_of(tracker, TARN_TRACK_HISTOGRAM, key, problem, &status)) note_nonfinite(tracker, key, odd, step);
        tarn_tracker_unlock(tracker);
        return FAILED(tracker, status, problem);
    }
    char *text = histogram_text(histogram);
    if (!text)
        return tarn_fail(tracker->context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory for the histogram \"%.250s\"",
                         key ? key : "(null)");
    pthread_mutex_lock(&tracker->lock);
    tarn_status status = enter_histogram(tracker, key, text, step, 0, problem);
    tarn_tracker_unlock(tracker);
    return FAILED(tracker, status, problem);
}

/* Adds a text to a JSON object, unless it is NULL; bytes that are no UTF-8 become ?. */
static bool add_text(cJSON *json, const char *name, const char *text)
{
    if (!text) return true;
    char *clean = tarn_document_clean(text);
    bool added = clean && cJSON_AddStringToObject(json, name, clean);
    free(clean);
    return added;
}

tarn_status tarn_log_dataset(tarn_tracker *tracker, const tarn_track_dataset *dataset)
{
    if (!tracker) return TARN_OK;
    if (!dataset || !dataset->name || !*dataset->name || strlen(dataset->name) > 500)
        return tarn_fail(tracker->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "a data set needs a name of at most 500 bytes");
    if (dataset->digest && strlen(dataset->digest) > 36)
        return tarn_fail(tracker->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "the digest of data set \"%.200s\" is longer than MLflow's 36 characters", dataset->name);
    cJSON *json = cJSON_CreateObject();
    bool made = json && add_text(json, "digest", dataset->digest ? dataset->digest : "") &&
                add_text(json, "source", dataset->source ? dataset->source : "") &&
                add_text(json, "source_type", dataset->source_type ? dataset->source_type : "local") &&
                add_text(json, "context", dataset->context) && add_text(json, "schema", dataset->schema) &&
                add_text(json, "profile", dataset->profile);
    char *text = made ? cJSON_PrintUnformatted(json) : NULL, *name = tarn_document_clean(dataset->name);
    cJSON_Delete(json);
    char problem[TARN_SINK_PROBLEM] = "out of memory for a data set";
    tarn_status status = TARN_ERROR_MEMORY;
    if (text && name) {
        pthread_mutex_lock(&tracker->lock);
        status = enter_value(tracker, TARN_TRACK_INPUT, name, text, false, 0, problem);
        tarn_tracker_unlock(tracker);
    }
    free(text);
    free(name);
    return FAILED(tracker, status, problem);
}

typedef struct model_files {
    const char *folder;
    tarn_queued_files *files;
    bool may_open, is_model;
    int open_files;
} model_files;

static int add_model_file(void *user, const char *name)
{
    model_files *model = user;
    tarn_path path;
    if (!strcmp(name, "MLmodel")) model->is_model = true;
    if (model->files->count == MODEL_FILES) {
        errno = EMFILE;
        return -1;
    }
    if (tarn_path_make(path, "%s/%s", model->folder, name)) return -1;
    return add_file(model->files, name, path, model->may_open && model->files->count < OPEN_FILES / 2);
}

static char *model_text(const tarn_track_model *model)
{
    char id[40] = "m-";
    if (tarn_environment_new_id(id + 2)) return NULL;
    cJSON *json = cJSON_CreateObject();
    bool made = json && add_text(json, "model_id", id) && add_text(json, "register", model->register_as) &&
                add_text(json, "alias", model->alias) && cJSON_AddNumberToObject(json, "step", (double)model->step) &&
                add_text(json, "model_type", model->model_type ? model->model_type : "");
    char *text = made ? cJSON_PrintUnformatted(json) : NULL;
    cJSON_Delete(json);
    return text;
}

tarn_status tarn_log_model(tarn_tracker *tracker, const tarn_track_model *model)
{
    if (!tracker) return TARN_OK;
    const char *name = model && model->name ? model->name : "(null)";
    const char *wrong = !model ? "no model was given" : tarn_track_key_problem(model->name);
    if (!wrong && strpbrk(name, "/:")) wrong = "/ and : are not allowed";
    if (!wrong && !model->folder) wrong = "no folder was given";
    if (!wrong && model->alias && !model->register_as) wrong = "an alias needs a name in the registry (register_as)";
    if (wrong)
        return tarn_fail(tracker->context, TARN_ERROR_ARGUMENT, TARN_HERE, "cannot log the model \"%.250s\": %s", name,
                         wrong);
    model_files found = {
        .folder = model->folder, .files = calloc(1, sizeof *found.files), .may_open = may_open(tracker)};
    int result = found.files ? tarn_files_walk(model->folder, add_model_file, &found) : -1;
    if (result || !found.is_model) {
        const char *why = result ? strerror(errno) : "it has no file MLmodel";
        tarn_status status = tarn_fail(tracker->context, TARN_ERROR_IO, TARN_HERE,
                                       "cannot log the model \"%.250s\" from %s: %s", name, model->folder, why);
        tarn_queued_files_free(found.files);
        return status;
    }
    char *text = model_text(model), problem[TARN_SINK_PROBLEM] = "out of memory for a model";
    tarn_status status = TARN_ERROR_MEMORY;
    if (text) {
        pthread_mutex_lock(&tracker->lock);
        status = enter_model(tracker, model->name, text, found.files, NULL, model->step, 0, problem);
        tarn_tracker_unlock(tracker);
    } else
        tarn_queued_files_free(found.files);
    return FAILED(tracker, status, problem);
}
