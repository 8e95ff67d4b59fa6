/* tracker.h - what the trainer uses of a tracker beyond <tarn/track.h>. */
#ifndef TARN_TRACK_TRACKER_H
#define TARN_TRACK_TRACKER_H

#include <tarn/track.h>

/* Waits until what was logged so far has been handed to the sink. To be called before a checkpoint is committed: a
 * process killed later resumes there, and would not log the earlier points again. */
void tarn_track_flush(tarn_tracker *tracker);
/* Events that could not be recorded so far. */
int64_t tarn_track_lost(tarn_tracker *tracker);

#endif
