/* inbox.h - what other ranks, and other processes of a run, hand to the process that holds the spool: each writes a
 * file of lines into inbox/, which the holder reads as it grows.
 *
 * Invariants
 *  1. A file is read from where the spool says (lines of kind inbox, which stand behind what was taken in): a crash of
 *     the holder costs nothing, and repeats at most a few events, which the record knows.
 *  2. A file is removed when its maker has ended, all of it was taken in, and that is durable.
 *  3. Nobody waits for a maker that died: its lock is free then. A file comes into sight (by a rename) with its lock
 *     taken, so that one that is being made is never taken for one that was left.
 *  4. No more is taken in than the queue has room for at that moment: the rest waits in its file, where it is safe.
 */
#ifndef TARN_TRACK_INBOX_H
#define TARN_TRACK_INBOX_H

#include "track/record.h"
#include "track/spool.h"

struct tarn_tracker;
typedef struct tarn_inbox tarn_inbox;

/* The holder's side. record: of the run, with what the spool said of files taken in. NULL: out of memory. */
tarn_inbox *tarn_inbox_create(const char *folder);
void tarn_inbox_destroy(tarn_inbox *inbox);
typedef enum tarn_inbox_looked {
    TARN_INBOX_NOTHING, /* there was nothing to take in */
    TARN_INBOX_TOOK,
    TARN_INBOX_FULL /* the queue was full before all was taken in: to be looked at again when it is not */
} tarn_inbox_looked;
/* Takes in what is new. By one thread, without the tracker's lock. closing: of makers that go on writing no more than
 * they had written at the first such look, so that this comes to an end. */
tarn_inbox_looked tarn_inbox_look(tarn_inbox *inbox, struct tarn_tracker *tracker, bool closing);
/* Bad lines so far. */
int64_t tarn_inbox_corrupt(const tarn_inbox *inbox);
/* Whole lines that lie there and were not taken in. */
int64_t tarn_inbox_left(tarn_inbox *inbox);

/* The other side: a writer whose lines go to inbox/<name>, made with the first of them. 0, or -1 with errno. */
int tarn_inbox_open_writer(tarn_spool_writer *writer, const char *folder, const char *name);

#endif
