/* round.c - a checkpoint in parts: how the ranks get from snapshots to one that is acknowledged, without a collective
 * call of their own.
 *
 * A round begins on all ranks at the same step. What each has to say (still writing, failed, disk full) rides on the
 * control word of the steps that follow; since the ORed votes are the same everywhere, all ranks go through the same
 * phases at the same steps. When nobody is still writing: rank 0 commits, or, when somebody failed, cleans up; after a
 * full disk it prunes first, and the same snapshots are written once more.
 *
 * Invariants
 *  1. The phase changes by agreed votes alone.
 *  2. The manifest is begun only after every rank voted that its parts are durable.
 *  3. The step is acknowledged on all ranks by the same vote, after rank 0's rename is durable.
 */
#include "checkpoint/store_internal.h"
#include "runtime/base/context.h"
#include "runtime/dist/control.h"

#include <inttypes.h>

static bool at_work(const tarn_checkpoint_store *store)
{
    return store->writer && tarn_checkpoint_writer_busy(store->writer);
}

static bool is_first(const tarn_checkpoint_store *store)
{
    return tarn_rank(store->context) == 0;
}

unsigned tarn_checkpoint_vote(const tarn_checkpoint_store *store)
{
    if (store->phase == TARN_CHECKPOINT_IDLE || (store->phase != TARN_CHECKPOINT_PARTS && !is_first(store))) return 0;
    if (at_work(store)) return TARN_CHECKPOINT_VOTE_WRITING;
    if (store->phase == TARN_CHECKPOINT_CLEANS || !store->outcome.status || store->outcome.durable) return 0;
    return TARN_CHECKPOINT_VOTE_FAILED | (store->outcome.disk_full ? TARN_CHECKPOINT_VOTE_FULL : 0);
}

static void tell_failure(tarn_checkpoint_store *store)
{
    if (store->outcome.status)
        tarn_log(store->context, TARN_LOG_ERROR, "checkpoint of step %" PRId64 ": %s", store->request.step,
                 store->outcome.message);
}

static void submit(tarn_checkpoint_store *store, tarn_checkpoint_phase phase, void (*job)(void *store))
{
    store->phase = phase;
    /* A rank whose copy failed has nothing to write, not even when the others write once more: its outcome stands. */
    if (phase == TARN_CHECKPOINT_PARTS ? store->taken && store->own_count > 0 : is_first(store))
        tarn_checkpoint_writer_submit(store->writer, job, store);
}

static void clean(tarn_checkpoint_store *store, unsigned votes)
{
    store->retry = (votes & TARN_CHECKPOINT_VOTE_FULL) && !store->retried;
    submit(store, TARN_CHECKPOINT_CLEANS, tarn_checkpoint_clean_parts);
}

static void acknowledge(tarn_checkpoint_store *store)
{
    store->phase = TARN_CHECKPOINT_IDLE;
    store->saved_step = store->request.step;
    if (!is_first(store)) {
        store->persist_seconds = tarn_seconds() - store->started;
        return;
    }
    tarn_checkpoint_log_notes(store);
    tarn_checkpoint_log_saved(store);
    tell_failure(store); /* that it could not become the best */
}

void tarn_checkpoint_voted(tarn_checkpoint_store *store, unsigned votes)
{
    if (store->phase == TARN_CHECKPOINT_IDLE || votes & TARN_CHECKPOINT_VOTE_WRITING) return;
    bool failed = votes & TARN_CHECKPOINT_VOTE_FAILED;
    switch (store->phase) {
    case TARN_CHECKPOINT_PARTS:
        if (failed) {
            tell_failure(store);
            clean(store, votes);
        } else {
            submit(store, TARN_CHECKPOINT_COMMITS, tarn_checkpoint_commit_parts);
        }
        break;
    case TARN_CHECKPOINT_COMMITS:
        if (failed) {
            if (is_first(store)) tell_failure(store);
            clean(store, votes);
        } else {
            acknowledge(store);
        }
        break;
    default:
        tarn_checkpoint_log_notes(store);
        if (store->retry) {
            store->retry = false;
            store->retried = true;
            store->attempt++;
            submit(store, TARN_CHECKPOINT_PARTS, tarn_checkpoint_write_parts);
        } else {
            store->phase = TARN_CHECKPOINT_IDLE;
            store->round_failed = true;
        }
        break;
    }
}

/* The same votes, exchanged at once. */
static tarn_status run_to_end(tarn_checkpoint_store *store)
{
    while (store->phase != TARN_CHECKPOINT_IDLE) {
        if (store->writer) tarn_checkpoint_writer_wait(store->writer);
        uint64_t votes = tarn_checkpoint_vote(store);
        tarn_status status =
            tarn_comm_or_all(tarn_get_comm(store->context), &votes, 1, "waiting for the parts of the checkpoint");
        if (status) return status;
        tarn_checkpoint_voted(store, (unsigned)votes);
    }
    return TARN_OK;
}

tarn_status tarn_checkpoint_end_round(tarn_checkpoint_store *store)
{
    if (store->phase == TARN_CHECKPOINT_IDLE) return TARN_OK;
    store->round_failed = false;
    tarn_status status = run_to_end(store);
    if (status || !store->round_failed) return status;
    /* The rank that failed knows why. */
    if (store->outcome.status)
        status = tarn_fail(store->context, store->outcome.status, TARN_HERE, "%s", store->outcome.message);
    return tarn_agree(store->context, status, "writing the checkpoint");
}

tarn_status tarn_checkpoint_begin_round(tarn_checkpoint_store *store, const tarn_checkpoint_request *request,
                                        bool *begun)
{
    if (store->phase != TARN_CHECKPOINT_IDLE && !request->must) {
        store->left_out++;
        if (is_first(store))
            tarn_log(store->context, TARN_LOG_INFO,
                     "checkpoint: that of step %" PRId64 " is left out: the one of step %" PRId64
                     " is still being written (%" PRId64 " left out so far; a greater checkpoint.every avoids it)",
                     request->step, store->request.step, store->left_out);
        return TARN_OK;
    }
    tarn_status status = run_to_end(store);
    if (status) return status;
    if (store->writer) tarn_checkpoint_writer_wait(store->writer); /* its memory may still be being touched */
    store->touching = false;
    tarn_problem problem = {0};
    store->started = tarn_seconds();
    store->outcome = (tarn_checkpoint_outcome){.step = request->step};
    store->taken = tarn_checkpoint_take(store, request, &problem);
    store->request = *request;
    store->attempt++;
    store->retried = store->retry = false;
    if (!store->taken) {
        /* The others have begun: this rank says so in its vote. */
        tarn_checkpoint_explain(store, request->step, &problem);
        store->outcome.disk_full = false; /* there is no snapshot to write once more */
    }
    submit(store, TARN_CHECKPOINT_PARTS, tarn_checkpoint_write_parts);
    if (begun) *begun = true;
    return TARN_OK;
}
