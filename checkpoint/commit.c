/* commit.c - making a snapshot durable: what the writer thread does with a checkpoint.
 *
 * Protocol: temporary file, all bytes, fsync, close, rename, fsync of the directory; only then is the checkpoint there,
 * and only then may older ones go. Whatever fails before the rename leaves the directory as it was. A failed fsync is
 * final for its file: the kernel may have dropped the pages it could not write, and a second fsync would say all is
 * well.
 */
#include "checkpoint/store_internal.h"
#include "checkpoint/verify.h"
#include "runtime/base/context.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The writer thread does not log: the next poll does. */
static void note(tarn_checkpoint_store *store, tarn_log_level level, const char *format, ...) TARN_PRINTF(3, 4);
static void note(tarn_checkpoint_store *store, tarn_log_level level, const char *format, ...)
{
    if (store->note_count == TARN_CHECKPOINT_NOTES) {
        store->notes_lost++;
        return;
    }
    tarn_checkpoint_note *next = &store->notes[store->note_count++];
    va_list arguments;
    va_start(arguments, format);
    next->level = level;
    vsnprintf(next->text, sizeof next->text, format, arguments);
    va_end(arguments);
}

bool tarn_checkpoint_disk_full(const tarn_problem *problem)
{
    return problem->error_number == ENOSPC || problem->error_number == EDQUOT;
}

/* ---- retention --------------------------------------------------------------------------------------------------- */

bool tarn_checkpoint_prune(tarn_checkpoint_store *store)
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
        note(store, TARN_LOG_WARN,
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
        note(store, TARN_LOG_WARN,
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
        note(store, TARN_LOG_WARN, "checkpoint: %s; older checkpoints are kept", problem.text);
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

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static bool write_temporary(tarn_checkpoint_store *store, const char *path, tarn_problem *problem)
{
    unlink(path);
    int file = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (file < 0) return tarn_problem_set(problem, errno, "%s", strerror(errno));
    const tarn_checkpoint_content *content = tarn_checkpoint_snapshot_content(store->snapshot);
    bool done = tarn_checkpoint_image_write(store->image, file, content, problem);
    if (close(file) && done) done = tarn_problem_set(problem, errno, "%s", strerror(errno));
    return done;
}

/* One attempt; nothing is left behind when it fails. */
static bool write_checkpoint(tarn_checkpoint_store *store, const char *path, tarn_problem *problem)
{
    char temporary[TARN_CHECKPOINT_PATH];
    int64_t step = store->request.step;
    if (!tarn_checkpoint_path(temporary, store->directory, ".tmp-%012lld.h5", (long long)step))
        return tarn_problem_set(problem, ENAMETOOLONG, "too long a name");
    bool done = write_temporary(store, temporary, problem);
    if (done && store->request.settle) store->request.settle(store->request.settle_user, store->request.settle_mark);
    if (done && rename(temporary, path)) done = tarn_problem_set(problem, errno, "%s", strerror(errno));
    if (!done) unlink(temporary);
    return done && tarn_checkpoint_sync_directory(store->directory, problem);
}

tarn_status tarn_checkpoint_explain(const tarn_checkpoint_store *store, const char *path, const tarn_problem *problem,
                                    char *message, size_t size)
{
    bool full = tarn_checkpoint_disk_full(problem);
    int64_t bytes = store->image ? tarn_checkpoint_image_bytes(store->image) : 0;
    char remedy[160] = "";
    if (full && bytes)
        snprintf(remedy, sizeof remedy, "; free %" PRId64 " MiB on that disk or choose another checkpoint.dir",
                 (bytes >> 20) + 1);
    else if (problem->error_number && problem->error_number != ENOMEM)
        snprintf(remedy, sizeof remedy, "; %s or choose another checkpoint.dir",
                 full ? "free space on that disk" : "see to that disk");
    snprintf(message, size, "checkpoint: %s was not written: %s%s", path, problem->text, remedy);
    return problem->error_number == ENOMEM ? TARN_ERROR_MEMORY
           : problem->error_number         ? TARN_ERROR_IO
                                           : TARN_ERROR_ARGUMENT;
}

void tarn_checkpoint_commit(tarn_checkpoint_store *store)
{
    tarn_checkpoint_outcome *outcome = &store->outcome;
    int64_t step = store->request.step;
    tarn_problem problem = {0};
    char path[TARN_CHECKPOINT_PATH];
    *outcome = (tarn_checkpoint_outcome){.step = step, .bytes = tarn_checkpoint_image_bytes(store->image)};
    bool done = tarn_checkpoint_file(path, store->directory, step) ||
                tarn_problem_set(&problem, ENAMETOOLONG, "too long a name");
    done = done && write_checkpoint(store, path, &problem);
    if (!done && tarn_checkpoint_disk_full(&problem) && tarn_checkpoint_prune(store))
        done = write_checkpoint(store, path, &problem);
    if (!done) {
        outcome->status = tarn_checkpoint_explain(store, path, &problem, outcome->message, sizeof outcome->message);
        return;
    }
    outcome->durable = true;
    outcome->seconds = tarn_seconds() - store->started;
    if (store->request.is_best && (!tarn_checkpoint_link_best(store->directory, path, &problem) ||
                                   !tarn_checkpoint_sync_directory(store->directory, &problem))) {
        outcome->status = TARN_ERROR_IO;
        snprintf(outcome->message, sizeof outcome->message,
                 "checkpoint: %.1000s is written, but it could not be kept as the best: %.500s", path, problem.text);
        return;
    }
    retain(store, step);
}
