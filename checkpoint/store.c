/* store.c - opening a directory of checkpoints and writing to it.
 *
 * Protocol of a save: temporary file, all bytes, fsync, rename, fsync of the directory; only then is the checkpoint
 * there, and only then may older ones go. Whatever fails before the rename leaves the directory as it was.
 */
#include "checkpoint/store_internal.h"
#include "checkpoint/verify.h"
#include "runtime/dist/control.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- life ----------------------------------------------------------------------------------------------------------
 */

static tarn_status open_here(tarn_checkpoint_store *store, const char *directory)
{
    tarn_problem problem;
    if (!tarn_checkpoint_make_directory(directory, &problem))
        return tarn_fail(store->context, TARN_ERROR_IO, TARN_HERE,
                         "checkpoint.dir %s: %s; choose a directory you may write to", directory, problem.text);
    /* Absolute, so that a program that changes its directory goes on writing to the same place. */
    char *real = realpath(directory, NULL);
    if (!real || strlen(real) >= sizeof store->directory - 64) {
        int error = real ? ENAMETOOLONG : errno;
        free(real);
        return tarn_fail(store->context, TARN_ERROR_IO, TARN_HERE, "checkpoint.dir %s: %s", directory, strerror(error));
    }
    strcpy(store->directory, real);
    free(real);
    if (!tarn_checkpoint_lock(&store->lock, store->context, store->directory, &problem)) {
        bool held = problem.error_number == EWOULDBLOCK;
        return tarn_fail(store->context, held ? TARN_ERROR_STATE : TARN_ERROR_IO, TARN_HERE,
                         "checkpoint.dir %s: %s; %s", directory, problem.text,
                         held ? "wait for it to end, or give this run another checkpoint.dir"
                              : "choose a directory you may write to");
    }
    tarn_checkpoint_remove_temporaries(store->directory);
    return TARN_OK;
}

tarn_status tarn_checkpoint_store_open(tarn_checkpoint_store **out, tarn_context *context, const char *directory,
                                       int keep)
{
    *out = NULL;
    tarn_status status = TARN_OK;
    tarn_checkpoint_store *store = calloc(1, sizeof *store);
    if (!store) {
        status = tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "checkpoint: out of memory");
    } else {
        *store = (tarn_checkpoint_store){.context = context, .keep = keep, .lock = -1};
        if (keep < 1)
            status = tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                               "checkpoint.keep is %d: at least 1 checkpoint must be kept", keep);
        else if (tarn_rank(context) == 0)
            status = open_here(store, directory);
    }
    status = tarn_agree(context, status, "opening the checkpoint directory");
    if (status) {
        tarn_checkpoint_store_close(store);
        return status;
    }
    *out = store;
    return TARN_OK;
}

void tarn_checkpoint_store_close(tarn_checkpoint_store *store)
{
    if (!store) return;
    tarn_checkpoint_image_destroy(store->image);
    tarn_checkpoint_unlock(store->lock);
    free(store->texts);
    free(store);
}

/* ---- retention -----------------------------------------------------------------------------------------------------
 */

/* Removes all checkpoints but the newest valid one; false when that frees nothing. */
static bool prune(tarn_checkpoint_store *store)
{
    int64_t *steps;
    int count, removed = 0;
    tarn_problem problem;
    bool found_valid = false;
    if (!tarn_checkpoint_scan(&steps, &count, store->directory, &problem)) return false;
    tarn_checkpoint_found *found = malloc(sizeof *found);
    int valid = 0;
    for (int i = 0; found && !found_valid && i < count; i++) {
        found_valid = tarn_checkpoint_file(found->path, store->directory, steps[i]) &&
                      tarn_checkpoint_verify(found, true, &problem) && found->header.step == steps[i];
        if (found_valid) valid = i;
    }
    for (int i = 0; found_valid && i < count; i++)
        if (i != valid && tarn_checkpoint_file(found->path, store->directory, steps[i]) && !unlink(found->path))
            removed++;
    if (removed)
        tarn_log(store->context, TARN_LOG_WARN,
                 "checkpoint: the disk is full; removed %d older checkpoint%s from %s and kept that of step %" PRId64,
                 removed, removed == 1 ? "" : "s", store->directory, steps[valid]);
    free(found);
    free(steps);
    return removed > 0;
}

/* A run that goes on from an earlier step leaves later ones behind it: the next start must not take them for the
 * newest. They are renamed, not removed, since only their owner knows what they are worth. */
static void set_aside(tarn_checkpoint_store *store, const char *path, int64_t step)
{
    char aside[TARN_CHECKPOINT_PATH];
    if (tarn_checkpoint_path(aside, store->directory, "superseded-%012lld.h5", (long long)step) && !rename(path, aside))
        tarn_log(
            store->context, TARN_LOG_WARN,
            "checkpoint: %s is of a later step than the one just saved, and is called %s from now on: remove it when "
            "you do not need it",
            path, strrchr(aside, '/') + 1);
}

/* Keeps the newest up to `newest`. Files whose header is broken do not count, so that they push no good one out. */
static void retain(tarn_checkpoint_store *store, int64_t newest)
{
    int64_t *steps;
    int count, kept = 0;
    tarn_problem problem;
    if (!tarn_checkpoint_scan(&steps, &count, store->directory, &problem)) {
        tarn_log(store->context, TARN_LOG_WARN, "checkpoint: %s; older checkpoints are kept", problem.text);
        return;
    }
    tarn_checkpoint_found *found = malloc(sizeof *found);
    for (int i = 0; found && i < count; i++) {
        if (!tarn_checkpoint_file(found->path, store->directory, steps[i])) continue;
        if (steps[i] > newest)
            set_aside(store, found->path, steps[i]);
        else if (kept >= store->keep)
            unlink(found->path);
        else if (tarn_checkpoint_verify(found, false, &problem))
            kept++;
    }
    free(found);
    free(steps);
}

/* ---- saving --------------------------------------------------------------------------------------------------------
 */

static bool write_temporary(tarn_checkpoint_store *store, const tarn_checkpoint_content *content, const char *path,
                            tarn_problem *problem)
{
    unlink(path);
    int file = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (file < 0) return tarn_problem_set(problem, errno, "%s", strerror(errno));
    bool done = tarn_checkpoint_image_write(store->image, file, content, problem);
    if (close(file) && done) done = tarn_problem_set(problem, errno, "%s", strerror(errno));
    return done;
}

/* One attempt; nothing is left behind when it fails. */
static bool write_checkpoint(tarn_checkpoint_store *store, const tarn_checkpoint_content *content, const char *path,
                             tarn_problem *problem)
{
    char temporary[TARN_CHECKPOINT_PATH];
    if (!tarn_checkpoint_image_fits(store->image, content)) {
        tarn_checkpoint_image_destroy(store->image);
        store->image = NULL;
        if (!tarn_checkpoint_path(temporary, store->directory, ".tmp-template.h5") ||
            !tarn_checkpoint_image_make(&store->image, temporary, content, problem))
            return false;
    }
    if (!tarn_checkpoint_path(temporary, store->directory, ".tmp-%012lld.h5", (long long)content->step)) return false;
    bool done = write_temporary(store, content, temporary, problem);
    if (done && rename(temporary, path)) done = tarn_problem_set(problem, errno, "%s", strerror(errno));
    if (!done) unlink(temporary);
    return done && tarn_checkpoint_sync_directory(store->directory, problem);
}

static bool disk_full(const tarn_problem *problem)
{
    return problem->error_number == ENOSPC || problem->error_number == EDQUOT;
}

tarn_status tarn_checkpoint_save(tarn_checkpoint_store *store, int64_t step, const tarn_checkpoint_entry *entries,
                                 int entry_count, const tarn_checkpoint_text *texts, int text_count, bool is_best)
{
    if (tarn_rank(store->context) != 0) return TARN_OK;
    if (step < 0 || step > 999999999999999999 || entry_count < 0 || text_count < 0)
        return tarn_fail(store->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "checkpoint: step %" PRId64 ", %d arrays, %d texts: out of range", step, entry_count,
                         text_count);
    tarn_checkpoint_content content = {step, entries, entry_count, texts, text_count};
    tarn_problem problem = {0};
    char path[TARN_CHECKPOINT_PATH];
    if (!tarn_checkpoint_file(path, store->directory, step))
        return tarn_fail(store->context, TARN_ERROR_IO, TARN_HERE, "checkpoint: %s: too long a name", store->directory);
    bool done = write_checkpoint(store, &content, path, &problem);
    if (!done && disk_full(&problem) && prune(store)) done = write_checkpoint(store, &content, path, &problem);
    if (!done) {
        bool full = disk_full(&problem);
        int64_t bytes = store->image ? tarn_checkpoint_image_bytes(store->image) : 0;
        char remedy[160];
        if (full && bytes)
            snprintf(remedy, sizeof remedy, "; free %" PRId64 " MiB on that disk or choose another checkpoint.dir",
                     (bytes >> 20) + 1);
        else
            snprintf(remedy, sizeof remedy, "%s",
                     full                   ? "; free space on that disk or choose another checkpoint.dir"
                     : problem.error_number ? "; see to that disk or choose another checkpoint.dir"
                                            : "");
        return tarn_fail(store->context, problem.error_number ? TARN_ERROR_IO : TARN_ERROR_ARGUMENT, TARN_HERE,
                         "checkpoint: %s was not written: %s%s", path, problem.text, remedy);
    }
    if (is_best && (!tarn_checkpoint_link_best(store->directory, path, &problem) ||
                    !tarn_checkpoint_sync_directory(store->directory, &problem)))
        return tarn_fail(store->context, TARN_ERROR_IO, TARN_HERE,
                         "checkpoint: %s is written, but it could not be kept as the best: %s", path, problem.text);
    retain(store, step);
    return TARN_OK;
}
