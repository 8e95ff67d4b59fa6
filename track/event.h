/* event.h - what a run's record is made of: the events that are logged, spooled and handed to sinks, in this order. */
#ifndef TARN_TRACK_EVENT_H
#define TARN_TRACK_EVENT_H

#include <stdint.h>

typedef enum tarn_track_kind {
    TARN_TRACK_METRIC,   /* key, value, step */
    TARN_TRACK_PARAM,    /* key, text */
    TARN_TRACK_TAG,      /* key, text; the last value counts */
    TARN_TRACK_ARTIFACT, /* key: path inside artifacts/; file: where its bytes are */
    TARN_TRACK_BEGIN, /* a process began to write: text is JSON {run_id, experiment, name, user, source, commit, ranks,
                         resumed_step} (fields may be missing); the first one begins the run, later ones are restarts */
    TARN_TRACK_END,   /* text: FINISHED, FAILED or KILLED */
    TARN_TRACK_INPUT, /* a dataset: key is its name, text JSON {digest, source, source_type, context, schema, profile}
                       */
    TARN_TRACK_MODEL, /* a model: key is its name, file a folder with MLmodel in it, text JSON {model_id, register,
                         step, model_type, params, alias, again}; events of one model_id are one model: a later one asks
                         for another version or alias of it */
    TARN_TRACK_HISTOGRAM, /* key, step, text JSON {min, max, count, sum, sum_squares, limits:[], counts:[]} */
    TARN_TRACK_KINDS
} tarn_track_kind;

/* Everything a pointer of an event points at is borrowed, and lives as long as the call it is handed to. */
typedef struct tarn_track_event {
    tarn_track_kind kind;
    int id; /* of a metric: small numbers from 0 on, one a key of this process, for tables */
    const char *key;
    const char *text;
    const char *file; /* absolute path of a file or folder; it stays as long as the spool, but a copy of an artifact
                         that every sink has a newer one of may go (spool_thin.c) */
    double value;     /* finite */
    int64_t step;
    int64_t time_ms; /* since 1970; frozen when the event was logged, so that sending it twice changes nothing */
} tarn_track_event;

#endif
