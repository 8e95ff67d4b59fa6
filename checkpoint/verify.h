/* verify.h - believing a file: nothing of it is used, HDF5 does not even open it, before its SHA-256 agrees.
 */
#ifndef TARN_CHECKPOINT_VERIFY_H
#define TARN_CHECKPOINT_VERIFY_H

#include "checkpoint/files.h"
#include "checkpoint/hdf5_file.h"
#include "checkpoint/header.h"

/* A file that was looked at. */
typedef struct tarn_checkpoint_found {
    char path[TARN_CHECKPOINT_PATH];
    int64_t bytes; /* of the file; 0 when it cannot be read */
    tarn_checkpoint_header header;
} tarn_checkpoint_found;

/* Checks header and length of found->path; with contents also the SHA-256 of the image. */
bool tarn_checkpoint_verify(tarn_checkpoint_found *found, bool contents, tarn_problem *problem);
/* Verifies the contents, opens the file and, with `state`, recomputes the digest of the training state from its
 * datasets. */
bool tarn_checkpoint_open_verified(tarn_hdf5_file **file, tarn_checkpoint_found *found, bool state,
                                   tarn_problem *problem);
/* Opens the newest valid checkpoint of a directory. Broken ones are named in warnings; files but none valid is an error
 * that names each. *file NULL with TARN_OK: the directory has no checkpoint. */
tarn_status tarn_checkpoint_open_newest(tarn_hdf5_file **file, tarn_checkpoint_found *found, tarn_context *context,
                                        const char *directory);
/* The same for a path a user wrote, a directory or a file: nothing there is an error too. */
tarn_status tarn_checkpoint_open_path(tarn_hdf5_file **file, tarn_checkpoint_found *found, tarn_context *context,
                                      const char *path);

#endif
