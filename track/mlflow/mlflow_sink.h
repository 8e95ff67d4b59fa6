/* mlflow_sink.h - what the files of the MLflow sink share.
 *
 * Functions that send one thing return what became of it: TARN_MLFLOW_OK; _REFUSED: the server will never take it, the
 * client's problem says why; _MISSING: the run is no longer there; anything else: later again.
 */
#ifndef TARN_TRACK_MLFLOW_SINK_H
#define TARN_TRACK_MLFLOW_SINK_H

#include "track/files.h"
#include "track/mlflow/client.h"

enum {
    TARN_MLFLOW_METRICS = 1000, /* MLflow's limits of one log-batch: metrics, and all together */
    TARN_MLFLOW_PAIRS = 100,    /* params, and tags */
    TARN_MLFLOW_BODY = 900000,  /* bytes, below its limit of 1 MB and that of proxies */
    TARN_MLFLOW_TRIES = 7       /* as often as mlflow itself, before one event is suspected of the server's error */
};

typedef struct tarn_mlflow_sink {
    tarn_sink sink;
    tarn_mlflow_client *client;
    char *run_id, *experiment, *name, *wanted, *state; /* of the run here; name, wanted: NULL = none */
    char *begin;                                       /* text of the last beginning; NULL */
    /* of the run there */
    bool open, told; /* told: where it is to be seen */
    bool named;      /* it is to be there already */
    char *server_run, *server_experiment, *artifacts;
    bool made;                      /* by this process */
    int64_t window;                 /* metrics in one request at most: fewer while the server is too slow for more */
    int strikes;                    /* answers with an error of the server, in a row, without an event taken */
    bool checked;                   /* in this window: the run is there, so a refusal means what was sent */
    int64_t lost;                   /* of the window at hand */
    char reason[TARN_SINK_PROBLEM]; /* of the first loss of this call; "" */
    char notice[TARN_SINK_PROBLEM]; /* to be told; "" */
} tarn_mlflow_sink;

/* ---- run.c */

/* Finds or makes the run at the server. first: the event that is to be sent next. */
tarn_mlflow_outcome tarn_mlflow_run_open(tarn_mlflow_sink *sink, const tarn_track_event *first);
/* Frees what is known of the run there; forget: it is gone at the server, the next open looks for it anew. */
void tarn_mlflow_run_clear(tarn_mlflow_sink *sink);
void tarn_mlflow_run_forget(tarn_mlflow_sink *sink);
/* A process began, or the run ended. */
tarn_mlflow_outcome tarn_mlflow_run_begin(tarn_mlflow_sink *sink, const tarn_track_event *event);
tarn_mlflow_outcome tarn_mlflow_run_end(tarn_mlflow_sink *sink, const tarn_track_event *event);
tarn_mlflow_outcome tarn_mlflow_run_input(tarn_mlflow_sink *sink, const tarn_track_event *event);
/* Is the run there and active? TARN_MLFLOW_WAIT with the remedy where it was deleted. */
tarn_mlflow_outcome tarn_mlflow_run_check(tarn_mlflow_sink *sink);
/* Does the server record anything for this run at the moment? Writes what it has already. */
tarn_mlflow_outcome tarn_mlflow_run_probe(tarn_mlflow_sink *sink);

/* ---- batch.c */

/* Sends the metrics, params and tags (and passes by the histograms) that events begin with, as many as fit into one
 * request of each; *taken of them. What the server refuses is counted in sink->lost. */
tarn_mlflow_outcome tarn_mlflow_batch(tarn_mlflow_sink *sink, const tarn_track_event *events, int64_t count,
                                      int64_t *taken);
/* The last request, about this event alone, was refused or has failed often. TARN_MLFLOW_OK: the event is at fault, and
 * counted as lost; TARN_MLFLOW_MISSING: the run is gone; else: the server records nothing at the moment. */
tarn_mlflow_outcome tarn_mlflow_give_up(tarn_mlflow_sink *sink, const tarn_track_event *event);

/* An answer that may be about what was sent: an error, but none that says "not now" or "not you". */
bool tarn_mlflow_is_suspect(const tarn_mlflow_client *client);

/* ---- artifact.c */

/* Puts a file, or all files of a folder, below `under` at an artifact root ("mlflow-artifacts:/...", a path, ...).
 * replace (may be NULL): gives other bytes for a file of that name (malloc), or NULL for the file as it stands. */
typedef char *tarn_mlflow_replace(void *user, const char *name, const char *path);
tarn_mlflow_outcome tarn_mlflow_upload(tarn_mlflow_client *client, const char *root, const char *under,
                                       const char *file, tarn_mlflow_replace *replace, void *user);

/* ---- model.c */

tarn_mlflow_outcome tarn_mlflow_model(tarn_mlflow_sink *sink, const tarn_track_event *event);

/* ---- registry.c */

/* Makes a version of the registered model `name` (made when it is not there) of `source`; model_id may be "". A version
 * of the same source that is there is taken. */
tarn_mlflow_outcome tarn_mlflow_register(tarn_mlflow_client *client, const char *name, const char *source,
                                         const char *run_id, const char *model_id, char version[24]);
tarn_mlflow_outcome tarn_mlflow_put_alias(tarn_mlflow_client *client, const char *name, const char *alias,
                                          const char *version);

#endif
