/* agree.h - what ranks tell each other before the data of a collective call: which call it is, and whether they failed.
 *
 * Invariants
 *  1. Every collective call of the library is announced first, by an all-reduce of one size whatever the call: ranks
 *     that take another way meet in an announcement, never in data of different sizes, and both ways are named.
 *  2. The sequence of calls is one hash, chained over the labels: ranks whose last announcement agreed have made the
 *     same calls since the start (or since the last failure they agreed on).
 *  3. A rank that failed says so in its next announcement, whatever the others announce: all of them then enter the
 *     second round, and every rank records the same error.
 *  4. Between the begin and the end of an announcement there is no other collective call: that is an error of the
 *     caller, told on its rank.
 */
#ifndef TARN_RUNTIME_AGREE_H
#define TARN_RUNTIME_AGREE_H

#include <tarn/sys/comm.h>

/* Announces the collective call that follows on every rank. A failure of some rank is returned as the error all ranks
 * then have; another label on some rank as TARN_ERROR_COMM that names both ways and the ranks. One rank: nothing. */
tarn_status tarn_comm_announce(tarn_comm *comm, const char *label);
/* The same in two halves, with the step's work between them. A wait in between polls, so that ranks that took another
 * way are named at once and not after the wait's deadline: what end would return, TARN_OK while that is open. */
tarn_status tarn_comm_announce_begin(tarn_comm *comm, const char *label);
tarn_status tarn_comm_announce_poll(tarn_comm *comm);
tarn_status tarn_comm_announce_end(tarn_comm *comm);

/* For stages outside steps (opening files, building): every rank passes its status; all get the first failure's status
 * and message. */
tarn_status tarn_agree(tarn_context *context, tarn_status status, const char *label);
/* The second round after some rank failed, which all ranks know and enter. Every rank passes its status (TARN_OK: not
 * failed) and shard; all record the error of the lowest shard, of the lowest rank among equals, and return its status.
 */
tarn_status tarn_agree_on_failure(tarn_context *context, tarn_status status, int shard, const char *label);

/* Names the ranks (at most 8) whose value is not the most frequent one; of equally frequent values the lowest rank's
 * counts as right. 0 = a rank without a value. Returns the first such rank, -1 when there is none. *majority (may be
 * NULL) tells whether the right value has more ranks than any other. */
int tarn_name_minority(const uint64_t *value, int ranks, char *names, size_t size, bool *majority);

#endif
