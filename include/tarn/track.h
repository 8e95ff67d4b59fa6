/* track.h - the record of a run: parameters, metrics by step, tags, files, in an MLflow file store. */
#ifndef TARN_TRACK_H
#define TARN_TRACK_H

#include <tarn/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_tracker tarn_tracker;

typedef struct tarn_track_options {
    const char *store;          /* where the record goes: the directory of a file store, file:... , or the http(s)://
                                   address of an MLflow server. NULL = MLFLOW_TRACKING_URI, else "mlruns"; "none" = to no
                                   store (the sinks below still get it) */
    const char *experiment;     /* NULL = MLFLOW_EXPERIMENT_NAME, else "Default" */
    const char *name;           /* run name; NULL = one is made */
    const char *run_id;         /* 32 hex digits: go on with this run (resume); NULL = MLFLOW_RUN_ID, else a new one */
    const char *spool;          /* directory of the spools, one folder a run; NULL = "tarn-spool" */
    int64_t spool_limit;        /* bytes of a run's spool, beyond which the oldest metrics are thinned; 0 = 1 GiB */
    double flush_timeout;       /* seconds that closing waits for a server; 0 = 10, below 0 = none */
    const char *tensorboard;    /* directory for TensorBoard's event files; NULL = none */
    const char *wandb;          /* directory for a W&B offline run; NULL = none */
    const char *metrics_listen; /* ADDRESS:PORT that serves Prometheus at /metrics; NULL = none */
    const char *metrics_file;   /* file for node exporter's textfile collector; NULL = none */
} tarn_track_options;

/* Opens (creates, or goes on with) a run. Only rank 0 writes; on other ranks all calls do nothing. */
TARN_API tarn_status tarn_track_open(tarn_tracker **tracker, tarn_context *context, const tarn_track_options *options);
/* status: "FINISHED", "FAILED" or "KILLED". Writes what is queued and closes. */
TARN_API tarn_status tarn_track_close(tarn_tracker *tracker, const char *status);
/* The run's id, 32 hex digits, to keep for a resume. Ranks other than 0 know only what their options said (""
 * otherwise). Borrowed from the tracker; NULL for NULL. */
TARN_API const char *tarn_track_run_id(const tarn_tracker *tracker);
/* Records a value of `key` at `step`. A (key, step) that the run already holds is not written again; a different value
 * for it is reported as a broken promise (a warning and the tag tarn.broken_promise), unless the key begins with
 * system/: measurements such as times differ when a step is run again, and the first value stays without a word.
 * Non-finite values become the tag nonfinite.<key>. */
TARN_API tarn_status tarn_log_metric(tarn_tracker *tracker, const char *key, double value, int64_t step);
/* Records a parameter of the run, at most 6000 bytes of text (NULL = ""). Once a run: a different value for a key that
 * is there stays out and is a warning. A tag, at most 8000 bytes, may change: the last value counts. Both copy key and
 * value, never wait for the disk, and may be called on any thread. TARN_ERROR_ARGUMENT: a key by MLflow's rules
 * impossible (at most 250 of letters, digits, _ - . / : and blanks, a relative path) or a value too long. */
TARN_API tarn_status tarn_log_param(tarn_tracker *tracker, const char *key, const char *value);
TARN_API tarn_status tarn_log_tag(tarn_tracker *tracker, const char *key, const char *value);
/* Copies a file into the run's artifacts, under directory `under` (NULL = top). */
TARN_API tarn_status tarn_log_artifact(tarn_tracker *tracker, const char *path, const char *under);

#ifdef __cplusplus
}
#endif
#endif
