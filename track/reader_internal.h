/* reader_internal.h - what the parts of the reader share. Functions that return int: 0, or -1 with errno. */
#ifndef TARN_TRACK_READER_INTERNAL_H
#define TARN_TRACK_READER_INTERNAL_H

#include "track/files.h"
#include "track/record.h"
#include "track/reader.h"

/* ---- reader_curve.c ---- */

/* The curve of that key, made when it is not there; NULL when memory ran out. `most` >= 2 groups at most. The pointer
 * holds until the next one is made. */
tarn_run_curve *tarn_run_view_curve(tarn_run_view *view, const char *key);
/* Enters a point; values that are not finite are counted and left out. */
int tarn_run_curve_add(tarn_run_view *view, tarn_run_curve *curve, int most, int64_t step, int64_t time_ms,
                       double value);
/* Puts what was entered in its order. */
void tarn_run_view_finish(tarn_run_view *view);

/* ---- reader.c ---- */

/* Room for one more element in an array that grows. */
int tarn_run_grow(void *array, int count, int *room, size_t size);
/* Adds a text, or replaces the value of the one of that key. */
int tarn_run_put_text(tarn_run_text **texts, int *count, int *room, const char *key, const char *value);
/* Adds a start; one of the same millisecond is there once. */
int tarn_run_put_start(tarn_run_view *view, int64_t time_ms, int64_t step, int ranks);
/* Adds those of the tag tarn.starts: "ms:step:ranks ms:step:ranks ..." */
int tarn_run_put_starts(tarn_run_view *view, const char *text);
int tarn_run_put_input(tarn_run_view *view, const char *name, const char *digest, const char *context,
                       const char *source);
/* Replaces a text of a head by a clean copy; NULL stays what it is. */
int tarn_run_set(char **text, const char *value);
/* Makes the texts that are NULL "". */
int tarn_run_head_finish(tarn_run_head *head);
/* "RUNNING" and the like as a literal; UNKNOWN for others. */
const char *tarn_run_status(const char *text);

/* ---- the two sources: 1 = `folder` is one, 0 = it is not, -1 with errno ---- */

int tarn_run_store_head(tarn_run_head *head, const char *folder);
int tarn_run_spool_head(tarn_run_head *head, const char *folder);
int tarn_run_store_read(tarn_run_view *view, int most, char problem[TARN_SINK_PROBLEM]);
int tarn_run_spool_read(tarn_run_view *view, int most, char problem[TARN_SINK_PROBLEM]);

#endif
