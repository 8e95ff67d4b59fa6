/* chunk.h - how classifier_loss cuts the classes in backward: part of the definition of its bits. */
#ifndef TARN_OPS_CLASSIFIER_CHUNK_H
#define TARN_OPS_CLASSIFIER_CHUNK_H

#include <stdint.h>

/* Two blocks of the matrix product's K; 128 rows of a chunk are 512 KiB. */
enum { TARN_CLASSIFIER_CHUNK = 1024 };

/* Elements from one row of saved exponentials to the next. */
static inline int64_t tarn_classifier_stride(int64_t classes)
{
    return (classes + 15) / 16 * 16;
}

#endif
