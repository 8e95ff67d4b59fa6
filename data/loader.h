/* loader.h - which sample stands where, and the batches of a step, prefetched in the background.
 *
 * Position p of the run (step * batch + row of the global batch) reads sample perm(seed, p / length)[p % length] of the
 * training set: a pure function. A set smaller than a batch goes through several epochs in one.
 * Evaluation reads samples 0 .. length - 1 in order. Its last batch is padded when targets are classes (i32 or i64):
 * rows beyond `valid` have inputs of zero and targets of -1. Other targets (regression) know no value that does not
 * count: the last slots have fewer rows instead (samples = valid, down to 0) and nothing is padded. Slot k of a batch
 * holds rows [k * batch / slots, (k + 1) * batch / slots), in training and evaluation alike.
 */
#ifndef TARN_DATA_LOADER_H
#define TARN_DATA_LOADER_H

#include <tarn/data.h>

typedef struct tarn_loader tarn_loader;

/* One slot of rows as plain memory, row-major; the trainer makes the tensors. Valid until the next load. */
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

/* The dataset must outlive the loader. Errors: an empty dataset (a text without context too), a batch that slots do not
 * divide (names the values that would work), a slot range outside of [0, slots]. */
tarn_status tarn_loader_create(tarn_loader **loader, tarn_context *context, tarn_dataset *dataset,
                               const tarn_loader_options *options);
void tarn_loader_destroy(tarn_loader *loader);
/* Makes the rows of global step `step` available (waits for the prefetch) and starts reading step + 1. Evaluation: step
 * counts batches from 0; tarn_loader_batches says how many there are. Any step may follow any other. A sample that
 * cannot be read is recorded here, when its step is loaded, and named; the rows of the step before stay.
 * TARN_EXHAUSTED, with no error recorded: the stream ends before this rank's last sample of the step. */
tarn_status tarn_loader_load(tarn_loader *loader, int64_t step);
/* The rows of slot `slot` of the whole batch; samples = 0 when it is none of this loader's or no step was loaded. */
void tarn_loader_get(const tarn_loader *loader, int64_t slot, tarn_rows *rows);
/* Evaluation: batches that cover the dataset. Training: the same, steps that visit each sample once at least. */
int64_t tarn_loader_batches(const tarn_loader *loader);
/* The sample index at a position of the run; -1 beyond the end in evaluation and for negative positions. */
int64_t tarn_loader_sample_at(const tarn_loader *loader, int64_t position);

#endif
