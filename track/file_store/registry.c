/* registry.c - registered models of a file store, their versions and aliases; see catalog.h. */
#include "track/file_store/catalog.h"
#include "runtime/config/document.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *tarn_registry_name_problem(const char *name)
{
    if (!name || !name[strspn(name, " \t")]) return "it is empty";
    if (strpbrk(name, "/\\:%")) return "it must not have any of / \\ : %";
    if (!strcmp(name, ".") || !strcmp(name, "..")) return "it is no name of a folder";
    return strlen(name) > 250 ? "it is longer than 250 bytes" : NULL;
}

const char *tarn_registry_alias_problem(const char *alias)
{
    if (!alias || !*alias) return "it is empty";
    for (const char *at = alias; *at; at++)
        if (!isalnum((unsigned char)*at) && *at != '_' && *at != '-')
            return "it may have letters, digits, _ and - only";
    if (!strcasecmp(alias, "latest")) return "MLflow keeps \"latest\" for the newest version";
    if ((alias[0] == 'v' || alias[0] == 'V') && alias[1] && !alias[1 + strspn(alias + 1, "0123456789")])
        return "MLflow keeps v and a number for versions";
    return strlen(alias) > 255 ? "it is longer than 255 bytes" : NULL;
}

static int put_meta(const char *folder, const char *text, size_t length)
{
    tarn_path path, temporary;
    if (tarn_path_make(path, "%s/meta.yaml", folder) ||
        tarn_path_make(temporary, "%s/.tarn-new-%ld", folder, (long)getpid()))
        return -1;
    return tarn_file_put(path, temporary, text, length);
}

/* A folder at `path` with this meta.yaml. 1: there is one. */
static int put_folder(const char *run, const char *path, const char *meta, size_t length)
{
    tarn_path folder;
    if (tarn_new_folder_begin(folder, run)) return -1;
    if (!put_meta(folder, meta, length)) return tarn_new_folder_end(folder, path);
    int error = errno;
    tarn_folder_remove(folder);
    errno = error;
    return -1;
}

static int make_registered_model(const char *run, const char *path, const tarn_registry_entry *entry)
{
    char *name = tarn_document_quote(entry->name), *meta = NULL;
    if (!access(path, F_OK)) {
        free(name);
        return 0;
    }
    int length =
        !name ? -1
              : asprintf(&meta, "creation_timestamp: %lld\ndescription: null\nlast_updated_timestamp: %lld\nname: %s\n",
                         (long long)entry->time_ms, (long long)entry->time_ms, name);
    free(name);
    if (length < 0) {
        errno = ENOMEM;
        return -1;
    }
    int result = put_folder(run, path, meta, (size_t)length);
    free(meta);
    return result < 0 ? -1 : 0;
}

/* The line of the time changes, everything else that other programs may have written stays. */
static void touch_registered_model(const char *path, int64_t time_ms)
{
    static const char key[] = "last_updated_timestamp:";
    tarn_path meta;
    char *text = tarn_path_make(meta, "%s/meta.yaml", path) ? NULL : tarn_document_read_file(meta, NULL),
         *changed = NULL;
    size_t size = 0;
    FILE *out = text ? open_memstream(&changed, &size) : NULL;
    if (out) {
        for (const char *line = text; *line;) {
            size_t length = strcspn(line, "\n");
            if (strncmp(line, key, sizeof key - 1)) fprintf(out, "%.*s\n", (int)length, line);
            line += length + (line[length] == '\n');
        }
        fprintf(out, "%s %lld\n", key, (long long)time_ms);
        if (!fclose(out)) put_meta(path, changed, size); /* where it fails the old time stays: no reader minds */
    }
    free(changed);
    free(text);
}

/* Whether a version's folder is of this model. */
static bool is_of_model(const char *path, const char *version, const char *model_id)
{
    tarn_path meta;
    size_t length;
    char *text = tarn_path_make(meta, "%s/%s/meta.yaml", path, version) ? NULL : tarn_document_read_file(meta, &length);
    if (!text) return false;
    tarn_document document;
    bool parsed = tarn_document_parse(&document, text, length);
    const char *found = parsed ? tarn_document_get(&document, "model_id") : NULL;
    bool same = found && !strcmp(found, model_id);
    tarn_document_free(&document);
    free(text);
    return same;
}

/* The highest number of a version, 0 without any; *same is the one that is this model, or 0. */
static int64_t look_at_versions(const char *path, const char *model_id, int64_t *same)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    int64_t highest = 0;
    *same = 0;
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (!strncmp(name, "version-", 8) && name[8] && !name[8 + strspn(name + 8, "0123456789")]) {
            int64_t number = strtoll(name + 8, NULL, 10);
            if (number > highest) highest = number;
            if (is_of_model(path, name, model_id)) *same = number;
        }
        free(entries[i]);
    }
    if (count >= 0) free(entries);
    return highest;
}

static int put_version(const char *run, const char *path, const tarn_registry_entry *entry, int64_t number)
{
    tarn_path folder;
    char *name = tarn_document_quote(entry->name), *location = tarn_document_quote(entry->location), *meta = NULL;
    int length = !name || !location || tarn_path_make(folder, "%s/version-%lld", path, (long long)number)
                     ? -1
                     : asprintf(&meta,
                                "creation_timestamp: %lld\ncurrent_stage: 'None'\ndescription: null\n"
                                "last_updated_timestamp: %lld\nmodel_id: %s\nname: %s\nrun_id: '%s'\nrun_link: null\n"
                                "source: 'models:/%s'\nstatus: READY\nstatus_message: null\nstorage_location: %s\n"
                                "user_id: null\nversion: %lld\n",
                                (long long)entry->time_ms, (long long)entry->time_ms, entry->model_id, name,
                                entry->run_id, entry->model_id, location, (long long)number);
    int result = -1;
    if (length < 0)
        errno = ENOMEM;
    else {
        result = put_folder(run, folder, meta, (size_t)length);
        free(meta);
    }
    free(name);
    free(location);
    return result;
}

int tarn_registry_add(const char *root, const char *run, const tarn_registry_entry *entry, int64_t *version,
                      char problem[TARN_SINK_PROBLEM])
{
    tarn_path path;
    const char *wrong = tarn_registry_name_problem(entry->name);
    if (wrong) {
        snprintf(problem, TARN_SINK_PROBLEM, "no model can be registered as \"%.100s\": %s", entry->name, wrong);
        errno = EILSEQ;
        return -1;
    }
    int result = tarn_path_make(path, "%s/models/%s", root, entry->name);
    if (!result) result = make_registered_model(run, path, entry);
    int64_t same = 0, number = result ? 0 : look_at_versions(path, entry->model_id, &same) + 1;
    if (same) {
        *version = same;
        return 0;
    }
    /* Another process may take a number first. */
    while (!result && (result = put_version(run, path, entry, number)) == 1) {
        number++;
        result = 0;
    }
    if (result) {
        snprintf(problem, TARN_SINK_PROBLEM, "registering model %s as \"%.100s\" in %.200s: %s", entry->model_id,
                 entry->name, root, strerror(errno));
        return -1;
    }
    touch_registered_model(path, entry->time_ms);
    *version = number;
    return 0;
}

int tarn_registry_alias(const char *root, const char *name, const char *alias, int64_t version, int64_t time_ms,
                        char problem[TARN_SINK_PROBLEM])
{
    tarn_path path, folder, file, temporary;
    char text[24];
    const char *wrong = tarn_registry_name_problem(name), *wrong_alias = tarn_registry_alias_problem(alias);
    if (wrong || wrong_alias) {
        snprintf(problem, TARN_SINK_PROBLEM, "\"%.100s\" can be no %s: %s", wrong ? name : alias,
                 wrong ? "registered model" : "alias", wrong ? wrong : wrong_alias);
        errno = EILSEQ;
        return -1;
    }
    if (tarn_path_make(path, "%s/models/%s", root, name) ||
        tarn_path_make(folder, "%s/version-%lld/meta.yaml", path, (long long)version) ||
        tarn_path_make(file, "%s/aliases/%s", path, alias) ||
        tarn_path_make(temporary, "%s/.tarn-new-%ld", path, (long)getpid())) {
        snprintf(problem, TARN_SINK_PROBLEM, "alias %.100s of %.100s: %s", alias, name, strerror(errno));
        return -1;
    }
    if (access(folder, F_OK)) {
        int64_t none, highest = look_at_versions(path, "", &none);
        if (!highest)
            snprintf(problem, TARN_SINK_PROBLEM,
                     "the store %.200s has no registered model \"%.100s\": track.register in a run file makes one",
                     root, name);
        else
            snprintf(problem, TARN_SINK_PROBLEM, "\"%.100s\" in %.200s has no version %lld; its newest is %lld", name,
                     root, (long long)version, (long long)highest);
        errno = EILSEQ;
        return -1;
    }
    snprintf(text, sizeof text, "%lld", (long long)version);
    if (tarn_path_make_parents(file) || tarn_file_put(file, temporary, text, strlen(text))) {
        snprintf(problem, TARN_SINK_PROBLEM, "cannot write %.300s: %s", file, strerror(errno));
        return -1;
    }
    touch_registered_model(path, time_ms);
    return 0;
}

int64_t tarn_registry_version(const char *root, const char *name, const char *model_id, const char *alias)
{
    tarn_path path, file;
    int64_t version, meant = 0;
    if (tarn_registry_name_problem(name) || tarn_path_make(path, "%s/models/%s", root, name)) return 0;
    (void)look_at_versions(path, model_id, &version);
    if (!alias) return version;
    char *text = tarn_path_make(file, "%s/aliases/%s", path, alias) ? NULL : tarn_document_read_file(file, NULL);
    if (text) meant = strtoll(text, NULL, 10);
    free(text);
    return meant == version ? version : 0;
}
