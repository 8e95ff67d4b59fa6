/* queue.h - what was logged and not yet taken by the writer: bounded, in memory.
 *
 * Invariants
 *  1. Events leave in the order they came.
 *  2. A full queue drops its oldest metrics, an eighth of itself at once, and counts them; parameters, tags, files,
 *     ends stay as long as there is memory. The caller locks.
 */
#ifndef TARN_TRACK_QUEUE_H
#define TARN_TRACK_QUEUE_H

#include "track/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Files of an artifact or of a model's folder. */
typedef struct tarn_queued_files {
    int count;
    struct tarn_queued_file {
        char *name; /* below the folder of a model; "" for an artifact */
        char *path; /* where it lies, for when it is not open */
        int file;   /* open for reading; -1: opened by the writer (too many are open) */
    } * list;
} tarn_queued_files;

typedef struct tarn_queued_event {
    tarn_track_kind kind;
    const char *key; /* borrowed from the record, or `own` */
    char *own, *text;
    tarn_queued_files *files; /* to be copied into the spool */
    char *stored;             /* a file that is there already, relative to the spool */
    double value;
    int64_t step, time_ms;
} tarn_queued_event;

typedef struct tarn_queue {
    tarn_queued_event *events;
    size_t first, count, room;
    int64_t added;   /* events ever put in */
    int64_t dropped; /* metrics that had to go */
    int open_files;
} tarn_queue;

enum { TARN_QUEUE_MOST = 131072 };

bool tarn_queue_create(tarn_queue *queue);
void tarn_queue_destroy(tarn_queue *queue);
/* Takes the event over, in any case. False: it did not fit and was dropped (and counted). */
bool tarn_queue_put(tarn_queue *queue, const tarn_queued_event *event);
/* Moves out at most `most` of the oldest. */
size_t tarn_queue_take(tarn_queue *queue, tarn_queued_event *out, size_t most);
void tarn_queued_event_free(tarn_queued_event *event);
void tarn_queued_files_free(tarn_queued_files *files);

#endif
