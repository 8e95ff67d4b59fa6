/* store_internal.h - what taking checkpoints (store.c, round.c), making them durable (commit.c, retention.c) and
 * loading (load.c) share.
 *
 * Invariant: what is marked below belongs to the writer thread while it is busy, and to the training thread otherwise.
 */
#ifndef TARN_CHECKPOINT_STORE_INTERNAL_H
#define TARN_CHECKPOINT_STORE_INTERNAL_H

#include "checkpoint/files.h"
#include "checkpoint/image.h"
#include "checkpoint/snapshot.h"
#include "checkpoint/writer.h"

#define TARN_CHECKPOINT_NOTES 16

/* Something to log, left by the writer thread. */
typedef struct tarn_checkpoint_note {
    tarn_log_level level;
    char text[1024];
} tarn_checkpoint_note;

/* How a job of the writer ended. */
typedef struct tarn_checkpoint_outcome {
    int64_t step;
    tarn_status status;
    bool disk_full;
    char message[1600]; /* unless TARN_OK */
    bool durable;       /* even if it could not become the best */
    double seconds;     /* from the copy to durable */
    int64_t bytes;
} tarn_checkpoint_outcome;

/* A file this rank writes: the whole checkpoint, or a part of it. */
typedef struct tarn_checkpoint_own {
    int part;
    tarn_checkpoint_image *image; /* NULL before the first checkpoint */
    tarn_checkpoint_snapshot *snapshot;
} tarn_checkpoint_own;

/* Where the ranks are with a checkpoint in parts; the same on all ranks, see round.c. */
typedef enum tarn_checkpoint_phase {
    TARN_CHECKPOINT_IDLE,
    TARN_CHECKPOINT_PARTS,   /* every rank writes its parts */
    TARN_CHECKPOINT_COMMITS, /* rank 0 writes the manifest and gives the folder its name */
    TARN_CHECKPOINT_CLEANS   /* something failed: rank 0 removes what was written */
} tarn_checkpoint_phase;

struct tarn_checkpoint_store {
    tarn_context *context;
    char directory[TARN_CHECKPOINT_PATH]; /* absolute */
    int keep, lock;                       /* rank 0 */
    int wanted_parts;

    tarn_checkpoint_writer *writer; /* NULL before the first checkpoint */
    bool pending;                   /* the outcome of a write is still to be taken note of; one file only */
    bool touching;                  /* the writer's job is the snapshot's memory, no write */
    int64_t saved_step, left_out;
    double persist_seconds;

    /* A checkpoint in parts. */
    tarn_checkpoint_phase phase;
    int agreed_parts; /* every rank is ready for so many; `parts` may be another on a rank that had no memory */
    bool retry, retried, round_failed;
    bool taken; /* this rank's snapshots are of the request; else there is nothing to write */

    /* The writer's while it is busy. */
    int parts; /* of the checkpoint: 1 one file, 0 none yet */
    tarn_checkpoint_own *own;
    int own_count;
    tarn_checkpoint_request request; /* step, is_best, settle */
    int attempt;                     /* numbers the temporary folders of this run, alike on all ranks */
    double started;
    tarn_checkpoint_outcome outcome;
    tarn_checkpoint_note notes[TARN_CHECKPOINT_NOTES];
    int note_count, notes_lost;

    /* Texts of the last load, on every rank: name, zero, value, zero, and so on; NULL before. */
    char *texts;
    int64_t text_bytes;
};

/* ---- store.c ---- */
void tarn_checkpoint_log_notes(tarn_checkpoint_store *store);
/* Takes the request into this rank's snapshots, making templates where they are needed. */
bool tarn_checkpoint_take(tarn_checkpoint_store *store, const tarn_checkpoint_request *request, tarn_problem *problem);
void tarn_checkpoint_log_saved(tarn_checkpoint_store *store);

/* ---- round.c ---- */
tarn_status tarn_checkpoint_begin_round(tarn_checkpoint_store *store, const tarn_checkpoint_request *request,
                                        bool *begun);
/* Until the round has ended; collective. */
tarn_status tarn_checkpoint_end_round(tarn_checkpoint_store *store);

/* ---- commit.c: jobs of the writer; argument: the store. They fill the outcome. ---- */
void tarn_checkpoint_write_one(void *store);
void tarn_checkpoint_write_parts(void *store);
void tarn_checkpoint_commit_parts(void *store);
void tarn_checkpoint_clean_parts(void *store);
/* "checkpoint: PATH was not written: WHY; REMEDY" and the status that goes with it. */
void tarn_checkpoint_explain(tarn_checkpoint_store *store, int64_t step, const tarn_problem *problem);

/* ---- retention.c: on the writer thread, or while it is idle ---- */
/* Removes all checkpoints but the newest valid one; false when that frees nothing. */
bool tarn_checkpoint_prune(tarn_checkpoint_store *store);
/* A run that goes on from an earlier step leaves later ones behind it: the next start must not take them for the
 * newest. They are renamed, not removed, since only their owner knows what they are worth. The new checkpoint is not
 * the newest before that is durable, too. */
bool tarn_checkpoint_set_later_aside(tarn_checkpoint_store *store, int64_t newest, tarn_problem *problem);
/* Keeps the newest up to `newest`. */
void tarn_checkpoint_retain(tarn_checkpoint_store *store, int64_t newest);

#endif
