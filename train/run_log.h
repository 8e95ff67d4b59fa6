/* run_log.h - the log of a run as a file: what the context logs and how far the training is, with times.
 *
 * Invariants
 *  1. The file is appended to, over all starts of a run; a line is written whole, so that a copy taken at any moment
 *     has whole lines.
 *  2. What happens to the file fails nothing: at the first error it is given up, with a warning.
 */
#ifndef TARN_TRAIN_RUN_LOG_H
#define TARN_TRAIN_RUN_LOG_H

#include <limits.h>
#include <stdbool.h>
#include <tarn/train.h>

typedef struct tarn_run_log tarn_run_log;

/* Appends to `path` from now on. NULL (after a warning) when it cannot be opened. */
tarn_run_log *tarn_run_log_open(tarn_context *context, const char *path);
/* One line about the step just done, every ten seconds at most, and at each evaluation. */
void tarn_run_log_step(tarn_run_log *log, const tarn_progress *progress);
/* A line of the caller's. */
void tarn_run_log_line(tarn_run_log *log, const char *format, ...) TARN_PRINTF(2, 3);
/* Bytes appended since `log` was opened. */
int64_t tarn_run_log_written(tarn_run_log *log);
/* Whether the file has doubled since `written` bytes were appended; true at written = 0. */
bool tarn_run_log_has_doubled(tarn_run_log *log, int64_t written);
const char *tarn_run_log_path(const tarn_run_log *log);
/* No more lines; NULL is fine, here and above. */
void tarn_run_log_close(tarn_run_log *log);

#endif
