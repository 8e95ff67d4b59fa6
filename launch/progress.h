/* progress.h - what `tarn train` shows while it runs: a bar on a terminal, plain lines elsewhere. Rank 0 only. */
#ifndef TARN_LAUNCH_PROGRESS_H
#define TARN_LAUNCH_PROGRESS_H

#include <tarn/track.h>
#include <tarn/train.h>

typedef struct tarn_progress_display {
    bool terminal, quiet;
    bool tokens;          /* per_second counts tokens, not samples */
    double started, last; /* seconds, monotonic */
    int64_t first_step;
    int64_t saved; /* the newest durable checkpoint that was shown; -1: none */
    tarn_tracker *tracker;
} tarn_progress_display;

/* tracker: says where the run is recorded, when it knows; may be NULL. */
void tarn_progress_start(tarn_progress_display *display, tarn_tracker *tracker, int64_t first_step, bool tokens,
                         bool quiet);
/* A tarn_progress_function; user is the display. */
tarn_status tarn_progress_show(void *user, const tarn_progress *progress);
/* "saved step N", once for each checkpoint that is durable; tarn_progress_show does it too. */
void tarn_progress_saved(tarn_progress_display *display, const tarn_progress *progress);
void tarn_progress_end(tarn_progress_display *display);

#endif
