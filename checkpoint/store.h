/* store.h - a directory of checkpoints: what a checkpoint holds, writing one, loading the newest.
 *
 * The caller describes its state once as a list of entries; saving copies them, loading fills them. Layout is logical
 * and unsharded: any number of ranks loads it. A checkpoint is one file, which rank 0 writes, or, of a large state, a
 * folder of parts, which all ranks write side by side (parts.h). Which of them depends on the state and on
 * tarn_checkpoint_store_set_parts, the same on all ranks.
 */
#ifndef TARN_CHECKPOINT_STORE_H
#define TARN_CHECKPOINT_STORE_H

#include "runtime/worker/worker.h"
#include <tarn/checkpoint.h>

/* One dataset of the file. name is an HDF5 path ("model/blocks.0.attention.qkv.weight", "optim/m/...", "state/step").
 */
typedef struct tarn_checkpoint_entry {
    const char *name;
    tarn_dtype dtype; /* TARN_BOOL stands for raw bytes */
    int ndim;
    int64_t shape[TARN_MAX_DIMS];
    void *data;
    bool in_digest; /* parameters, moments, step */
    bool optional;  /* a file without it can be loaded: data stays as it is */
    bool growing;   /* of one dimension, which in the file may be another: loading gives data (from malloc, by realloc)
                       and shape[0] the file's length */
} tarn_checkpoint_entry;

/* Text a checkpoint carries beside its arrays (configuration, vocabulary, run id, best metric ...). Fixed capacity in
 * the file, at least 4 KiB each; values may grow up to 1 MiB. */
typedef struct tarn_checkpoint_text {
    const char *name; /* "text/config" */
    const char *value;
} tarn_checkpoint_text;

typedef struct tarn_checkpoint_store tarn_checkpoint_store;

/* Creates the directory when needed (with parents) and checks that it can be written; locks it against a second run.
 * Removes left-over temporary files. keep >= 1 newest are retained, and the best. Collective. */
tarn_status tarn_checkpoint_store_open(tarn_checkpoint_store **store, tarn_context *context, const char *directory,
                                       int keep);
/* The number of parts: 0 (as it is without this call): by size; 1: always one file; at most 256. Before the first
 * checkpoint, with the same value on all ranks. */
void tarn_checkpoint_store_set_parts(tarn_checkpoint_store *store, int parts);
/* Finishes a write of one file that is under way, then frees the store. */
void tarn_checkpoint_store_close(tarn_checkpoint_store *store);
/* What a checkpoint shall hold, and how it is taken. Borrowed during tarn_checkpoint_begin only. */
typedef struct tarn_checkpoint_request {
    int64_t step;
    const tarn_checkpoint_entry *entries;
    int entry_count;
    const tarn_checkpoint_text *texts;
    int text_count;
    bool is_best;          /* best.h5 becomes another name of it */
    bool must;             /* waits for the write under way, instead of being left out */
    tarn_workers *workers; /* threads to copy with, idle now; NULL: the calling one copies */
    /* Called by the writer thread before the checkpoint takes its name: what must be on record before that. */
    void (*settle)(void *user, int64_t mark);
    void *settle_user; /* must live until the checkpoint is written */
    int64_t settle_mark;
} tarn_checkpoint_request;

/* Starts the writer thread and makes memory for snapshots of such a state, which the thread touches meanwhile: the
 * first tarn_checkpoint_begin then costs what the later ones do. Not needed for anything else. On every rank; those
 * that write nothing return. */
tarn_status tarn_checkpoint_prepare(tarn_checkpoint_store *store, const tarn_checkpoint_request *request);
/* Bytes of memory that snapshots of such a state take on this rank. */
int64_t tarn_checkpoint_snapshot_bytes(const tarn_checkpoint_store *store, const tarn_checkpoint_entry *entries,
                                       int entry_count);
/* Takes checkpoint `step`: the state is copied, and the rest is done by the writer thread under the steps that follow:
 * digest, temporary file, fsync, rename, fsync of the directory, retention. *begun (may be NULL) is false when the
 * write before is still under way and the request does not insist: such a checkpoint is left out, which is logged and
 * counted. One file: rank 0 (others return at once, *begun false); errors are what can be told now (a name that is
 * none, no memory). In parts: on all ranks at the same step, which
 * hold the same state; collective when the request insists and a write is under way; what fails on one rank then is in
 * its vote. */
tarn_status tarn_checkpoint_begin(tarn_checkpoint_store *store, const tarn_checkpoint_request *request, bool *begun);
/* In parts the ranks agree by votes: once a step each passes what this says, ORed over all ranks, to
 * tarn_checkpoint_voted. Both do nothing while no checkpoint in parts is under way. */
enum {
    TARN_CHECKPOINT_VOTE_WRITING = 1, /* not done yet */
    TARN_CHECKPOINT_VOTE_FAILED = 2,
    TARN_CHECKPOINT_VOTE_FULL = 4 /* since the disk is full */
};
unsigned tarn_checkpoint_vote(const tarn_checkpoint_store *store);
void tarn_checkpoint_voted(tarn_checkpoint_store *store, unsigned votes);
/* Takes note of what the writer has done since: logs "saved step N", or why not, and what else it met. To be called
 * once a step, it takes a moment. */
void tarn_checkpoint_poll(tarn_checkpoint_store *store);
/* Waits until no write is under way; fails with what the last one failed with, unless a poll or vote has told that
 * already. In parts: collective, and the same error on all ranks. */
tarn_status tarn_checkpoint_wait(tarn_checkpoint_store *store);
/* The newest step that is durable, as far as polls, votes and waits have told; -1: none by this store. One file: known
 * on rank 0 only. */
int64_t tarn_checkpoint_saved_step(const tarn_checkpoint_store *store);
/* Seconds from the copy to durable, of the last checkpoint that became so; 0: none yet. */
double tarn_checkpoint_persist_seconds(const tarn_checkpoint_store *store);
/* Checkpoints left out because the write before was under way. */
int64_t tarn_checkpoint_left_out(const tarn_checkpoint_store *store);
/* tarn_checkpoint_begin and tarn_checkpoint_wait: returns when it is durable; a failure before that leaves the
 * directory as it was. Checkpoints of later steps (the run went back behind them) are renamed superseded-<step>.h5. */
tarn_status tarn_checkpoint_save(tarn_checkpoint_store *store, int64_t step, const tarn_checkpoint_entry *entries,
                                 int entry_count, const tarn_checkpoint_text *texts, int text_count, bool is_best);
/* Loads the newest valid checkpoint into the entries' memory. *found is false when the directory has none. Files that
 * are broken are named in warnings; when there are files and none is valid, that is an error. An entry the file lacks,
 * or with another shape, is an error that names both. Collective. */
tarn_status tarn_checkpoint_load(tarn_checkpoint_store *store, tarn_checkpoint_entry *entries, int entry_count,
                                 int64_t *step, bool *found);
/* A text of the checkpoint that was loaded last, or NULL. Same on all ranks. */
const char *tarn_checkpoint_text_get(const tarn_checkpoint_store *store, const char *name);
/* Reads texts only, of the newest valid checkpoint of a directory or of a file (for tarn sample and eval, before the
 * model is known). Not collective. *value is freed with free(); NULL when there is no such text. */
tarn_status tarn_checkpoint_peek(tarn_context *context, const char *path, const char *name, char **value);
/* SHA-256 of the in_digest entries, in order of name, as the digest of a file that holds them would be. out[65]. */
tarn_status tarn_checkpoint_digest(const tarn_checkpoint_entry *entries, int entry_count, char out[65]);

#endif
