/* tracker.h - what the trainer and the program use of a tracker beyond <tarn/track.h>. */
#ifndef TARN_TRACK_TRACKER_H
#define TARN_TRACK_TRACKER_H

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
/* Waits until every destination has what this process has logged so far, at most `seconds`: whether all have. */
bool tarn_track_flush(tarn_tracker *tracker, double seconds);
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

#endif
