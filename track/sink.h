/* sink.h - where the events of a run go. The queue of the tracker feeds one sink from its background thread.
 *
 * Invariants: 1. a sink is called by one thread at a time; 2. it never touches the context: it reports a problem as
 * text, and the tracker decides what becomes of it; 3. an event it did not record is counted as lost, never retried by
 * force. A remote sink would stand behind a spool on disk that takes this queue's place as its source.
 */
#ifndef TARN_TRACK_SINK_H
#define TARN_TRACK_SINK_H

#include <stdint.h>

typedef enum tarn_track_kind {
    TARN_TRACK_METRIC,
    TARN_TRACK_PARAM,
    TARN_TRACK_TAG,
    TARN_TRACK_ARTIFACT
} tarn_track_kind;

typedef struct tarn_track_event {
    tarn_track_kind kind;
    int id;          /* of a metric: small numbers from 0 on, one a key, for tables */
    const char *key; /* borrowed, outlives the sink's calls; of an artifact NULL */
    char *text;      /* value of a param or tag; path inside artifacts/ of an artifact; owned by the event */
    double value;    /* of a metric, finite */
    int64_t step;
    int64_t time_ms; /* frozen when the event was logged */
    int file;        /* open for reading, of an artifact; -1 otherwise; owned by the event */
} tarn_track_event;

#define TARN_SINK_PROBLEM 512

typedef struct tarn_sink tarn_sink;
struct tarn_sink {
    const char *name;
    /* Records events in order; returns how many were lost, with the first reason in problem. */
    int64_t (*write)(tarn_sink *sink, const tarn_track_event *events, int64_t count, char problem[TARN_SINK_PROBLEM]);
    /* Records that the run ended: status "FINISHED", "FAILED" or "KILLED". Returns 0, or 1 with the reason. */
    int (*finish)(tarn_sink *sink, const char *status, int64_t time_ms, char problem[TARN_SINK_PROBLEM]);
    void (*destroy)(tarn_sink *sink);
};

#endif
