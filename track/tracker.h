/* tracker.h - what the trainer uses of a tracker beyond <tarn/track.h>. */
#ifndef TARN_TRACK_TRACKER_H
#define TARN_TRACK_TRACKER_H

#include <tarn/track.h>

/* Numbers what has been logged so far; tarn_track_settle(tracker, mark) waits until all of that has been handed to the
 * sink, whatever is logged meanwhile. Settling is for any thread, and logs nothing: a checkpoint takes the mark with
 * the state, and its writer settles it before the checkpoint takes its name, since a process killed later resumes there
 * and would not log the earlier points again. The tracker must live until then. */
int64_t tarn_track_mark(tarn_tracker *tracker);
void tarn_track_settle(tarn_tracker *tracker, int64_t mark);
/* As tarn_track_open. planned: options->run_id was chosen for a run that may not have been made yet, so that a store
 * which lacks it is nothing to tell. */
tarn_status tarn_track_open_run(tarn_tracker **tracker, tarn_context *context, const tarn_track_options *options,
                                bool planned);
/* Events that could not be recorded so far. */
int64_t tarn_track_lost(tarn_tracker *tracker);

#endif
