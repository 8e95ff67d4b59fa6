/* reader.c - finding runs by what a person writes, and the view of one. */
#include "runtime/config/config.h"
#include "runtime/base/text.h"
#include "runtime/config/document.h"
#include "track/json.h"
#include "track/reader_internal.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SHOWN = 8 /* runs that a message names */ };

/* ---- small parts ---- */

int tarn_run_grow(void *array, int count, int *room, size_t size)
{
    void **elements = array;
    if (count < *room) return 0;
    int more = *room ? *room + *room / 2 + 1 : 16;
    void *grown = realloc(*elements, (size_t)more * size);
    if (!grown) return -1;
    *elements = grown;
    *room = more;
    return 0;
}

int tarn_run_set(char **text, const char *value)
{
    if (!value) return 0;
    char *copy = tarn_document_clean(value);
    if (!copy) {
        errno = ENOMEM;
        return -1;
    }
    free(*text);
    *text = copy;
    return 0;
}

int tarn_run_head_finish(tarn_run_head *head)
{
    char **texts[] = {&head->folder, &head->run_id, &head->name, &head->experiment, &head->user};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!*texts[i] && tarn_run_set(texts[i], "")) return -1;
    return 0;
}

const char *tarn_run_status(const char *text)
{
    static const char *const names[] = {"RUNNING", "FINISHED", "FAILED", "KILLED", "SCHEDULED"};
    for (size_t i = 0; text && i < sizeof names / sizeof *names; i++)
        if (!strcmp(text, names[i])) return names[i];
    return "UNKNOWN";
}

int tarn_run_put_text(tarn_run_text **texts, int *count, int *room, const char *key, const char *value)
{
    for (int i = 0; i < *count; i++)
        if (!strcmp((*texts)[i].key, key)) return tarn_run_set(&(*texts)[i].value, value ? value : "");
    if (tarn_run_grow(texts, *count, room, sizeof **texts)) return -1;
    tarn_run_text *text = &(*texts)[*count];
    *text = (tarn_run_text){0};
    if (tarn_run_set(&text->key, key) || tarn_run_set(&text->value, value ? value : "")) {
        free(text->key);
        return -1;
    }
    ++*count;
    return 0;
}

int tarn_run_put_start(tarn_run_view *view, int64_t time_ms, int64_t step, int ranks)
{
    for (int i = 0; i < view->start_count; i++)
        if (view->starts[i].time_ms == time_ms) return 0;
    if (tarn_run_grow(&view->starts, view->start_count, &view->start_room, sizeof *view->starts)) return -1;
    view->starts[view->start_count++] = (tarn_run_start){.time_ms = time_ms, .step = step, .ranks = ranks};
    return 0;
}

int tarn_run_put_starts(tarn_run_view *view, const char *text)
{
    for (const char *at = text; *(at += strspn(at, " "));) {
        long long time_ms, step;
        int ranks, end = 0;
        if (sscanf(at, "%lld:%lld:%d%n", &time_ms, &step, &ranks, &end) != 3 || (at[end] && at[end] != ' ')) {
            view->left_out++;
            break;
        }
        if (tarn_run_put_start(view, time_ms, step, ranks)) return -1;
        at += end;
    }
    return 0;
}

static void free_input(tarn_run_input *input)
{
    free(input->name);
    free(input->digest);
    free(input->context);
    free(input->source);
}

/* Where data came from: MLflow's local sources are JSON, {"uri": ...}. */
static int set_source(char **text, const char *source)
{
    cJSON *json = source && *source == '{' ? cJSON_Parse(source) : NULL;
    const char *uri = tarn_json_string(json, "uri");
    int result = tarn_run_set(text, uri ? uri : source ? source : "");
    cJSON_Delete(json);
    return result;
}

int tarn_run_put_input(tarn_run_view *view, const char *name, const char *digest, const char *context,
                       const char *source)
{
    if (tarn_run_grow(&view->inputs, view->input_count, &view->input_room, sizeof *view->inputs)) return -1;
    tarn_run_input *input = &view->inputs[view->input_count];
    *input = (tarn_run_input){0};
    if (tarn_run_set(&input->name, name ? name : "") || tarn_run_set(&input->digest, digest ? digest : "") ||
        tarn_run_set(&input->context, context ? context : "") || set_source(&input->source, source)) {
        free_input(input);
        return -1;
    }
    view->input_count++;
    return 0;
}

static const char *value_of(const tarn_run_text *texts, int count, const char *key)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(texts[i].key, key)) return texts[i].value;
    return NULL;
}

const char *tarn_run_param(const tarn_run_view *view, const char *key)
{
    return value_of(view->params, view->param_count, key);
}

const char *tarn_run_tag(const tarn_run_view *view, const char *key)
{
    return value_of(view->tags, view->tag_count, key);
}

void tarn_run_head_free(tarn_run_head *head)
{
    free(head->folder);
    free(head->run_id);
    free(head->name);
    free(head->experiment);
    free(head->user);
    *head = (tarn_run_head){0};
}

void tarn_run_heads_free(tarn_run_head *heads, int count)
{
    for (int i = 0; i < count; i++) tarn_run_head_free(&heads[i]);
    free(heads);
}

/* ---- reading ---- */

static void free_texts(tarn_run_text *texts, int count)
{
    for (int i = 0; i < count; i++) {
        free(texts[i].key);
        free(texts[i].value);
    }
    free(texts);
}

void tarn_run_view_free(tarn_run_view *view)
{
    if (!view) return;
    tarn_run_head_free(&view->head);
    for (int i = 0; i < view->curve_count; i++) {
        free(view->curves[i].key);
        free(view->curves[i].groups);
    }
    free(view->curves);
    free_texts(view->params, view->param_count);
    free_texts(view->tags, view->tag_count);
    free(view->starts);
    for (int i = 0; i < view->input_count; i++) free_input(&view->inputs[i]);
    free(view->inputs);
    free(view);
}

static int copy_head(tarn_run_head *to, const tarn_run_head *from)
{
    *to = (tarn_run_head){
        .source = from->source, .status = from->status, .start_ms = from->start_ms, .end_ms = from->end_ms};
    return tarn_run_set(&to->folder, from->folder) || tarn_run_set(&to->run_id, from->run_id) ||
                   tarn_run_set(&to->name, from->name) || tarn_run_set(&to->experiment, from->experiment) ||
                   tarn_run_set(&to->user, from->user) || tarn_run_head_finish(to)
               ? -1
               : 0;
}

int tarn_run_read(tarn_run_view **view, const tarn_run_head *head, int most, char problem[TARN_SINK_PROBLEM])
{
    tarn_run_view *made = calloc(1, sizeof *made);
    *view = NULL;
    *problem = '\0';
    if (!made || copy_head(&made->head, head)) {
        snprintf(problem, TARN_SINK_PROBLEM, "out of memory while reading the run in %.300s", head->folder);
        tarn_run_view_free(made);
        return -1;
    }
    if (most < 2) most = most <= 0 ? TARN_RUN_GROUPS : 2;
    if ((head->source == TARN_RUN_IN_SPOOL ? tarn_run_spool_read : tarn_run_store_read)(made, most, problem)) {
        tarn_run_view_free(made);
        return -1;
    }
    tarn_run_view_finish(made);
    *view = made;
    return 0;
}

/* ---- finding ---- */

static const char *store_of(const char *store)
{
    if (!store) return "mlruns";
    return strncmp(store, "file://", 7) ? strncmp(store, "file:", 5) ? store : store + 5 : store + 7;
}

static int newest_first(const void *a, const void *b)
{
    const tarn_run_head *x = a, *y = b;
    if (x->start_ms != y->start_ms) return x->start_ms > y->start_ms ? -1 : 1;
    return strcmp(x->run_id, y->run_id);
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* The folders in a folder, in order of name, each handed to `visit` with its path; stops at -1. */
static int each_folder(const char *folder, int (*visit)(void *user, const char *path), void *user)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, is_visible, alphasort), result = 0;
    if (count < 0) return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
    for (int i = 0; i < count; i++) {
        tarn_path path;
        struct stat info;
        if (!result && !tarn_path_make(path, "%s/%s", folder, entries[i]->d_name) && !stat(path, &info) &&
            S_ISDIR(info.st_mode))
            result = visit(user, path);
        free(entries[i]);
    }
    free(entries);
    return result;
}

typedef struct listing {
    tarn_run_head *heads;
    int count, room;
} listing;

static int add_run(void *user, const char *path)
{
    listing *list = user;
    if (tarn_run_grow(&list->heads, list->count, &list->room, sizeof *list->heads)) return -1;
    int found = tarn_run_store_head(&list->heads[list->count], path);
    if (found > 0) list->count++;
    return found < 0 ? -1 : 0;
}

static int add_experiment(void *user, const char *path)
{
    tarn_path meta;
    struct stat info;
    /* models/ and the like are no experiments. */
    if (tarn_path_make(meta, "%s/meta.yaml", path) || stat(meta, &info)) return 0;
    return each_folder(path, add_run, user);
}

int tarn_run_list(tarn_run_head **heads, int *count, const char *store, char problem[TARN_SINK_PROBLEM])
{
    listing list = {0};
    tarn_path root;
    struct stat info;
    const char *path = store_of(store);
    *heads = NULL;
    *count = 0;
    *problem = '\0';
    if (!realpath(path, root) || stat(root, &info)) {
        snprintf(problem, TARN_SINK_PROBLEM, "there is no file store \"%.200s\": %s", path, strerror(errno));
        return -1;
    }
    if (!S_ISDIR(info.st_mode)) {
        snprintf(problem, TARN_SINK_PROBLEM, "\"%.200s\" is no directory, so no file store", path);
        return -1;
    }
    if (each_folder(root, add_experiment, &list)) {
        snprintf(problem, TARN_SINK_PROBLEM, "cannot list the runs in %.300s: %s", root, strerror(errno));
        tarn_run_heads_free(list.heads, list.count);
        return -1;
    }
    if (list.count) qsort(list.heads, (size_t)list.count, sizeof *list.heads, newest_first);
    *heads = list.heads;
    *count = list.count;
    return 0;
}

/* The run meant in a list that is newest first; -1 none, -2 several. */
static int pick(const tarn_run_head *heads, int count, const char *text)
{
    int found = -1;
    for (int i = 0; i < count; i++)
        if (!strcmp(heads[i].run_id, text)) return i;
    for (int i = 0; i < count; i++)
        if (!strcmp(heads[i].name, text)) return i;
    for (int i = 0; i < count; i++)
        if (tarn_text_begins(heads[i].run_id, text) || tarn_text_begins(heads[i].name, text)) {
            if (found >= 0) return -2;
            found = i;
        }
    return found;
}

static size_t put_run(char *out, size_t used, const tarn_run_head *head, bool first)
{
    if (used + 64 >= TARN_SINK_PROBLEM) return used;
    int more =
        snprintf(out + used, TARN_SINK_PROBLEM - used, "%s%.40s (%.8s)", first ? "" : ", ", head->name, head->run_id);
    return used + (size_t)more < TARN_SINK_PROBLEM ? used + (size_t)more : TARN_SINK_PROBLEM - 1;
}

/* Names the runs that begin with `text` ("": all). */
static void name_runs(char *out, size_t used, const tarn_run_head *heads, int count, const char *text)
{
    int shown = 0, left = 0;
    for (int i = 0; i < count; i++) {
        if (!tarn_text_begins(heads[i].run_id, text) && !tarn_text_begins(heads[i].name, text)) continue;
        if (shown < SHOWN && used + 80 < TARN_SINK_PROBLEM)
            used = put_run(out, used, &heads[i], !shown++);
        else
            left++;
    }
    if (left) snprintf(out + used, TARN_SINK_PROBLEM - used, " and %d more", left);
}

/* Names and ids, separated by |. */
static char *choices_of(const tarn_run_head *heads, int count)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
    for (int i = 0; i < count; i++) fprintf(out, "%s%s|%s", i ? "|" : "", heads[i].name, heads[i].run_id);
    if (!fclose(out)) return text;
    free(text);
    return NULL;
}

static void explain(char problem[TARN_SINK_PROBLEM], const char *store, const tarn_run_head *heads, int count,
                    const char *text, int picked)
{
    char nearest[64] = "";
    size_t used;
    if (!count) {
        snprintf(problem, TARN_SINK_PROBLEM, "there is no run \"%.60s\": the file store %.200s holds none at all", text,
                 store);
        return;
    }
    if (picked == -2) {
        used = (size_t)snprintf(problem, TARN_SINK_PROBLEM,
                                "several runs begin with \"%.60s\"; write more of one of: ", text);
        name_runs(problem, used, heads, count, text);
        return;
    }
    char *choices = choices_of(heads, count);
    bool near = choices && tarn_config_suggest_choice(choices, text, nearest, sizeof nearest);
    free(choices);
    used = (size_t)snprintf(problem, TARN_SINK_PROBLEM,
                            "there is no run \"%.60s\" in the file store %.100s%s%.60s%s; "
                            "it has: ",
                            text, store, near ? "; did you mean \"" : "", nearest, near ? "\"?" : "");
    name_runs(problem, used, heads, count, "");
}

/* A folder that is a run by itself: 1, 0, or -1 with errno. */
static int find_folder(tarn_run_head *head, const char *text)
{
    tarn_path path;
    struct stat info;
    if (!realpath(text, path) || stat(path, &info) || !S_ISDIR(info.st_mode)) return 0;
    int found = tarn_run_store_head(head, path);
    return found ? found : tarn_run_spool_head(head, path);
}

int tarn_run_find(tarn_run_head *head, const char *store, const char *text, char problem[TARN_SINK_PROBLEM])
{
    tarn_run_head *heads;
    int count;
    *head = (tarn_run_head){0};
    *problem = '\0';
    int found = *text ? find_folder(head, text) : 0;
    if (found > 0) return 0;
    if (found < 0) {
        snprintf(problem, TARN_SINK_PROBLEM, "cannot read the run in %.300s: %s", text, strerror(errno));
        return -1;
    }
    if (tarn_run_list(&heads, &count, store, problem)) {
        size_t used = strlen(problem);
        snprintf(problem + used, TARN_SINK_PROBLEM - used,
                 "; \"%.60s\" is no folder of a run either: give the store's directory, or a run's folder", text);
        return -1;
    }
    int picked = *text ? pick(heads, count, text) : -1;
    int result = 0;
    if (picked >= 0) {
        *head = heads[picked];
        heads[picked] = (tarn_run_head){0};
    } else {
        explain(problem, store_of(store), heads, count, text, picked);
        result = -1;
    }
    tarn_run_heads_free(heads, count);
    return result;
}
