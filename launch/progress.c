/* progress.c - see progress.h. */
#include "launch/progress.h"
#include "runtime/base/context.h"
#include "track/tracker.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double TERMINAL_SECONDS = 0.1, PLAIN_SECONDS = 5.0;

/* Open MPI gives a rank a terminal of its own and copies it to mpirun's stdout: what counts is mpirun's, its parent's.
 */
static bool is_terminal(void)
{
    if (!isatty(STDOUT_FILENO)) return false;
    if (!getenv("OMPI_COMM_WORLD_SIZE")) return true;
    char path[64], target[256];
    snprintf(path, sizeof path, "/proc/%d/fd/1", (int)getppid());
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length <= 0) return false;
    target[length] = 0;
    return !strncmp(target, "/dev/pts/", 9) || !strncmp(target, "/dev/tty", 8);
}

static void show_news(tarn_progress_display *display)
{
    char line[TARN_SINK_PROBLEM];
    while (!display->quiet && tarn_track_news(display->tracker, line))
        printf("%s%s\n", display->terminal ? "\r\033[K" : "", line);
}

void tarn_progress_start(tarn_progress_display *display, tarn_tracker *tracker, int64_t first_step, bool tokens,
                         bool quiet)
{
    *display = (tarn_progress_display){.terminal = is_terminal(),
                                       .quiet = quiet,
                                       .tokens = tokens,
                                       .started = tarn_seconds(),
                                       .first_step = first_step,
                                       .saved = first_step ? first_step : -1,
                                       .tracker = tracker};
    show_news(display);
    fflush(stdout);
}

static void format_duration(double seconds, char out[32])
{
    long s = seconds > 0 && seconds < 1e9 ? lround(seconds) : 0;
    if (s >= 3600)
        snprintf(out, 32, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, 32, "%ld:%02ld", s / 60, s % 60);
}

static void draw_bar(const tarn_progress *progress)
{
    enum { WIDTH = 24 };
    int filled = (int)(progress->step * WIDTH / progress->steps);
    char bar[WIDTH + 1];
    for (int i = 0; i < WIDTH; i++) bar[i] = i < filled ? '#' : '.';
    bar[WIDTH] = 0;
    printf("\r[%s] ", bar);
}

void tarn_progress_saved(tarn_progress_display *display, const tarn_progress *progress)
{
    if (display->quiet || progress->saved_step < 0 || progress->saved_step == display->saved) return;
    display->saved = progress->saved_step;
    if (display->terminal) return; /* it stands behind the bar */
    printf("saved step %lld\n", (long long)display->saved);
    fflush(stdout);
}

tarn_status tarn_progress_show(void *user, const tarn_progress *progress)
{
    tarn_progress_display *display = user;
    if (display->quiet) return TARN_OK;
    show_news(display);
    tarn_progress_saved(display, progress);
    double now = tarn_seconds();
    bool evaluated = isfinite(progress->validation_loss), end = progress->step == progress->steps;
    bool first = progress->step == display->first_step + 1;
    if (!evaluated && !end && !first && now - display->last < (display->terminal ? TERMINAL_SECONDS : PLAIN_SECONDS))
        return TARN_OK;
    display->last = now;
    /* The time left from the mean of this process' steps: steadier than the last step's. */
    double per_step = (now - display->started) / (double)(progress->step - display->first_step);
    char left[32];
    format_duration(per_step * (double)(progress->steps - progress->step), left);
    if (display->terminal) draw_bar(progress);
    printf("step %lld/%lld  loss %.4f  %.0f %s/s  left %s", (long long)progress->step, (long long)progress->steps,
           progress->loss, progress->per_second, display->tokens ? "tokens" : "samples", left);
    if (evaluated) {
        printf("  validation loss %.4f", progress->validation_loss);
        if (isfinite(progress->validation_accuracy)) printf("  accuracy %.2f %%", 100 * progress->validation_accuracy);
    }
    if (display->terminal && display->saved >= 0) printf("  saved %lld", (long long)display->saved);
    printf(display->terminal ? evaluated || end ? "\033[K\n" : "\033[K" : "\n");
    fflush(stdout);
    return TARN_OK;
}

void tarn_progress_end(tarn_progress_display *display)
{
    if (display->terminal && !display->quiet) printf("\r\033[K");
    show_news(display);
    fflush(stdout);
}
