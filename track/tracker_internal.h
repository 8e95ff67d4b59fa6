/* tracker_internal.h - a tracker from inside: what its files (tracker.c, log.c, writer.c, inbox.c) share.
 *
 * Invariants
 *  1. The lock is held for moments only, never over a call of the operating system that may wait.
 *  2. The user's log function is called by threads that call the API, never by a thread of our own: those leave lines
 *     with tarn_tracker_tell, which the next call says.
 */
#ifndef TARN_TRACK_TRACKER_INTERNAL_H
#define TARN_TRACK_TRACKER_INTERNAL_H

#include "track/address.h"
#include "track/drain.h"
#include "track/queue.h"
#include "track/record.h"
#include "track/spool.h"
#include "track/tracker.h"

#include <pthread.h>

enum { TARN_TRACKER_LINES = 16, TARN_TRACKER_SINKS = 8, TARN_TRACKER_NEWS = 4, TARN_TRACKER_BATCH = 4096 };

struct tarn_inbox;

/* Log calls that could not be recorded as they were made (refused.c). */
typedef struct tarn_tracker_refused {
    int64_t calls[TARN_TRACK_KINDS], total;
    int64_t cut[TARN_TRACK_KINDS]; /* values longer than MLflow keeps */
    int64_t changed;               /* parameters logged with another value than their first */
    char first[TARN_SINK_PROBLEM], newest[TARN_SINK_PROBLEM];
} tarn_tracker_refused;

struct tarn_tracker {
    tarn_context *context;
    tarn_track_resolved to;
    char *name; /* of the run, where the options point at one of our own; NULL otherwise */
    bool holds; /* this process writes the spool and drains it; others write to the inbox of the one that does */
    char run_id[33];
    char token[33];   /* of this launch, the same on all its ranks */
    tarn_path folder; /* of the run's spool */
    tarn_drain *drains[TARN_TRACKER_SINKS];
    int drain_count;
    bool forgiving; /* a destination that cannot be opened is a warning */
    struct tarn_tracker_unopened {
        const char *name, *push; /* push: as in tarn_sink_row */
    } unopened[TARN_TRACKER_SINKS];
    int unopened_count;
    pthread_t writer;
    bool writing;             /* the writer was started */
    tarn_queued_event *batch; /* the writer's: TARN_TRACKER_BATCH events */
    tarn_spool_writer spool;  /* the writer's, as the inbox */
    struct tarn_inbox *inbox; /* of the holder; NULL elsewhere */
    tarn_spool_text rest;     /* the writer's, of the holder: lines that never came to the disk, for the drains */
    int64_t rest_count;
    tarn_queued_files **rest_files; /* those that they name are open here */
    size_t rest_file_count;
    int64_t corrupt; /* bad lines met when the spool was opened */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;  /* for the writer */
    pthread_cond_t moved; /* from the writer */
    tarn_record *record;
    tarn_queue queue;
    int64_t durable;  /* events of the queue (counted as queue.added) that are on the disk, or lost */
    int64_t shown;    /* number of the last event that drains may read */
    int64_t attempts; /* that failed, of the writer */
    bool hurry, closing, failing;
    int64_t batches; /* that the writer has brought to the spool */
    bool tired;      /* a call waited in vain for the next one */
    bool awaiting;   /* closing waits for other ranks */
    int ranks_ended; /* of this launch, that have handed in all they will */
    int64_t lost;    /* events that never came to the spool, dropped ones of the queue apart */
    int64_t broken;
    tarn_tracker_refused refused;
    int64_t thinned; /* points taken out of the spool unpublished */
    bool told_failing, told_full, told_lost;
    char *lines[TARN_TRACKER_LINES]; /* to be said */
    tarn_log_level levels[TARN_TRACKER_LINES];
    char news[TARN_TRACKER_NEWS][TARN_SINK_PROBLEM]; /* for tarn_track_news */
    int news_count;
    int line_count;
};

/* Unlocks, and says what the threads left to be said, unless this is a quiet one (tarn_track_quiet_thread). */
void tarn_tracker_unlock(tarn_tracker *tracker);
/* Leaves a line to be said by the next call. The lock is taken. */
void tarn_tracker_tell(void *tracker, tarn_log_level level, const char *line);
/* Keeps a line for tarn_track_news. Lock held, or nobody else has the tracker yet. */
void tarn_tracker_add_news(tarn_tracker *tracker, const char *line);
/* Leaves a warning, with the lock held. */
void tarn_tracker_tell_locked(tarn_tracker *tracker, const char *format, ...) TARN_PRINTF(2, 3);

/* A log call is refused: counted, and told when it is the first of its kind. Returns status. */
tarn_status tarn_tracker_refuse(tarn_tracker *tracker, tarn_track_kind kind, tarn_status status, const char *format,
                                ...) TARN_PRINTF(4, 5);
/* The same with the lock held. */
void tarn_tracker_refuse_locked(tarn_tracker *tracker, tarn_track_kind kind, const char *problem);
/* A value of `length` bytes was cut to `most`. Lock held. */
void tarn_tracker_cut_locked(tarn_tracker *tracker, tarn_track_kind kind, const char *key, size_t length, size_t most);
/* At the end: how many calls were refused, and the first one. */
void tarn_tracker_tell_refused(const tarn_tracker *tracker);

/* Enters an event of another rank or process: what it repeats stays out, and what is wrong with it becomes a line to
 * be told. Lock held. file: in the spool, relative to it. */
void tarn_tracker_take_in(tarn_tracker *tracker, const tarn_track_event *event);
/* Queues as it is. Lock held. */
bool tarn_tracker_push(tarn_tracker *tracker, tarn_queued_event *event);
/* Enters an event of the spool in the record of a run that goes on. False: out of memory. */
bool tarn_tracker_recall(tarn_record *record, const tarn_track_event *event);

/* The parts, in the order of their making. NULL: out of memory. */
tarn_tracker *tarn_tracker_create(tarn_context *context);
/* Ends drains, too; the writer must have ended. */
void tarn_tracker_free(tarn_tracker *tracker);
/* Enters what the spool holds in the record. *events: whether it holds any. */
tarn_status tarn_tracker_recall_spool(tarn_tracker *tracker, bool *events, char problem[TARN_SINK_PROBLEM]);
/* A destination that cannot be opened, which is told: the record stays in the spool. */
void tarn_tracker_go_on_without(tarn_tracker *tracker, const char *name, const char *push, const char *problem);
/* Opens the sinks that tracker->to asks for and starts their drains. tells: their notices go to the log. */
tarn_status tarn_tracker_open_sinks(tarn_tracker *tracker, bool resumed, bool tells, char problem[TARN_SINK_PROBLEM]);
/* On failure errno says why. */
tarn_status tarn_tracker_start_writer(tarn_tracker *tracker);
/* What is queued, and what lies in the inbox, is written; then the thread ends. */
void tarn_tracker_end_writer(tarn_tracker *tracker);

/* Hands what tracking knows of itself to the sinks that show it. By the writer, or when it has ended. */
void tarn_tracker_tell_sinks(tarn_tracker *tracker);

/* The thread that takes from the queue. */
void *tarn_tracker_write(void *tracker);

#endif
