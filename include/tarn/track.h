/* track.h - the record of a run: parameters, metrics by step, tags, files, datasets, models. It goes through a spool on
 * disk to an MLflow file store or server, TensorBoard, W&B, Prometheus, in the background: nothing here waits for them.
 */
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
    int64_t spool_limit;        /* bytes of a run's spool, its copies of files included, beyond which the oldest metrics
                                   are thinned; 0 = 1 GiB */
    double flush_timeout;       /* seconds that closing waits for a server; 0 = 10, below 0 = none */
    const char *tensorboard;    /* directory for TensorBoard's event files; NULL = none */
    const char *wandb;          /* directory for a W&B offline run; NULL = none */
    const char *metrics_listen; /* ADDRESS:PORT that serves Prometheus at /metrics; NULL = none */
    const char *metrics_file;   /* file for node exporter's textfile collector; NULL = none */
} tarn_track_options;

/* Opens (creates, or goes on with) a run. Collective: every rank calls it, with the same options; rank 0 publishes, the
 * other ranks hand what they log to it through the spool folder. What the spool of the run holds already (an earlier
 * process of the run wrote it) is known, and not recorded again. A destination that cannot be reached now is no error:
 * it gets its events later. Nor is a store that is none, a directory of one that cannot be written, a MLFLOW_RUN_ID
 * that is none: a warning, and the record stays in the spool for `tarn track push`. TARN_ERROR_CONFIG: a spool that
 * cannot be written, a metrics_listen or metrics_file that cannot be. TARN_ERROR_ARGUMENT: a run_id or name that is
 * none. */
TARN_API tarn_status tarn_track_open(tarn_tracker **tracker, tarn_context *context, const tarn_track_options *options);
/* status: "FINISHED", "FAILED" or "KILLED". Writes what is queued, waits at most flush_timeout seconds for the
 * destinations, says which is behind and how to push the rest, and closes. Every rank calls it. NULL is fine. */
TARN_API tarn_status tarn_track_close(tarn_tracker *tracker, const char *status);
/* The run's id, 32 hex digits, to keep for a resume; the same on all ranks. Borrowed from the tracker; NULL for NULL.
 */
TARN_API const char *tarn_track_run_id(const tarn_tracker *tracker);

/* The log calls: on any rank, from any thread, at any time between open and close. They copy what they get, never wait
 * for the disk or a server, and take about a microsecond. TARN_ERROR_ARGUMENT: a key that MLflow's rules make
 * impossible (at most 250 of letters, digits, _ - . / : and blanks, a relative path). A call that is refused stays out
 * of the record and fails nothing else: the context has no error of it, so the run goes on, whoever looks at the status
 * or not. The first refused call of each function is a warning; all are counted, and told at close. A NULL tracker does
 * nothing. */

/* Records a value of `key` at `step`. A (key, step) that the run already holds is not recorded again; a different value
 * for it is reported as a broken promise (a warning and the tag tarn.broken_promise), unless the key begins with
 * system/: measurements such as times differ when a step is run again, and the first value stays without a word.
 * Non-finite values become the tag nonfinite.<key>. The newest 65,536 steps of a key are told apart; an older one than
 * those counts as recorded. */
TARN_API tarn_status tarn_log_metric(tarn_tracker *tracker, const char *key, double value, int64_t step);
/* Records a parameter of the run, at most 6000 bytes of text (NULL = ""). Once a run: a different value for a key that
 * is there stays out, the first time with a warning. A tag, at most 8000 bytes, may change: the last value counts. A
 * longer value is cut between characters, with a warning. */
TARN_API tarn_status tarn_log_param(tarn_tracker *tracker, const char *key, const char *value);
TARN_API tarn_status tarn_log_tag(tarn_tracker *tracker, const char *key, const char *value);
/* Copies a file into the run's artifacts, under directory `under` (NULL = top). It is opened now and copied in the
 * background: it may be renamed or unlinked right after, not be overwritten in place. TARN_ERROR_IO: not readable. */
TARN_API tarn_status tarn_log_artifact(tarn_tracker *tracker, const char *path, const char *under);

/* How values are spread: bucket i counts the values in (limits[i - 1], limits[i]]. */
typedef struct tarn_histogram {
    double min, max, sum, sum_squares;
    int64_t count;
    int buckets;          /* at least 1 */
    const double *limits; /* upper ends, ascending, finite */
    const int64_t *counts;
} tarn_histogram;

/* Records a histogram of `key` at `step`, once a (key, step), as a metric. */
TARN_API tarn_status tarn_log_histogram(tarn_tracker *tracker, const char *key, const tarn_histogram *histogram,
                                        int64_t step);

/* A data set that the run reads. Texts may be NULL but for the name. */
typedef struct tarn_track_dataset {
    const char *name;        /* at most 500 bytes */
    const char *digest;      /* at most 36 characters, MLflow's limit */
    const char *source;      /* where it is: a path or an address */
    const char *source_type; /* "local", "http", ...; NULL = "local" */
    const char *context;     /* "training", "validation", ... */
    const char *schema;      /* JSON: MLflow's {"mlflow_colspec": ...} or {"mlflow_tensorspec": ...} */
    const char *profile;     /* JSON: {"num_rows": ...} */
} tarn_track_dataset;

/* Records an input of the run; the same again is not recorded twice. */
TARN_API tarn_status tarn_log_dataset(tarn_tracker *tracker, const tarn_track_dataset *dataset);

/* A model that the run made: a folder with MLflow's MLmodel file in it. */
typedef struct tarn_track_model {
    const char *name;        /* as a key, without / and : */
    const char *folder;      /* its files are opened now and copied in the background */
    const char *register_as; /* name in the model registry of which it becomes a version; NULL = none */
    const char *alias;       /* alias moved to that version; NULL = none */
    int64_t step;
    const char *model_type; /* free text: "gpt"; NULL = "" */
    bool again;             /* the record may hold the model already: what it holds becomes the version (one of
                               register_as is made where there is none), and the alias moves */
} tarn_track_model;

/* Records a model, once a (name, step) unless `again` is set. */
TARN_API tarn_status tarn_log_model(tarn_tracker *tracker, const tarn_track_model *model);

#ifdef __cplusplus
}
#endif
#endif
