/* store_internal.h - what taking checkpoints (store.c), making them durable (commit.c) and loading (load.c) share.
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

/* How the write of a checkpoint ended. */
typedef struct tarn_checkpoint_outcome {
    int64_t step;
    tarn_status status;
    char message[1600]; /* unless TARN_OK */
    bool durable;       /* even if it could not become the best */
    double seconds;     /* from the copy to durable */
    int64_t bytes;
} tarn_checkpoint_outcome;

struct tarn_checkpoint_store {
    tarn_context *context;
    char directory[TARN_CHECKPOINT_PATH]; /* absolute; rank 0 only, as what follows up to the texts */
    int keep;
    int lock;

    tarn_checkpoint_writer *writer; /* NULL before the first checkpoint */
    bool pending;                   /* the outcome of a write is still to be taken note of */
    bool touching;                  /* the writer's job is the snapshot's memory, no write */
    int64_t saved_step, left_out;
    double persist_seconds;

    /* The writer's while it is busy. */
    tarn_checkpoint_image *image; /* NULL before the first checkpoint */
    tarn_checkpoint_snapshot *snapshot;
    tarn_checkpoint_request request; /* step, is_best, settle */
    double started;
    tarn_checkpoint_outcome outcome;
    tarn_checkpoint_note notes[TARN_CHECKPOINT_NOTES];
    int note_count, notes_lost;

    /* Texts of the last load, on every rank: name, zero, value, zero, and so on; NULL before. */
    char *texts;
    int64_t text_bytes;
};

/* ---- commit.c: on the writer thread, or while it is idle ---- */
/* Makes the store's snapshot durable and fills the outcome. */
void tarn_checkpoint_commit(tarn_checkpoint_store *store);
/* Removes all checkpoints but the newest valid one; false when that frees nothing. */
bool tarn_checkpoint_prune(tarn_checkpoint_store *store);
bool tarn_checkpoint_disk_full(const tarn_problem *problem);
/* "checkpoint: PATH was not written: WHY; REMEDY" and the status that goes with it. */
tarn_status tarn_checkpoint_explain(const tarn_checkpoint_store *store, const char *path, const tarn_problem *problem,
                                    char *message, size_t size);

#endif
