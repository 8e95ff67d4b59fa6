/* file_store.c - the MLflow file store: opening a run, writing its events, ending it.
 *
 * Invariants
 *  1. At any moment MLflow can read the store: meta.yaml appears last and whole, a metric file with its first line,
 *     params and tags whole; lines are appended whole, a torn append is taken back.
 *  2. Ids are quoted, times are in milliseconds, status is a number.
 */
#include "track/file_store/file_store.h"
#include "track/address.h"
#include "track/file_store/catalog.h"
#include "track/environment.h"
#include "track/json.h"
#include "runtime/config/number.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const folders[] = {"metrics", "params", "tags", "artifacts"}; /* by kind */

/* ---- writing ----------------------------------------------------------------------------------------------------- */

struct tarn_metric_file *tarn_file_store_metric(tarn_file_store *store, int id)
{
    if (id >= store->metric_room) {
        int room = id + 32;
        struct tarn_metric_file *grown = realloc(store->metrics, (size_t)room * sizeof *grown);
        if (!grown) return NULL;
        memset(grown + store->metric_room, 0, (size_t)(room - store->metric_room) * sizeof *grown);
        store->metrics = grown;
        store->metric_room = room;
    }
    return &store->metrics[id];
}

/* Adds the line of a point to its metric's lines, unless the file holds it: it comes again after a crash. *id: of the
 * metric, when there is a line. */
static int add_line(tarn_file_store *store, const tarn_track_event *event, int *id)
{
    tarn_record_key *key = tarn_record_find(store->held, TARN_TRACK_METRIC, event->key);
    if (!key) key = tarn_record_add(store->held, TARN_TRACK_METRIC, event->key);
    struct tarn_metric_file *file = key ? tarn_file_store_metric(store, key->id) : NULL;
    if (!file) return -1;
    if (tarn_record_holds(key, event->step)) return 0;
    if (file->used + 128 > file->room) {
        size_t room = 2 * file->room + 512;
        char *grown = realloc(file->lines, room);
        if (!grown) return -1;
        file->lines = grown;
        file->room = room;
    }
    if (!file->count) {
        if (store->touched_count == store->touched_room) {
            int room = 2 * store->touched_room + 32;
            int *grown = realloc(store->touched, (size_t)room * sizeof *grown);
            if (!grown) return -1;
            store->touched = grown;
            store->touched_room = room;
        }
        store->touched[store->touched_count++] = key->id;
    }
    char value[TARN_NUMBER_TEXT];
    tarn_number_print(value, event->value);
    file->used += (size_t)snprintf(file->lines + file->used, 128, "%lld %s %lld\n", (long long)event->time_ms, value,
                                   (long long)event->step);
    file->count++;
    file->key = key;
    *id = key->id;
    return 0;
}

static int write_lines(tarn_file_store *store, struct tarn_metric_file *file)
{
    tarn_path path;
    if (tarn_path_make(path, "%s/metrics/%s", store->run, file->key->name)) return -1;
    if (file->exists) {
        if (!tarn_file_append(path, file->lines, file->used)) return 0;
        if (errno != ENOENT) return -1;
    }
    if (tarn_path_make_parents(path) || tarn_file_put(path, store->temporary, file->lines, file->used)) return -1;
    file->exists = true;
    return 0;
}

static int write_value(tarn_file_store *store, const tarn_track_event *event)
{
    tarn_path path;
    if (tarn_path_make(path, "%s/%s/%s", store->run, folders[event->kind], event->key) || tarn_path_make_parents(path))
        return -1;
    if (event->kind == TARN_TRACK_ARTIFACT) {
        int from = open(event->file, O_RDONLY | O_CLOEXEC);
        int result = from < 0 ? -1 : tarn_file_put_copy(path, store->temporary, from);
        int error = errno;
        if (from >= 0) close(from);
        errno = error;
        return result;
    }
    return tarn_file_put(path, store->temporary, event->text, strlen(event->text));
}

static void explain(const tarn_file_store *store, char problem[TARN_SINK_PROBLEM])
{
    int error = errno;
    if (!*problem) snprintf(problem, TARN_SINK_PROBLEM, "%.300s: %s", store->run, strerror(error));
}

static int end_run(tarn_file_store *store, const tarn_track_event *event)
{
    int number = !strcmp(event->text, "FINISHED") ? TARN_RUN_FINISHED
                 : !strcmp(event->text, "KILLED") ? TARN_RUN_KILLED
                                                  : TARN_RUN_FAILED;
    return tarn_run_meta_change(store, number, -1, event->time_ms, NULL);
}

/* A process goes on with the run: RUNNING again, under the name it was given. A run that is pushed to this store began
 * when its first process did, not now. */
static int begin_run(tarn_file_store *store, const tarn_track_event *event)
{
    cJSON *json = cJSON_Parse(event->text);
    const char *name = tarn_json_string(json, "name");
    int result = tarn_run_meta_change(store, TARN_RUN_RUNNING, event->time_ms, -1, name);
    int error = errno;
    if (!result) store->made = false;
    cJSON_Delete(json);
    errno = error;
    return result;
}

static int take(tarn_file_store *store, const tarn_track_event *event, int *id, char problem[TARN_SINK_PROBLEM])
{
    switch (event->kind) {
    case TARN_TRACK_BEGIN:
        return begin_run(store, event);
    case TARN_TRACK_METRIC:
        return add_line(store, event, id);
    case TARN_TRACK_PARAM:
    case TARN_TRACK_TAG:
    case TARN_TRACK_ARTIFACT:
        return write_value(store, event);
    case TARN_TRACK_END:
        return end_run(store, event);
    case TARN_TRACK_INPUT:
        return tarn_file_store_input(store->run, event, problem);
    case TARN_TRACK_MODEL:
        return tarn_file_store_model(store->run, event, problem);
    default: /* what a file store does not hold */
        return 0;
    }
}

/* Writes the lines of the batch; its points are held from then on. Returns how many events are done: those before the
 * first whose line could not be written. */
static int64_t write_points(tarn_file_store *store, const tarn_track_event *events, const int *ids, int64_t count,
                            tarn_sink_report *report)
{
    for (int i = 0; i < store->touched_count; i++) {
        struct tarn_metric_file *file = &store->metrics[store->touched[i]];
        file->failed = write_lines(store, file) ? errno : 0;
        errno = file->failed;
        if (file->failed) explain(store, report->problem);
        if (tarn_file_error_is_final(file->failed)) report->lost += file->count;
        file->used = 0;
        file->count = 0;
    }
    store->touched_count = 0;
    int64_t done = count;
    for (int64_t i = 0; i < count; i++) {
        double before;
        struct tarn_metric_file *file = ids[i] < 0 ? NULL : &store->metrics[ids[i]];
        if (!file) continue;
        if (!file->failed)
            tarn_record_point(file->key, events[i].step, events[i].value, &before);
        else if (!tarn_file_error_is_final(file->failed) && i < done)
            done = i;
    }
    return done;
}

static void write_events(tarn_sink *sink, const tarn_track_event *events, int64_t count, tarn_sink_report *report)
{
    tarn_file_store *store = (tarn_file_store *)sink;
    *report = (tarn_sink_report){0};
    int *ids = malloc((size_t)count * sizeof *ids);
    if (!ids) {
        snprintf(report->problem, sizeof report->problem, "out of memory");
        return;
    }
    int64_t done = 0;
    for (; done < count; done++) {
        ids[done] = -1;
        char problem[TARN_SINK_PROBLEM] = "";
        if (!take(store, &events[done], &ids[done], problem)) continue;
        int error = errno;
        if (*problem && !*report->problem) memcpy(report->problem, problem, sizeof problem);
        explain(store, report->problem);
        if (!tarn_file_error_is_final(error)) break;
        report->lost++;
    }
    report->taken = write_points(store, events, ids, done, report);
    free(ids);
}

static void destroy(tarn_sink *sink)
{
    tarn_file_store *store = (tarn_file_store *)sink;
    for (int i = 0; i < store->metric_room; i++) free(store->metrics[i].lines);
    free(store->metrics);
    free(store->touched);
    tarn_record_destroy(store->held);
    free(store);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static int open_root(tarn_file_store *store, const char *name, char problem[TARN_SINK_PROBLEM])
{
    tarn_path path;
    /* The slash makes parents of the whole path. */
    if (tarn_path_make(path, "%s/", name) || tarn_path_make_parents(path) || !realpath(path, store->root) ||
        access(store->root, R_OK | W_OK | X_OK)) {
        snprintf(problem, TARN_SINK_PROBLEM,
                 "cannot write to the tracking store \"%.200s\": %s; choose a directory that can be written with "
                 "track.store, or none at all with track.store=null",
                 name, strerror(errno));
        return -1;
    }
    return 0;
}

static int place_run(tarn_file_store *store, const char *experiment, const char *run)
{
    return tarn_path_make(store->run, "%s/%s/%s", store->root, experiment, run) ||
                   tarn_path_make(store->temporary, "%s/.tarn-new", store->run)
               ? -1
               : 0;
}

static int make_folders(const tarn_file_store *store)
{
    tarn_path path;
    for (int i = 0; i < 4; i++)
        if (tarn_path_make(path, "%s/%s/", store->run, folders[i]) || tarn_path_make_parents(path)) return -1;
    return 0;
}

static int create_meta(tarn_file_store *store, const char *name)
{
    char made[64];
    snprintf(made, sizeof made, "tarn-%.8s", store->run_id);
    store->made = true;
    return tarn_run_meta_create(store, store->experiment, store->run_id, name ? name : made,
                                tarn_environment_time_ms());
}

static int go_on(tarn_file_store *store, const char *name, char notice[TARN_SINK_PROBLEM])
{
    int64_t repaired;
    tarn_path meta;
    struct stat info;
    if (make_folders(store) || tarn_file_store_load(store, &repaired)) return -1;
    if (repaired)
        snprintf(notice, TARN_SINK_PROBLEM, "took %lld torn lines out of the metrics of run %s", (long long)repaired,
                 store->run_id);
    if (tarn_path_make(meta, "%s/meta.yaml", store->run)) return -1;
    /* A run whose maker died before its last step has none, or an empty one. Else its status follows with BEGIN. */
    return stat(meta, &info) || !info.st_size ? create_meta(store, name) : 0;
}

static int open_run(tarn_file_store *store, const tarn_sink_run *run, bool named, char notice[TARN_SINK_PROBLEM],
                    char problem[TARN_SINK_PROBLEM])
{
    if (tarn_experiment_of_run(store->root, run->run_id, store->experiment))
        return place_run(store, store->experiment, run->run_id) ? -1 : go_on(store, run->name, notice);
    tarn_path acknowledged;
    if (tarn_path_make(acknowledged, "%s/acknowledged", run->state)) return -1;
    bool had = !unlink(acknowledged); /* all of the spool is for it, once more */
    if (had || named)
        snprintf(notice, TARN_SINK_PROBLEM,
                 "the tracking store %.200s does not hold run %s: its record begins anew there", store->root,
                 run->run_id);
    if (tarn_experiment_find(store->root, run->experiment, store->experiment, problem)) return -1;
    if (place_run(store, store->experiment, run->run_id) || make_folders(store)) return -1;
    return create_meta(store, run->name);
}

tarn_status tarn_file_store_sink_open(tarn_sink **out, const tarn_track_options *options, const tarn_sink_run *run,
                                      char notice[TARN_SINK_PROBLEM], char problem[TARN_SINK_PROBLEM])
{
    tarn_track_place place;
    tarn_path path;
    *out = NULL;
    *notice = *problem = '\0';
    tarn_status status = tarn_track_address(options->store ? options->store : "mlruns", &place, path, problem);
    if (status || place != TARN_TRACK_FILES) return status;
    tarn_file_store *store = calloc(1, sizeof *store);
    if (store) store->held = tarn_record_create();
    if (!store || !store->held) {
        free(store);
        snprintf(problem, TARN_SINK_PROBLEM, "out of memory while opening the tracking store");
        return TARN_ERROR_MEMORY;
    }
    store->sink = (tarn_sink){.name = "files", .write = write_events, .destroy = destroy};
    snprintf(store->run_id, sizeof store->run_id, "%s", run->run_id);
    if (open_root(store, path, problem)) {
        destroy(&store->sink);
        return TARN_ERROR_CONFIG;
    }
    snprintf(store->sink.where, sizeof store->sink.where, "recording to %.400s (run %s)", store->root, run->run_id);
    if (open_run(store, run, options->run_id && *options->run_id && !run->resumed, notice, problem)) {
        if (!*problem)
            snprintf(problem, TARN_SINK_PROBLEM,
                     "cannot open a run in the tracking store %.300s: %s; see to its rights and its "
                     "space, or choose another with track.store",
                     store->root, strerror(errno));
        destroy(&store->sink);
        return TARN_ERROR_IO;
    }
    *out = &store->sink;
    return TARN_OK;
}
