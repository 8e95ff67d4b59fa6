/* writer.c - the thread that takes from the queue: copies files, appends to the spool, syncs, wakes the drains.
 *
 * Invariants
 *  1. Drains are shown what is durable only: what a destination has is in the spool, also after a loss of power, so
 *     that a run that goes on from there knows it.
 *  2. When the disk refuses nothing is thrown away: what was taken waits as it is, the queue behind it fills up to its
 *     bound, and it is tried again every second; one line says so, one that it works again.
 *  3. A full disk is made room on: points that every destination has leave the spool. When the tracker closes and the
 *     disk still refuses, the destinations get what is left from memory.
 *  4. An event whose file cannot be read any more is lost and counted; the others go on.
 */
#include "track/inbox.h"
#include "track/tracker_internal.h"
#include "runtime/base/context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The writer lets events gather this long, so that it wakes a few times a second however short a step is. */
#define GATHER_SECONDS 0.25
#define RETRY_SECONDS  1.0
/* How often it looks for what other ranks, and other processes, hand in. */
#define RANKS_SECONDS  0.25
#define OTHERS_SECONDS 1.0
#define TELL_SECONDS   1.0
#define AWAIT_SECONDS  0.01
#define FULL_SECONDS   1.0

typedef struct writing {
    tarn_tracker *tracker;
    tarn_queued_event *batch;
    size_t at, count;
    int64_t taken; /* events of the queue up to the end of the batch */
    double synced_at, looked_at, told_at;
    tarn_inbox_looked looked; /* what the last look into the inbox found */
    bool looked_last;         /* closing, and nothing was there any more */
    bool waited;              /* for the destinations, since the disk is full */
    bool made_room;           /* on a full disk, with the room kept for that */
} writing;

static double look_every(const tarn_tracker *tracker)
{
    if (tracker->awaiting) return AWAIT_SECONDS;
    return tracker->context && tarn_ranks(tracker->context) > 1 ? RANKS_SECONDS : OTHERS_SECONDS;
}

/* Waits for events, then a little for more of them, and takes them. False: closing, and nothing is left. Lock held. */
static bool gather(writing *state)
{
    tarn_tracker *tracker = state->tracker;
    while (!tracker->queue.count && !tracker->closing) {
        double look_at = state->looked_at + look_every(tracker);
        if (!tracker->inbox)
            pthread_cond_wait(&tracker->wake, &tracker->lock);
        else if (tarn_seconds() < look_at)
            tarn_condition_wait(&tracker->wake, &tracker->lock, look_at);
        else
            return true;
    }
    if (!tracker->queue.count) return !tracker->closing || (tracker->inbox && !state->looked_last);
    double until = tarn_seconds() + GATHER_SECONDS;
    while (!tracker->closing && !tracker->hurry && !tracker->awaiting && tarn_seconds() < until)
        tarn_condition_wait(&tracker->wake, &tracker->lock, until);
    state->at = 0;
    state->count = tarn_queue_take(&tracker->queue, state->batch, TARN_TRACKER_BATCH);
    state->taken = tracker->queue.added - (int64_t)tracker->queue.count;
    for (size_t i = 0; i < state->count; i++)
        for (int j = 0; state->batch[i].files && j < state->batch[i].files->count; j++)
            tracker->queue.open_files -= state->batch[i].files->list[j].file >= 0;
    if (!tracker->queue.count) tracker->hurry = false;
    return true;
}

static void lose(tarn_tracker *tracker, const char *what, const char *why)
{
    pthread_mutex_lock(&tracker->lock);
    tracker->lost++;
    if (!tracker->told_lost)
        tarn_tracker_tell_locked(tracker, "cannot record %s: %s; training goes on, what is lost is counted", what, why);
    tracker->told_lost = true;
    pthread_mutex_unlock(&tracker->lock);
}

/* Prints one event, its files copied. -1 with errno: the disk refuses. */
static int print_event(writing *state, const tarn_queued_event *from)
{
    tarn_tracker *tracker = state->tracker;
    tarn_path relative;
    tarn_track_event event = {.kind = from->kind,
                              .key = from->key,
                              .text = from->text,
                              .file = from->stored,
                              .value = from->value,
                              .step = from->step,
                              .time_ms = from->time_ms};
    if (from->files) {
        switch (tarn_spool_copy(&tracker->spool, from->files, from->key, from->kind == TARN_TRACK_MODEL, relative)) {
        case TARN_SPOOL_SOURCE_GONE:
            lose(tracker, from->key, strerror(errno));
            return 0;
        case TARN_SPOOL_NO_ROOM:
            return -1;
        default:
            event.file = relative;
        }
    }
    if (tarn_spool_add(&tracker->spool, &event) < 0) lose(tracker, from->key ? from->key : "an event", "out of memory");
    return 0;
}

/* Brings the batch to the disk. -1 with errno: what is left waits. */
static int write_batch(writing *state)
{
    tarn_tracker *tracker = state->tracker;
    while (state->at < state->count) {
        if (print_event(state, &state->batch[state->at])) return -1;
        tarn_queued_event_free(&state->batch[state->at++]);
    }
    return tarn_spool_flush(&tracker->spool);
}

static void show(writing *state)
{
    tarn_tracker *tracker = state->tracker;
    int64_t last = tracker->spool.next - 1;
    pthread_mutex_lock(&tracker->lock);
    tracker->durable = state->taken;
    tracker->shown = last;
    bool recovered = tracker->failing || state->made_room;
    if (tracker->failing) tarn_tracker_tell_locked(tracker, "the spool %s can be written again", tracker->folder);
    tracker->failing = false;
    pthread_cond_broadcast(&tracker->moved);
    pthread_mutex_unlock(&tracker->lock);
    for (int i = 0; i < tracker->drain_count; i++) tarn_drain_show(tracker->drains[i], last);
    if (recovered && tracker->holds) tarn_spool_reserve(&tracker->spool);
    state->made_room = state->waited = false;
}

/* The number up to which every destination has the record, and which is behind. */
static int64_t acknowledged_by_all(const tarn_tracker *tracker, const char **behind)
{
    int64_t acknowledged = INT64_MAX;
    *behind = "no destination";
    for (int i = 0; i < tracker->drain_count; i++) {
        tarn_drain_state state;
        tarn_drain_get(tracker->drains[i], &state);
        if (state.acknowledged >= acknowledged) continue;
        acknowledged = state.acknowledged;
        *behind = tarn_drain_name(tracker->drains[i]);
    }
    if (tracker->unopened_count) *behind = tracker->unopened[0].name;
    return tracker->unopened_count || !tracker->drain_count ? 0 : acknowledged;
}

/* Keeps the spool below its limit. */
static void make_room(tarn_tracker *tracker)
{
    const char *behind;
    int64_t limit = tracker->to.options.spool_limit;
    if (!tracker->holds || tracker->spool.bytes <= limit) return;
    int64_t acknowledged = acknowledged_by_all(tracker, &behind);
    int64_t gone = tarn_spool_thin(&tracker->spool, limit, acknowledged);
    if (!gone) return;
    pthread_mutex_lock(&tracker->lock);
    if (!tracker->thinned)
        tarn_tracker_tell_locked(tracker,
                                 "the spool %s has reached its limit of %lld MiB (track.spool_limit), and %s has not "
                                 "all of it: of the oldest metrics every second point goes",
                                 tracker->folder, (long long)(limit >> 20), behind);
    tracker->thinned += gone;
    pthread_mutex_unlock(&tracker->lock);
}

/* The disk took a part of the batch: destinations may have that. Returns the number of the last event there. */
static int64_t show_written(tarn_tracker *tracker)
{
    int64_t last = tarn_spool_written(&tracker->spool);
    if (tarn_spool_sync(&tracker->spool)) return 0;
    pthread_mutex_lock(&tracker->lock);
    if (last > tracker->shown) tracker->shown = last;
    pthread_mutex_unlock(&tracker->lock);
    for (int i = 0; i < tracker->drain_count; i++) tarn_drain_show(tracker->drains[i], last);
    return last;
}

/* The disk is full. True: there is room now. */
static bool make_room_at_once(writing *state, int error)
{
    const char *behind;
    tarn_tracker *tracker = state->tracker;
    if (!tracker->holds || (error != ENOSPC && error != EDQUOT)) return false;
    int64_t last = show_written(tracker);
    bool freed = tarn_spool_release(&tracker->spool, acknowledged_by_all(tracker, &behind)) > 0;
    if (!freed && !state->waited && last > acknowledged_by_all(tracker, &behind)) {
        /* Destinations that are at work have it in a moment: nothing worth a warning. */
        double until = tarn_seconds() + FULL_SECONDS;
        for (int i = 0; i < tracker->drain_count; i++) tarn_drain_wait(tracker->drains[i], last, until);
        freed = tarn_spool_release(&tracker->spool, acknowledged_by_all(tracker, &behind)) > 0;
        state->waited = true;
    }
    double until = tarn_seconds() + FULL_SECONDS;
    for (int i = 0; freed && i < tracker->drain_count; i++) tarn_drain_let_go(tracker->drains[i], until);
    state->made_room |= freed;
    return freed;
}

/* The disk refused: waits a little before the next try. False: closing, it was the last one. Lock held. */
static bool wait_for_disk(tarn_tracker *tracker, int error)
{
    if (!tracker->failing)
        tarn_tracker_tell_locked(tracker,
                                 "cannot write the spool %s: %s; training goes on, events wait in memory: see to its "
                                 "space and its rights",
                                 tracker->folder, strerror(error));
    tracker->failing = true;
    tracker->attempts++;
    tracker->hurry = false;
    pthread_cond_broadcast(&tracker->moved);
    if (tracker->closing) return false;
    double until = tarn_seconds() + RETRY_SECONDS;
    while (!tracker->closing && !tracker->hurry && tarn_seconds() < until)
        tarn_condition_wait(&tracker->wake, &tracker->lock, until);
    return true;
}

/* Prints an event that the spool did not take. False: it is lost. */
static bool print_rest(tarn_tracker *tracker, tarn_queued_event *from)
{
    tarn_path path;
    tarn_track_event event = {.kind = from->kind,
                              .key = from->key,
                              .text = from->text,
                              .file = from->stored,
                              .value = from->value,
                              .step = from->step,
                              .time_ms = from->time_ms};
    if (from->files) {
        /* The files of a model would have to lie in one folder. */
        if (from->kind != TARN_TRACK_ARTIFACT || from->files->count != 1 || from->files->list[0].file < 0) return false;
        if (tarn_path_make(path, TARN_SPOOL_OPEN_FILE "%d", from->files->list[0].file)) return false;
        size_t size = (tracker->rest_file_count + 1) * sizeof(tarn_queued_files *);
        tarn_queued_files **grown = realloc(tracker->rest_files, size);
        if (!grown) return false;
        tracker->rest_files = grown;
        tracker->rest_files[tracker->rest_file_count++] = from->files;
        from->files = NULL;
        event.file = path;
    }
    return tarn_spool_add(&tracker->spool, &event) >= 0;
}

/* Closing, and the disk still refuses: the destinations get what is left from memory. */
static void hand_over_rest(writing *state)
{
    tarn_tracker *tracker = state->tracker;
    int64_t lost = 0, count = 0;
    do {
        for (; state->at < state->count; state->at++) {
            lost += !print_rest(tracker, &state->batch[state->at]);
            tarn_queued_event_free(&state->batch[state->at]);
        }
        pthread_mutex_lock(&tracker->lock);
        state->count = tarn_queue_take(&tracker->queue, state->batch, TARN_TRACKER_BATCH);
        pthread_mutex_unlock(&tracker->lock);
        state->at = 0;
    } while (state->count);
    tracker->rest = tracker->spool.text;
    tracker->spool.text = (tarn_spool_text){0};
    for (size_t i = 0; i < tracker->rest.used; i++) count += tracker->rest.data[i] == '\n';
    int64_t last = tracker->spool.next - 1;
    pthread_mutex_lock(&tracker->lock);
    tracker->rest_count = count;
    tracker->lost += lost;
    tracker->durable = tracker->queue.added;
    tracker->shown = last;
    pthread_cond_broadcast(&tracker->moved);
    pthread_mutex_unlock(&tracker->lock);
    for (int i = 0; i < tracker->drain_count; i++)
        tarn_drain_show_rest(tracker->drains[i], tracker->rest.data, tracker->rest.used, last);
}

/* Closing, and the disk still refuses: counts what never came to it. */
static void give_up(writing *state)
{
    tarn_tracker *tracker = state->tracker;
    if (tracker->holds && tracker->drain_count) {
        hand_over_rest(state);
        return;
    }
    int64_t lost = (int64_t)(state->count - state->at);
    for (size_t i = 0; i < tracker->spool.text.used; i++) lost += tracker->spool.text.data[i] == '\n';
    for (; state->at < state->count; state->at++) tarn_queued_event_free(&state->batch[state->at]);
    pthread_mutex_lock(&tracker->lock);
    tracker->lost += lost + (int64_t)tracker->queue.count;
    tracker->durable = tracker->queue.added;
    pthread_cond_broadcast(&tracker->moved);
    pthread_mutex_unlock(&tracker->lock);
}

/* Looks into the inbox when it is time to, and at the end until nothing is left in it and all of it is durable. */
static void look(writing *state)
{
    tarn_tracker *tracker = state->tracker;
    if (!tracker->inbox) return;
    pthread_mutex_lock(&tracker->lock);
    bool due = state->looked == TARN_INBOX_FULL || tarn_seconds() >= state->looked_at + look_every(tracker);
    bool closing = tracker->closing, empty = !tracker->queue.count;
    pthread_mutex_unlock(&tracker->lock);
    if (!due && (!closing || state->looked_last)) return;
    state->looked = tarn_inbox_look(tracker->inbox, tracker, closing);
    state->looked_last = closing && empty && state->looked == TARN_INBOX_NOTHING;
    state->looked_at = tarn_seconds();
}

/* One round: false when all is written and the tracker closes. */
static bool go_round(writing *state)
{
    tarn_tracker *tracker = state->tracker;
    bool waits = state->at < state->count || tracker->spool.text.used; /* the disk refused it */
    if (!waits) look(state);
    if (tarn_seconds() > state->told_at + TELL_SECONDS) {
        tarn_tracker_tell_sinks(tracker);
        state->told_at = tarn_seconds();
    }
    pthread_mutex_lock(&tracker->lock);
    bool goes_on = waits || gather(state);
    bool more = tracker->queue.count > 0, nothing = tracker->durable == state->taken;
    pthread_mutex_unlock(&tracker->lock);
    if (!goes_on) return false;
    if (nothing && state->at == state->count && !tracker->spool.text.used) return true; /* time to look */
    int result = write_batch(state);
    if (!result) {
        pthread_mutex_lock(&tracker->lock);
        tracker->batches++;
        tracker->tired = false;
        pthread_cond_broadcast(&tracker->moved);
        pthread_mutex_unlock(&tracker->lock);
    }
    bool sync = !more || tarn_seconds() > state->synced_at + GATHER_SECONDS;
    if (!result && sync) result = tarn_spool_sync(&tracker->spool);
    if (!result) {
        if (sync) {
            show(state);
            make_room(tracker);
            state->synced_at = tarn_seconds();
        }
        return true;
    }
    int error = errno;
    if (make_room_at_once(state, error)) return true;
    pthread_mutex_lock(&tracker->lock);
    goes_on = wait_for_disk(tracker, error);
    pthread_mutex_unlock(&tracker->lock);
    if (!goes_on) give_up(state);
    return goes_on;
}

void *tarn_tracker_write(void *user)
{
    writing state = {.tracker = user};
    state.batch = ((tarn_tracker *)user)->batch;
    while (go_round(&state)) {
    }
    return NULL;
}
