/* wandb.h - a W&B offline run as a sink: what `wandb sync` uploads, as wandb 0.31 writes it.
 *
 * DIR/offline-run-TIME-ID/run-ID.wandb with the records, and files/ with what is uploaded as files.
 *
 * Invariants
 *  1. A point is in the run once, however often its event comes.
 *  2. Metrics of one step that follow each other are one history row. The row under way is kept in the state folder
 *     until an event of another step closes it, and is lost to no crash.
 *  3. W&B's own _step grows from row to row.
 *  4. What a call took is on the disk when the call returns; a call that fails takes nothing, and what the files hold
 *     is read anew before the next.
 *  5. A file that was synced (run-ID.wandb.synced beside it) is not written to any more: the run goes on in a folder of
 *     its own with the same id, which `wandb sync` appends to the run.
 */
#ifndef TARN_TRACK_WANDB_H
#define TARN_TRACK_WANDB_H

#include "track/boards/points.h"
#include "track/boards/records.h"
#include "track/sink.h"
#include "track/wandb/log_file.h"
#include "track/wandb/records.h"

typedef struct tarn_wandb_row {
    bool open, changed; /* changed: since it was kept */
    int64_t step, time_ms;
    tarn_protobuf items;
} tarn_wandb_row;

typedef struct tarn_wandb {
    tarn_sink sink;
    tarn_path directory;
    tarn_path rows_path, rows_new, aside, state;
    char run_id[64], project[129], name[160];
    int64_t opened_ms;

    bool loaded;         /* what follows says what the files hold */
    tarn_points seen;    /* points that earlier processes left in the files, and in the row under way */
    tarn_points defined; /* metrics that this file defines */
    tarn_board_file file;
    tarn_path folder; /* of the file */
    int64_t start_ms; /* of the run; 0: nothing is there yet */
    int64_t number;   /* of the file's last record */
    int64_t last_step;
    int64_t exit_at; /* where the exit record begins that the file ends with; -1: none */
    cJSON *config;   /* {key: JSON text} */
    char *notes;
    tarn_wandb_row row;
    tarn_board_file rows; /* the row under way, and earlier ones */

    /* of the call */
    tarn_wandb_process process; /* that began last */
    bool ready;                 /* the file can be appended to */
    bool config_changed;        /* since files/config.yaml was written */
    int error;                  /* errno of the first failure */
    int64_t time_ms;            /* of the call's first event */
    int end;                    /* exit code that the events so far end with; -1: none */
    tarn_protobuf out, message, record, stats;
    int64_t stats_ms; /* of the measurements in stats; -1: none */
} tarn_wandb;

tarn_sink_open tarn_wandb_sink_open;

/* ---- load.c ---- */
/* Reads what the run's files hold; opens the newest. -1 with errno. */
int tarn_wandb_load(tarn_wandb *board);
void tarn_wandb_forget(tarn_wandb *board);
uint64_t tarn_wandb_stat_hash(const char *key, size_t length, int64_t time_ms);
/* Sets a key of the configuration; 1: it has changed, 0: it was so, -1: memory ran out. */
int tarn_wandb_set_config(tarn_wandb *board, const char *key, const char *json);

/* ---- file.c ---- */
/* The file to append to: a new folder where there is none or the last one was synced, without the exit record that it
 * ended with. True when the head of a new file was written, which tells of the process. Failures are in board->error.
 */
bool tarn_wandb_prepare(tarn_wandb *board);
/* Appends a record to board->out. */
void tarn_wandb_put(tarn_wandb *board, int type, const tarn_protobuf *message);
/* files/config.yaml, for readers of the folder (`wandb sync` makes its own). */
void tarn_wandb_write_config(tarn_wandb *board);
void tarn_wandb_write_metadata(tarn_wandb *board);

/* ---- row.c ---- */
/* The row that the event belongs to; closes the one of another step. */
tarn_wandb_row *tarn_wandb_row_of(tarn_wandb *board, const tarn_track_event *event);
void tarn_wandb_close_row(tarn_wandb *board);
/* Keeps the row under way on the disk. -1 with errno. */
int tarn_wandb_keep_row(tarn_wandb *board);
/* The row that was under way, unless the files hold it. -1 with errno. */
int tarn_wandb_load_row(tarn_wandb *board);
/* Enters the points of a row's items. False: memory ran out. */
bool tarn_wandb_enter_items(tarn_points *points, const unsigned char *bytes, size_t count, int64_t step);

/* ---- process.c ---- */
/* From the text of a BEGIN event; facts about this machine where that event is this process's. */
void tarn_wandb_describe_process(tarn_wandb *board, const tarn_track_event *event);

#endif
