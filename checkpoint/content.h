/* content.h - what one file of a checkpoint holds; everything in it is borrowed.
 */
#ifndef TARN_CHECKPOINT_CONTENT_H
#define TARN_CHECKPOINT_CONTENT_H

#include "checkpoint/hdf5_file.h"
#include "checkpoint/store.h"

typedef struct tarn_checkpoint_content {
    int64_t step;
    const tarn_checkpoint_entry *entries;
    const tarn_hdf5_slice *slices; /* one an entry, whose own shape is then (elements,); NULL: all are whole */
    int entry_count;
    const tarn_checkpoint_text *texts;
    int text_count;
} tarn_checkpoint_content;

#endif
