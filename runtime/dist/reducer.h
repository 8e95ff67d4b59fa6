/* reducer.h - sums the gradients of V shards over threads and ranks along the canonical tree, bucket by bucket,
 * beginning during backward.
 *
 * Life of a step:
 *   tarn_reducer_begin                                    main thread
 *   tarn_reducer_acquire(shard) -> buffer                 the thread that runs the shard; the buffer is uninitialised
 *   tarn_reducer_ready(shard, begin, end)                 same thread: this range of the shard's gradient is final
 *   tarn_reducer_release(shard)                           same thread: the shard's gradient is whole; it may be merged
 *   tarn_reducer_finish -> gradient, sum of squares       main thread; every rank gets the same bits
 * Shards of a rank must be acquired in ascending order within each worker, and worker w of W runs the shards
 * tarn_reducer_plan gives it, so that few buffers live at once (log2(V/P)+2 a worker).
 *
 * Invariants
 *  1. The bits depend on V alone.
 *  2. Every wait polls with a label and a deadline.
 *  3. Only one thread talks to the comm (the one that runs worker 0; others enqueue).
 *  4. A rank whose step failed still takes part, with zeros.
 */
#ifndef TARN_RUNTIME_REDUCER_H
#define TARN_RUNTIME_REDUCER_H

#include "runtime/dist/shards.h"
#include "runtime/worker/worker.h"
#include <tarn/sys/comm.h>

typedef struct tarn_reducer tarn_reducer;

typedef struct tarn_reducer_times {
    double seconds;         /* spent in reduction work and communication, in all (own sums, sends, waits) */
    double exposed_seconds; /* of these after the last shard's backward had ended */
    double wait_seconds;    /* of these waiting for peers */
    double bytes;           /* sent by this rank */
} tarn_reducer_times;

/* count values (a flat buffer), workers threads of this rank that run shards (leaders). bucket_bytes 0 = a
 * sixteenth of the buffer, at least 256 KiB and at most 4 MiB. All memory is taken here. */
tarn_status tarn_reducer_create(tarn_reducer **reducer, tarn_context *context, int shards, int64_t count, int leaders,
                                size_t bucket_bytes);
void tarn_reducer_destroy(tarn_reducer *reducer);
/* The shards that leader l of this rank runs, in ascending order. */
tarn_shard_range tarn_reducer_plan(const tarn_reducer *reducer, int leader);
tarn_status tarn_reducer_begin(tarn_reducer *reducer);
float *tarn_reducer_acquire(tarn_reducer *reducer, int shard);
void tarn_reducer_ready(tarn_reducer *reducer, int shard, int64_t begin, int64_t end);
/* Polls the communication; cheap, called between the ops of backward by leader 0's thread. */
void tarn_reducer_poll(tarn_reducer *reducer);
/* failed: the shard's gradient is to be taken as zeros, in all buckets that ready has not completed. (Others may have
 * left already; the control word makes every rank drop such a step.) */
void tarn_reducer_release(tarn_reducer *reducer, int shard, bool failed);
/* *gradient (count values, borrowed until the next begin) is the sum over all V shards. *sum_of_squares is the sum of
 * gradient[i]^2 as double partials over fixed blocks of 4096 values (16 strided lanes of double, 8-4-2-1), added in
 * index order. */
tarn_status tarn_reducer_finish(tarn_reducer *reducer, float **gradient, double *sum_of_squares);
void tarn_reducer_get_times(const tarn_reducer *reducer, tarn_reducer_times *times);

#endif
