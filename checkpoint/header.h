/* header.h - the user block: the 4096 bytes in front of the HDF5 image that say what the image must be.
 *
 * Invariants
 *  1. little-endian, fixed offsets, unused bytes zero.
 *  2. Its last 32 bytes are the SHA-256 of all bytes before them, so that no bit of the block can flip unnoticed.
 *
 *   0 magic "TARNCKPT"   8 u32 version   12 u32 bytes of the block   16 i64 step   24 i64 bytes of the image
 *   32 SHA-256 of the image   64 digest of the training state   96 zeros   4064 SHA-256 of bytes 0 to 4063
 */
#ifndef TARN_CHECKPOINT_HEADER_H
#define TARN_CHECKPOINT_HEADER_H

#include "checkpoint/problem.h"
#include "runtime/base/sha256.h"

#define TARN_CHECKPOINT_BLOCK   4096
#define TARN_CHECKPOINT_VERSION 1

typedef struct tarn_checkpoint_header {
    int64_t step;
    int64_t image_bytes;
    uint8_t image_digest[TARN_SHA256_BYTES];
    uint8_t state_digest[TARN_SHA256_BYTES]; /* of one part: of what it holds */
    uint8_t block_digest[TARN_SHA256_BYTES]; /* of the block itself; set by decode */
} tarn_checkpoint_header;

/* False when OpenSSL failed. */
bool tarn_checkpoint_header_encode(const tarn_checkpoint_header *header, uint8_t block[TARN_CHECKPOINT_BLOCK]);
bool tarn_checkpoint_header_decode(tarn_checkpoint_header *header, const uint8_t block[TARN_CHECKPOINT_BLOCK],
                                   tarn_problem *problem);

#endif
