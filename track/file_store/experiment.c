/* experiment.c - experiments of a file store: found by name in their meta.yaml, or made.
 *
 * Invariant: two processes that make the same experiment at the same moment end up with one. The id follows from the
 * name, so both try to make the same folder, and mkdir succeeds for one of them; the other waits for its meta.yaml.
 */
#include "track/file_store/file_store.h"
#include "track/environment.h"
#include "runtime/base/clock.h"
#include "runtime/config/document.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OTHER, SAME, DELETED, UNREADABLE };

static int read_meta(const char *folder, const char *id, const char *name)
{
    tarn_path path;
    size_t length;
    char *text = tarn_path_make(path, "%s/%s/meta.yaml", folder, id) ? NULL : tarn_document_read_file(path, &length);
    if (!text) return UNREADABLE;
    tarn_document meta;
    int answer = UNREADABLE;
    if (tarn_document_parse(&meta, text, length)) {
        const char *found = tarn_document_get(&meta, "name"), *stage = tarn_document_get(&meta, "lifecycle_stage");
        if (found) answer = strcmp(found, name) ? OTHER : stage && !strcmp(stage, "deleted") ? DELETED : SAME;
    }
    tarn_document_free(&meta);
    free(text);
    return answer;
}

/* Looks through the experiments of a folder; SAME or DELETED with the id, or OTHER when none has the name. */
static int look_in(const char *folder, const char *name, char id[32])
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort), answer = OTHER;
    for (int i = 0; i < count; i++) {
        const char *entry = entries[i]->d_name;
        if (answer == OTHER && entry[0] != '.' && strlen(entry) < 32) {
            int found = read_meta(folder, entry, name);
            if (found == SAME || found == DELETED) {
                answer = found;
                strcpy(id, entry);
            }
        }
        free(entries[i]);
    }
    if (count >= 0) free(entries);
    return answer;
}

static int write_meta(const char *root, const char *id, const char *name)
{
    tarn_path path, location, temporary;
    if (tarn_path_make(path, "%s/%s/meta.yaml", root, id) || tarn_path_make(location, "%s/%s", root, id) ||
        tarn_path_make(temporary, "%s/%s/.meta-%ld", root, id, (long)getpid()))
        return -1;
    char *quoted_name = tarn_document_quote(name), *quoted_location = tarn_document_quote(location), *text = NULL;
    long long now = (long long)tarn_environment_time_ms();
    int length =
        !quoted_name || !quoted_location
            ? -1
            : asprintf(&text,
                       "artifact_location: %s\ncreation_time: %lld\nexperiment_id: '%s'\nlast_update_time: %lld\n"
                       "lifecycle_stage: active\nname: %s\n",
                       quoted_location, now, id, now, quoted_name);
    int result = -1;
    if (length < 0)
        errno = ENOMEM;
    else
        result = tarn_file_put(path, temporary, text, (size_t)length);
    int error = errno;
    if (length >= 0) free(text);
    free(quoted_name);
    free(quoted_location);
    errno = error;
    return result;
}

/* Waits for the meta.yaml of an experiment whose folder another process has made; UNREADABLE: that process died. */
static int wait_for_meta(const char *root, const char *id, const char *name)
{
    int answer = UNREADABLE;
    for (int i = 0; i < 100 && answer == UNREADABLE; i++) {
        answer = read_meta(root, id, name);
        if (answer == UNREADABLE) tarn_sleep(0.02);
    }
    return answer;
}

/* FNV-1a, 64 bits (Fowler, Noll, Vo): part of the layout, since it decides which folder a name gets. */
static uint64_t hash(const char *name)
{
    uint64_t value = 14695981039346656037u;
    for (const unsigned char *at = (const unsigned char *)name; *at; at++) value = (value ^ *at) * 1099511628211u;
    return value;
}

static int make(const char *root, const char *name, char id[32], char problem[TARN_SINK_PROBLEM])
{
    /* 18 digits as MLflow's own; "Default" is 0 there. */
    uint64_t number = 100000000000000000u + hash(name) % 800000000000000000u;
    if (!strcmp(name, "Default")) number = 0;
    for (;; number = number ? number + 1 : 100000000000000000u) {
        tarn_path folder;
        snprintf(id, 32, "%llu", (unsigned long long)number);
        if (tarn_path_make(folder, "%s/%s", root, id)) break;
        int made = !mkdir(folder, 0777);
        if (!made && errno != EEXIST) break;
        int found = made ? UNREADABLE : wait_for_meta(root, id, name);
        if (found == SAME) return 0;
        if (found == UNREADABLE) {
            if (write_meta(root, id, name)) break;
            return 0;
        }
        /* Taken by an experiment that was renamed, or by a collision: the next number. */
    }
    snprintf(problem, TARN_SINK_PROBLEM, "cannot make experiment \"%.100s\" in the tracking store %.200s: %s", name,
             root, strerror(errno));
    return -1;
}

int tarn_experiment_find(const char *root, const char *name, char id[32], char problem[TARN_SINK_PROBLEM])
{
    int found = look_in(root, name, id);
    if (found == OTHER) {
        tarn_path trash;
        if (!tarn_path_make(trash, "%s/.trash", root) && look_in(trash, name, id) != OTHER) found = DELETED;
    }
    if (found == SAME) return 0;
    if (found == DELETED) {
        snprintf(
            problem, TARN_SINK_PROBLEM,
            "the experiment \"%.100s\" was deleted from the tracking store %.200s: choose another name, or restore it "
            "(mlflow experiments restore --experiment-id %s)",
            name, root, id);
        return -1;
    }
    return make(root, name, id, problem);
}

int tarn_experiment_of_run(const char *root, const char *run, char id[32])
{
    struct dirent **entries;
    int count = scandir(root, &entries, NULL, alphasort), found = 0;
    for (int i = 0; i < count; i++) {
        tarn_path path;
        struct stat info;
        const char *entry = entries[i]->d_name;
        if (!found && entry[0] != '.' && strlen(entry) < 32 && !tarn_path_make(path, "%s/%s/%s", root, entry, run) &&
            !stat(path, &info) && S_ISDIR(info.st_mode)) {
            found = 1;
            strcpy(id, entry);
        }
        free(entries[i]);
    }
    if (count >= 0) free(entries);
    return found;
}
