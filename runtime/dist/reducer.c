/* reducer.c - the life of a step's reduction: see reducer.h, and reducer_internal.h for the words.
 *
 * Who adds what: a leader merges its own shards bucket by bucket as they become ready, while the values are in its
 * cache. Several leaders' pieces are added by the leader that comes last to a bucket when the ranks wait for it, and by
 * all workers at the end when there is one rank. Sums over ranks are exchange.c's.
 */
#include "runtime/dist/reducer_internal.h"
#include "runtime/base/context.h"

#include <stdlib.h>
#include <string.h>

#define TARN_BUCKET_LEAST ((size_t)256 << 10)
#define TARN_BUCKET_MOST  ((size_t)4 << 20)

static void bucket_range(const tarn_reducer *reducer, int bucket, int64_t *begin, int64_t *end)
{
    *begin = bucket * reducer->bucket_values;
    *end = *begin + reducer->bucket_values < reducer->count ? *begin + reducer->bucket_values : reducer->count;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void choose_buckets(tarn_reducer *reducer, size_t bytes)
{
    if (!bytes) {
        bytes = sizeof(float) * (size_t)reducer->count / 16;
        if (bytes < TARN_BUCKET_LEAST) bytes = TARN_BUCKET_LEAST;
        if (bytes > TARN_BUCKET_MOST) bytes = TARN_BUCKET_MOST;
    }
    int64_t blocks = (int64_t)(bytes / sizeof(float)) / TARN_SUM_BLOCK;
    reducer->bucket_values = (blocks ? blocks : 1) * TARN_SUM_BLOCK;
    reducer->buckets = (int)((reducer->count + reducer->bucket_values - 1) / reducer->bucket_values);
    reducer->blocks = (reducer->count + TARN_SUM_BLOCK - 1) / TARN_SUM_BLOCK;
}

tarn_status tarn_reducer_create(tarn_reducer **out, tarn_context *context, int shards, int64_t count, int leaders,
                                size_t bucket_bytes)
{
    *out = NULL;
    tarn_comm *comm = tarn_get_comm(context);
    if (shards < comm->ranks)
        return tarn_fail(
            context, TARN_ERROR_ARGUMENT, TARN_HERE,
            "%d ranks for %d shard%s: every rank needs a shard of its own; start at most %d rank%s, or ask for "
            "%d shards or more",
            comm->ranks, shards, shards == 1 ? "" : "s", shards, shards == 1 ? "" : "s", comm->ranks);
    if (count < 0 || leaders < 1)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "reducer of %lld values for %d leaders: both must be positive", (long long)count, leaders);
    tarn_reducer *reducer = calloc(1, sizeof *reducer);
    if (!reducer) goto no_memory;
    reducer->context = context;
    reducer->comm = comm;
    reducer->shards = shards;
    reducer->ranks = comm->ranks;
    reducer->rank = comm->rank;
    reducer->count = count;
    reducer->range = tarn_shards_of_rank(shards, comm->ranks, comm->rank);
    int local = reducer->range.end - reducer->range.begin;
    reducer->leaders = leaders < local ? leaders : local;
    choose_buckets(reducer, bucket_bytes);
    reducer->arrived = calloc((size_t)reducer->buckets + 1, sizeof *reducer->arrived);
    reducer->ready = calloc((size_t)reducer->buckets + 1, sizeof *reducer->ready);
    reducer->squares = calloc((size_t)reducer->blocks + 1, sizeof *reducer->squares);
    if (!reducer->arrived || !reducer->ready || !reducer->squares || !tarn_reducer_plan_build(reducer) ||
        (reducer->ranks > 1 && !tarn_reducer_exchange_build(reducer)))
        goto no_memory;
    *out = reducer;
    return TARN_OK;
no_memory:
    tarn_reducer_destroy(reducer);
    return tarn_fail(
        context, TARN_ERROR_MEMORY, TARN_HERE,
        "no memory for the gradients of %lld parameters: use fewer threads or shards per rank, or more ranks",
        (long long)count);
}

void tarn_reducer_destroy(tarn_reducer *reducer)
{
    if (!reducer) return;
    tarn_reducer_exchange_free(reducer);
    tarn_reducer_plan_free(reducer);
    free(reducer->arrived);
    free(reducer->ready);
    free(reducer->squares);
    free(reducer);
}

tarn_shard_range tarn_reducer_plan(const tarn_reducer *reducer, int leader)
{
    if (leader < 0 || leader >= reducer->leaders) return (tarn_shard_range){reducer->range.end, reducer->range.end};
    return reducer->leader[leader].range;
}

tarn_status tarn_reducer_begin(tarn_reducer *reducer)
{
    if (reducer->status) return reducer->status;
    if (reducer->begun)
        return tarn_fail(reducer->context, TARN_ERROR_STATE, TARN_HERE,
                         "a reduction begins before the last one was finished");
    reducer->begun = true;
    for (int l = 0; l < reducer->leaders; l++) {
        reducer_leader *leader = &reducer->leader[l];
        leader->next = leader->range.begin;
        leader->running = false;
        leader->seconds = leader->late_seconds = 0;
    }
    for (int b = 0; b < reducer->buckets; b++) {
        atomic_store_explicit(&reducer->arrived[b], 0, memory_order_relaxed);
        atomic_store_explicit(&reducer->ready[b], 0, memory_order_relaxed);
    }
    reducer->poll_seconds = reducer->finish_seconds = reducer->wait_seconds = reducer->bytes = 0;
    if (reducer->ranks > 1) tarn_reducer_exchange_begin(reducer);
    return TARN_OK;
}

/* ---- shards ------------------------------------------------------------------------------------------------------ */

static reducer_shard *shard_at(tarn_reducer *reducer, int shard)
{
    bool mine = shard >= reducer->range.begin && shard < reducer->range.end;
    return mine ? &reducer->shard[shard - reducer->range.begin] : NULL;
}

float *tarn_reducer_acquire(tarn_reducer *reducer, int shard)
{
    reducer_shard *plan = shard_at(reducer, shard);
    reducer_leader *leader = plan ? &reducer->leader[plan->leader] : NULL;
    if (!leader || leader->running || leader->next != shard) {
        tarn_fail(reducer->context, TARN_ERROR_INTERNAL, TARN_HERE,
                  "shard %d is acquired out of turn (this rank runs shards %d to %d, each leader in ascending order)",
                  shard, reducer->range.begin, reducer->range.end - 1);
        return NULL;
    }
    leader->running = true;
    for (int b = 0; b < reducer->buckets; b++) {
        int64_t begin, end;
        bucket_range(reducer, b, &begin, &end);
        leader->left[b] = end - begin;
    }
    return plan->buffer;
}

/* A bucket of a shard is whole: merge what it closes, and tell when all leaders' pieces are whole there. */
static void complete(tarn_reducer *reducer, const reducer_shard *plan, int bucket)
{
    int64_t begin, end;
    bucket_range(reducer, bucket, &begin, &end);
    bool total = plan->last && reducer->ranks == 1 && reducer->leaders == 1;
    if (plan->operands > 1 || total)
        tarn_sum_along(&reducer->chain[plan->operands], plan->operand, plan->operand[0], begin, end,
                       total ? reducer->squares : NULL);
    if (!plan->last || reducer->ranks == 1) return;
    if (atomic_fetch_add_explicit(&reducer->arrived[bucket], 1, memory_order_acq_rel) + 1 < reducer->leaders) return;
    for (int i = 0; i < reducer->own_items; i++) {
        const reducer_item *item = &reducer->item[reducer->first_item + i];
        if (item->tree.operands > 1) tarn_sum_along(&item->tree, item->operand, item->buffer, begin, end, NULL);
    }
    atomic_store_explicit(&reducer->ready[bucket], 1, memory_order_release);
}

void tarn_reducer_ready(tarn_reducer *reducer, int shard, int64_t begin, int64_t end)
{
    reducer_shard *plan = shard_at(reducer, shard);
    if (!plan || begin >= end) return;
    reducer_leader *leader = &reducer->leader[plan->leader];
    if (!leader->running || leader->next != shard) return;
    double since = 0;
    for (int64_t b = begin / reducer->bucket_values; b < reducer->buckets && b * reducer->bucket_values < end; b++) {
        int64_t from, to;
        bucket_range(reducer, (int)b, &from, &to);
        int64_t part = (end < to ? end : to) - (begin > from ? begin : from);
        if (part <= 0 || leader->left[b] <= 0) continue;
        if ((leader->left[b] -= part) > 0) continue;
        if (since == 0) since = tarn_seconds();
        complete(reducer, plan, (int)b);
    }
    if (since > 0) leader->seconds += tarn_seconds() - since;
    if (plan->leader == 0) tarn_reducer_poll(reducer);
}

void tarn_reducer_poll(tarn_reducer *reducer)
{
    if (reducer->ranks == 1 || reducer->status) return;
    /* Nothing under way and nothing to start: not even a look at the clock. */
    if (reducer->done_segments == reducer->next_segment &&
        (reducer->next_segment == reducer->segments ||
         !atomic_load_explicit(&reducer->ready[reducer->segment[reducer->next_segment].bucket], memory_order_relaxed)))
        return;
    double since = tarn_seconds();
    tarn_reducer_exchange_progress(reducer, NULL);
    reducer->poll_seconds += tarn_seconds() - since;
}

static void release(tarn_reducer *reducer, const reducer_shard *plan, bool failed)
{
    reducer_leader *leader = &reducer->leader[plan->leader];
    double since = tarn_seconds();
    for (int b = 0; b < reducer->buckets; b++) {
        if (leader->left[b] <= 0) continue;
        int64_t begin, end;
        bucket_range(reducer, b, &begin, &end);
        if (failed) memset(plan->buffer + begin, 0, sizeof(float) * (size_t)(end - begin));
        leader->left[b] = 0;
        complete(reducer, plan, b);
    }
    leader->running = false;
    leader->next++;
    double seconds = tarn_seconds() - since;
    leader->seconds += seconds;
    if (plan->last) leader->late_seconds = seconds;
}

void tarn_reducer_release(tarn_reducer *reducer, int shard, bool failed)
{
    reducer_shard *plan = shard_at(reducer, shard);
    if (!plan) return;
    reducer_leader *leader = &reducer->leader[plan->leader];
    if (!leader->running || leader->next != shard) return;
    release(reducer, plan, failed);
    if (plan->leader == 0) tarn_reducer_poll(reducer);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* Shards that were never run (the rank failed before) count as zeros: the other ranks wait for them. */
static void release_missing(tarn_reducer *reducer)
{
    for (int l = 0; l < reducer->leaders; l++) {
        reducer_leader *leader = &reducer->leader[l];
        while (leader->next < leader->range.end) {
            int shard = leader->next;
            if (leader->running || tarn_reducer_acquire(reducer, shard))
                release(reducer, shard_at(reducer, shard), true);
        }
    }
}

static void sum_leaders(void *argument, int64_t begin, int64_t end, int member)
{
    tarn_reducer *reducer = argument;
    const reducer_item *item = &reducer->item[0];
    (void)member;
    tarn_sum_along(&item->tree, item->operand, item->buffer, begin, end, reducer->squares);
}

tarn_status tarn_reducer_finish(tarn_reducer *reducer, float **gradient, double *sum_of_squares)
{
    *gradient = NULL;
    *sum_of_squares = 0;
    if (!reducer->begun)
        return tarn_fail(reducer->context, TARN_ERROR_STATE, TARN_HERE, "a reduction is finished that was not begun");
    reducer->begun = false;
    double since = tarn_seconds();
    release_missing(reducer);
    tarn_workers *workers = tarn_threads(reducer->context) > 1 ? tarn_context_workers(reducer->context) : NULL;
    if (reducer->ranks > 1)
        tarn_reducer_exchange_finish(reducer, workers);
    else if (reducer->leaders > 1)
        tarn_workers_for(workers, reducer->count, 4 * TARN_SUM_BLOCK, sum_leaders, reducer);
    if (!reducer->status) {
        *gradient = reducer->item[reducer->first_item].buffer;
        for (int64_t block = 0; block < reducer->blocks; block++) *sum_of_squares += reducer->squares[block];
    }
    reducer->finish_seconds = tarn_seconds() - since;
    return reducer->status;
}

void tarn_reducer_get_times(const tarn_reducer *reducer, tarn_reducer_times *times)
{
    /* Leaders merge side by side: their mean is what the rank spent. */
    double merging = 0, late = 0;
    for (int l = 0; l < reducer->leaders; l++) {
        merging += reducer->leader[l].seconds / reducer->leaders;
        if (reducer->leader[l].late_seconds > late) late = reducer->leader[l].late_seconds;
    }
    times->seconds = merging + reducer->poll_seconds + reducer->finish_seconds;
    times->exposed_seconds = late + reducer->finish_seconds;
    times->wait_seconds = reducer->wait_seconds;
    times->bytes = reducer->bytes;
    if (times->exposed_seconds > times->seconds) times->exposed_seconds = times->seconds;
}
