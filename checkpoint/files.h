/* files.h - the directory of checkpoints: names, lock, scan, durable renames, retention.
 *
 *   ckpt-000000000100.h5        the checkpoint of step 100
 *   best.h5                     another name (hard link) of the best one, or a copy where links are not possible
 *   superseded-000000000200.h5  a step the run went back behind: kept for its owner, never loaded by itself
 *   .tmp-*                      being written; left-overs are removed when the store is opened
 *   .lock                       held by the run that writes here; names its process and host
 */
#ifndef TARN_CHECKPOINT_FILES_H
#define TARN_CHECKPOINT_FILES_H

#include "checkpoint/problem.h"

#define TARN_CHECKPOINT_PATH 4096

/* directory/name; false when it does not fit. */
bool tarn_checkpoint_path(char out[TARN_CHECKPOINT_PATH], const char *directory, const char *format, ...)
    TARN_PRINTF(3, 4);
bool tarn_checkpoint_file(char out[TARN_CHECKPOINT_PATH], const char *directory, int64_t step);

/* Creates a directory with its parents and makes its name durable. */
bool tarn_checkpoint_make_directory(const char *directory, tarn_problem *problem);
/* Takes the lock, waiting a moment for a run that is just ending; really creates a file, so that a directory that
 * cannot be written is found now. *lock is a descriptor. */
bool tarn_checkpoint_lock(int *lock, tarn_context *context, const char *directory, tarn_problem *problem);
void tarn_checkpoint_unlock(int lock);
void tarn_checkpoint_remove_temporaries(const char *directory);
/* Steps of the checkpoints, greatest first; *steps is freed with free(). */
bool tarn_checkpoint_scan(int64_t **steps, int *count, const char *directory, tarn_problem *problem);
bool tarn_checkpoint_sync_directory(const char *directory, tarn_problem *problem);
/* Makes best.h5 another name of `path`. */
bool tarn_checkpoint_link_best(const char *directory, const char *path, tarn_problem *problem);

#endif
