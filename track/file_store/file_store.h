/* file_store.h - the MLflow file store as a sink.
 *
 * STORE/<experiment>/meta.yaml, STORE/<experiment>/<run>/{meta.yaml,metrics/,params/,tags/,artifacts/}, as MLflow 3
 * reads it.
 */
#ifndef TARN_TRACK_FILE_STORE_H
#define TARN_TRACK_FILE_STORE_H

#include "track/files.h"
#include "track/record.h"
#include "track/sink.h"

#include <tarn/track.h>

typedef struct tarn_file_store {
    tarn_sink sink;
    tarn_path root, run; /* absolute */
    tarn_path temporary; /* in the run's folder, for files that are renamed into place */
    struct tarn_metric_file {
        char *lines; /* of the batch at hand */
        size_t used, room;
        int64_t count;
        const char *key;
        bool exists;
    } * metrics; /* by the id of the key */
    int metric_room;
    int *touched; /* ids with lines in the batch at hand */
    int touched_count, touched_room;
} tarn_file_store;

/* Opens a run: goes on with options->run_id where the store has it (status RUNNING again; its keys and points are
 * entered in `record`), else makes one. run_id receives its id, *resumed whether it was there. notice: what deserves a
 * warning, or
 * "". On failure problem says what, where and the remedy. */
tarn_status tarn_file_store_open(tarn_sink **sink, tarn_record *record, const tarn_track_options *options,
                                 char run_id[33], bool *resumed, char notice[TARN_SINK_PROBLEM],
                                 char problem[TARN_SINK_PROBLEM]);

/* The experiment of that name: found in the store or made. id: its folder. Safe against another process that makes it
 * at the same time. Returns 0, or -1 with problem. */
int tarn_experiment_find(const char *root, const char *name, char id[32], char problem[TARN_SINK_PROBLEM]);
/* The experiment whose folder holds that run: 1 and id, or 0. */
int tarn_experiment_of_run(const char *root, const char *run, char id[32]);

/* Writes a new meta.yaml of a run, the last step of its making. */
int tarn_run_meta_create(const tarn_file_store *store, const char *experiment, const char *run, const char *name,
                         int64_t start_ms);
/* Changes status and end (end_ms < 0: null) in meta.yaml, and the name unless it is NULL; the rest stays. */
int tarn_run_meta_change(const tarn_file_store *store, int status, int64_t end_ms, const char *name);

/* Enters what the run holds in the record; torn lines (from a machine that died) are taken out, and counted. */
int tarn_file_store_load(tarn_file_store *store, tarn_record *record, int64_t *repaired);
/* The state of metric `id`; NULL when memory ran out. */
struct tarn_metric_file *tarn_file_store_metric(tarn_file_store *store, int id);

enum { TARN_RUN_RUNNING = 1, TARN_RUN_FINISHED = 3, TARN_RUN_FAILED = 4, TARN_RUN_KILLED = 5 };

#endif
