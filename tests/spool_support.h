/* spool_support.h - what the tests of the spool share: a sink that remembers what it was given, and can be told to take
 * nothing. */
#ifndef TARN_TESTS_SPOOL_SUPPORT_H
#define TARN_TESTS_SPOOL_SUPPORT_H

#include "track/sinks.h"
#include "track/spool.h"
#include "track/tracker.h"
#include "tests/support.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct taken_event {
    tarn_track_kind kind;
    char *key, *text, *file;
    double value;
    int64_t step, time_ms;
} taken_event;

/* Of the sink "memory"; set before a tracker opens, read after it closed. */
static taken_event *taken_events;
static int64_t taken_count, taken_room;
static atomic_bool taker_refuses, taker_hangs;
static atomic_long taker_calls;
static double taker_retry_after;
static int64_t taker_hangs_after; /* events; 0: never */

static char *taken_copy(const char *text)
{
    return text ? strdup(text) : NULL;
}

static void take_events(tarn_sink *sink, const tarn_track_event *events, int64_t count, tarn_sink_report *report)
{
    (void)sink;
    taker_calls++;
    if (taker_hangs_after && taken_count >= taker_hangs_after) taker_hangs = true;
    while (taker_hangs) usleep(10000); /* until it is cancelled */
    if (taker_refuses) {
        report->retry_after = taker_retry_after;
        snprintf(report->problem, sizeof report->problem, "it takes nothing");
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        if (taken_count == taken_room) {
            taken_room = 2 * taken_room + 1024;
            taken_events = realloc(taken_events, (size_t)taken_room * sizeof *taken_events);
        }
        const tarn_track_event *event = &events[i];
        /* A million points: texts only where there are any. */
        taken_events[taken_count++] = (taken_event){.kind = event->kind,
                                                    .key = taken_copy(event->key),
                                                    .text = taken_copy(event->text),
                                                    .file = taken_copy(event->file),
                                                    .value = event->value,
                                                    .step = event->step,
                                                    .time_ms = event->time_ms};
    }
    report->taken = count;
}

static void cancel_taker(tarn_sink *sink)
{
    (void)sink;
    taker_hangs = false;
}

static void destroy_taker(tarn_sink *sink)
{
    (void)sink;
}

static tarn_sink taker = {
    .name = "memory", .most = 1000, .write = take_events, .cancel = cancel_taker, .destroy = destroy_taker};

static tarn_status open_taker(tarn_sink **out, const tarn_track_options *options, const tarn_sink_run *run,
                              char notice[TARN_SINK_PROBLEM], char problem[TARN_SINK_PROBLEM])
{
    (void)options, (void)run;
    *notice = *problem = '\0';
    *out = &taker;
    return TARN_OK;
}

static const tarn_sink_row taker_row = {"memory", -1, false, open_taker, NULL};

/* From now on trackers have this sink alone. */
__attribute__((unused)) static void use_taker(void)
{
    tarn_sink_rows = &taker_row;
    tarn_sink_row_count = 1;
}

__attribute__((unused)) static void forget_taken(void)
{
    for (int64_t i = 0; i < taken_count; i++) {
        free(taken_events[i].key);
        free(taken_events[i].text);
        free(taken_events[i].file);
    }
    free(taken_events);
    taken_events = NULL;
    taken_count = taken_room = 0;
}

__attribute__((unused)) static int64_t taken_of(tarn_track_kind kind, const char *key)
{
    int64_t count = 0;
    for (int64_t i = 0; i < taken_count; i++)
        count += taken_events[i].kind == kind && (!key || (taken_events[i].key && !strcmp(taken_events[i].key, key)));
    return count;
}

__attribute__((unused)) static const taken_event *taken_first(tarn_track_kind kind, const char *key)
{
    for (int64_t i = 0; i < taken_count; i++)
        if (taken_events[i].kind == kind && (!key || (taken_events[i].key && !strcmp(taken_events[i].key, key))))
            return &taken_events[i];
    return NULL;
}

#endif
