/* records.h - W&B's records (wandb/proto/wandb_internal.proto), made and read: what a run's .wandb file consists of.
 */
#ifndef TARN_TRACK_WANDB_RECORDS_H
#define TARN_TRACK_WANDB_RECORDS_H

#include "runtime/protobuf/protobuf.h"
#include "runtime/protobuf/reader.h"
#include "track/boards/values.h"

#include <cjson/cJSON.h>

/* The axis that charts are drawn over. Rows have W&B's own _step, too, which must grow from row to row: it is the
 * training's step wherever points come in order of their steps, and the next free number where one comes late. */
#define TARN_WANDB_STEP "trainer/global_step"

/* Fields of the record types. */
enum tarn_wandb_type {
    TARN_WANDB_HISTORY = 2,
    TARN_WANDB_SUMMARY = 3,
    TARN_WANDB_CONFIG = 5,
    TARN_WANDB_FILES = 6,
    TARN_WANDB_STATS = 7,
    TARN_WANDB_METRIC = 12,
    TARN_WANDB_RUN = 17,
    TARN_WANDB_EXIT = 18,
    TARN_WANDB_HEADER = 21,
    TARN_WANDB_ENVIRONMENT = 26
};

/* Who began to write, and where. Empty texts are unknown. */
typedef struct tarn_wandb_process {
    int64_t time_ms;
    char writer[80]; /* an id of its own */
    char user[128], source[512], commit[65], host[128], system[256], folder[512], processor[128];
    int64_t cores, threads, memory; /* 0: unknown; memory in bytes */
} tarn_wandb_process;

typedef struct tarn_wandb_run {
    const char *id, *project, *name, *notes;
    int64_t start_ms;
    const cJSON *config; /* {key: JSON text}; may be NULL */
} tarn_wandb_run;

/* Items {nested_key, value_json} of a history row; items of a summary are the same bytes. */
void tarn_wandb_item(tarn_protobuf *items, const char *key, const char *below, const char *json);
void tarn_wandb_item_number(tarn_protobuf *items, const char *key, double value);
/* False: memory ran out. */
bool tarn_wandb_item_histogram(tarn_protobuf *items, const char *key, const tarn_board_histogram *histogram);

/* All make a message of their type in `out`, which is emptied first. */
void tarn_wandb_header(tarn_protobuf *out);
void tarn_wandb_make_run(tarn_protobuf *out, const tarn_wandb_run *run, const tarn_wandb_process *process);
void tarn_wandb_environment(tarn_protobuf *out, const tarn_wandb_process *process);
void tarn_wandb_config(tarn_protobuf *out, const char *key, const char *json);
/* name NULL: the step itself. */
void tarn_wandb_metric(tarn_protobuf *out, const char *name);
void tarn_wandb_history(tarn_protobuf *out, const tarn_protobuf *items, int64_t step);
void tarn_wandb_files(tarn_protobuf *out, const char *path);
void tarn_wandb_exit(tarn_protobuf *out, int code, int64_t seconds);
void tarn_wandb_stats_begin(tarn_protobuf *out, int64_t time_ms);
void tarn_wandb_stats_add(tarn_protobuf *out, const char *key, double value);
/* The record around a message. */
void tarn_wandb_record(tarn_protobuf *record, int type, const tarn_protobuf *message, int64_t number,
                       const char *stream);

/* The facts as files/wandb-metadata.json has them; the caller frees, NULL when memory ran out. */
char *tarn_wandb_metadata(const tarn_wandb_process *process);
int64_t tarn_wandb_timestamp(const tarn_protobuf_field *field); /* in milliseconds */

#endif
