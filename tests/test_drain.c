/* test_drain.c - a drain whose sink does not come back. */
#include "runtime/base/context.h"
#include "tests/spool_support.h"
#include "track/drain.h"

#include <criterion/criterion.h>

static atomic_bool hangs, ended;
static atomic_int told;

/* In a call of the operating system that no cancel ends; then it refuses something, of which a drain would tell. */
static void hang(tarn_sink *sink, const tarn_track_event *events, int64_t count, tarn_sink_report *report)
{
    (void)sink, (void)events;
    *report = (tarn_sink_report){.taken = count, .lost = 1};
    snprintf(report->problem, sizeof report->problem, "too late");
    taker_calls++;
    while (hangs) usleep(10000);
}

static void end_sink(tarn_sink *sink)
{
    (void)sink;
    ended = true;
}

static void count_lines(void *user, tarn_log_level level, const char *line)
{
    (void)user, (void)level, (void)line;
    told++;
}

static bool within(const atomic_bool *flag, double seconds)
{
    for (double until = tarn_seconds() + seconds; !*flag && tarn_seconds() < until;) usleep(10000);
    return *flag;
}

Test(drain, one_that_was_left_behind_says_nothing_and_ends_itself, .timeout = 120)
{
    char *folder = tarn_test_directory();
    tarn_spool_writer writer;
    tarn_sink sink = {.name = "hangs", .write = hang, .destroy = end_sink};
    tarn_track_event event = {.kind = TARN_TRACK_PARAM, .key = "a", .text = "1", .time_ms = 1};
    cr_assert_eq(tarn_spool_open_writer(&writer, folder, 1 << 20), TARN_SPOOL_OPENED);
    cr_assert_eq(tarn_spool_add(&writer, &event), 1);
    cr_assert(!tarn_spool_flush(&writer) && !tarn_spool_sync(&writer));
    hangs = true;
    tarn_drain *drain = tarn_drain_start(&sink, folder, folder, false, count_lines, NULL);
    cr_assert_not_null(drain);
    tarn_drain_show(drain, 1);
    for (double until = tarn_seconds() + 60; !taker_calls && tarn_seconds() < until;) usleep(10000);
    cr_assert_eq(taker_calls, 1);
    tarn_drain_stop(drain, NULL); /* what it tells to may be gone from here on */
    cr_assert_not(ended, "the sink is in use");
    hangs = false;
    cr_assert(within(&ended, 60), "a sink that comes back after all is ended");
    cr_assert_eq(told, 0);
    tarn_spool_close_writer(&writer);
    tarn_test_remove(folder);
    free(folder);
}
