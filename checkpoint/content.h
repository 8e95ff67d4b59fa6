/* content.h - what one file of a checkpoint holds; everything in it is borrowed.
 */
#ifndef TARN_CHECKPOINT_CONTENT_H
#define TARN_CHECKPOINT_CONTENT_H

#include "checkpoint/store.h"

/* A stretch of an array that is split over several files: elements from `begin` on, of an array of that shape, counted
 * along its flat elements. ndim -1: the entry is a whole array. */
typedef struct tarn_checkpoint_slice {
    int64_t begin;
    int ndim;
    int64_t shape[TARN_MAX_DIMS];
} tarn_checkpoint_slice;

typedef struct tarn_checkpoint_content {
    int64_t step;
    const tarn_checkpoint_entry *entries;
    const tarn_checkpoint_slice *slices; /* one an entry, whose own shape is then (elements,); NULL: all are whole */
    int entry_count;
    const tarn_checkpoint_text *texts;
    int text_count;
} tarn_checkpoint_content;

#endif
