/* store_internal.h - what writing (store.c) and loading (load.c) share. */
#ifndef TARN_CHECKPOINT_STORE_INTERNAL_H
#define TARN_CHECKPOINT_STORE_INTERNAL_H

#include "checkpoint/files.h"
#include "checkpoint/image.h"

struct tarn_checkpoint_store {
    tarn_context *context;
    char directory[TARN_CHECKPOINT_PATH]; /* absolute; rank 0 only, as what follows up to image */
    int keep;
    int lock;
    tarn_checkpoint_image *image; /* NULL before the first save */
    /* Texts of the last load, on every rank: name, zero, value, zero, and so on; NULL before. */
    char *texts;
    int64_t text_bytes;
};

#endif
