/* store.c - opening a directory of checkpoints, and the training thread's half of a save: copy the state, hand it to
 * the writer thread (commit.c), and take note of how that ended.
 *
 * Invariants: 1. a step waits for a copy, never for the disk, unless the request insists; 2. one write is under way at
 * most; 3. HDF5 and the log are used by the training thread alone.
 */
#include "checkpoint/store_internal.h"
#include "runtime/base/context.h"
#include "runtime/dist/control.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        *store = (tarn_checkpoint_store){.context = context, .keep = keep, .lock = -1, .saved_step = -1};
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
    /* The state of the last snapshot is good whatever ended the run: it is written to its end. */
    if (store->writer) tarn_checkpoint_writer_wait(store->writer);
    tarn_checkpoint_poll(store);
    tarn_checkpoint_writer_destroy(store->writer);
    tarn_checkpoint_snapshot_destroy(store->snapshot);
    tarn_checkpoint_image_destroy(store->image);
    tarn_checkpoint_unlock(store->lock);
    free(store->texts);
    free(store);
}

/* ---- the writer's reports -----------------------------------------------------------------------------------------
 */

static void log_notes(tarn_checkpoint_store *store)
{
    for (int i = 0; i < store->note_count; i++)
        tarn_log(store->context, store->notes[i].level, "%s", store->notes[i].text);
    if (store->notes_lost)
        tarn_log(store->context, TARN_LOG_WARN, "checkpoint: %d more messages of the writer are lost",
                 store->notes_lost);
    store->note_count = store->notes_lost = 0;
}

/* Takes the outcome of a write that has ended; false: there is none. */
static bool take_outcome(tarn_checkpoint_store *store)
{
    if (!store->pending || tarn_checkpoint_writer_busy(store->writer)) return false;
    store->pending = false;
    log_notes(store);
    const tarn_checkpoint_outcome *outcome = &store->outcome;
    if (outcome->durable) {
        store->saved_step = outcome->step;
        store->persist_seconds = outcome->seconds;
        tarn_log(store->context, TARN_LOG_INFO, "saved step %" PRId64 ": %.1f MiB, durable after %.3f s", outcome->step,
                 (double)outcome->bytes / (1 << 20), outcome->seconds);
    }
    return true;
}

void tarn_checkpoint_poll(tarn_checkpoint_store *store)
{
    if (take_outcome(store) && store->outcome.status)
        tarn_log(store->context, TARN_LOG_ERROR, "checkpoint of step %" PRId64 ": %s", store->outcome.step,
                 store->outcome.message);
}

tarn_status tarn_checkpoint_wait(tarn_checkpoint_store *store)
{
    if (store->writer) tarn_checkpoint_writer_wait(store->writer);
    if (!take_outcome(store) || !store->outcome.status) return TARN_OK;
    return tarn_fail(store->context, store->outcome.status, TARN_HERE, "%s", store->outcome.message);
}

int64_t tarn_checkpoint_saved_step(const tarn_checkpoint_store *store)
{
    return store->saved_step;
}

double tarn_checkpoint_persist_seconds(const tarn_checkpoint_store *store)
{
    return store->persist_seconds;
}

int64_t tarn_checkpoint_left_out(const tarn_checkpoint_store *store)
{
    return store->left_out;
}

/* ---- taking -------------------------------------------------------------------------------------------------------
 */

static void run_commit(void *store)
{
    tarn_checkpoint_commit(store);
}

static void run_touch(void *store)
{
    tarn_checkpoint_snapshot_touch(((tarn_checkpoint_store *)store)->snapshot);
}

static tarn_checkpoint_content content_of(const tarn_checkpoint_request *request)
{
    return (tarn_checkpoint_content){.step = request->step,
                                     .entries = request->entries,
                                     .entry_count = request->entry_count,
                                     .texts = request->texts,
                                     .text_count = request->text_count};
}

/* Template and thread, on the training thread: HDF5 is used on no other. The template is made anew when names, shapes
 * or the capacity of a text have changed. */
static bool make_ready(tarn_checkpoint_store *store, const tarn_checkpoint_content *content, tarn_problem *problem)
{
    char path[TARN_CHECKPOINT_PATH];
    if (!store->snapshot && !(store->snapshot = tarn_checkpoint_snapshot_create()))
        return tarn_problem_set(problem, ENOMEM, "out of memory");
    if (!store->writer && !tarn_checkpoint_writer_create(&store->writer, problem)) return false;
    if (tarn_checkpoint_image_fits(store->image, content)) return true;
    tarn_checkpoint_image_destroy(store->image);
    store->image = NULL;
    if (!tarn_checkpoint_path(path, store->directory, ".tmp-template.h5"))
        return tarn_problem_set(problem, ENAMETOOLONG, "too long a name");
    if (tarn_checkpoint_image_make(&store->image, path, content, problem)) return true;
    bool again = tarn_checkpoint_disk_full(problem) && tarn_checkpoint_prune(store) &&
                 tarn_checkpoint_image_make(&store->image, path, content, problem);
    log_notes(store);
    return again;
}

static tarn_status check_request(tarn_checkpoint_store *store, const tarn_checkpoint_request *request)
{
    if (request->step < 0 || request->step > 999999999999999999 || request->entry_count < 0 || request->text_count < 0)
        return tarn_fail(store->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "checkpoint: step %" PRId64 ", %d arrays, %d texts: out of range", request->step,
                         request->entry_count, request->text_count);
    return TARN_OK;
}

static tarn_status not_ready(tarn_checkpoint_store *store, int64_t step, const tarn_problem *problem)
{
    char path[TARN_CHECKPOINT_PATH], message[1600];
    if (!tarn_checkpoint_file(path, store->directory, step)) path[0] = '\0';
    tarn_status status = tarn_checkpoint_explain(store, path, problem, message, sizeof message);
    return tarn_fail(store->context, status, TARN_HERE, "%s", message);
}

tarn_status tarn_checkpoint_prepare(tarn_checkpoint_store *store, const tarn_checkpoint_request *request)
{
    if (tarn_rank(store->context) != 0) return TARN_OK;
    tarn_status status = check_request(store, request);
    if (status) return status;
    if (store->writer) tarn_checkpoint_writer_wait(store->writer);
    tarn_checkpoint_content content = content_of(request);
    tarn_problem problem = {0};
    bool fresh = false;
    if (!make_ready(store, &content, &problem) ||
        !tarn_checkpoint_snapshot_plan(store->snapshot, &content, &fresh, &problem))
        return not_ready(store, request->step, &problem);
    store->touching = fresh;
    if (fresh) tarn_checkpoint_writer_submit(store->writer, run_touch, store);
    return TARN_OK;
}

tarn_status tarn_checkpoint_begin(tarn_checkpoint_store *store, const tarn_checkpoint_request *request, bool *begun)
{
    if (begun) *begun = false;
    if (tarn_rank(store->context) != 0) return TARN_OK;
    tarn_status status = check_request(store, request);
    if (status) return status;
    if (store->writer && tarn_checkpoint_writer_busy(store->writer)) {
        if (!request->must && !store->touching) {
            store->left_out++;
            tarn_log(store->context, TARN_LOG_INFO,
                     "checkpoint: that of step %" PRId64 " is left out: the one of step %" PRId64
                     " is still being written (%" PRId64 " left out so far; a greater checkpoint.every avoids it)",
                     request->step, store->request.step, store->left_out);
            return TARN_OK;
        }
        tarn_checkpoint_writer_wait(store->writer);
    }
    store->touching = false;
    tarn_checkpoint_poll(store);
    tarn_checkpoint_content content = content_of(request);
    tarn_problem problem = {0};
    store->started = tarn_seconds();
    if (!make_ready(store, &content, &problem) ||
        !tarn_checkpoint_snapshot_take(store->snapshot, &content, request->workers, &problem))
        return not_ready(store, request->step, &problem);
    store->request = *request;
    store->pending = true;
    if (begun) *begun = true;
    tarn_checkpoint_writer_submit(store->writer, run_commit, store);
    return TARN_OK;
}

tarn_status tarn_checkpoint_save(tarn_checkpoint_store *store, int64_t step, const tarn_checkpoint_entry *entries,
                                 int entry_count, const tarn_checkpoint_text *texts, int text_count, bool is_best)
{
    tarn_checkpoint_request request = {.step = step,
                                       .entries = entries,
                                       .entry_count = entry_count,
                                       .texts = texts,
                                       .text_count = text_count,
                                       .is_best = is_best,
                                       .must = true};
    tarn_status status = tarn_checkpoint_begin(store, &request, NULL);
    return status ? status : tarn_checkpoint_wait(store);
}
