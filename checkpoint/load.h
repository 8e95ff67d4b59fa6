/* load.h - what loading and tarn_module_init_from share. */
#ifndef TARN_CHECKPOINT_LOAD_H
#define TARN_CHECKPOINT_LOAD_H

#include "checkpoint/store.h"
#include "checkpoint/verify.h"

#define TARN_CHECKPOINT_SHAPE_TEXT 192

/* "f32 (512, 10)" */
void tarn_checkpoint_shape_text(char out[TARN_CHECKPOINT_SHAPE_TEXT], tarn_dtype dtype, int ndim, const int64_t *shape);
bool tarn_checkpoint_matches(const tarn_checkpoint_entry *entry, const tarn_hdf5_dataset *dataset);
/* Broadcasts the entries' data from rank 0; collective. */
tarn_status tarn_checkpoint_share(tarn_context *context, tarn_checkpoint_entry *entries, int entry_count);

#endif
