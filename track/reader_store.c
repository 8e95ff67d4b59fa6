/* reader_store.c - a run as an MLflow file store holds it, whoever wrote it.
 *
 * STORE/<experiment>/<run>/{meta.yaml,metrics/,params/,tags/,inputs/}. A metric's lines are "<ms> <value> <step>"; the
 * forms of 2 and 5 fields, which MLflow reads too, have the step 0. Files are read line by line, so that a metric of
 * any length takes the memory of its groups.
 */
#include "runtime/config/document.h"
#include "runtime/config/number.h"
#include "track/file_store/file_store.h"
#include "track/reader_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Status of meta.yaml: a number (MLflow's RunStatus), in old stores a word. */
static const char *status_of(const char *text)
{
    static const char *const names[] = {"UNKNOWN", "RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"};
    int64_t number;
    if (!text) return "UNKNOWN";
    if (!tarn_integer_parse(text, &number)) return tarn_run_status(text);
    return number >= 0 && number < (int64_t)(sizeof names / sizeof *names) ? names[number] : "UNKNOWN";
}

static int64_t time_of(const char *text)
{
    int64_t time;
    return text && tarn_integer_parse(text, &time) && time > 0 ? time : 0;
}

/* meta.yaml of a folder; false when there is none that can be read. Freed by tarn_document_free if true. */
static bool read_meta(tarn_document *meta, const char *folder)
{
    tarn_path path;
    size_t length;
    char *text = tarn_path_make(path, "%s/meta.yaml", folder) ? NULL : tarn_document_read_file(path, &length);
    bool read = text && tarn_document_parse(meta, text, length);
    if (text && !read) tarn_document_free(meta);
    free(text);
    return read;
}

static int name_experiment(tarn_run_head *head)
{
    tarn_path parent;
    tarn_document meta;
    if (tarn_path_make(parent, "%s/..", head->folder)) return -1;
    if (!read_meta(&meta, parent)) return 0;
    int result = tarn_run_set(&head->experiment, tarn_document_get(&meta, "name"));
    tarn_document_free(&meta);
    return result;
}

int tarn_run_store_head(tarn_run_head *head, const char *folder)
{
    tarn_document meta;
    *head = (tarn_run_head){.source = TARN_RUN_IN_STORE, .status = "UNKNOWN"};
    if (!read_meta(&meta, folder)) return 0;
    const char *run_id = tarn_document_get(&meta, "run_id"), *stage = tarn_document_get(&meta, "lifecycle_stage");
    if (!run_id) run_id = tarn_document_get(&meta, "run_uuid"); /* what MLflow wrote before 1.0 */
    int found = run_id && (!stage || strcmp(stage, "deleted"));
    if (found) {
        head->status = status_of(tarn_document_get(&meta, "status"));
        head->start_ms = time_of(tarn_document_get(&meta, "start_time"));
        head->end_ms = time_of(tarn_document_get(&meta, "end_time"));
        if (tarn_run_set(&head->folder, folder) || tarn_run_set(&head->run_id, run_id) ||
            tarn_run_set(&head->name, tarn_document_get(&meta, "run_name")) ||
            tarn_run_set(&head->user, tarn_document_get(&meta, "user_id")) || name_experiment(head) ||
            tarn_run_head_finish(head))
            found = -1;
    }
    tarn_document_free(&meta);
    if (found < 0) tarn_run_head_free(head);
    return found;
}

/* ---- metrics, params, tags ---- */

typedef struct reading {
    tarn_run_view *view;
    const char *under; /* metrics, params, tags */
    int most;
} reading;

static bool is_no_number(const char *text)
{
    text += *text == '-' || *text == '+';
    return !strcasecmp(text, "nan") || !strcasecmp(text, "inf") || !strcasecmp(text, "infinity");
}

static int read_metric(reading *reading, const char *path, const char *key)
{
    FILE *file = fopen(path, "re");
    if (!file) return errno == ENOENT ? 0 : -1; /* its run was deleted this moment */
    tarn_run_curve *curve = tarn_run_view_curve(reading->view, key);
    char *line = NULL;
    size_t room = 0;
    int result = curve ? 0 : -1;
    for (ssize_t length; !result && (length = getline(&line, &room, file)) >= 0;) {
        int64_t time_ms, step;
        const char *text;
        double value;
        bool whole = length && line[length - 1] == '\n' && tarn_metric_line_split(line, &time_ms, &text, &step);
        if (whole && tarn_number_parse(text, &value))
            result = tarn_run_curve_add(reading->view, curve, reading->most, step, time_ms, value);
        else if (whole && is_no_number(text))
            reading->view->not_finite++;
        else
            reading->view->left_out++;
    }
    if (ferror(file)) result = -1;
    int error = errno;
    free(line);
    fclose(file);
    errno = error;
    return result;
}

static int read_text(reading *reading, const char *path, const char *key)
{
    tarn_run_view *view = reading->view;
    char *text = tarn_document_read_file(path, NULL), *clean = text ? tarn_document_clean(text) : NULL;
    int result = -1, error = errno;
    if (!text && error == ENOENT)
        result = 0;
    else if (!clean)
        ;
    else if (!strcmp(reading->under, "params"))
        result = tarn_run_put_text(&view->params, &view->param_count, &view->param_room, key, clean);
    else if (!(result = tarn_run_put_text(&view->tags, &view->tag_count, &view->tag_room, key, clean)) &&
             !strcmp(key, "tarn.starts"))
        result = tarn_run_put_starts(view, clean);
    if (result) error = errno;
    free(text);
    free(clean);
    errno = error;
    return result;
}

static int read_key(void *user, const char *key)
{
    reading *reading = user;
    tarn_path path;
    if (tarn_track_key_problem(key)) return 0; /* a stray file */
    if (tarn_path_make(path, "%s/%s/%s", reading->view->head.folder, reading->under, key)) return -1;
    return (!strcmp(reading->under, "metrics") ? read_metric : read_text)(reading, path, key);
}

/* ---- inputs ---- */

/* inputs/<id>/meta.yaml says what of it the run used, <experiment>/datasets/<id>/meta.yaml what it is. */
static int read_input(void *user, const char *name)
{
    tarn_run_view *view = user;
    const char *slash = strchr(name, '/');
    tarn_path folder;
    tarn_document input, dataset;
    if (!slash || strcmp(slash, "/meta.yaml")) return 0;
    if (tarn_path_make(folder, "%s/inputs/%.*s", view->head.folder, (int)(slash - name), name)) return -1;
    if (!read_meta(&input, folder)) return 0;
    const char *id = tarn_document_get(&input, "source_id"),
               *context = tarn_document_get(&input, "tags.mlflow.data.context");
    int result = 0;
    if (id && !tarn_path_make(folder, "%s/../datasets/%.200s", view->head.folder, id) && !strchr(id, '/') &&
        read_meta(&dataset, folder)) {
        result = tarn_run_put_input(view, tarn_document_get(&dataset, "name"), tarn_document_get(&dataset, "digest"),
                                    context, tarn_document_get(&dataset, "source"));
        tarn_document_free(&dataset);
    }
    tarn_document_free(&input);
    return result;
}

int tarn_run_store_read(tarn_run_view *view, int most, char problem[TARN_SINK_PROBLEM])
{
    static const char *const kinds[] = {"metrics", "params", "tags"};
    reading reading = {.view = view, .most = most};
    tarn_path root;
    int result = 0;
    for (int i = 0; i < 3 && !result; i++) {
        reading.under = kinds[i];
        result = tarn_path_make(root, "%s/%s", view->head.folder, kinds[i]);
        if (!result) result = tarn_files_walk(root, read_key, &reading);
    }
    if (!result) result = tarn_path_make(root, "%s/inputs", view->head.folder);
    if (!result) result = tarn_files_walk(root, read_input, view);
    if (result)
        snprintf(problem, TARN_SINK_PROBLEM, "cannot read the run in %.300s: %s", view->head.folder, strerror(errno));
    return result;
}
