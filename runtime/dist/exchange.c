/* exchange.c - the sum over ranks: owner computes.
 *
 * A segment is cut into one slice a rank. Each rank sends its items' values of a slice to the slice's owner; the owner
 * adds all items along the canonical tree, takes the sums of squares while the result is in cache, and gives both to
 * everybody.
 *
 * Invariants
 *  1. Segments start in order, at most TARN_REDUCER_WINDOW at once, so the lowest unfinished segment always advances
 *     and no order of readiness can block.
 *  2. Between two ranks, messages of one kind of one segment have their own tag and the same order on both sides.
 *  3. A slice is received in place only after this rank's own items of it have been sent.
 *  4. Nothing here blocks.
 */
#include "runtime/dist/reducer_internal.h"
#include "runtime/base/context.h"
#include "runtime/comm/agree.h"
#include "runtime/comm/comm.h"
#include "runtime/monitor/monitor.h"

#include <stdio.h>
#include <stdlib.h>

enum { KIND_ITEM, KIND_SLICE, KIND_SQUARES };

/* Below 32767, which every MPI allows. */
static int tag_of(int segment, int kind)
{
    return 64 + 4 * (segment & 0xfff) + kind;
}

/* The slice of a segment that `rank` owns: whole blocks, except for the end of the buffer. May be empty. */
static void slice_of(const tarn_reducer *reducer, const reducer_segment *segment, int rank, int64_t *begin,
                     int64_t *end)
{
    int64_t blocks = (segment->end - segment->begin + TARN_SUM_BLOCK - 1) / TARN_SUM_BLOCK;
    *begin = segment->begin + blocks * rank / reducer->ranks * TARN_SUM_BLOCK;
    *end = segment->begin + blocks * (rank + 1) / reducer->ranks * TARN_SUM_BLOCK;
    if (*begin > segment->end) *begin = segment->end;
    if (*end > segment->end) *end = segment->end;
}

static int64_t blocks_of(int64_t begin, int64_t end)
{
    return (end - begin + TARN_SUM_BLOCK - 1) / TARN_SUM_BLOCK;
}

/* ---- building ---------------------------------------------------------------------------------------------------- */

static bool requests_create(reducer_requests *requests, int capacity)
{
    requests->request = calloc((size_t)capacity + 1, sizeof *requests->request);
    return requests->request;
}

bool tarn_reducer_exchange_build(tarn_reducer *reducer)
{
    int64_t most = (int64_t)reducer->ranks * TARN_REDUCER_SLICE;
    int64_t per_bucket = reducer->bucket_values ? (reducer->bucket_values + most - 1) / most : 1;
    reducer->segment = malloc(sizeof *reducer->segment * ((size_t)per_bucket * (size_t)reducer->buckets + 1));
    if (!reducer->segment) return false;
    int64_t largest = 0;
    for (int b = 0; b < reducer->buckets; b++) {
        int64_t begin = b * reducer->bucket_values;
        int64_t end = begin + reducer->bucket_values < reducer->count ? begin + reducer->bucket_values : reducer->count;
        for (; begin < end; begin += most) {
            reducer_segment *segment = &reducer->segment[reducer->segments++];
            *segment = (reducer_segment){begin, end - begin < most ? end : begin + most, b};
            int64_t from, to;
            slice_of(reducer, segment, reducer->rank, &from, &to);
            if (to - from > largest) largest = to - from;
        }
    }
    int peers = reducer->ranks - 1, foreign = reducer->items - reducer->own_items;
    for (int w = 0; w < TARN_REDUCER_WINDOW; w++) {
        reducer_slot *slot = &reducer->slot[w];
        slot->segment = -1;
        size_t bytes = sizeof(float) * (size_t)largest * (size_t)foreign;
        slot->staging = aligned_alloc(64, (bytes + 127) / 64 * 64);
        slot->operand = malloc(sizeof *slot->operand * (size_t)reducer->items);
        if (!slot->staging || !slot->operand || !requests_create(&slot->receive, foreign) ||
            !requests_create(&slot->send, peers * reducer->own_items) || !requests_create(&slot->give, 2 * peers) ||
            !requests_create(&slot->take, 2 * peers))
            return false;
    }
    return true;
}

void tarn_reducer_exchange_free(tarn_reducer *reducer)
{
    for (int w = 0; w < TARN_REDUCER_WINDOW; w++) {
        reducer_slot *slot = &reducer->slot[w];
        free(slot->staging);
        free(slot->operand);
        free(slot->receive.request);
        free(slot->send.request);
        free(slot->give.request);
        free(slot->take.request);
    }
    free(reducer->segment);
}

void tarn_reducer_exchange_begin(tarn_reducer *reducer)
{
    reducer->next_segment = reducer->done_segments = 0;
}

/* ---- starting messages ------------------------------------------------------------------------------------------- */

static bool start(tarn_reducer *reducer, reducer_requests *requests, bool sending, void *data, size_t bytes, int peer,
                  int tag)
{
    tarn_comm *comm = reducer->comm;
    tarn_request *request = &requests->request[requests->count];
    tarn_status status = sending ? comm->send(comm, data, bytes, peer, tag, request)
                                 : comm->receive(comm, data, bytes, peer, tag, request);
    if (status) {
        reducer->status = status;
        return false;
    }
    requests->count++;
    if (sending) reducer->bytes += (double)bytes;
    return true;
}

/* Items of all peers' shards for the slice this rank owns come in; items of its own go to the other slices' owners. */
static void start_segment(tarn_reducer *reducer, reducer_slot *slot, int index)
{
    const reducer_segment *segment = &reducer->segment[index];
    int tag = tag_of(index, KIND_ITEM);
    slot->segment = index;
    slot->combined = slot->taking = false;
    slot->receive.count = slot->receive.done = slot->send.count = slot->send.done = 0;
    slot->give.count = slot->give.done = slot->take.count = slot->take.done = 0;
    int64_t begin, end;
    slice_of(reducer, segment, reducer->rank, &begin, &end);
    float *staging = slot->staging;
    for (int i = 0; i < reducer->items; i++) {
        const reducer_item *item = &reducer->item[i];
        slot->operand[i] = item->rank == reducer->rank ? item->buffer + begin : staging;
        if (item->rank == reducer->rank || begin == end) continue;
        if (!start(reducer, &slot->receive, false, staging, sizeof(float) * (size_t)(end - begin), item->rank, tag))
            return;
        staging += end - begin;
    }
    for (int d = 1; d < reducer->ranks; d++) {
        int peer = (reducer->rank + d) % reducer->ranks;
        slice_of(reducer, segment, peer, &begin, &end);
        for (int i = 0; i < reducer->own_items && begin < end; i++)
            if (!start(reducer, &slot->send, true, reducer->item[reducer->first_item + i].buffer + begin,
                       sizeof(float) * (size_t)(end - begin), peer, tag))
                return;
    }
}

typedef struct combine_work {
    const tarn_sum_tree *tree;
    float *const *operand;
    float *out;
    double *squares;
} combine_work;

static void combine_range(void *argument, int64_t begin, int64_t end, int member)
{
    const combine_work *work = argument;
    (void)member;
    tarn_sum_along(work->tree, work->operand, work->out, begin, end, work->squares);
}

/* Every item of this rank's slice is here: add them, and give the sum to everybody. */
static void combine(tarn_reducer *reducer, reducer_slot *slot, tarn_workers *workers)
{
    slot->combined = true;
    int64_t begin, end;
    slice_of(reducer, &reducer->segment[slot->segment], reducer->rank, &begin, &end);
    if (begin == end) return;
    float *out = reducer->item[reducer->first_item].buffer + begin;
    double *squares = reducer->squares + begin / TARN_SUM_BLOCK;
    combine_work work = {&reducer->tree, slot->operand, out, squares};
    tarn_workers_for(workers, end - begin, 8 * TARN_SUM_BLOCK, combine_range, &work);
    for (int d = 1; d < reducer->ranks; d++) {
        int peer = (reducer->rank + d) % reducer->ranks;
        if (!start(reducer, &slot->give, true, out, sizeof(float) * (size_t)(end - begin), peer,
                   tag_of(slot->segment, KIND_SLICE)) ||
            !start(reducer, &slot->give, true, squares, sizeof(double) * (size_t)blocks_of(begin, end), peer,
                   tag_of(slot->segment, KIND_SQUARES)))
            return;
    }
}

/* Own items have left: the finished slices may come in their place. */
static void take(tarn_reducer *reducer, reducer_slot *slot)
{
    slot->taking = true;
    float *gradient = reducer->item[reducer->first_item].buffer;
    for (int d = 1; d < reducer->ranks; d++) {
        int peer = (reducer->rank + d) % reducer->ranks;
        int64_t begin, end;
        slice_of(reducer, &reducer->segment[slot->segment], peer, &begin, &end);
        if (begin == end) continue;
        if (!start(reducer, &slot->take, false, gradient + begin, sizeof(float) * (size_t)(end - begin), peer,
                   tag_of(slot->segment, KIND_SLICE)) ||
            !start(reducer, &slot->take, false, reducer->squares + begin / TARN_SUM_BLOCK,
                   sizeof(double) * (size_t)blocks_of(begin, end), peer, tag_of(slot->segment, KIND_SQUARES)))
            return;
    }
}

/* ---- progress ---------------------------------------------------------------------------------------------------- */

static bool advance(tarn_reducer *reducer, reducer_requests *requests)
{
    bool moved = false;
    while (requests->done < requests->count) {
        bool done = false;
        tarn_status status = reducer->comm->test(reducer->comm, &requests->request[requests->done], &done);
        if (status) reducer->status = status;
        if (status || !done) break;
        requests->done++;
        moved = true;
    }
    return moved;
}

static bool whole(const reducer_requests *requests)
{
    return requests->done == requests->count;
}

static bool progress_slot(tarn_reducer *reducer, reducer_slot *slot, tarn_workers *workers)
{
    bool moved = advance(reducer, &slot->receive) | advance(reducer, &slot->send);
    if (!reducer->status && !slot->taking && whole(&slot->send)) {
        take(reducer, slot);
        moved = true;
    }
    if (!reducer->status && !slot->combined && whole(&slot->receive)) {
        combine(reducer, slot, workers);
        moved = true;
    }
    if (reducer->status) return false;
    if (slot->combined) moved |= advance(reducer, &slot->give);
    if (slot->taking) moved |= advance(reducer, &slot->take);
    if (reducer->status) return false;
    if (slot->combined && slot->taking && whole(&slot->give) && whole(&slot->take)) {
        slot->segment = -1;
        reducer->done_segments++;
        moved = true;
    }
    return moved;
}

bool tarn_reducer_exchange_progress(tarn_reducer *reducer, tarn_workers *workers)
{
    bool moved = false;
    while (!reducer->status && reducer->next_segment < reducer->segments) {
        reducer_slot *slot = &reducer->slot[reducer->next_segment % TARN_REDUCER_WINDOW];
        int bucket = reducer->segment[reducer->next_segment].bucket;
        if (slot->segment >= 0 || !atomic_load_explicit(&reducer->ready[bucket], memory_order_acquire)) break;
        start_segment(reducer, slot, reducer->next_segment++);
        moved = true;
    }
    /* The oldest first: it is what the others wait for. */
    int first = reducer->next_segment > TARN_REDUCER_WINDOW ? reducer->next_segment - TARN_REDUCER_WINDOW : 0;
    for (int s = first; s < reducer->next_segment && !reducer->status; s++) {
        reducer_slot *slot = &reducer->slot[s % TARN_REDUCER_WINDOW];
        if (slot->segment == s) moved |= progress_slot(reducer, slot, workers);
    }
    if (moved) tarn_monitor_progress(reducer->context);
    return moved;
}

/* The segment that all later ones wait for; NULL before the first. */
static const reducer_slot *oldest_slot(const tarn_reducer *reducer, int *segment)
{
    *segment = reducer->next_segment - 1;
    for (int w = 0; w < TARN_REDUCER_WINDOW; w++)
        if (reducer->slot[w].segment >= 0 && reducer->slot[w].segment < *segment) *segment = reducer->slot[w].segment;
    return *segment < 0 ? NULL : &reducer->slot[*segment % TARN_REDUCER_WINDOW];
}

/* The rank that the request `done` of a phase waits for: items come in their order, slices from and to the ranks behind
 * this one in turn, `each` requests a rank that owns a part of the segment. */
static int peer_of_item(const tarn_reducer *reducer, const reducer_requests *requests)
{
    int received = 0;
    for (int i = 0; i < reducer->items; i++)
        if (reducer->item[i].rank != reducer->rank && received++ == requests->done) return reducer->item[i].rank;
    return -1;
}

static int peer_of_slice(const tarn_reducer *reducer, const reducer_segment *segment, int request, int each, bool empty)
{
    int seen = 0;
    for (int d = 1; d < reducer->ranks; d++) {
        int peer = (reducer->rank + d) % reducer->ranks;
        int64_t begin, end;
        slice_of(reducer, segment, peer, &begin, &end);
        if (begin == end && !empty) continue; /* nothing travels for an empty slice */
        seen += each;
        if (request < seen) return peer;
    }
    return -1;
}

/* "rank 2", or "the other ranks" when it is not known. */
static void name_missing(const tarn_reducer *reducer, char *out, size_t size, int *segment)
{
    snprintf(out, size, "the other ranks");
    const reducer_slot *slot = oldest_slot(reducer, segment);
    if (!slot) return;
    const reducer_segment *range = &reducer->segment[*segment];
    int peer = -1;
    if (!whole(&slot->receive))
        peer = peer_of_item(reducer, &slot->receive);
    else if (!whole(&slot->send))
        peer = peer_of_slice(reducer, range, slot->send.done, reducer->own_items, false);
    else if (slot->taking && !whole(&slot->take))
        peer = peer_of_slice(reducer, range, slot->take.done, 2, false);
    else if (slot->combined && !whole(&slot->give))
        peer = peer_of_slice(reducer, range, slot->give.done, 2, true);
    if (peer >= 0) snprintf(out, size, "rank %d", peer);
}

static tarn_status too_late(tarn_reducer *reducer, double seconds)
{
    char who[32];
    int segment;
    name_missing(reducer, who, sizeof who, &segment);
    return tarn_fail(
        reducer->context, TARN_ERROR_COMM, TARN_HERE,
        "rank %d waited %.0f s for %s at: reducing the gradients (segment %d of %d). It has died, hangs, or took "
        "another way; a run with longer pauses sets TARN_COMM_TIMEOUT (seconds)",
        reducer->rank, seconds, who, segment + 1, reducer->segments);
}

tarn_status tarn_reducer_exchange_finish(tarn_reducer *reducer, tarn_workers *workers)
{
    double idle_since = 0, seconds;
    unsigned waited = 0;
    char who[32];
    int segment;
    tarn_comm_patience patience = {.context = reducer->context};
    while (!reducer->status && reducer->done_segments < reducer->segments) {
        if (tarn_reducer_exchange_progress(reducer, workers)) {
            if (idle_since > 0) reducer->wait_seconds += tarn_seconds() - idle_since;
            idle_since = 0;
            waited = 0;
            tarn_comm_waited(&patience);
            continue;
        }
        if (idle_since == 0) idle_since = tarn_seconds();
        tarn_comm_pause(reducer->comm, &waited);
        if (waited % 64) continue;
        if ((reducer->status = tarn_comm_announce_poll(reducer->comm))) break;
        if (patience.begin == 0) name_missing(reducer, who, sizeof who, &segment);
        if (tarn_comm_too_long(&patience, who, &seconds)) reducer->status = too_late(reducer, seconds);
    }
    tarn_comm_waited(&patience);
    return reducer->status;
}
