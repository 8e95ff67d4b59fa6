/* parts.h - a large state as several files, so that ranks write and read them side by side.
 *
 * The arrays, one after the other in the caller's order, are cut into stretches of equal bytes; an array on a cut goes
 * on in the next part. Texts and empty arrays are in part 0. The parts depend on the state and their number alone,
 * never on the number of ranks: rank k mod P writes part k.
 */
#ifndef TARN_CHECKPOINT_PARTS_H
#define TARN_CHECKPOINT_PARTS_H

#include "checkpoint/content.h"
#include "checkpoint/problem.h"

/* A state of more than TARN_CHECKPOINT_ONE_FILE is cut into parts of about TARN_CHECKPOINT_PART bytes: hashing and
 * writing a part takes seconds, and one file would take one rank's thread longer the larger the state is. Below, one
 * file is simpler to handle and soon written. */
#define TARN_CHECKPOINT_ONE_FILE   ((int64_t)2 << 30)
#define TARN_CHECKPOINT_PART       ((int64_t)1 << 30)
#define TARN_CHECKPOINT_MOST_PARTS 256

/* Bytes of all arrays; -1 when one is of no known type, or its shape impossible. */
int64_t tarn_checkpoint_state_bytes(const tarn_checkpoint_entry *entries, int entry_count);
/* The number of parts; 1: one file. wanted 0: by size; else as many as that, at most TARN_CHECKPOINT_MOST_PARTS. */
int tarn_checkpoint_part_count(int64_t bytes, int wanted);

/* What one part holds. entries and slices are its own, names and data are borrowed. */
typedef struct tarn_checkpoint_part {
    tarn_checkpoint_entry *entries;
    tarn_hdf5_slice *slices;
    tarn_checkpoint_content content;
} tarn_checkpoint_part;

bool tarn_checkpoint_cut(tarn_checkpoint_part *part, const tarn_checkpoint_content *whole, int index, int parts,
                         tarn_problem *problem);
void tarn_checkpoint_part_free(tarn_checkpoint_part *part);

#endif
