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
#include "track/sinks.h"

#include <tarn/track.h>

typedef struct tarn_file_store {
    tarn_sink sink;
    tarn_path root, run; /* absolute */
    tarn_path temporary; /* in the run's folder, for files that are renamed into place */
    char experiment[32], run_id[33];
    bool made;         /* by this process, and its beginning has not come yet */
    tarn_record *held; /* what the run holds there: points that come again are passed over */
    struct tarn_metric_file {
        char *lines; /* of the batch at hand */
        size_t used, room;
        int64_t count;
        tarn_record_key *key;
        int failed; /* errno of the last write */
        bool exists;
    } * metrics; /* by the id of the key in `held` */
    int metric_room;
    int *touched; /* ids with lines in the batch at hand */
    int touched_count, touched_room;
} tarn_file_store;

/* Enters what a run in a file store holds in a record: 1, 0: the store does not hold that run, -1 with errno. */
int tarn_file_store_recall(const char *root, const char *run_id, tarn_record *record);

/* The experiment of that name: found in the store or made. id: its folder. Safe against another process that makes it
 * at the same time. Returns 0, or -1 with problem. */
int tarn_experiment_find(const char *root, const char *name, char id[32], char problem[TARN_SINK_PROBLEM]);
/* The experiment whose folder holds that run: 1 and id, or 0. */
int tarn_experiment_of_run(const char *root, const char *run, char id[32]);

/* Writes a new meta.yaml of a run, the last step of its making. */
int tarn_run_meta_create(const tarn_file_store *store, const char *experiment, const char *run, const char *name,
                         int64_t start_ms);
/* Changes status and end (end_ms < 0: null) in meta.yaml, the start where it is later than start_ms (below 0: it stays;
 * store->made: whatever it is), and the name unless it is NULL; the rest stays. */
int tarn_run_meta_change(const tarn_file_store *store, int status, int64_t start_ms, int64_t end_ms, const char *name);

/* Splits a line of a metric, "<ms> <value> <step>", or one of the forms of 2 and 5 fields that MLflow reads too; value
 * lies in the line, which is changed. False: the line is torn, or none. */
bool tarn_metric_line_split(char *line, int64_t *time_ms, const char **value, int64_t *step);
/* Enters what the run holds in store->held; torn lines (from a machine that died) are taken out, and counted. */
int tarn_file_store_load(tarn_file_store *store, int64_t *repaired);
/* The state of metric `id`; NULL when memory ran out. */
struct tarn_metric_file *tarn_file_store_metric(tarn_file_store *store, int id);

enum { TARN_RUN_RUNNING = 1, TARN_RUN_FINISHED = 3, TARN_RUN_FAILED = 4, TARN_RUN_KILLED = 5 };

#endif
