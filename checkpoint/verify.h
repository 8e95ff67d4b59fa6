/* verify.h - believing a file: nothing of it is used, HDF5 does not even open it, before its SHA-256 agrees.
 */
#ifndef TARN_CHECKPOINT_VERIFY_H
#define TARN_CHECKPOINT_VERIFY_H

#include "checkpoint/files.h"
#include "checkpoint/header.h"
#include "checkpoint/reader.h"

/* A checkpoint that was looked at. */
typedef struct tarn_checkpoint_found {
    char path[TARN_CHECKPOINT_PATH];
    int64_t bytes;                 /* of the file, or of all parts; 0 when it cannot be read */
    int parts;                     /* of a folder; 0: it is one file */
    tarn_checkpoint_header header; /* of a folder only the step; its state's digest once it was computed */
} tarn_checkpoint_found;

/* Checks header and length of found->path; with contents also the SHA-256 of the image. Of a folder: its manifest, and
 * that of each part. */
bool tarn_checkpoint_verify(tarn_checkpoint_found *found, bool contents, tarn_problem *problem);
/* The same, with the contents of parts rank, rank + ranks, ... alone. */
bool tarn_checkpoint_verify_share(tarn_checkpoint_found *found, bool contents, int rank, int ranks,
                                  tarn_problem *problem);
/* Verifies the contents, opens the checkpoint and, with `state`, recomputes the digest of the training state from its
 * datasets: a file's must be that of its header, a folder's is computed no other way. */
bool tarn_checkpoint_open_verified(tarn_checkpoint_reader **reader, tarn_checkpoint_found *found, bool state,
                                   tarn_problem *problem);
/* The digest of the training state (digest.c) from the datasets. */
bool tarn_checkpoint_compute_digest(tarn_checkpoint_reader *reader, uint8_t digest[TARN_SHA256_BYTES],
                                    tarn_problem *problem);
/* Opens the newest valid checkpoint of a directory. Broken ones are named in warnings; files but none valid is an error
 * that names each. *reader NULL with TARN_OK: the directory has no checkpoint. */
tarn_status tarn_checkpoint_open_newest(tarn_checkpoint_reader **reader, tarn_checkpoint_found *found,
                                        tarn_context *context, const char *directory);
/* How open_newest verifies a candidate, contents too; the default is tarn_checkpoint_verify. */
typedef bool tarn_checkpoint_verifier(void *user, tarn_checkpoint_found *found, int64_t step, tarn_problem *problem);
tarn_status tarn_checkpoint_open_newest_by(tarn_checkpoint_reader **reader, tarn_checkpoint_found *found,
                                           tarn_context *context, const char *directory,
                                           tarn_checkpoint_verifier *verifier, void *user);
/* The same for a path a user wrote, a directory of checkpoints or one checkpoint: nothing there is an error too. */
tarn_status tarn_checkpoint_open_path(tarn_checkpoint_reader **reader, tarn_checkpoint_found *found,
                                      tarn_context *context, const char *path);

#endif
