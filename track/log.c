/* log.c - the log calls: they check and copy what they get, and enter it (enter.c).
 *
 * Invariants
 *  1. A log call does not wait for the disk: it takes a lock held for moments only, copies, and returns (files are
 *     opened, not read). Only one that fills the queue faster than the disk takes it is held back.
 *  2. No value that is not finite comes into JSON.
 *  3. A wrong call leaves the context's error alone (refused.c).
 */
#include "track/enter.h"
#include "track/environment.h"
#include "track/file_store/catalog.h"
#include "runtime/base/context.h"
#include "runtime/base/sha256.h"
#include "runtime/config/document.h"
#include "runtime/config/number.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Files kept open for the writer; more are opened by it, by name. */
enum { OPEN_FILES = 256, MODEL_FILES = 4096 };

/* How long a call is held back when the queue is full and the disk does not move. */
#define PATIENCE_SECONDS 2.0

/* ---- the public calls -------------------------------------------------------------------------------------------- */

/* Ends a call that held the lock: what could not be entered is counted as refused. */
static tarn_status end_call(tarn_tracker *tracker, tarn_track_kind kind, tarn_status status, const char *problem)
{
    if (status) tarn_tracker_refuse_locked(tracker, kind, problem);
    tarn_tracker_unlock(tracker);
    return status;
}

/* Somebody logs faster than a disk that works takes: waits while the writer brings batches to it, so that nothing is
 * lost; once in vain, and then no more until it works again. Lock held. */
static void keep_pace(tarn_tracker *tracker)
{
    while (tracker->queue.count >= TARN_QUEUE_MOST && !tracker->failing && !tracker->tired) {
        int64_t batches = tracker->batches;
        double until = tarn_seconds() + PATIENCE_SECONDS;
        tracker->hurry = true;
        pthread_cond_signal(&tracker->wake);
        while (tracker->batches == batches && !tracker->failing && tarn_seconds() < until)
            tarn_condition_wait(&tracker->moved, &tracker->lock, until);
        if (tracker->batches == batches) tracker->tired = true;
    }
}

tarn_status tarn_log_metric(tarn_tracker *tracker, const char *name, double value, int64_t step)
{
    if (!tracker) return TARN_OK;
    char problem[TARN_SINK_PROBLEM];
    pthread_mutex_lock(&tracker->lock);
    if (tracker->queue.count >= TARN_QUEUE_MOST) keep_pace(tracker);
    tarn_status status = tarn_enter_metric(tracker, name, value, step, 0, problem);
    return end_call(tracker, TARN_TRACK_METRIC, status, problem);
}

static tarn_status log_value(tarn_tracker *tracker, tarn_track_kind kind, const char *key, const char *value)
{
    if (!tracker) return TARN_OK;
    char problem[TARN_SINK_PROBLEM];
    pthread_mutex_lock(&tracker->lock);
    tarn_status status = tarn_enter_value(tracker, kind, key, value ? value : "", kind == TARN_TRACK_PARAM, 0, problem);
    return end_call(tracker, kind, status, problem);
}

tarn_status tarn_log_param(tarn_tracker *tracker, const char *key, const char *value)
{
    return log_value(tracker, TARN_TRACK_PARAM, key, value);
}

tarn_status tarn_log_tag(tarn_tracker *tracker, const char *key, const char *value)
{
    return log_value(tracker, TARN_TRACK_TAG, key, value);
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
        file->file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe nobody writes to holds nobody up */
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
    if (!path)
        return tarn_tracker_refuse(tracker, TARN_TRACK_ARTIFACT, TARN_ERROR_ARGUMENT,
                                   "tarn_log_artifact: path is NULL");
    const char *problem = under && *under ? tarn_track_key_problem(under) : NULL;
    if (problem)
        return tarn_tracker_refuse(tracker, TARN_TRACK_ARTIFACT, TARN_ERROR_ARGUMENT,
                                   "\"%.260s\" cannot be a folder of artifacts: %s", under, problem);
    tarn_queued_event event = {.kind = TARN_TRACK_ARTIFACT, .files = calloc(1, sizeof *event.files)};
    const char *slash = strrchr(path, '/');
    if (!event.files ||
        asprintf(&event.own, "%s%s%s", under ? under : "", under && *under ? "/" : "", slash ? slash + 1 : path) < 0) {
        event.own = NULL;
        tarn_queued_event_free(&event);
        return tarn_tracker_refuse(tracker, TARN_TRACK_ARTIFACT, TARN_ERROR_MEMORY, "out of memory for the artifact %s",
                                   path);
    }
    event.key = event.own;
    if (add_file(event.files, "", path, may_open(tracker))) {
        tarn_status status =
            tarn_tracker_refuse(tracker, TARN_TRACK_ARTIFACT, TARN_ERROR_IO, "cannot read the artifact %s: %s", path,
                                errno == EISDIR || errno == EINVAL ? "it is no regular file" : strerror(errno));
        tarn_queued_event_free(&event);
        return status;
    }
    pthread_mutex_lock(&tracker->lock);
    tarn_tracker_push(tracker, &event);
    tarn_tracker_unlock(tracker);
    return TARN_OK;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

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
    if (!histogram || histogram->buckets < 1 || histogram->count < 0 || !histogram->limits || !histogram->counts)
        return tarn_tracker_refuse(tracker, TARN_TRACK_HISTOGRAM, TARN_ERROR_ARGUMENT,
                                   "histogram \"%.250s\": it has no buckets, or a negative count",
                                   key ? key : "(null)");
    char problem[TARN_SINK_PROBLEM];
    double odd = nonfinite_of(histogram);
    if (odd != 0) { /* NaN, too */
        pthread_mutex_lock(&tracker->lock);
        tarn_status status = tarn_enter_nonfinite(tracker, TARN_TRACK_HISTOGRAM, key, odd, step, problem);
        return end_call(tracker, TARN_TRACK_HISTOGRAM, status, problem);
    }
    char *text = histogram_text(histogram);
    if (!text)
        return tarn_tracker_refuse(tracker, TARN_TRACK_HISTOGRAM, TARN_ERROR_MEMORY,
                                   "out of memory for the histogram \"%.250s\"", key ? key : "(null)");
    pthread_mutex_lock(&tracker->lock);
    tarn_status status = tarn_enter_histogram(tracker, key, text, step, 0, problem);
    return end_call(tracker, TARN_TRACK_HISTOGRAM, status, problem);
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
        return tarn_tracker_refuse(tracker, TARN_TRACK_INPUT, TARN_ERROR_ARGUMENT,
                                   "a data set needs a name of at most 500 bytes");
    if (dataset->digest && strlen(dataset->digest) > 36)
        return tarn_tracker_refuse(tracker, TARN_TRACK_INPUT, TARN_ERROR_ARGUMENT,
                                   "the digest of data set \"%.200s\" is longer than MLflow's 36 characters",
                                   dataset->name);
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
    pthread_mutex_lock(&tracker->lock);
    if (text && name) status = tarn_enter_value(tracker, TARN_TRACK_INPUT, name, text, false, 0, problem);
    end_call(tracker, TARN_TRACK_INPUT, status, problem);
    free(text);
    free(name);
    return status;
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

/* The id of a model is made of run, name and step: whoever logs it again, in another process too, means the same. */
bool tarn_track_model_id(const tarn_tracker *tracker, const char *name, int64_t of_step, char id[TARN_MODEL_ID])
{
    uint8_t digest[TARN_SHA256_BYTES];
    char hex[65], step[32];
    tarn_sha256 *sha = tarn_sha256_create();
    if (!sha) return false;
    int length = snprintf(step, sizeof step, "%lld", (long long)of_step);
    tarn_sha256_update(sha, tracker->run_id, sizeof tracker->run_id);
    tarn_sha256_update(sha, name, strlen(name) + 1);
    tarn_sha256_update(sha, step, (size_t)length);
    if (!tarn_sha256_finish(sha, digest)) return false;
    tarn_sha256_hex(digest, hex);
    snprintf(id, TARN_MODEL_ID, "m-%.32s", hex);
    return true;
}

static char *model_text(const tarn_tracker *tracker, const tarn_track_model *model)
{
    char id[TARN_MODEL_ID];
    if (!tarn_track_model_id(tracker, model->name, model->step, id)) return NULL;
    cJSON *json = cJSON_CreateObject();
    bool made = json && add_text(json, "model_id", id) && add_text(json, "register", model->register_as) &&
                add_text(json, "alias", model->alias) && cJSON_AddNumberToObject(json, "step", (double)model->step) &&
                add_text(json, "model_type", model->model_type ? model->model_type : "") &&
                (!model->again || cJSON_AddTrueToObject(json, "again"));
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
    char named[TARN_SINK_PROBLEM];
    const char *registry = !wrong && model->register_as ? tarn_registry_name_problem(model->register_as) : NULL;
    const char *alias = !wrong && !registry && model->alias ? tarn_registry_alias_problem(model->alias) : NULL;
    if (registry || alias) {
        snprintf(named, sizeof named, "%s \"%.250s\" in the registry: %s", registry ? "its name" : "its alias",
                 registry ? model->register_as : model->alias, registry ? registry : alias);
        wrong = named;
    }
    if (wrong)
        return tarn_tracker_refuse(tracker, TARN_TRACK_MODEL, TARN_ERROR_ARGUMENT,
                                   "cannot log the model \"%.250s\": %s", name, wrong);
    model_files found = {
        .folder = model->folder, .files = calloc(1, sizeof *found.files), .may_open = may_open(tracker)};
    int result = found.files ? tarn_files_walk(model->folder, add_model_file, &found) : -1;
    if (result || !found.is_model) {
        const char *why = result ? strerror(errno) : "it has no file MLmodel";
        tarn_status status =
            tarn_tracker_refuse(tracker, TARN_TRACK_MODEL, TARN_ERROR_IO, "cannot log the model \"%.250s\" from %s: %s",
                                name, model->folder, why);
        tarn_queued_files_free(found.files);
        return status;
    }
    char *text = model_text(tracker, model), problem[TARN_SINK_PROBLEM] = "out of memory for a model";
    tarn_status status = TARN_ERROR_MEMORY;
    if (!text) tarn_queued_files_free(found.files);
    pthread_mutex_lock(&tracker->lock);
    if (text) status = tarn_enter_model(tracker, model->name, text, found.files, NULL, model->step, 0, problem);
    return end_call(tracker, TARN_TRACK_MODEL, status, problem);
}
