/* sinks.h - the table of sinks: where events can go. */
#ifndef TARN_TRACK_SINKS_H
#define TARN_TRACK_SINKS_H

#include "track/files.h"
#include "track/sink.h"

typedef struct tarn_sink_row {
    const char *name;  /* of the sink, and of its folders in a spool */
    long option;       /* offset in tarn_track_options of the text that names its destination; -1: none, one a run */
    bool on_this_host; /* its destination lies on a disk that may forget with the power what it has taken: after a
                          restart of the host it is offered everything again */
    tarn_sink_open *open;
    const char *push; /* how `tarn track push` names such a destination: a run goes on without one that cannot be
                         opened, and its spool is pushed later; NULL: what cannot be opened is an error */
} tarn_sink_row;

/* The table in use; tests put one of their own here. */
extern const tarn_sink_row *tarn_sink_rows;
extern int tarn_sink_row_count;

tarn_sink_open tarn_file_store_sink_open, tarn_mlflow_sink_open, tarn_tensorboard_sink_open, tarn_wandb_sink_open,
    tarn_prometheus_sink_open;

/* Whether the options name a destination of that kind. options, here and below: with the store as tarn_track_resolve
 * gave it. */
bool tarn_sink_is_asked(const tarn_sink_row *row, const tarn_track_options *options);
/* Whether its destination is the one that track.store names. */
bool tarn_sink_is_store(const tarn_sink_row *row);
/* The folder of a sink's state below the spool: sinks/<name>-<hash of its destination>, so that another destination
 * begins with nothing acknowledged. 0, or -1 with errno. */
int tarn_sink_state_path(tarn_path out, const char *spool, const tarn_sink_row *row, const tarn_track_options *options);
/* The same, and makes it. */
int tarn_sink_state_folder(tarn_path out, const char *spool, const tarn_sink_row *row,
                           const tarn_track_options *options);
/* Writes the destination into that folder, for people. */
int tarn_sink_name_destination(const char *state, const tarn_sink_row *row, const tarn_track_options *options);

#endif
