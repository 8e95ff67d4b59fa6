/* show.c - `tarn track show`: one run. */
#include "launch/report/find.h"
#include "launch/track/track.h"
#include "runtime/base/text.h"
#include "runtime/config/document.h"
#include "track/json.h"
#include "track/reader.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { VALUE_SHOWN = 160 /* characters of a parameter or a tag */ };

/* What the reader's view leaves out: files, and models with the versions they are. */
typedef struct extras {
    cJSON *artifacts, *models; /* [{path, bytes}], [{model_id, name, type, step, versions: [{name, version}]}] */
    tarn_path root;            /* whose files are walked */
} extras;

static int add_artifact(void *user, const char *name)
{
    extras *all = user;
    tarn_path path;
    struct stat info;
    if (tarn_path_make(path, "%s/%s", all->root, name) || stat(path, &info)) return 0;
    cJSON *file = cJSON_CreateObject();
    cJSON_AddStringToObject(file, "path", name);
    cJSON_AddNumberToObject(file, "bytes", (double)info.st_size);
    cJSON_AddItemToArray(all->artifacts, file);
    return 0;
}

/* A meta.yaml; tarn_document_free in any case. */
static bool read_meta(tarn_document *document, const char *folder)
{
    tarn_path path;
    size_t length = 0;
    *document = (tarn_document){0};
    char *text = tarn_path_make(path, "%s/meta.yaml", folder) ? NULL : tarn_document_read_file(path, &length);
    bool parsed = text && tarn_document_parse(document, text, length);
    free(text);
    return parsed;
}

/* Calls visit with the path of each folder in `root` whose name begins so. */
static void each_folder(const char *root, const char *prefix, void (*visit)(void *, const char *, const char *),
                        void *user)
{
    struct dirent **entries;
    int count = scandir(root, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        tarn_path path;
        const char *name = entries[i]->d_name;
        if (name[0] != '.' && tarn_text_begins(name, prefix) && !tarn_path_make(path, "%s/%s", root, name))
            visit(user, path, name);
        free(entries[i]);
    }
    if (count >= 0) free(entries);
}

typedef struct search {
    const char *model_id, *registered;
    cJSON *versions;
} search;

static void look_at_version(void *user, const char *path, const char *name)
{
    search *search = user;
    tarn_document meta;
    if (read_meta(&meta, path)) {
        const char *model = tarn_document_get(&meta, "model_id");
        if (model && !strcmp(model, search->model_id)) {
            cJSON *version = cJSON_CreateObject();
            cJSON_AddStringToObject(version, "name", search->registered);
            cJSON_AddNumberToObject(version, "version", strtod(name + strlen("version-"), NULL));
            cJSON_AddItemToArray(search->versions, version);
        }
    }
    tarn_document_free(&meta);
}

static void look_at_registered(void *user, const char *path, const char *name)
{
    search *search = user;
    search->registered = name;
    each_folder(path, "version-", look_at_version, search);
}

typedef struct place {
    extras *all;
    const char *experiment, *store; /* folders */
} place;

static void add_model(void *user, const char *path, const char *id)
{
    place *place = user;
    tarn_document output, meta;
    tarn_path model, registry;
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "model_id", id);
    bool has_output = read_meta(&output, path);
    const char *step = has_output ? tarn_document_get(&output, "step") : NULL;
    cJSON_AddNumberToObject(object, "step", step ? strtod(step, NULL) : 0);
    if (!tarn_path_make(model, "%s/models/%s", place->experiment, id) && read_meta(&meta, model)) {
        const char *name = tarn_document_get(&meta, "name"), *type = tarn_document_get(&meta, "model_type"),
                   *files = tarn_document_get(&meta, "artifact_location");
        cJSON_AddStringToObject(object, "name", name ? name : "");
        if (type && strcmp(type, "null")) cJSON_AddStringToObject(object, "type", type);
        cJSON_AddStringToObject(object, "files", files ? files : "");
        tarn_document_free(&meta);
    }
    search search = {.model_id = id, .versions = cJSON_AddArrayToObject(object, "versions")};
    if (!tarn_path_make(registry, "%s/models", place->store)) each_folder(registry, "", look_at_registered, &search);
    tarn_document_free(&output);
    cJSON_AddItemToArray(place->all->models, object);
}

static void look(extras *all, const tarn_run_head *head)
{
    tarn_path outputs, experiment, store;
    all->artifacts = cJSON_CreateArray();
    all->models = cJSON_CreateArray();
    if (head->source != TARN_RUN_IN_STORE || tarn_path_make(all->root, "%s/artifacts", head->folder) ||
        tarn_path_make(outputs, "%s/outputs", head->folder) || tarn_path_make(experiment, "%s", head->folder))
        return;
    tarn_files_walk(all->root, add_artifact, all);
    const char *folder = dirname(experiment);
    if (tarn_path_make(store, "%s", folder)) return;
    place place = {.all = all, .experiment = folder, .store = dirname(store)};
    each_folder(outputs, "m-", add_model, &place);
}

/* ---- printing ---------------------------------------------------------------------------------------------------- */

static cJSON *texts_json(const tarn_run_text *texts, int count)
{
    cJSON *object = cJSON_CreateObject();
    for (int i = 0; i < count; i++) cJSON_AddStringToObject(object, texts[i].key, texts[i].value);
    return object;
}

static void print_json(const tarn_run_view *view, extras *all)
{
    cJSON *run = cJSON_CreateObject(), *metrics = cJSON_CreateObject(), *inputs = cJSON_CreateArray();
    cJSON_AddStringToObject(run, "run_id", view->head.run_id);
    cJSON_AddStringToObject(run, "name", view->head.name);
    cJSON_AddStringToObject(run, "experiment", view->head.experiment);
    cJSON_AddStringToObject(run, "status", view->head.status);
    cJSON_AddStringToObject(run, "user", view->head.user);
    cJSON_AddNumberToObject(run, "start_ms", (double)view->head.start_ms);
    cJSON_AddNumberToObject(run, "end_ms", (double)view->head.end_ms);
    cJSON_AddStringToObject(run, "folder", view->head.folder);
    cJSON_AddItemToObject(run, "params", texts_json(view->params, view->param_count));
    cJSON_AddItemToObject(run, "tags", texts_json(view->tags, view->tag_count));
    for (int i = 0; i < view->curve_count; i++) {
        const tarn_run_curve *curve = &view->curves[i];
        cJSON *metric = cJSON_AddObjectToObject(metrics, curve->key);
        cJSON_AddNumberToObject(metric, "last", curve->last);
        cJSON_AddNumberToObject(metric, "step", (double)curve->last_step);
        cJSON_AddNumberToObject(metric, "least", curve->least);
        cJSON_AddNumberToObject(metric, "greatest", curve->greatest);
        cJSON_AddNumberToObject(metric, "points", (double)curve->count);
    }
    cJSON_AddItemToObject(run, "metrics", metrics);
    for (int i = 0; i < view->input_count; i++) {
        cJSON *input = cJSON_CreateObject();
        cJSON_AddStringToObject(input, "name", view->inputs[i].name);
        cJSON_AddStringToObject(input, "digest", view->inputs[i].digest);
        cJSON_AddStringToObject(input, "context", view->inputs[i].context);
        cJSON_AddStringToObject(input, "source", view->inputs[i].source);
        cJSON_AddItemToArray(inputs, input);
    }
    cJSON_AddItemToObject(run, "datasets", inputs);
    cJSON_AddItemToObject(run, "models", all->models);
    cJSON_AddItemToObject(run, "artifacts", all->artifacts);
    all->models = all->artifacts = NULL;
    char *text = cJSON_Print(run);
    if (text) puts(text);
    free(text);
    cJSON_Delete(run);
}

/* A value of some thousand bytes would bury the others; --json has it whole. */
static void print_short(const char *text)
{
    tarn_path shown;
    size_t used = 0;
    for (int characters = 0; text[used] && used < sizeof shown - 1; used++) {
        if (((unsigned char)text[used] & 0xc0) != 0x80 && ++characters > VALUE_SHOWN) break;
        shown[used] = text[used];
    }
    shown[used] = '\0';
    tarn_track_print(shown);
    if (text[used]) fputs("...", stdout);
}

static void print_texts(const char *title, const tarn_run_text *texts, int count)
{
    int width = 0;
    for (int i = 0; i < count; i++)
        if ((int)strlen(texts[i].key) > width && strlen(texts[i].key) <= 48) width = (int)strlen(texts[i].key);
    if (count) printf("\n%s\n", title);
    for (int i = 0; i < count; i++) {
        printf("  %-*s  ", width, texts[i].key);
        print_short(texts[i].value);
        putchar('\n');
    }
}

static void print_metrics(const tarn_run_view *view)
{
    int width = 6;
    for (int i = 0; i < view->curve_count; i++)
        if ((int)strlen(view->curves[i].key) > width) width = (int)strlen(view->curves[i].key);
    if (view->curve_count)
        printf("\nmetrics\n  %-*s  %12s  %9s  %12s  %12s  %8s\n", width, "", "last", "at step", "least", "greatest",
               "points");
    for (int i = 0; i < view->curve_count; i++) {
        const tarn_run_curve *curve = &view->curves[i];
        printf("  %-*s  %12.6g  %9" PRId64 "  %12.6g  %12.6g  %8" PRId64 "\n", width, curve->key, curve->last,
               curve->last_step, curve->least, curve->greatest, curve->count);
    }
}

static void print_extras(const extras *all)
{
    const cJSON *item, *version;
    if (cJSON_GetArraySize(all->models)) printf("\nmodels\n");
    cJSON_ArrayForEach(item, all->models)
    {
        printf("  %s  ", tarn_json_text(item, "model_id"));
        tarn_track_print(tarn_json_text(item, "name"));
        printf(", of step %.0f", cJSON_GetNumberValue(cJSON_GetObjectItem(item, "step")));
        cJSON_ArrayForEach(version, cJSON_GetObjectItem(item, "versions"))
        {
            printf("; version %.0f of ", cJSON_GetNumberValue(cJSON_GetObjectItem(version, "version")));
            tarn_track_print(tarn_json_text(version, "name"));
        }
        putchar('\n');
    }
    if (cJSON_GetArraySize(all->artifacts)) printf("\nartifacts\n");
    cJSON_ArrayForEach(item, all->artifacts)
    {
        printf("  %12.0f  ", cJSON_GetNumberValue(cJSON_GetObjectItem(item, "bytes")));
        tarn_track_print(tarn_json_text(item, "path"));
        putchar('\n');
    }
}

static void print_view(const tarn_run_view *view, const extras *all)
{
    char start[32], end[32];
    tarn_track_time_text(view->head.start_ms, start);
    tarn_track_time_text(view->head.end_ms, end);
    printf("run         %s\nname        ", view->head.run_id);
    tarn_track_print(view->head.name);
    printf("\nexperiment  ");
    tarn_track_print(view->head.experiment);
    printf("\nstatus      %s\nstart       %s\nend         %s\nuser        ", view->head.status, start, end);
    tarn_track_print(view->head.user);
    printf("\nfolder      %s\n", view->head.folder);
    print_texts("parameters", view->params, view->param_count);
    print_metrics(view);
    print_texts("tags", view->tags, view->tag_count);
    if (view->input_count) printf("\ndata sets\n");
    for (int i = 0; i < view->input_count; i++) {
        printf("  %-10s  ", view->inputs[i].context);
        tarn_track_print(view->inputs[i].name);
        printf("  %s\n", view->inputs[i].digest);
    }
    print_extras(all);
    if (view->left_out) printf("\n%" PRId64 " lines could not be read\n", view->left_out);
}

/* ---- finding ------------------------------------------------------------------------------------------------------
 */

/* Where names are looked up. A folder may be a run without any store: "" then, where there is none. */
static bool find_store(const tarn_track_arguments *arguments, bool folder, tarn_path store)
{
    tarn_track_place place;
    tarn_track_resolved resolved;
    char problem[TARN_SINK_PROBLEM];
    if (folder && !arguments->store) {
        bool files = !tarn_track_resolve(&resolved, &(tarn_track_options){0}, false, problem) &&
                     resolved.place == TARN_TRACK_FILES;
        strcpy(store, files ? resolved.store : "");
        return true;
    }
    if (!tarn_track_where("show", arguments->store, &place, store)) return false;
    if (place == TARN_TRACK_FILES) return true;
    tarn_track_say("show",
                   "the runs are on the server %s: open it in a browser; show takes runs of file stores (--store), "
                   "spools and directories of checkpoints",
                   store);
    return false;
}

/* Of a directory of checkpoints: its spool knows the run, the store its files and models, too. */
static void prefer_store(tarn_run_head *head, const char *store, const char *text)
{
    tarn_run_head stored;
    tarn_path path;
    char problem[TARN_SINK_PROBLEM];
    bool itself = realpath(text, path) && !strcmp(path, head->folder);
    if (head->source != TARN_RUN_IN_SPOOL || itself || !*store || tarn_run_find(&stored, store, head->run_id, problem))
        return;
    tarn_run_head_free(head);
    *head = stored;
}

/* False: told. */
static bool find(tarn_run_head *head, const tarn_track_arguments *arguments)
{
    const char *text = arguments->word[0];
    tarn_path store;
    char problem[TARN_SINK_PROBLEM];
    struct stat info;
    bool folder = !stat(text, &info) && S_ISDIR(info.st_mode);
    if (!find_store(arguments, folder, store)) return false;
    if (!folder) {
        if (!tarn_run_find(head, store, text, problem)) return true;
        tarn_track_say("show", "%s", problem);
        return false;
    }
    tarn_context *context = NULL; /* checkpoints are read in one */
    bool found = !tarn_init(&context, NULL, NULL) && !tarn_report_find(head, context, store, arguments->store, text);
    const tarn_error *error = found ? NULL : tarn_get_error(context);
    if (error) tarn_track_say("show", "%s", error->message);
    tarn_error_clear(context);
    tarn_exit(context);
    if (found) prefer_store(head, store, text);
    return found;
}

int tarn_track_show(const tarn_track_arguments *arguments)
{
    char problem[TARN_SINK_PROBLEM];
    tarn_run_head head;
    tarn_run_view *view;
    if (!find(&head, arguments)) return TARN_TRACK_WRONG;
    if (tarn_run_read(&view, &head, 2, problem)) {
        tarn_track_say("show", "%s", problem);
        tarn_run_head_free(&head);
        return TARN_TRACK_FAILED;
    }
    extras all;
    look(&all, &head);
    if (arguments->json)
        print_json(view, &all);
    else
        print_view(view, &all);
    cJSON_Delete(all.models);
    cJSON_Delete(all.artifacts);
    tarn_run_view_free(view);
    tarn_run_head_free(&head);
    return TARN_TRACK_FINE;
}
