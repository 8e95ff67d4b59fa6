/* commit.c - making a snapshot durable: what the writer thread does with a checkpoint.
 *
 * Protocol: temporary file, all bytes, fsync, close, rename, fsync of the directory; only then is the checkpoint there,
 * and only then may older ones go. Whatever fails before the rename leaves the directory as it was. A failed fsync is
 * final for its file: the kernel may have dropped the pages it could not write, and a second fsync would say all is
 * well. In parts: every rank does so with its parts in a temporary folder, and when all have, rank 0 adds the manifest
 * and renames the folder.
 */
#include "checkpoint/manifest.h"
#include "checkpoint/store_internal.h"
#include "runtime/base/context.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool disk_full(const tarn_problem *problem)
{
    return problem->error_number == ENOSPC || problem->error_number == EDQUOT;
}

static int64_t own_bytes(const tarn_checkpoint_store *store)
{
    int64_t bytes = 0;
    for (int i = 0; i < store->own_count; i++)
        if (store->own[i].image) bytes += tarn_checkpoint_image_bytes(store->own[i].image);
    return bytes;
}

static bool target(char out[TARN_CHECKPOINT_PATH], const tarn_checkpoint_store *store, int64_t step)
{
    return store->parts > 1 ? tarn_checkpoint_folder(out, store->directory, step)
                            : tarn_checkpoint_file(out, store->directory, step);
}

void tarn_checkpoint_explain(tarn_checkpoint_store *store, int64_t step, const tarn_problem *problem)
{
    tarn_checkpoint_outcome *outcome = &store->outcome;
    int64_t bytes = own_bytes(store);
    char path[TARN_CHECKPOINT_PATH], remedy[160] = "";
    bool full = disk_full(problem);
    if (!target(path, store, step)) path[0] = '\0';
    if (full && bytes)
        snprintf(remedy, sizeof remedy, "; free %" PRId64 " MiB on that disk or choose another checkpoint.dir",
                 (bytes >> 20) + 1);
    else if (problem->error_number && problem->error_number != ENOMEM)
        snprintf(remedy, sizeof remedy, "; %s or choose another checkpoint.dir",
                 full ? "free space on that disk" : "see to that disk");
    snprintf(outcome->message, sizeof outcome->message, "checkpoint: %.1000s was not written: %s%s", path,
             problem->text, remedy);
    outcome->step = step;
    outcome->disk_full = full;
    outcome->status = problem->error_number == ENOMEM ? TARN_ERROR_MEMORY
                      : problem->error_number         ? TARN_ERROR_IO
                                                      : TARN_ERROR_ARGUMENT;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static bool too_long(tarn_problem *problem)
{
    return tarn_problem_set(problem, ENAMETOOLONG, "too long a name");
}

static bool write_file(const tarn_checkpoint_own *own, const char *path, tarn_problem *problem)
{
    unlink(path);
    int file = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (file < 0) return tarn_problem_set(problem, errno, "%s", strerror(errno));
    const tarn_checkpoint_content *content = tarn_checkpoint_snapshot_content(own->snapshot);
    bool done = tarn_checkpoint_image_write(own->image, file, content, problem);
    if (close(file) && done) done = tarn_problem_set(problem, errno, "%s", strerror(errno));
    return done;
}

static void settle(const tarn_checkpoint_store *store)
{
    if (store->request.settle) store->request.settle(store->request.settle_user, store->request.settle_mark);
}

/* One attempt; nothing is left behind when it fails. */
static bool write_checkpoint(tarn_checkpoint_store *store, const char *path, tarn_problem *problem)
{
    char temporary[TARN_CHECKPOINT_PATH];
    if (!tarn_checkpoint_path(temporary, store->directory, ".tmp-%012lld.h5", (long long)store->request.step))
        return too_long(problem);
    bool done = write_file(&store->own[0], temporary, problem);
    if (done) settle(store);
    if (done && rename(temporary, path)) done = tarn_problem_set(problem, errno, "%s", strerror(errno));
    if (!done) unlink(temporary);
    return done && tarn_checkpoint_sync_directory(store->directory, problem);
}

/* What follows once `path` is durable; `other` is the name of one of the same step and the other kind. */
static void finish(tarn_checkpoint_store *store, const char *path, const char *other)
{
    tarn_checkpoint_outcome *outcome = &store->outcome;
    tarn_problem problem = {0};
    if (!tarn_checkpoint_set_later_aside(store, store->request.step, &problem)) {
        outcome->status = TARN_ERROR_IO;
        snprintf(outcome->message, sizeof outcome->message,
                 "checkpoint: %.1000s is written, but the next start would not take it for the newest: %.400s; remove "
                 "the later ones",
                 path, problem.text);
        return;
    }
    outcome->durable = true;
    outcome->seconds = tarn_seconds() - store->started;
    if (!access(other, F_OK)) tarn_checkpoint_remove(other);
    if (store->request.is_best && (!tarn_checkpoint_link_best(store->directory, path, &problem) ||
                                   !tarn_checkpoint_sync_directory(store->directory, &problem))) {
        outcome->status = TARN_ERROR_IO;
        snprintf(outcome->message, sizeof outcome->message,
                 "checkpoint: %.1000s is written, but it could not be kept as the best: %.500s", path, problem.text);
        return;
    }
    tarn_checkpoint_retain(store, store->request.step);
}

void tarn_checkpoint_write_one(void *argument)
{
    tarn_checkpoint_store *store = argument;
    int64_t step = store->request.step;
    tarn_problem problem = {0};
    char path[TARN_CHECKPOINT_PATH], folder[TARN_CHECKPOINT_PATH];
    store->outcome = (tarn_checkpoint_outcome){.step = step, .bytes = own_bytes(store)};
    bool done = (tarn_checkpoint_file(path, store->directory, step) &&
                 tarn_checkpoint_folder(folder, store->directory, step)) ||
                too_long(&problem);
    done = done && write_checkpoint(store, path, &problem);
    if (!done && disk_full(&problem) && tarn_checkpoint_prune(store)) done = write_checkpoint(store, path, &problem);
    if (done)
        finish(store, path, folder);
    else
        tarn_checkpoint_explain(store, step, &problem);
}

/* ---- parts ------------------------------------------------------------------------------------------------------- */

/* All ranks make the same name. */
static bool temporary_folder(char out[TARN_CHECKPOINT_PATH], const tarn_checkpoint_store *store)
{
    return tarn_checkpoint_path(out, store->directory, ".tmp-%012lld-%d", (long long)store->request.step,
                                store->attempt);
}

static bool write_own(tarn_checkpoint_store *store, tarn_problem *problem)
{
    char folder[TARN_CHECKPOINT_PATH], path[TARN_CHECKPOINT_PATH];
    if (!temporary_folder(folder, store)) return too_long(problem);
    if (mkdir(folder, 0777) && errno != EEXIST)
        return tarn_problem_set(problem, errno, "creating %s: %s", folder, strerror(errno));
    for (int i = 0; i < store->own_count; i++) {
        tarn_problem wrong = {0};
        if (!tarn_checkpoint_part_path(path, folder, store->own[i].part)) return too_long(problem);
        if (!write_file(&store->own[i], path, &wrong))
            return tarn_problem_set(problem, wrong.error_number, "part %d: %.400s", store->own[i].part, wrong.text);
    }
    return tarn_checkpoint_sync_directory(folder, problem);
}

void tarn_checkpoint_write_parts(void *argument)
{
    tarn_checkpoint_store *store = argument;
    tarn_problem problem = {0};
    store->outcome = (tarn_checkpoint_outcome){.step = store->request.step, .bytes = own_bytes(store)};
    if (store->own_count && !write_own(store, &problem)) tarn_checkpoint_explain(store, store->request.step, &problem);
}

static bool commit_folder(tarn_checkpoint_store *store, const char *path, int64_t *bytes, tarn_problem *problem)
{
    char folder[TARN_CHECKPOINT_PATH];
    tarn_checkpoint_manifest manifest;
    if (!temporary_folder(folder, store)) return too_long(problem);
    if (!tarn_checkpoint_manifest_create(&manifest, store->request.step, store->parts, problem)) return false;
    bool done = tarn_checkpoint_manifest_gather(&manifest, folder, problem) &&
                tarn_checkpoint_manifest_write(&manifest, folder, problem) &&
                tarn_checkpoint_sync_directory(folder, problem);
    *bytes = 0;
    for (int i = 0; i < manifest.parts; i++) *bytes += manifest.bytes[i];
    tarn_checkpoint_manifest_free(&manifest);
    if (done) settle(store);
    if (done && !tarn_checkpoint_put_in_place(folder, path))
        done = tarn_problem_set(problem, errno, "%s", strerror(errno));
    return done && tarn_checkpoint_sync_directory(store->directory, problem);
}

void tarn_checkpoint_commit_parts(void *argument)
{
    tarn_checkpoint_store *store = argument;
    tarn_problem problem = {0};
    int64_t step = store->request.step, bytes = 0;
    char path[TARN_CHECKPOINT_PATH], file[TARN_CHECKPOINT_PATH];
    store->outcome = (tarn_checkpoint_outcome){.step = step};
    bool done =
        (tarn_checkpoint_folder(path, store->directory, step) && tarn_checkpoint_file(file, store->directory, step)) ||
        too_long(&problem);
    if (done && commit_folder(store, path, &bytes, &problem)) {
        store->outcome.bytes = bytes;
        finish(store, path, file);
    } else {
        tarn_checkpoint_explain(store, step, &problem);
    }
}

void tarn_checkpoint_clean_parts(void *argument)
{
    tarn_checkpoint_store *store = argument;
    char folder[TARN_CHECKPOINT_PATH];
    if (temporary_folder(folder, store) && tarn_checkpoint_is_folder(folder)) tarn_checkpoint_remove(folder);
    if (store->retry) tarn_checkpoint_prune(store);
}
