/* tracker.h - what the trainer and the program use of a tracker beyond <tarn/track.h>. */
#ifndef TARN_TRACK_TRACKER_H
#define TARN_TRACK_TRACKER_H

#include "track/sink.h"

#include <tarn/track.h>

/* Numbers what this rank has logged so far; tarn_track_settle(tracker, mark) waits until all of that is in the spool,
 * to survive a loss of power too (of other ranks than 0: until it is handed over), whatever is logged meanwhile.
 * Settling is for any thread, and logs nothing: a checkpoint takes the mark with the state, and its writer settles it
 * before the checkpoint takes its name, since a process killed later resumes there and would not log the earlier points
 * again. It does not wait for a disk that refuses. The tracker must live until then. */
int64_t tarn_track_mark(tarn_tracker *tracker);
void tarn_track_settle(tarn_tracker *tracker, int64_t mark);
/* As tarn_track_open. planned: options->run_id was chosen for a run that may not have been made yet, so that a store
 * which lacks it is nothing to tell, and MLFLOW_RUN_ID goes over it. resumed_step: the step that the run goes on from,
 * for its record; -1: unknown. */
tarn_status tarn_track_open_run(tarn_tracker **tracker, tarn_context *context, const tarn_track_options *options,
                                bool planned, int64_t resumed_step);
/* Whether the record that tarn_track_open would go on with (options->run_id) has come to its end: its spool says that
 * the run FINISHED, and every destination has all of it. True also where there is no spool of it: nothing is known. */
bool tarn_track_is_complete(const tarn_track_options *options);
/* As tarn_track_open, but a destination that cannot be opened, or a wrong MLFLOW_RUN_ID, is TARN_ERROR_CONFIG or
 * TARN_ERROR_ARGUMENT: for commands whose purpose it is to bring something there. */
tarn_status tarn_track_open_strict(tarn_tracker **tracker, tarn_context *context, const tarn_track_options *options);
/* Waits until every destination has what this process has logged so far, at most `seconds`: whether all have. */
bool tarn_track_flush(tarn_tracker *tracker, double seconds);
/* The next line about where the run is to be seen ("recording to mlruns (run 3f2a...)", its page at the server), each
 * once; they are in the log, too, as information. False: none at the moment. */
bool tarn_track_news(tarn_tracker *tracker, char line[TARN_SINK_PROBLEM]);
/* Events that could not be recorded so far. */
int64_t tarn_track_lost(tarn_tracker *tracker);
/* Why the newest log call that was refused in this process was refused; "" when none was. */
void tarn_track_refusal(tarn_tracker *tracker, char *out, size_t size);
/* What the calling thread logs from now on says nothing to the user's log function: what there is to tell waits for the
 * next call of another thread. For threads of our own that log. */
void tarn_track_quiet_thread(void);
/* A step of `key` that the run does not hold yet, for measurements that follow no training step. */
int64_t tarn_track_next_step(tarn_tracker *tracker, const char *key);
/* The value of a tag that the run holds, as this rank knows; false: none, or it does not fit. */
bool tarn_track_tag(tarn_tracker *tracker, const char *key, char *out, size_t size);
/* Whether the run holds another value of a parameter than this one, which would stay out. */
bool tarn_track_param_differs(tarn_tracker *tracker, const char *key, const char *value);
/* The folder of the run's spool; the same on all ranks. Borrowed from the tracker. */
const char *tarn_track_spool(const tarn_tracker *tracker);

enum { TARN_MODEL_ID = 40, TARN_MODEL_VERSION = 24 };
/* The id of the model of that name and step of the run, m- and 32 hex digits; it is so whether it was logged or not.
 * False: out of memory. */
bool tarn_track_model_id(const tarn_tracker *tracker, const char *name, int64_t step, char id[TARN_MODEL_ID]);

/* What has become of a model that was logged. */
typedef struct tarn_track_published {
    bool handed;                      /* to the process that writes the spool: nothing more is known here */
    bool nowhere;                     /* the run has no store */
    int64_t behind;                   /* events that the store has not taken yet; the model may be one of them */
    char version[TARN_MODEL_VERSION]; /* that it became, with the alias that was asked for; "": none */
    char problem[TARN_SINK_PROBLEM];  /* why the store waits, or what it refused; "" */
} tarn_track_published;
/* Waits until the run's store has what was logged, at most flush_timeout: closing then waits for the rest of that. On
 * the rank that holds the spool, before tarn_track_close. */
void tarn_track_await_model(tarn_tracker *tracker, const tarn_track_model *model, tarn_track_published *out);

#endif
