/* store.c - opening a directory of checkpoints, and the training thread's half of a save: copy the state, hand it to
 * the writer thread (commit.c), and take note of how that ended.
 *
 * Invariants
 *  1. A step waits for a copy, never for the disk, unless the request insists.
 *  2. One write is under way at most.
 *  3. HDF5 and the log are used by the training thread alone.
 */
#include "checkpoint/parts.h"
#include "checkpoint/store_internal.h"
#include "runtime/base/context.h"
#include "runtime/dist/control.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- life -------------------------------------------------------------------------------------------------------- */

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

static void free_own(tarn_checkpoint_store *store);

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
    if (!status && tarn_rank(context) != 0) {
        char *real = realpath(directory, NULL); /* rank 0 has made it */
        snprintf(store->directory, sizeof store->directory, "%s", real ? real : directory);
        free(real);
    }
    if (status) {
        tarn_checkpoint_store_close(store);
        return status;
    }
    *out = store;
    return TARN_OK;
}

void tarn_checkpoint_store_set_parts(tarn_checkpoint_store *store, int parts)
{
    store->wanted_parts = parts;
}

void tarn_checkpoint_store_close(tarn_checkpoint_store *store)
{
    if (!store) return;
    /* The state of the last snapshot is good whatever ended the run: it is written to its end. */
    if (store->writer) tarn_checkpoint_writer_wait(store->writer);
    tarn_checkpoint_poll(store);
    tarn_checkpoint_writer_destroy(store->writer);
    free_own(store);
    tarn_checkpoint_unlock(store->lock);
    free(store->texts);
    free(store);
}

/* ---- the writer's reports ---------------------------------------------------------------------------------------- */

void tarn_checkpoint_log_notes(tarn_checkpoint_store *store)
{
    for (int i = 0; i < store->note_count; i++)
        tarn_log(store->context, store->notes[i].level, "%s", store->notes[i].text);
    if (store->notes_lost)
        tarn_log(store->context, TARN_LOG_WARN, "checkpoint: %d more messages of the writer are lost",
                 store->notes_lost);
    store->note_count = store->notes_lost = 0;
}

void tarn_checkpoint_log_saved(tarn_checkpoint_store *store)
{
    const tarn_checkpoint_outcome *outcome = &store->outcome;
    store->persist_seconds = outcome->seconds;
    tarn_log(store->context, TARN_LOG_INFO, "saved step %" PRId64 ": %.1f MiB, durable after %.3f s", outcome->step,
             (double)outcome->bytes / (1 << 20), outcome->seconds);
}

/* Takes the outcome of a write that has ended; false: there is none. */
static bool take_outcome(tarn_checkpoint_store *store)
{
    if (!store->pending || tarn_checkpoint_writer_busy(store->writer)) return false;
    store->pending = false;
    tarn_checkpoint_log_notes(store);
    if (store->outcome.durable) {
        store->saved_step = store->outcome.step;
        tarn_checkpoint_log_saved(store);
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
    if (store->phase != TARN_CHECKPOINT_IDLE) return tarn_checkpoint_end_round(store);
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

/* ---- this rank's files ------------------------------------------------------------------------------------------- */

static void free_own(tarn_checkpoint_store *store)
{
    for (int i = 0; i < store->own_count; i++) {
        tarn_checkpoint_snapshot_destroy(store->own[i].snapshot);
        tarn_checkpoint_image_destroy(store->own[i].image);
    }
    free(store->own);
    store->own = NULL;
    store->own_count = store->parts = 0;
}

/* Rank k mod P writes part k; one file is rank 0's. */
static bool assign_parts(tarn_checkpoint_store *store, int parts, tarn_problem *problem)
{
    if (!store->writer && !tarn_checkpoint_writer_create(&store->writer, problem)) return false;
    if (store->parts == parts) return true;
    free_own(store);
    int rank = tarn_rank(store->context), ranks = tarn_ranks(store->context);
    int count = rank < parts ? (parts - 1 - rank) / ranks + 1 : 0;
    store->own = calloc((size_t)count + 1, sizeof *store->own);
    if (!store->own) return tarn_problem_set(problem, ENOMEM, "out of memory");
    for (; store->own_count < count; store->own_count++) {
        tarn_checkpoint_own *own = &store->own[store->own_count];
        own->part = rank + store->own_count * ranks;
        if (!(own->snapshot = tarn_checkpoint_snapshot_create()))
            return tarn_problem_set(problem, ENOMEM, "out of memory");
    }
    store->parts = parts;
    return true;
}

/* On the training thread: HDF5 is used on no other. Made anew when names, shapes or the capacity of a text have
 * changed.
 */
static bool make_template(tarn_checkpoint_own *own, const tarn_checkpoint_content *content, tarn_problem *problem)
{
    if (tarn_checkpoint_image_fits(own->image, content)) return true;
    tarn_checkpoint_image_destroy(own->image);
    own->image = NULL;
    return tarn_checkpoint_image_make(&own->image, content, problem);
}

/* Copies this rank's share, or (fresh not NULL) only makes room for it. */
static bool take_share(tarn_checkpoint_store *store, const tarn_checkpoint_request *request, bool *fresh,
                       tarn_problem *problem)
{
    const tarn_checkpoint_content whole = {.step = request->step,
                                           .entries = request->entries,
                                           .entry_count = request->entry_count,
                                           .texts = request->texts,
                                           .text_count = request->text_count};
    for (int i = 0; i < store->own_count; i++) {
        tarn_checkpoint_own *own = &store->own[i];
        tarn_checkpoint_part part = {.content = whole};
        if (store->parts > 1 && !tarn_checkpoint_cut(&part, &whole, own->part, store->parts, problem)) return false;
        bool new_pages = false;
        bool done = make_template(own, &part.content, problem);
        if (fresh) {
            done = done && tarn_checkpoint_snapshot_plan(own->snapshot, &part.content, &new_pages, problem);
            *fresh = *fresh || new_pages;
        } else {
            done = done && tarn_checkpoint_snapshot_take(own->snapshot, &part.content, request->workers, problem);
        }
        tarn_checkpoint_part_free(&part);
        if (!done) return false;
    }
    return true;
}

bool tarn_checkpoint_take(tarn_checkpoint_store *store, const tarn_checkpoint_request *request, tarn_problem *problem)
{
    return take_share(store, request, NULL, problem);
}

int64_t tarn_checkpoint_snapshot_bytes(const tarn_checkpoint_store *store, const tarn_checkpoint_entry *entries,
                                       int entry_count)
{
    int64_t bytes = tarn_checkpoint_state_bytes(entries, entry_count);
    int parts = tarn_checkpoint_part_count(bytes, store->wanted_parts);
    int rank = tarn_rank(store->context), ranks = tarn_ranks(store->context);
    int own = rank < parts ? (parts - 1 - rank) / ranks + 1 : 0;
    return bytes < 0 ? 0 : bytes / parts * own;
}

/* ---- taking ------------------------------------------------------------------------------------------------------ */

static void touch(void *argument)
{
    tarn_checkpoint_store *store = argument;
    for (int i = 0; i < store->own_count; i++) tarn_checkpoint_snapshot_touch(store->own[i].snapshot);
}

static tarn_status check_request(tarn_checkpoint_store *store, const tarn_checkpoint_request *request)
{
    if (request->step < 0 || request->step > 999999999999999999 || request->entry_count < 0 || request->text_count < 0)
        return tarn_fail(store->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "checkpoint: step %" PRId64 ", %d arrays, %d texts: out of range", request->step,
                         request->entry_count, request->text_count);
    return TARN_OK;
}

static tarn_status not_taken(tarn_checkpoint_store *store, int64_t step, const tarn_problem *problem)
{
    tarn_checkpoint_explain(store, step, problem);
    return tarn_fail(store->context, store->outcome.status, TARN_HERE, "%s", store->outcome.message);
}

static int parts_of(const tarn_checkpoint_store *store, const tarn_checkpoint_request *request)
{
    return tarn_checkpoint_part_count(tarn_checkpoint_state_bytes(request->entries, request->entry_count),
                                      store->wanted_parts);
}

tarn_status tarn_checkpoint_prepare(tarn_checkpoint_store *store, const tarn_checkpoint_request *request)
{
    tarn_status status = check_request(store, request);
    int parts = status ? 0 : parts_of(store, request);
    if (status || (parts == 1 && tarn_rank(store->context) != 0)) return status;
    if (store->writer) tarn_checkpoint_writer_wait(store->writer);
    tarn_problem problem = {0};
    bool fresh = false;
    if (!assign_parts(store, parts, &problem) || !take_share(store, request, &fresh, &problem))
        return not_taken(store, request->step, &problem);
    store->touching = fresh;
    if (fresh) tarn_checkpoint_writer_submit(store->writer, touch, store);
    return TARN_OK;
}

/* One file: rank 0's business alone. */
static tarn_status begin_file(tarn_checkpoint_store *store, const tarn_checkpoint_request *request, bool *begun)
{
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
    tarn_problem problem = {0};
    store->started = tarn_seconds();
    if (!assign_parts(store, 1, &problem) || !tarn_checkpoint_take(store, request, &problem))
        return not_taken(store, request->step, &problem);
    store->request = *request;
    store->pending = true;
    if (begun) *begun = true;
    tarn_checkpoint_writer_submit(store->writer, tarn_checkpoint_write_one, store);
    return TARN_OK;
}

tarn_status tarn_checkpoint_begin(tarn_checkpoint_store *store, const tarn_checkpoint_request *request, bool *begun)
{
    if (begun) *begun = false;
    tarn_status status = check_request(store, request);
    if (status) return status;
    int parts = parts_of(store, request);
    if (parts == 1) {
        if (store->phase != TARN_CHECKPOINT_IDLE) status = tarn_checkpoint_end_round(store); /* it has shrunk */
        store->agreed_parts = 1;
        return status || tarn_rank(store->context) != 0 ? status : begin_file(store, request, begun);
    }
    if (store->agreed_parts != parts) { /* the first one, or the state has grown; the same on all ranks */
        if (store->phase != TARN_CHECKPOINT_IDLE) status = tarn_checkpoint_end_round(store);
        if (store->writer) tarn_checkpoint_writer_wait(store->writer);
        tarn_checkpoint_poll(store);
        tarn_problem problem = {0};
        if (!status && !assign_parts(store, parts, &problem)) status = not_taken(store, request->step, &problem);
        status = tarn_agree(store->context, status, "taking a checkpoint in parts");
        store->agreed_parts = status ? 0 : parts;
    }
    return status ? status : tarn_checkpoint_begin_round(store, request, begun);
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
