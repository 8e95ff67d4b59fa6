/* close.c - the end of a tracker: waits for what is still to come and for the destinations, and says what is left.
 *
 * Invariants
 *  1. Closing waits for destinations at most flush_timeout, and for other ranks at most RANKS_PATIENCE of it.
 *  2. What is not where it should be is told with its count, and with the command that brings it there.
 */
#include "track/enter.h"
#include "track/inbox.h"
#include "runtime/base/context.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* Seconds that closing waits for what other ranks hand in last. */
#define RANKS_PATIENCE 5.0

/* The words of a count: "1 event", "2 events". */
typedef char count_text[64];
static const char *print_count(count_text out, int64_t count, const char *what)
{
    snprintf(out, sizeof(count_text), "%lld %s%s", (long long)count, what, count == 1 ? "" : "s");
    return out;
}

/* One line about a destination that has not everything, or refused some of it, or failed when last was told of it. */
static void tell_drain(const tarn_tracker *tracker, const char *name, const tarn_drain_state *state)
{
    count_text behind, refused;
    char line[2 * TARN_SINK_PROBLEM + 256];
    bool all = state->acknowledged >= tracker->shown;
    print_count(behind, tracker->shown - state->acknowledged, "event");
    print_count(refused, state->lost, "event");
    if (all && !state->lost && !state->told_failing) return;
    if (all && !state->lost)
        snprintf(line, sizeof line, "takes events again, and has all of run %s", tracker->run_id);
    else if (all)
        snprintf(line, sizeof line, "refused %s of run %s: %s", refused, tracker->run_id, state->refusal);
    else if (tracker->shown - state->acknowledged <= tracker->rest_count)
        snprintf(line, sizeof line,
                 "has not got the last %s of run %s, which are lost: the disk of the spool is full%s%s", behind,
                 tracker->run_id, *state->problem ? ", and: " : "", state->problem);
    else
        snprintf(line, sizeof line, "is behind by %s of run %s%s%s%s%s%s%s", behind, tracker->run_id,
                 *state->problem ? ": " : "", state->problem, state->lost ? "; it refused " : "",
                 state->lost ? refused : "", state->lost ? ": " : "", state->lost ? state->refusal : "");
    bool kept = tracker->shown - state->acknowledged > tracker->rest_count;
    tarn_log(tracker->context, TARN_LOG_WARN, "tracking: %s %s%s%s", name, line,
             !kept                 ? ""
             : tracker->rest_count ? "; what came to the spool is kept: tarn track push "
                                   : "; what it has not yet is kept: tarn track push ",
             kept ? tracker->folder : "");
}

/* What the disk never took went to the destinations from memory. Where one has not got all of it, that is lost. */
static void tell_rest(tarn_tracker *tracker, const tarn_drain_state *states, int count)
{
    count_text rest;
    int64_t missing = 0;
    if (!tracker->rest_count) return;
    for (int i = 0; i < count; i++)
        if (tracker->shown - states[i].acknowledged > missing) missing = tracker->shown - states[i].acknowledged;
    pthread_mutex_lock(&tracker->lock);
    tracker->lost += missing < tracker->rest_count ? missing : tracker->rest_count;
    pthread_mutex_unlock(&tracker->lock);
    tarn_log(tracker->context, TARN_LOG_WARN,
             "tracking: %s of run %s could not be written to the spool %s; the destinations were handed them from "
             "memory",
             print_count(rest, tracker->rest_count, "event"), tracker->run_id, tracker->folder);
}

/* Says what the threads left to be said. */
static void say_lines(tarn_tracker *tracker)
{
    pthread_mutex_lock(&tracker->lock);
    tarn_tracker_unlock(tracker);
}

static void end_drains(tarn_tracker *tracker, double until)
{
    const char *names[TARN_TRACKER_SINKS];
    tarn_drain_state states[TARN_TRACKER_SINKS];
    int count = tracker->drain_count;
    for (int i = 0; i < count; i++) tarn_drain_wait(tracker->drains[i], tracker->shown, until);
    tarn_tracker_tell_sinks(tracker);
    for (int i = 0; i < count; i++) tarn_drain_cancel(tracker->drains[i]);
    for (int i = 0; i < count; i++) {
        names[i] = tarn_drain_name(tracker->drains[i]);
        tarn_drain_stop(tracker->drains[i], &states[i]); /* what a cancelled write had brought there counts, too */
    }
    tracker->drain_count = 0;
    say_lines(tracker);
    tell_rest(tracker, states, count);
    for (int i = 0; i < count; i++) tell_drain(tracker, names[i], &states[i]);
    for (int i = 0; i < tracker->unopened_count; i++)
        tarn_log(tracker->context, TARN_LOG_WARN,
                 "tracking: %s has got nothing of run %s from here; the record is kept: tarn track push %s %s",
                 tracker->unopened[i].name, tracker->run_id, tracker->folder, tracker->unopened[i].push);
}

/* Other ranks close, too, and hand in what they have left: waits for that, and for a rank that died not for long. */
static void await_ranks(tarn_tracker *tracker, double until)
{
    double patience = tarn_seconds() + RANKS_PATIENCE;
    if (patience > until) patience = until;
    int others = tarn_ranks(tracker->context) - 1;
    if (!others) return;
    pthread_mutex_lock(&tracker->lock);
    tracker->awaiting = true;
    pthread_cond_signal(&tracker->wake);
    while (tracker->ranks_ended < others && tarn_seconds() < patience)
        tarn_condition_wait(&tracker->moved, &tracker->lock, patience);
    tracker->awaiting = false;
    pthread_mutex_unlock(&tracker->lock);
}

static void tell_counts(const tarn_tracker *tracker)
{
    int64_t lost = tracker->lost + tracker->queue.dropped, corrupt = tarn_inbox_corrupt(tracker->inbox);
    count_text count;
    if (tracker->corrupt)
        tarn_log(tracker->context, TARN_LOG_WARN, "tracking: %s of the spool %s could not be read",
                 print_count(count, tracker->corrupt, "damaged line"), tracker->folder);
    if (corrupt)
        tarn_log(tracker->context, TARN_LOG_WARN,
                 "tracking: %lld damaged line%s left out of what other processes handed to the spool %s",
                 (long long)corrupt, corrupt == 1 ? " was" : "s were", tracker->folder);
    if (lost)
        tarn_log(tracker->context, TARN_LOG_WARN, "tracking: %s of run %s could not be recorded",
                 print_count(count, lost, "event"), tracker->run_id);
    if (tracker->thinned)
        tarn_log(tracker->context, TARN_LOG_WARN,
                 "tracking: %s of run %s: thinned out before being published (track.spool_limit)",
                 print_count(count, tracker->thinned, "point"), tracker->run_id);
    tarn_tracker_tell_refused(tracker);
    if (tracker->broken > 1)
        tarn_log(tracker->context, TARN_LOG_WARN, "tracking: %s of run %s differ from what was recorded before",
                 print_count(count, tracker->broken, "value"), tracker->run_id);
}

/* This process handed what it logged to another one, which may have ended before. */
static void tell_left(const tarn_tracker *tracker)
{
    tarn_path path;
    if (tarn_path_make(path, "%s/lock", tracker->folder)) return;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    if (!flock(file, LOCK_EX | LOCK_NB))
        tarn_log(tracker->context, TARN_LOG_WARN,
                 "tracking: the process that wrote the spool %s has ended: what this one handed it lies in its inbox, "
                 "for the next process of the run, or: tarn track push %s",
                 tracker->folder, tracker->folder);
    close(file);
}

tarn_status tarn_track_close(tarn_tracker *tracker, const char *status)
{
    if (!tracker) return TARN_OK;
    tarn_context *context = tracker->context;
    bool known = status && (!strcmp(status, "FINISHED") || !strcmp(status, "FAILED") || !strcmp(status, "KILLED"));
    double until = tarn_seconds() + tracker->to.options.flush_timeout;
    tarn_queued_event end = {.kind = TARN_TRACK_END, .text = strdup(known ? status : "FAILED")};
    say_lines(tracker);
    for (int i = 0; i < tracker->drain_count; i++) tarn_drain_flush(tracker->drains[i]);
    if (tracker->holds) await_ranks(tracker, until);
    pthread_mutex_lock(&tracker->lock);
    if (end.text) tarn_tracker_push(tracker, &end);
    tarn_tracker_unlock(tracker);
    tarn_tracker_end_writer(tracker);
    say_lines(tracker);
    end_drains(tracker, until);
    if (!tracker->holds && tarn_rank(context) == 0) tell_left(tracker);
    tell_counts(tracker);
    tarn_tracker_free(tracker);
    if (known) return TARN_OK;
    return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                     "status \"%.50s\" of a run: expected FINISHED, FAILED or KILLED", status ? status : "(null)");
}
