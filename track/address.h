/* address.h - what the options and MLflow's environment say about where the record goes. */
#ifndef TARN_TRACK_ADDRESS_H
#define TARN_TRACK_ADDRESS_H

#include "track/files.h"
#include "track/sink.h"

typedef enum tarn_track_place { TARN_TRACK_NOWHERE, TARN_TRACK_FILES, TARN_TRACK_SERVER } tarn_track_place;

/* Reads an address as mlflow does: "none", a path, file:PATH, file://[localhost]/PATH (with %XX), http(s)://HOST. text
 * becomes the path of the file store, or the server's address without slashes at its end. TARN_ERROR_CONFIG with a
 * problem that names the remedy: anything else, such as a database. */
tarn_status tarn_track_address(const char *store, tarn_track_place *place, tarn_path text,
                               char problem[TARN_SINK_PROBLEM]);

/* Options in which nothing is left to be looked up: store (as tarn_track_address gives it, "none" for nowhere),
 * experiment, run_id ("" for a new one), spool (absolute), spool_limit and flush_timeout (0: do not wait) are filled in
 * from the options, else from MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, MLFLOW_RUN_ID, else with the defaults. */
typedef struct tarn_track_resolved {
    tarn_track_options options; /* its texts are borrowed from the caller's options and from here */
    tarn_track_place place;
    tarn_path store, spool;
    char experiment[501], run_id[33];
    char wrong_store[TARN_SINK_PROBLEM];  /* why the store is none, and "none" stands in its place; "" */
    char wrong_run_id[TARN_SINK_PROBLEM]; /* why MLFLOW_RUN_ID was passed over; "" */
} tarn_track_resolved;

/* 32 hex digits. */
bool tarn_track_is_run_id(const char *text);

/* For a run, which goes on where its surroundings are wrong: out->wrong_store, out->wrong_run_id. planned:
 * options->run_id is only a proposal, over which MLFLOW_RUN_ID goes. */
tarn_status tarn_track_resolve_run(tarn_track_resolved *out, const tarn_track_options *options, bool planned,
                                   char problem[TARN_SINK_PROBLEM]);
/* For a command, which does not: those two are errors. */
tarn_status tarn_track_resolve(tarn_track_resolved *out, const tarn_track_options *options, bool planned,
                               char problem[TARN_SINK_PROBLEM]);

#endif
