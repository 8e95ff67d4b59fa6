/* disk.h - what may be on a disk after a loss of power.
 *
 * The model. Data: what was written to a file since its last fsync is there, or not, or in part: sectors of 512 bytes,
 * in any selection, hold what they held, what was written, zeros or rubbish; so does the length. Names: what was done
 * to a directory (create, rename, link, unlink, mkdir) since its last fsync is there or not: every beginning of that
 * list (a journal that was cut off) and, harsher than any file system, every selection of it. A single rename is never
 * torn. An fsync of a file does not make its name durable.
 */
#ifndef TARN_TESTS_FAULTS_DISK_H
#define TARN_TESTS_FAULTS_DISK_H

#include "tests/faults/trace.h"
#include "tests/faults/tree.h"

typedef struct fault_disk fault_disk;

/* A disk that holds `before` under the folder `run`, durably. What the trees hold is borrowed. */
fault_disk *fault_disk_create(const fault_tree *before);
void fault_disk_destroy(fault_disk *disk);
/* Does a call of a trace. False, with a message on stderr, when it makes no sense in this state. */
bool fault_disk_apply(fault_disk *disk, const fault_call *call);
/* Every state the model allows now, up to `most` of them by chance: calls take(user, tree) for each, with paths below
 * `run`. Data of the tree is valid until the disk is destroyed. */
void fault_disk_crash(fault_disk *disk, uint64_t seed, int most, void (*take)(void *user, const fault_tree *tree),
                      void *user);

#endif
