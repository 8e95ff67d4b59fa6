/* retention.c - which checkpoints stay: the newest `keep`, the best, and those of an abandoned future under another
 * name.
 *
 * Invariants
 *  1. An older one goes only after a newer one is durable, or, on a full disk, after a newer one was verified.
 *  2. A broken one does not count as kept.
 */
#include "checkpoint/store_internal.h"
#include "checkpoint/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The writer thread does not log: the next poll does. */
static TARN_PRINTF(3, 4) void note_down(tarn_checkpoint_store *store, tarn_log_level level, const char *format, ...)
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
        found_valid = tarn_checkpoint_find(found->path, store->directory, steps[i]) &&
                      tarn_checkpoint_verify(found, true, &problem) && found->header.step == steps[i];
        if (found_valid) valid = i;
    }
    for (int i = 0; found_valid && i < count; i++)
        while (i != valid && tarn_checkpoint_find(found->path, store->directory, steps[i]) &&
               !access(found->path, F_OK) && tarn_checkpoint_remove(found->path))
            removed++; /* a step may be there as a file and as a folder */
    if (removed)
        note_down(store, TARN_LOG_WARN,
                  "checkpoint: the disk is full; removed %d older checkpoint%s from %s and kept that of step %" PRId64,
                  removed, removed == 1 ? "" : "s", store->directory, steps[valid]);
    free(found);
    free(steps);
    return removed > 0;
}

/* 1: set aside, 0: there is none of this step, -1: it cannot be. */
static int set_aside(tarn_checkpoint_store *store, int64_t step, tarn_problem *problem)
{
    char path[TARN_CHECKPOINT_PATH], aside[TARN_CHECKPOINT_PATH];
    if (!tarn_checkpoint_find(path, store->directory, step) || access(path, F_OK)) return 0;
    if (!tarn_checkpoint_name_aside(aside, store->directory, "superseded", step, tarn_checkpoint_is_folder(path))) {
        tarn_problem_set(problem, EEXIST, "%s, of a later step: no name is left to set it aside under", path);
        return -1;
    }
    if (rename(path, aside)) {
        tarn_problem_set(problem, errno, "%s, of a later step, cannot be renamed: %s", strrchr(path, '/') + 1,
                         strerror(errno));
        return -1;
    }
    note_down(
        store, TARN_LOG_WARN,
        "checkpoint: %s is of a later step than the one just saved, and is called %s from now on: remove it when you "
        "do not need it",
        path, strrchr(aside, '/') + 1);
    return 1;
}

bool tarn_checkpoint_set_later_aside(tarn_checkpoint_store *store, int64_t newest, tarn_problem *problem)
{
    int64_t *steps;
    int count, renamed = 0, last = 0;
    if (!tarn_checkpoint_scan(&steps, &count, store->directory, problem)) return false;
    for (int i = 0; last >= 0 && i < count && steps[i] > newest; i++)
        /* A step may be there twice, as a file and as a folder of parts. */
        while ((last = set_aside(store, steps[i], problem)) > 0) renamed++;
    free(steps);
    return last >= 0 && (!renamed || tarn_checkpoint_sync_directory(store->directory, problem));
}

/* Keeps the newest up to `newest`. Files whose header is broken do not count, so that they push no good one out. */
void tarn_checkpoint_retain(tarn_checkpoint_store *store, int64_t newest)
{
    int64_t *steps;
    int count, kept = 0;
    tarn_problem problem;
    if (!tarn_checkpoint_scan(&steps, &count, store->directory, &problem)) {
        note_down(store, TARN_LOG_WARN, "checkpoint: %s; older checkpoints are kept", problem.text);
        return;
    }
    tarn_checkpoint_found *found = malloc(sizeof *found);
    for (int i = 0; found && i < count; i++) {
        if (!tarn_checkpoint_find(found->path, store->directory, steps[i])) continue;
        if (steps[i] > newest) continue;
        if (kept >= store->keep)
            tarn_checkpoint_remove(found->path);
        else if (tarn_checkpoint_verify(found, false, &problem))
            kept++;
    }
    free(found);
    free(steps);
}
