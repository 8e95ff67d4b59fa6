/* enter.h - entering what is logged in the record of the run, and in the queue. Every function: with the tracker's lock
 * held; time_ms 0 is now; on failure problem says why. */
#ifndef TARN_TRACK_ENTER_H
#define TARN_TRACK_ENTER_H

#include "track/tracker_internal.h"

/* Bytes that MLflow keeps of the value of a parameter, of a tag. */
enum { TARN_PARAM_MOST = 6000, TARN_TAG_MOST = 8000 };
/* Cuts a UTF-8 text to at most `most` bytes, between characters: whether it was longer. */
bool tarn_value_shorten(char *text, size_t most);

tarn_status tarn_enter_metric(tarn_tracker *tracker, const char *name, double value, int64_t step, int64_t time_ms,
                              char problem[TARN_SINK_PROBLEM]);
/* A kind of which one value stands for a key (param, tag, input). keep: another one that stands there stays; of a
 * parameter that is told. */
tarn_status tarn_enter_value(tarn_tracker *tracker, tarn_track_kind kind, const char *name, const char *value,
                             bool keep, int64_t time_ms, char problem[TARN_SINK_PROBLEM]);
/* Takes the text over. */
tarn_status tarn_enter_histogram(tarn_tracker *tracker, const char *name, char *text, int64_t step, int64_t time_ms,
                                 char problem[TARN_SINK_PROBLEM]);
/* Takes text, files and stored over. A text with "again": true is queued, too, where the record holds the model. */
tarn_status tarn_enter_model(tarn_tracker *tracker, const char *name, char *text, tarn_queued_files *files,
                             char *stored, int64_t step, int64_t time_ms, char problem[TARN_SINK_PROBLEM]);
/* A point that is no finite number: a tag. */
tarn_status tarn_enter_nonfinite(tarn_tracker *tracker, tarn_track_kind kind, const char *name, double value,
                                 int64_t step, char problem[TARN_SINK_PROBLEM]);

#endif
