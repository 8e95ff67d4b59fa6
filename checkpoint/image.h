/* image.h - the bytes of a checkpoint file: a template HDF5 made once, and the writer that streams state through it.
 *
 * Invariants
 *  1. The file is a function of step, entries and texts alone (no time, host or number of ranks in it).
 *  2. The image is written in ascending order, once, data straight from the entries' memory.
 *  3. A template serves as long as names, types, shapes and the texts' capacities stay the same.
 */
#ifndef TARN_CHECKPOINT_IMAGE_H
#define TARN_CHECKPOINT_IMAGE_H

#include "checkpoint/content.h"
#include "checkpoint/header.h"

#define TARN_CHECKPOINT_TEXT_MINIMUM 4096
#define TARN_CHECKPOINT_TEXT_MAXIMUM (1 << 20)

typedef struct tarn_checkpoint_image tarn_checkpoint_image;

/* Makes the template: in memory, the disk is not touched. */
bool tarn_checkpoint_image_make(tarn_checkpoint_image **image, const tarn_checkpoint_content *content,
                                tarn_problem *problem);
void tarn_checkpoint_image_destroy(tarn_checkpoint_image *image);
bool tarn_checkpoint_image_fits(const tarn_checkpoint_image *image, const tarn_checkpoint_content *content);
/* Bytes of the whole file, user block included. */
int64_t tarn_checkpoint_image_bytes(const tarn_checkpoint_image *image);
/* Fills an empty file: reserves the space, streams the image, writes the user block, syncs. */
bool tarn_checkpoint_image_write(const tarn_checkpoint_image *image, int file, const tarn_checkpoint_content *content,
                                 tarn_problem *problem);

/* What the digest of the state holds of one entry before its values, in the order that digest.c documents. */
void tarn_checkpoint_digest_head(tarn_sha256 *sha, const char *name, tarn_dtype dtype, int ndim, const int64_t *shape);
bool tarn_checkpoint_digest_bytes(const tarn_checkpoint_entry *entries, int entry_count,
                                  uint8_t digest[TARN_SHA256_BYTES]);

#endif
