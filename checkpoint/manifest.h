/* manifest.h - what makes a directory of parts a checkpoint: the file MANIFEST, written last.
 *
 * Text, one fact a line, nothing else in it:
 *
 *   tarn checkpoint manifest 1
 *   step 100
 *   parts 2
 *   part-000.h5 4198400 <SHA-256 of the part's user block, which holds that of its image>
 *   part-001.h5 4194304 <...>
 *   sha256 <of all lines above>
 *
 * Invariants
 *  1. Its bytes are a function of the parts.
 *  2. A manifest any bit of which has changed is not accepted.
 */
#ifndef TARN_CHECKPOINT_MANIFEST_H
#define TARN_CHECKPOINT_MANIFEST_H

#include "checkpoint/files.h"
#include "checkpoint/header.h"

#define TARN_CHECKPOINT_MANIFEST_VERSION 1

typedef struct tarn_checkpoint_manifest {
    int64_t step;
    int parts;
    int64_t *bytes;                       /* [parts], of the whole file */
    uint8_t (*blocks)[TARN_SHA256_BYTES]; /* [parts] */
} tarn_checkpoint_manifest;

bool tarn_checkpoint_part_path(char out[TARN_CHECKPOINT_PATH], const char *directory, int part);
bool tarn_checkpoint_manifest_create(tarn_checkpoint_manifest *manifest, int64_t step, int parts,
                                     tarn_problem *problem);
void tarn_checkpoint_manifest_free(tarn_checkpoint_manifest *manifest);
/* Reads the user blocks of all parts in a directory: each must be there whole, be of that step, and no other file. */
bool tarn_checkpoint_manifest_gather(tarn_checkpoint_manifest *manifest, const char *directory, tarn_problem *problem);
/* A new file, synced. */
bool tarn_checkpoint_manifest_write(const tarn_checkpoint_manifest *manifest, const char *directory,
                                    tarn_problem *problem);
bool tarn_checkpoint_manifest_read(tarn_checkpoint_manifest *manifest, const char *directory, tarn_problem *problem);

#endif
