/* tensorboard.h - TensorBoard's event files as a sink: one folder a run, one file in it.
 *
 * Invariants
 *  1. A point is in the file once, however often its event comes.
 *  2. A record that was written whole is never taken back: TensorBoard reads the file while it grows.
 *  3. What a call took is on the disk when the call returns.
 *  4. A call that fails leaves the file as it was, takes nothing, and the events come again.
 */
#ifndef TARN_TRACK_TENSORBOARD_H
#define TARN_TRACK_TENSORBOARD_H

#include "track/boards/points.h"
#include "track/sink.h"
#include "track/tensorboard/messages.h"

enum { TARN_EVENT_TABLES = 4 }; /* texts about the whole run: parameters, tags, datasets, notes */

typedef struct tarn_tensorboard {
    tarn_sink sink;
    tarn_board_file file;
    tarn_path folder; /* of the run */
    tarn_path state;  /* file with the tables' content, and the one that takes its place */
    tarn_path state_new;
    tarn_path aside; /* for bytes that are cut off */
    char run_id[64];
    char group[160];  /* of the session: the run's name */
    bool loaded;      /* what follows says what the file holds */
    tarn_points seen; /* of the file; empty again as soon as an event comes that it does not hold */
    bool session_started, session_ended;
    cJSON *tables;       /* {table: {key: text}} */
    bool tables_changed; /* since the state file was written */
    struct tarn_event_table {
        char *shown;   /* the newest text in the file; NULL: none */
        int64_t count; /* of texts in the file */
    } table[TARN_EVENT_TABLES];
    tarn_event_writer writer;
} tarn_tensorboard;

tarn_sink_open tarn_tensorboard_sink_open;

/* ---- tables.c ---- */
/* The tables of the state file; without one, empty. -1 with errno when it cannot be read. */
int tarn_event_tables_load(tarn_tensorboard *board);
int tarn_event_tables_save(tarn_tensorboard *board);
/* Enters a parameter, a tag or a dataset. False: memory ran out. */
bool tarn_event_tables_take(tarn_tensorboard *board, const tarn_track_event *event);
/* Appends the texts that differ from those in the file. False: memory ran out. */
bool tarn_event_tables_show(tarn_tensorboard *board, double wall, char *shown[TARN_EVENT_TABLES]);
/* A text that was found in the file. */
bool tarn_event_tables_seen(tarn_tensorboard *board, const tarn_event_seen *seen);
const cJSON *tarn_event_tables_parameters(const tarn_tensorboard *board);

/* ---- place.c ---- */
/* Finds the run's file (of an earlier process, or a new one), opens it, and remembers it. */
tarn_status tarn_tensorboard_place(tarn_tensorboard *board, const char *directory, const tarn_sink_run *run,
                                   char notice[TARN_SINK_PROBLEM], char problem[TARN_SINK_PROBLEM]);

#endif
