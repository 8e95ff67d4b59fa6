/* test_spool.c - the spool and its readers: sinks that refuse or hang, pushing, thinning. */
#include "runtime/base/context.h"
#include "tests/spool_run_support.h"

#include <inttypes.h>

TestSuite(spool, .init = begin, .fini = end, .timeout = 300);

/* ---- sinks that cannot go on ------------------------------------------------------------------------------------ */

static int64_t resident_kib(void)
{
    long pages = 0, total;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%ld %ld", &total, &pages) != 2) pages = 0;
    if (file) fclose(file);
    return (int64_t)pages * sysconf(_SC_PAGESIZE) / 1024;
}

Test(spool, a_million_metrics_wait_for_a_dead_destination)
{
    enum { KEYS = 10, STEPS = 100000 };
    use_taker();
    taker_refuses = true;
    taker_retry_after = 0;
    tarn_tracker *tracker = open_with(&(tarn_track_options){.flush_timeout = 200});
    int64_t before = resident_kib();
    for (int64_t step = 0; step < STEPS; step++) {
        for (int key = 0; key < KEYS; key++) {
            char name[8] = {'k', (char)('0' + key), 0};
            cr_assert_eq(tarn_log_metric(tracker, name, (double)step * 0.25 + key, step), TARN_OK);
        }
        /* A disk as slow as this one may be must not decide. */
        if (step % 2000 == 0) tarn_track_settle(tracker, tarn_track_mark(tracker));
    }
    tarn_track_settle(tracker, tarn_track_mark(tracker));
    int64_t after = resident_kib();
    /* The record of ten keys (1.5 MiB each while their windows move), the queue, the buffers of a drain. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    enum { MOST = 512 << 10 }; /* their own books */
#else
    enum { MOST = 64 << 10 };
#endif
    cr_assert(after - before < MOST, "%" PRId64 " KiB more", after - before);
    cr_assert_eq(tarn_track_lost(tracker), 0);
    cr_assert_eq(taken_count, 0);
    taker_refuses = false;
    cr_assert_eq(tarn_track_close(tracker, "FINISHED"), TARN_OK);
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, NULL), (int64_t)KEYS * STEPS);
    int64_t next[KEYS] = {0};
    for (int64_t i = 0; i < taken_count; i++) { /* each once, in order, with its bits */
        const taken_event *event = &taken_events[i];
        if (event->kind != TARN_TRACK_METRIC) continue;
        int key = event->key[1] - '0';
        cr_assert_eq(event->step, next[key]++);
        cr_assert_eq(event->value, (double)event->step * 0.25 + key);
    }
    cr_assert_eq(warnings, 2, "%s", heard);
    cr_assert(strstr(heard, "takes no events now: it takes nothing") && strstr(heard, "takes events again"));
}

Test(spool, closing_does_not_wait_for_a_dead_destination_and_the_spool_is_pushed_later)
{
    use_taker();
    taker_refuses = true;
    char *artifact = tarn_test_format("%s/config.yaml", folder);
    tarn_test_write(artifact, "seed: 1\n", 8);
    tarn_tracker *tracker =
        open_with(&(tarn_track_options){.flush_timeout = 0.5, .experiment = "pushed", .name = "later"});
    char *run = strdup(tarn_track_spool(tracker));
    for (int64_t step = 0; step < 50; step++) tarn_log_metric(tracker, "loss", (double)step, step);
    tarn_log_artifact(tracker, artifact, NULL);
    unlink(artifact);
    double started = tarn_seconds();
    cr_assert_eq(tarn_track_close(tracker, "FINISHED"), TARN_OK);
    cr_assert(tarn_seconds() - started < 30, "it waited %.1f s", tarn_seconds() - started);
    cr_assert(strstr(heard, "memory is behind by ") && strstr(heard, "tarn track push ") && strstr(heard, run), "%s",
              heard);
    /* One that hangs is cancelled. */
    taker_refuses = false;
    taker_hangs = true;
    tracker = open_with(&(tarn_track_options){.flush_timeout = -1});
    tarn_track_close(tracker, "FINISHED");
    taker_hangs = false;
    forget_taken();

    tarn_spool_pushed report;
    tarn_track_options options = {.store = store, .spool = spool, .flush_timeout = 20};
    cr_assert_eq(tarn_spool_push(run, &options, &report), TARN_OK, "%s", report.problem);
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, "loss"), 50);
    cr_assert_eq(taken_of(TARN_TRACK_END, NULL), 1);
    cr_assert(strstr(taken_first(TARN_TRACK_BEGIN, NULL)->text, "\"experiment\":\"pushed\""));
    char *copy = tarn_test_read(taken_first(TARN_TRACK_ARTIFACT, "config.yaml")->file, NULL);
    cr_assert_str_eq(copy, "seed: 1\n");
    cr_assert(report.events == taken_count && !report.behind && !report.lost && report.sinks == 1);
    forget_taken();
    cr_assert_eq(tarn_spool_push(run, &options, &report), TARN_OK);
    cr_assert(taken_count == 0 && report.events == 0, "nothing is pushed twice");
    cr_assert_eq(tarn_spool_push(folder, &options, &report), TARN_ERROR_ARGUMENT);
    cr_assert(strstr(report.problem, "not the spool of a run"), "%s", report.problem);
    cr_assert_eq(tarn_spool_push("/nowhere/at/all", &options, &report), TARN_ERROR_ARGUMENT);
    /* While a process writes it, it is that one's. */
    tracker = open_with(&(tarn_track_options){.run_id = strrchr(run, '/') + 1});
    cr_assert_eq(tarn_spool_push(run, &options, &report), TARN_ERROR_STATE);
    tarn_track_close(tracker, "FINISHED");
    free(copy);
    free(run);
    free(artifact);
}

Test(spool, a_push_counts_no_damaged_line_as_published)
{
    use_taker();
    taker_refuses = true;
    tarn_tracker *tracker = open_with(&(tarn_track_options){.flush_timeout = -1});
    char *run = strdup(tarn_track_spool(tracker));
    for (int64_t step = 0; step < 50; step++) tarn_log_metric(tracker, "loss", (double)step, step);
    tarn_track_close(tracker, "FINISHED");
    taker_refuses = false;
    char *path = tarn_test_format("%s/events-%016d", run, 1);
    size_t length = 0;
    char *text = tarn_test_read(path, &length);
    strstr(text, "\tloss\t20\t")[6] = '9';
    strstr(text, "\tloss\t30\t")[6] = '9';
    tarn_test_write(path, text, length);
    forget_taken();

    tarn_spool_pushed report;
    tarn_track_options options = {.store = store, .spool = spool, .flush_timeout = 20};
    cr_assert_eq(tarn_spool_push(run, &options, &report), TARN_OK, "%s", report.problem);
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, "loss"), 48);
    cr_assert_eq(report.events, taken_count, "%" PRId64 " of %" PRId64, report.events, taken_count);
    cr_assert_eq(report.corrupt, 2);
    free(text);
    free(path);
    free(run);
}

static void *come_back(void *user)
{
    (void)user;
    usleep(2000000);
    taker_refuses = false;
    return NULL;
}

Test(spool, the_end_wakes_those_that_wait_before_they_try_again)
{
    use_taker();
    taker_refuses = true;
    taker_retry_after = 3600;
    tarn_tracker *tracker = open_with(&(tarn_track_options){.flush_timeout = 80});
    tarn_log_metric(tracker, "loss", 1, 1);
    for (int i = 0; i < 3000 && !taker_calls; i++) usleep(10000);
    cr_assert(taker_calls == 1);
    pthread_t thread;
    pthread_create(&thread, NULL, come_back, NULL); /* after the first try of the end, or before it: both must do */
    cr_assert_eq(tarn_track_close(tracker, "FINISHED"), TARN_OK);
    pthread_join(thread, NULL);
    cr_assert_eq(taken_of(TARN_TRACK_END, NULL), 1, "%s", heard);
    cr_assert(warnings == 2 && strstr(heard, "memory takes events again, and has all of run"), "%s", heard);
}

Test(spool, the_end_quotes_no_failure_that_is_over)
{
    use_taker();
    taker_refuses = true;
    taker_retry_after = 3600;
    taker_hangs_after = 1000;
    tarn_tracker *tracker = open_with(&(tarn_track_options){.flush_timeout = 3});
    for (int64_t step = 0; step < 5000; step++) tarn_log_metric(tracker, "loss", 1, step);
    for (int i = 0; i < 3000 && !taker_calls; i++) usleep(10000);
    tarn_track_mark(tracker); /* says that it takes nothing */
    taker_refuses = false;
    heard[0] = '\0';
    cr_assert_eq(tarn_track_close(tracker, "FINISHED"), TARN_OK);
    cr_assert(taken_count > 0 && taken_count < 5000);
    const char *behind = strstr(heard, "memory is behind by ");
    cr_assert(behind && !strstr(behind, "it takes nothing"), "%s", heard);
}

/* A run that was named by its id may be there under a name of its own: only one that was given replaces it. */
Test(spool, a_run_that_is_named_keeps_its_name)
{
    use_taker();
    tarn_track_close(open_with(&(tarn_track_options){.run_id = "0123456789abcdef0123456789abcdef"}), "FINISHED");
    cr_expect_eq(taken_of(TARN_TRACK_BEGIN, NULL), 1);
    cr_expect_eq(taken_of(TARN_TRACK_TAG, "mlflow.runName"), 0);
    forget_taken();
    tarn_track_close(open_with(&(tarn_track_options){.run_id = "0123456789abcdef0123456789abcdee", .name = "given"}),
                     "FINISHED");
    cr_expect_eq(taken_of(TARN_TRACK_TAG, "mlflow.runName"), 1);
    forget_taken();
    tarn_track_close(open_with(&(tarn_track_options){0}), "FINISHED");
    cr_expect_eq(taken_of(TARN_TRACK_TAG, "mlflow.runName"), 1);
}

/* ---- thinning --------------------------------------------------------------------------------------------------- */

Test(spool, beyond_its_limit_metrics_are_thinned_and_nothing_else)
{
    enum { LIMIT = 512 << 10, STEPS = 20000 };
    use_taker();
    taker_refuses = true;
    tarn_tracker *tracker = open_with(&(tarn_track_options){.spool_limit = LIMIT, .flush_timeout = -1});
    char *run = strdup(tarn_track_spool(tracker)), name[32];
    for (int64_t step = 0; step < STEPS; step++) {
        tarn_log_metric(tracker, "a", (double)step, step);
        tarn_log_metric(tracker, "b", -(double)step, step);
        if (step % 100 == 0) {
            snprintf(name, sizeof name, "param%lld", (long long)step);
            tarn_log_param(tracker, name, "kept");
        }
        if (step % 1000 == 0) tarn_track_settle(tracker, tarn_track_mark(tracker));
    }
    tarn_track_settle(tracker, tarn_track_mark(tracker));
    tarn_track_close(tracker, "KILLED");
    int64_t bytes = tarn_spool_bytes(run);
    cr_assert(bytes < LIMIT + LIMIT / 4, "%" PRId64 " bytes", bytes);
    cr_assert(strstr(heard, "has reached its limit"), "%s", heard);
    cr_assert(strstr(heard, "thinned out before being published"), "%s", heard);
    /* The run goes on at step 15000, and the destination is back. */
    taker_refuses = false;
    tracker =
        open_with(&(tarn_track_options){.spool_limit = LIMIT, .flush_timeout = 60, .run_id = strrchr(run, '/') + 1});
    for (int64_t step = 0; step < STEPS + 1000; step++) tarn_log_metric(tracker, "a", (double)step, step);
    tarn_track_close(tracker, "FINISHED");
    cr_assert_eq(taken_of(TARN_TRACK_PARAM, NULL), STEPS / 100);
    cr_assert_eq(taken_of(TARN_TRACK_BEGIN, NULL), 2);
    cr_assert_eq(taken_of(TARN_TRACK_END, NULL), 2);
    char *seen = calloc(STEPS + 1000, 1);
    int64_t count = 0, widest = 0, last = -1;
    for (int64_t i = 0; i < taken_count; i++) {
        const taken_event *event = &taken_events[i];
        if (event->kind != TARN_TRACK_METRIC || strcmp(event->key, "a")) continue;
        cr_assert_eq(seen[event->step]++, 0, "step %lld came twice", (long long)event->step);
        cr_assert_eq(event->value, (double)event->step);
        if (event->step - last > widest) widest = event->step - last;
        last = event->step;
        count++;
    }
    cr_assert(count > 2000 && count < STEPS, "%" PRId64 " of a", count);
    cr_assert(widest < 600, "the curve stays: %" PRId64, widest);
    for (int64_t step = STEPS; step < STEPS + 1000; step++) cr_assert_eq(seen[step], 1);
    free(seen);
    free(run);
}

Test(spool, what_every_sink_has_goes_first)
{
    enum { LIMIT = 256 << 10, STEPS = 20000 };
    use_taker();
    tarn_tracker *tracker = open_with(&(tarn_track_options){.spool_limit = LIMIT, .flush_timeout = 60});
    char *run = strdup(tarn_track_spool(tracker));
    for (int64_t step = 0; step < STEPS; step++) {
        tarn_log_metric(tracker, "a", (double)step, step);
        if (step % 500 == 0) cr_assert(tarn_track_flush(tracker, 60));
    }
    tarn_track_close(tracker, "FINISHED");
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, "a"), STEPS, "all of it was published");
    cr_assert(tarn_spool_bytes(run) < LIMIT + LIMIT / 4);
    cr_assert_eq(warnings, 0, "%s", heard);
    forget_taken();
    /* What is gone is known all the same. */
    tracker = open_with(&(tarn_track_options){.run_id = strrchr(run, '/') + 1, .flush_timeout = 60});
    for (int64_t step = 0; step < STEPS + 10; step++) tarn_log_metric(tracker, "a", (double)step, step);
    cr_assert_eq(tarn_track_next_step(tracker, "a"), STEPS + 10);
    tarn_track_close(tracker, "FINISHED");
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, "a"), 10);
    free(run);
}

Test(spool, lines_about_the_inbox_do_not_pile_up)
{
    enum { LIMIT = 256 << 10 };
    tarn_spool_writer writer;
    cr_assert_eq(tarn_spool_open_writer(&writer, spool, LIMIT), TARN_SPOOL_OPENED);
    char *there = tarn_test_format("%s/inbox/rank-1-there", spool), problem[TARN_SINK_PROBLEM];
    tarn_test_write(there, "x", 1);
    for (int64_t i = 0; i < 20000; i++) {
        tarn_track_event event = {.kind = (tarn_track_kind)TARN_SPOOL_INBOX,
                                  .key = i % 2 ? "rank-1-there" : "rank-2-gone",
                                  .step = i,
                                  .time_ms = 1795412345000};
        cr_assert(tarn_spool_add(&writer, &event) > 0);
        if (i % 100) continue;
        cr_assert_eq(tarn_spool_flush(&writer), 0);
        cr_assert_eq(tarn_spool_thin(&writer, LIMIT, 0), 0);
    }
    cr_assert_eq(tarn_spool_flush(&writer), 0);
    int64_t bytes = writer.bytes;
    cr_assert(bytes <= LIMIT + LIMIT / 8 && bytes == tarn_spool_bytes(spool), "%" PRId64, bytes);
    tarn_spool_close_writer(&writer);
    tarn_spool_reader *reader = tarn_spool_open_reader(spool, problem);
    tarn_spool_read_all(reader);
    tarn_track_event event;
    int64_t last = -1;
    while (tarn_spool_read(reader, &event, 1))
        if (!strcmp(event.key, "rank-1-there")) last = event.step;
    cr_assert_eq(last, 19999);
    cr_assert_eq(tarn_spool_corrupt(reader), 0);
    tarn_spool_close_reader(reader);
    free(there);
}
