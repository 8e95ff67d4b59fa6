/* reducer_internal.h - what the files of the reducer share.
 *
 *   plan.c      which buffer each shard gets, what is merged into what: all fixed at create
 *   exchange.c  sums over ranks, segment by segment: the only part that talks to the comm
 *   reducer.c   the life of a step
 *
 * Words: a *piece* is a subtree whose sum a leader holds at the end of its shards; an *item* is a maximal subtree of a
 * rank's shards, made of pieces; a *bucket* is the range that becomes ready at once; a *segment* is the part of a
 * bucket that travels at once, cut into one *slice* a rank, which that rank owns.
 */
#ifndef TARN_RUNTIME_DIST_REDUCER_INTERNAL_H
#define TARN_RUNTIME_DIST_REDUCER_INTERNAL_H

#include "runtime/dist/reducer.h"
#include "runtime/dist/sum.h"

#include <stdatomic.h>

/* Segments under way at once. */
#define TARN_REDUCER_WINDOW 4
/* Largest slice, in values: 1 MiB. */
#define TARN_REDUCER_SLICE      (256 * 1024)
#define TARN_REDUCER_MAX_MERGES 34

/* A local shard: where its gradient goes, and what becomes whole with it: operand[0] += operand[1] + ..., nested to the
 * right, the shard's own buffer last. */
typedef struct reducer_shard {
    int leader;
    bool last; /* of its leader */
    float *buffer;
    int operands;
    float *operand[TARN_REDUCER_MAX_MERGES];
} reducer_shard;

typedef struct reducer_piece {
    tarn_shard_range range;
    float *buffer;
} reducer_piece;

typedef struct reducer_leader {
    _Alignas(64) tarn_shard_range range;
    int next;                     /* the shard to be acquired next */
    bool running;                 /* it has been acquired */
    int64_t *left;                /* of each bucket: values not yet ready in the running shard */
    double seconds, late_seconds; /* merging; of this, in the last release */
} reducer_leader;

typedef struct reducer_item {
    tarn_shard_range range;
    int rank;
    float *buffer;      /* of an item of this rank: its first operand, which becomes the sum */
    tarn_sum_tree tree; /* over the pieces; of an item of this rank */
    float **operand;
} reducer_item;

typedef struct reducer_segment {
    int64_t begin, end;
    int bucket;
} reducer_segment;

/* Requests that are waited for in order. */
typedef struct reducer_requests {
    tarn_request *request;
    int count, done;
} reducer_requests;

/* A segment under way. */
typedef struct reducer_slot {
    int segment;                    /* -1: none */
    float *staging;                 /* peers' items of the slice this rank owns */
    float **operand;                /* all items of this slice, in tree order */
    reducer_requests receive, send; /* items, to their owners */
    reducer_requests give, take;    /* finished slices and their sums of squares, from their owners */
    bool combined, taking;
} reducer_slot;

struct tarn_reducer {
    tarn_context *context;
    tarn_comm *comm;
    int shards, ranks, rank;
    int leaders;
    int64_t count;
    tarn_shard_range range;
    reducer_shard *shard;   /* of range.begin, ... */
    reducer_leader *leader; /* [leaders] */
    float **buffers;
    int buffer_count;
    tarn_sum_tree chain[TARN_REDUCER_MAX_MERGES + 1]; /* [k]: k operands nested to the right */

    reducer_item *item; /* all ranks' items in tree order */
    int items, first_item, own_items;
    tarn_sum_tree tree; /* over the items */

    int64_t bucket_values;
    int buckets;
    atomic_int *arrived; /* [buckets] leaders whose pieces are whole there */
    atomic_int *ready;   /* [buckets] items are whole there */

    int64_t blocks;
    double *squares; /* [blocks] */

    reducer_segment *segment;
    int segments, next_segment, done_segments;
    reducer_slot slot[TARN_REDUCER_WINDOW];

    bool begun;
    tarn_status status; /* of the communication */
    double poll_seconds, finish_seconds, wait_seconds, bytes;
};

/* ---- plan.c: all return false when memory is out */
bool tarn_reducer_plan_build(tarn_reducer *reducer);
void tarn_reducer_plan_free(tarn_reducer *reducer);

/* ---- exchange.c: for ranks > 1 */
bool tarn_reducer_exchange_build(tarn_reducer *reducer);
void tarn_reducer_exchange_free(tarn_reducer *reducer);
void tarn_reducer_exchange_begin(tarn_reducer *reducer);
/* Starts what is ready, finishes what has arrived. True when anything moved. `workers` may share sums; NULL = this
 * thread. */
bool tarn_reducer_exchange_progress(tarn_reducer *reducer, tarn_workers *workers);
/* Until all segments are done, or an error, or the deadline. */
tarn_status tarn_reducer_exchange_finish(tarn_reducer *reducer, tarn_workers *workers);

#endif
