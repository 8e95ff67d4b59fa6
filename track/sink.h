/* sink.h - where the events of a run go: file store, MLflow server, TensorBoard, W&B, Prometheus.
 *
 * Each sink is fed from the spool by a thread of its own (track/drain.c), which remembers on disk how far it has come.
 * A sink that cannot go on now (a dead server) keeps only itself waiting: no other sink, and never training.
 *
 * Invariants
 *  1. Write is called by one thread at a time, with events in the order of the spool.
 *  2. A sink never touches the context: it reports a problem as text, and the tracker decides what becomes of it.
 *  3. Events may come again after a crash (what was taken and not yet remembered): taking an event twice leaves the
 *     same record as taking it once.
 */
#ifndef TARN_TRACK_SINK_H
#define TARN_TRACK_SINK_H

#include "track/event.h"

#include <tarn/track.h>

#include <limits.h>
#include <stdbool.h>

enum { TARN_SINK_PROBLEM = 512 };

/* What a sink is told of its run when it is opened. */
typedef struct tarn_sink_run {
    const char *run_id;     /* 32 hex digits, made by Tarn; the run of a server may have an id of its own */
    const char *experiment; /* never NULL */
    const char *name;       /* NULL: none was given */
    const char *state; /* an existing folder of this sink and run, for small files of its own (as: the run's id at the
                          server); it lives as long as the spool */
    bool resumed;      /* the spool has events of an earlier process */
    bool named;        /* the id is that of a run which is to be there: one that is not is worth a word */
} tarn_sink_run;

/* What became of the events of one call. */
typedef struct tarn_sink_report {
    int64_t taken;      /* events [0, taken) are done: recorded, or refused for good; the rest is offered again */
    int64_t lost;       /* of those, refused for good */
    double retry_after; /* seconds the destination asked for; 0: the drain's own back-off */
    char problem[TARN_SINK_PROBLEM];     /* first reason of a loss or of the wait, with the remedy; without either of
                                            them something to be told, once; "" */
    char information[TARN_SINK_PROBLEM]; /* told once, and no trouble: where the run is to be seen; "" */
} tarn_sink_report;

/* What tracking says of itself, for sinks that show it. */
enum { TARN_TRACK_SINKS = 8 };
typedef struct tarn_track_statistics {
    int64_t events;      /* that this process put into the spool */
    int64_t lost;        /* that it could not record, or that a sink refused for good */
    int64_t thinned;     /* metrics that gave way to the limit of the spool */
    int64_t spool_bytes; /* the spool on disk */
    int sinks;           /* of the following */
    struct {
        const char *name;
        int64_t behind; /* events of the spool that the sink has yet to take */
    } sink[TARN_TRACK_SINKS];
} tarn_track_statistics;

typedef struct tarn_sink tarn_sink;
struct tarn_sink {
    const char *name;              /* [a-z-]+: in messages, and the name of its folder in the spool */
    int64_t most;                  /* events at most in one call; 0: any number */
    char where[TARN_SINK_PROBLEM]; /* told when it is opened: "recording to mlruns (run 3f2a...)"; "": nothing */
    /* Takes events. Blocks at most some seconds, unless cancelled. */
    void (*write)(tarn_sink *sink, const tarn_track_event *events, int64_t count, tarn_sink_report *report);
    /* May be NULL. From any thread: a write under way and all later ones return soon. */
    void (*cancel)(tarn_sink *sink);
    /* May be NULL. From any thread, about once a second and at the end; returns at once. */
    void (*statistics)(tarn_sink *sink, const tarn_track_statistics *statistics);
    void (*destroy)(tarn_sink *sink);
};

/* Makes a sink; *out NULL with TARN_OK: the options ask for none of this kind. May not wait for a server. notice: a
 * warning that deserves to be told, or "". On failure problem says what, where and the remedy, and training goes on
 * without that sink, or (sinks.h: push) does not start: only for what is wrong by itself (an address that is none, a
 * directory that cannot be written). */
typedef tarn_status tarn_sink_open(tarn_sink **out, const tarn_track_options *options, const tarn_sink_run *run,
                                   char notice[TARN_SINK_PROBLEM], char problem[TARN_SINK_PROBLEM]);

#endif
