/* snapshot.h - the copy of the state that a checkpoint is written from, while training changes the original.
 *
 * Invariants
 *  1. Taking one costs one copy: the memory is made and touched before, laid out in the order of the originals'
 *     addresses, so that neighbours are copied in one piece.
 *  2. Nothing of the caller's is used after the copy: names and texts are copied too.
 *  3. It belongs to one thread at a time.
 */
#ifndef TARN_CHECKPOINT_SNAPSHOT_H
#define TARN_CHECKPOINT_SNAPSHOT_H

#include "checkpoint/content.h"
#include "checkpoint/problem.h"
#include "runtime/worker/worker.h"

typedef struct tarn_checkpoint_snapshot tarn_checkpoint_snapshot;

/* NULL when memory is short. */
tarn_checkpoint_snapshot *tarn_checkpoint_snapshot_create(void);
void tarn_checkpoint_snapshot_destroy(tarn_checkpoint_snapshot *snapshot);
/* Reserves memory for such a content without touching it; *fresh (may be NULL): there are pages to be touched. */
bool tarn_checkpoint_snapshot_plan(tarn_checkpoint_snapshot *snapshot, const tarn_checkpoint_content *content,
                                   bool *fresh, tarn_problem *problem);
/* Makes the operating system provide all pages now; slow, for the writer thread. */
void tarn_checkpoint_snapshot_touch(tarn_checkpoint_snapshot *snapshot);
/* Plans where the content is not as before, and copies; on the workers, unless they are NULL. */
bool tarn_checkpoint_snapshot_take(tarn_checkpoint_snapshot *snapshot, const tarn_checkpoint_content *content,
                                   tarn_workers *workers, tarn_problem *problem);
/* What was taken; borrowed until the next take. */
const tarn_checkpoint_content *tarn_checkpoint_snapshot_content(const tarn_checkpoint_snapshot *snapshot);

#endif
