/* loader.h - which sample stands where, and the batches of a step, prefetched in the background.
 *
 * Position p of the run (step * batch + row of the global batch) reads sample perm(seed, p / length)[p % length] of the
 * training set: a pure function. Evaluation reads samples 0..length-1 in order, the last batch padded.
 */
#ifndef TARN_DATA_LOADER_H
#define TARN_DATA_LOADER_H

#include <tarn/data.h>

typedef struct tarn_loader tarn_loader;

/* One slot of rows as plain memory; the trainer makes the tensors. Valid until the next get of the same slot. */
typedef struct tarn_rows {
    const void *inputs, *targets;
    int64_t samples; /* rows, padding included */
    int64_t valid;   /* rows that are no padding */
    int64_t count;   /* valid targets in them: see tarn_batch.count */
    int64_t first;   /* global position of row 0 */
} tarn_rows;

typedef struct tarn_loader_options {
    uint64_t seed;
    int64_t batch; /* samples of a global batch */
    int64_t slots; /* the parts a global batch is cut into: shards * accumulate, each batch / slots rows */
    int64_t slot_begin, slot_end; /* those this rank reads */
    bool evaluation;              /* in order, padded, no wrap */
    bool prefetch;                /* a thread reads the next step while this one computes */
} tarn_loader_options;

tarn_status tarn_loader_create(tarn_loader **loader, tarn_context *context, tarn_dataset *dataset,
                               const tarn_loader_options *options);
void tarn_loader_destroy(tarn_loader *loader);
/* Makes the rows of global step `step` available (waits for the prefetch) and starts reading step + 1. Evaluation: step
 * counts batches from 0; tarn_loader_batches says how many there are. */
tarn_status tarn_loader_load(tarn_loader *loader, int64_t step);
void tarn_loader_get(const tarn_loader *loader, int64_t slot, tarn_rows *rows);
int64_t tarn_loader_batches(const tarn_loader *loader);
/* The sample index at a position of the run. */
int64_t tarn_loader_sample_at(const tarn_loader *loader, int64_t position);

#endif
