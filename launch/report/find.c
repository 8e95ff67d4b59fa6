/* find.c - runs by what a person writes: what the reader knows, and directories of checkpoints. */
#include "launch/report/find.h"
#include "checkpoint/store.h"
#include "track/files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_folder(const char *path)
{
    struct stat info;
    return !stat(path, &info) && S_ISDIR(info.st_mode);
}

/* Runs whose folders lie in `folder`: how many, the newest of them in *head. */
static int look_in(tarn_run_head *head, const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort), found = 0;
    *head = (tarn_run_head){0};
    for (int i = 0; i < count; i++) {
        tarn_path path;
        tarn_run_head one;
        char problem[TARN_SINK_PROBLEM];
        bool looks = entries[i]->d_name[0] != '.' && !tarn_path_make(path, "%s/%s", folder, entries[i]->d_name) &&
                     is_folder(path);
        /* No store: a name that is no folder of a run must not be looked for anywhere. */
        if (looks && !tarn_run_find(&one, "/dev/null", path, problem)) {
            if (!found++ || one.start_ms > head->start_ms) {
                tarn_run_head_free(head);
                *head = one;
            } else
                tarn_run_head_free(&one);
        }
        free(entries[i]);
    }
    if (count >= 0) free(entries);
    return found;
}

/* The id of the run that wrote the checkpoints of a directory, to be freed; NULL: there is none. */
static char *recorded_id(tarn_context *context, const char *directory)
{
    tarn_checkpoint_info *infos = NULL;
    int count = 0;
    char *id = NULL, text[33] = "";
    tarn_path path;
    if (!tarn_checkpoint_list(context, directory, false, &infos, &count) && count > 0 &&
        tarn_checkpoint_peek(context, directory, "text/run_id", &id))
        id = NULL;
    free(infos);
    tarn_error_clear(context);
    if (id && *id) return id;
    free(id);
    /* Before the first checkpoint (train/run_id.c). */
    FILE *file = tarn_path_make(path, "%s/tracking-run", directory) ? NULL : fopen(path, "re");
    bool read = file && fread(text, 1, 32, file) == 32;
    if (file) fclose(file);
    return read ? strdup(text) : NULL;
}

static bool find_by_folder(tarn_run_head *head, tarn_context *context, const char *store, const char *text,
                           char problem[TARN_SINK_PROBLEM])
{
    tarn_path spool;
    if (!tarn_run_find(head, "/dev/null", text, problem)) return true; /* a run's own folder */
    if (!tarn_path_make(spool, "%s/spool", text) && is_folder(spool) && look_in(head, spool)) return true;
    if (look_in(head, text) == 1) return true;
    bool several = head->run_id;
    tarn_run_head_free(head);
    char *id = recorded_id(context, text);
    bool found = id && *store && !tarn_run_find(head, store, id, problem);
    if (!id)
        snprintf(problem, TARN_SINK_PROBLEM,
                 several
                     ? "%.200s holds several runs: give the folder of one of them, or --store %.200s and its name"
                     : "%.200s is neither a run of a file store, nor a spool, nor a directory of checkpoints with a "
                       "record of their run",
                 text, text);
    free(id);
    return found;
}

/* The run of a directory of checkpoints in the store, though the directory may hold its spool. */
static bool find_recorded(tarn_run_head *head, tarn_context *context, const char *store, const char *text)
{
    char problem[TARN_SINK_PROBLEM], *id = recorded_id(context, text);
    bool found = id && !tarn_run_find(head, store, id, problem);
    free(id);
    return found;
}

tarn_status tarn_report_find(tarn_run_head *head, tarn_context *context, const char *store, bool named,
                             const char *text)
{
    char problem[TARN_SINK_PROBLEM] = "", by_name[TARN_SINK_PROBLEM] = "";
    *head = (tarn_run_head){0};
    bool folder = *text && is_folder(text);
    if (folder && named && *store &&
        (find_recorded(head, context, store, text) || !tarn_run_find(head, store, text, by_name)))
        return TARN_OK;
    if (folder && find_by_folder(head, context, store, text, problem)) return TARN_OK;
    /* A directory may have the name of a run. */
    if (!*store)
        snprintf(
            by_name, sizeof by_name,
            "%.200s: runs on a server cannot be looked up: give the folder of a spool (checkpoint.dir/spool/ID), or "
            "--store with the directory of a file store",
            text);
    else if (!tarn_run_find(head, store, text, by_name))
        return TARN_OK;
    return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "%s", folder ? problem : by_name);
}
