/* files.h - the directory of checkpoints: names, lock, scan, durable renames, retention.
 *
 *   ckpt-000000000100.h5        the checkpoint of step 100
 *   ckpt-000000000100/          the same in parts: part-000.h5, part-001.h5, ... and MANIFEST
 *   best.h5, or best/           another name (hard links) of the best one, or a copy where links are not possible
 *   superseded-000000000200.h5  a step the run went back behind: kept for its owner, never loaded by itself
 *   quarantined-000000000200.h5 a step the supervisor set aside (quarantine.h)
 *   .tmp-*                      being written or removed; left-overs are removed when the store is opened
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
bool tarn_checkpoint_folder(char out[TARN_CHECKPOINT_PATH], const char *directory, int64_t step);
/* The one of these two that exists, the file first; the file's name when neither does. */
bool tarn_checkpoint_find(char out[TARN_CHECKPOINT_PATH], const char *directory, int64_t step);
/* directory/<prefix>-<step>, with a number behind it where that is taken: what was set aside before stays. */
bool tarn_checkpoint_name_aside(char out[TARN_CHECKPOINT_PATH], const char *directory, const char *prefix, int64_t step,
                                bool folder);
bool tarn_checkpoint_is_folder(const char *path);

/* Creates a directory with its parents and makes its name durable. */
bool tarn_checkpoint_make_directory(const char *directory, tarn_problem *problem);
/* Takes the lock, waiting a moment for a run that is just ending; really creates a file, so that a directory that
 * cannot be written is found now. *lock is a descriptor. */
bool tarn_checkpoint_lock(int *lock, tarn_context *context, const char *directory, tarn_problem *problem);
void tarn_checkpoint_unlock(int lock);
/* For the supervisor: the lock of a directory, if it has one that nobody holds; waits for nothing and leaves the
 * holder's name. A descriptor; -1 with errno EWOULDBLOCK when a run holds it, another errno when there is none. */
int tarn_checkpoint_try_lock(const char *directory);
void tarn_checkpoint_remove_temporaries(const char *directory);
/* Removes a checkpoint, file or folder. A folder is given a temporary name first: nobody shall find half of one. */
bool tarn_checkpoint_remove(const char *path);
/* Renames a temporary folder to `path`, in the place of a folder of that name, which is removed. */
bool tarn_checkpoint_put_in_place(const char *temporary, const char *path);
/* Steps of the checkpoints, greatest first; *steps is freed with free(). */
bool tarn_checkpoint_scan(int64_t **steps, int *count, const char *directory, tarn_problem *problem);
bool tarn_checkpoint_sync_directory(const char *directory, tarn_problem *problem);
/* Makes best.h5 (best/ of a folder) another name of `path`. */
bool tarn_checkpoint_link_best(const char *directory, const char *path, tarn_problem *problem);

#endif
