/* test_spool.c - the spool: its lines, damage anywhere, thinning, readers that fall behind, pushing; processes killed
 * at any moment, two processes on one spool. */
#include "runtime/base/context.h"
#include "runtime/config/number.h"
#include "tests/spool_support.h"
#include "track/inbox.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

static tarn_context *context;
static char *folder, *store, *spool;
static char heard[16384];
static int warnings;

static void hear(void *user, tarn_log_level level, const char *line)
{
    (void)user;
    if (level != TARN_LOG_WARN) return;
    warnings++;
    snprintf(heard + strlen(heard), sizeof heard - strlen(heard), "%s\n", line);
}

static void begin(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_set_log(context, hear, NULL);
    folder = tarn_test_directory();
    store = tarn_test_format("%s/mlruns", folder);
    spool = tarn_test_format("%s/spool", folder);
    unsetenv("MLFLOW_TRACKING_URI");
    unsetenv("MLFLOW_RUN_ID");
}

static void end(void)
{
    tarn_test_remove(folder);
    free(folder);
    free(store);
    free(spool);
    forget_taken();
    tarn_error_clear(context);
    tarn_exit(context);
}

TestSuite(spool, .init = begin, .fini = end, .timeout = 300);

static tarn_tracker *open_with(const tarn_track_options *options)
{
    tarn_tracker *tracker = NULL;
    tarn_track_options own = *options;
    if (!own.store) own.store = store;
    own.spool = spool;
    tarn_status status = tarn_track_open(&tracker, context, &own);
    cr_assert_eq(status, TARN_OK, "%s", tarn_get_error(context) ? tarn_get_error(context)->message : "");
    return tracker;
}

static uint64_t random_state = 88172645463325252u;
static uint64_t random_bits(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

/* ---- lines ------------------------------------------------------------------------------------------------------ */

static bool same_text(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

static void expect_same(const tarn_track_event *a, const tarn_track_event *b)
{
    cr_assert_eq(a->kind, b->kind);
    cr_assert(same_text(a->key, b->key) && same_text(a->text, b->text) && same_text(a->file, b->file));
    cr_assert(!memcmp(&a->value, &b->value, sizeof a->value), "%a is %a", a->value, b->value);
    cr_assert_eq(a->step, b->step);
    cr_assert_eq(a->time_ms, b->time_ms);
}

Test(spool, what_a_line_says_reads_back)
{
    tarn_track_event events[] = {
        {.kind = TARN_TRACK_PARAM, .key = "a key", .text = "", .time_ms = 1},
        {.kind = TARN_TRACK_TAG, .key = "x", .text = "tab\t newline\n return\r back\\slash \\n \xc3\xa4", .time_ms = 2},
        {.kind = TARN_TRACK_ARTIFACT, .key = "a/b\n", .file = "files/1-\\t\t", .time_ms = 3},
        {.kind = TARN_TRACK_BEGIN, .text = "{}", .time_ms = 4},
        {.kind = TARN_TRACK_END, .text = "FINISHED", .time_ms = 5},
        {.kind = TARN_TRACK_INPUT, .key = "in", .text = "{\"a\":\"\\n\"}", .time_ms = 6},
        {.kind = TARN_TRACK_MODEL, .key = "m", .text = "{}", .file = "files/m", .time_ms = 7},
        {.kind = TARN_TRACK_HISTOGRAM, .key = "h", .text = "{\"limits\":[]}", .step = -5, .time_ms = 8},
        {.kind = TARN_TRACK_METRIC, .key = "z", .value = -0.0, .step = INT64_MIN, .time_ms = INT64_MAX},
        {.kind = TARN_TRACK_METRIC, .key = "z", .value = 5e-324, .step = INT64_MAX, .time_ms = 0}};
    tarn_spool_text text = {0};
    int64_t number;
    tarn_track_event back;
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        text.used = 0;
        cr_assert(tarn_spool_print(&text, &events[i], (int64_t)i + 1));
        cr_assert_eq(text.data[text.used - 1], '\n');
        cr_assert_null(memchr(text.data, '\n', text.used - 1));
        cr_assert(tarn_spool_parse(text.data, text.used - 1, &back, &number), "%zu", i);
        cr_assert_eq(number, (int64_t)i + 1);
        expect_same(&events[i], &back);
    }
    for (int i = 0; i < 200000; i++) { /* any bits that are a finite number */
        uint64_t bits = random_bits();
        tarn_track_event event = {.kind = TARN_TRACK_METRIC, .key = "v", .step = i};
        memcpy(&event.value, &bits, sizeof bits);
        if (i % 2) event.value = (float)event.value;
        if (!isfinite(event.value)) continue;
        text.used = 0;
        cr_assert(tarn_spool_print(&text, &event, i + 1));
        cr_assert(tarn_spool_parse(text.data, text.used - 1, &back, &number));
        expect_same(&event, &back);
    }
    free(text.data);
}

/* ---- damage ----------------------------------------------------------------------------------------------------- */

enum { LINES = 9 };

/* A small spool of one segment; returns the segment's path and text. */
static char *small_spool(const char *where, char **path, size_t *length)
{
    tarn_spool_writer writer;
    cr_assert_eq(tarn_spool_open_writer(&writer, where, 1 << 20), TARN_SPOOL_OPENED);
    for (int i = 0; i < LINES; i++) {
        tarn_track_event event = {.kind = i % 3 ? TARN_TRACK_METRIC : TARN_TRACK_TAG,
                                  .key = i % 3 ? "loss" : "note",
                                  .text = "some\ttext",
                                  .value = 1.0 / (i + 1),
                                  .step = i,
                                  .time_ms = 1795412345000 + i};
        cr_assert_eq(tarn_spool_add(&writer, &event), i + 1);
    }
    cr_assert_eq(tarn_spool_flush(&writer), 0);
    cr_assert_eq(tarn_spool_sync(&writer), 0);
    tarn_spool_close_writer(&writer);
    *path = tarn_test_format("%s/events-%016d", where, 1);
    return tarn_test_read(*path, length);
}

/* Reads a spool; `got` has the numbers of its events. */
static int64_t numbers_of(const char *where, int64_t got[], int64_t most, int64_t *corrupt)
{
    char problem[TARN_SINK_PROBLEM];
    tarn_track_event events[4];
    int64_t total = 0, count;
    tarn_spool_reader *reader = tarn_spool_open_reader(where, problem);
    cr_assert_not_null(reader, "%s", problem);
    tarn_spool_read_whole(reader);
    while ((count = tarn_spool_read(reader, events, 4)))
        for (int64_t i = 0; i < count && total < most; i++) {
            got[total++] = tarn_spool_number(reader, i);
            if (events[i].kind != TARN_TRACK_METRIC) continue;
            cr_assert_eq(events[i].value, 1.0 / (double)got[total - 1]);
            cr_assert_eq(events[i].step, got[total - 1] - 1);
        }
    *corrupt = tarn_spool_corrupt(reader);
    tarn_spool_close_reader(reader);
    return total;
}

Test(spool, a_damaged_byte_anywhere_costs_one_line_at_most)
{
    char *path;
    size_t length;
    char *text = small_spool(spool, &path, &length), *copy = malloc(length);
    int64_t got[LINES + 1], corrupt;
    cr_assert_eq(numbers_of(spool, got, LINES + 1, &corrupt), LINES);
    cr_assert_eq(corrupt, 0);
    static const unsigned char flips[] = {0x01, 0x20, 0x80, 0xff};
    for (size_t at = 0; at < length; at++)
        for (int flip = 0; flip < 5; flip++) {
            memcpy(copy, text, length);
            copy[at] = flip == 4 ? '\n' : (char)(copy[at] ^ flips[flip]);
            tarn_test_write(path, copy, length);
            int64_t count = numbers_of(spool, got, LINES + 1, &corrupt);
            bool newline = text[at] == '\n';
            cr_assert_eq(count, newline ? LINES : LINES - 1, "byte %zu, flip %d: %lld events", at, flip,
                         (long long)count);
            cr_assert_eq(corrupt > 0, !newline, "byte %zu, flip %d: %lld bad lines", at, flip, (long long)corrupt);
            for (int64_t i = 1; i < count; i++) cr_assert(got[i] > got[i - 1]);
        }
    for (size_t cut = 0; cut <= length; cut++) { /* a torn end */
        tarn_test_write(path, text, cut);
        int64_t whole = 0;
        for (size_t i = 0; i < length; i++) whole += text[i] == '\n' && i <= cut; /* its newline is not needed */
        cr_assert_eq(numbers_of(spool, got, LINES + 1, &corrupt), whole, "cut at %zu", cut);
        cr_assert_eq(corrupt, 0, "what a killed writer left is no damage: cut at %zu", cut);
    }
    free(copy);
    free(text);
    free(path);
}

Test(spool, a_run_goes_on_over_damaged_lines)
{
    use_taker();
    tarn_tracker *tracker = open_with(&(tarn_track_options){0});
    char *id = strdup(tarn_track_run_id(tracker));
    for (int64_t step = 0; step < 100; step++) tarn_log_metric(tracker, "loss", 1.0 / (double)(step + 1), step);
    tarn_log_param(tracker, "lr", "1");
    tarn_track_close(tracker, "KILLED");
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, "loss"), 100);
    char *path = tarn_test_format("%s/%s/events-%016d", spool, id, 1);
    size_t length = 0;
    char *text = tarn_test_read(path, &length), *line = strstr(text, "\tloss\t50\t");
    line[6] = '6'; /* step 60, says the damaged line */
    memcpy(strstr(text, "\tloss\t70\t") + 1, "\0\0\0\0", 4);
    tarn_test_write(path, text, length - 5); /* and the end is torn, as by a kill: no damage */
    tracker = open_with(&(tarn_track_options){.run_id = id});
    cr_assert_eq(warnings, 1, "%s", heard);
    cr_assert(strstr(heard, "2 damaged lines"), "%s", heard);
    forget_taken();
    for (int64_t step = 0; step < 120; step++) tarn_log_metric(tracker, "loss", 1.0 / (double)(step + 1), step);
    tarn_log_param(tracker, "lr", "1");
    tarn_track_close(tracker, "FINISHED");
    /* What was damaged is recorded again: the sink has two steps twice, which it tells apart by (key, step). */
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, "loss"), 22);
    cr_assert_eq(taken_of(TARN_TRACK_PARAM, NULL), 0);
    cr_assert_eq(warnings, 1, "%s", heard);
    free(text);
    free(path);
    free(id);
}

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
    cr_assert(report.events >= 53 && !report.behind && !report.lost && report.sinks == 1);
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

/* ---- a full disk ------------------------------------------------------------------------------------------------ */

Test(spool, a_full_disk_costs_the_oldest_metrics_beyond_what_memory_holds)
{
    use_taker();
    tarn_tracker *tracker = open_with(&(tarn_track_options){.flush_timeout = 60});
    tarn_log_metric(tracker, "before", 1, 0);
    cr_assert(tarn_track_flush(tracker, 60));
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, limit;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){100, before.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum { STEPS = 200000 };
    char *artifact = tarn_test_format("%s/file", folder), name[32];
    tarn_test_write(artifact, "0123456789", 10);
    tarn_log_artifact(tracker, artifact, NULL);
    for (int64_t step = 0; step < STEPS; step++) {
        tarn_log_metric(tracker, "a", (double)step, step);
        if (step % 2000 == 0) {
            snprintf(name, sizeof name, "param%lld", (long long)step);
            tarn_log_param(tracker, name, "kept");
        }
    }
    unlink(artifact);
    int64_t lost = tarn_track_lost(tracker);
    cr_assert(lost > STEPS / 8 && lost < STEPS / 2, "%lld lost", (long long)lost);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    cr_assert_eq(tarn_track_close(tracker, "FINISHED"), TARN_OK);
    char *count = tarn_test_format("%lld events of run", (long long)lost);
    cr_assert(strstr(heard, count), "%s", heard);
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, "a") + lost, STEPS);
    cr_assert_eq(taken_of(TARN_TRACK_PARAM, NULL), STEPS / 2000);
    cr_assert_eq(taken_of(TARN_TRACK_ARTIFACT, NULL), 1);
    cr_assert_eq(taken_events[taken_count - 2].step, STEPS - 1, "the newest stayed");
    free(count);
    free(artifact);
}

/* A small file system for the spools, in a mount name space of this test's own. */
static bool mount_small(const char *size)
{
    if (mkdir(spool, 0777) || unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("tarn-test", spool, "tmpfs", 0, size)) {
        cr_log_warn("skipped: cannot mount a small file system here (%s)", strerror(errno));
        return false;
    }
    return true;
}

/* Writes until the disk is full. */
static void fill_disk(void)
{
    char *path = tarn_test_format("%s/ballast", spool);
    FILE *file = fopen(path, "wb");
    static const char block[4096] = {1};
    cr_assert_eq(setvbuf(file, NULL, _IONBF, 0), 0);
    while (fwrite(block, sizeof block, 1, file) == 1) continue;
    fclose(file);
    free(path);
}

Test(spool, a_full_disk_gives_up_what_every_sink_has)
{
    enum { STEPS = 150000 };
    if (!mount_small("size=2m")) cr_skip_test("no mount");
    use_taker();
    tarn_tracker *tracker = open_with(&(tarn_track_options){.flush_timeout = 60});
    char *run = strdup(tarn_track_spool(tracker));
    tarn_log_param(tracker, "kept", "yes");
    for (int64_t step = 0; step < STEPS; step++) {
        tarn_log_metric(tracker, "a", (double)step, step);
        if (step % 5000 == 0) cr_assert(tarn_track_flush(tracker, 60), "%s", heard);
    }
    tarn_track_close(tracker, "FINISHED");
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, "a"), STEPS, "of about four times what fits: %s", heard);
    cr_assert_eq(taken_of(TARN_TRACK_END, NULL), 1);
    cr_assert_eq(warnings, 0, "%s", heard);
    char *reserve = tarn_test_format("%s/.reserve", run);
    cr_assert(access(reserve, F_OK), "nothing is kept from a disk when the run has ended");
    forget_taken();
    /* What is gone is known, what is no point is there. */
    tracker = open_with(&(tarn_track_options){.run_id = strrchr(run, '/') + 1, .flush_timeout = 60});
    tarn_log_param(tracker, "kept", "yes");
    for (int64_t step = 0; step < STEPS + 10; step++) tarn_log_metric(tracker, "a", (double)step, step);
    tarn_track_close(tracker, "FINISHED");
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, "a"), 10);
    cr_assert_eq(taken_of(TARN_TRACK_PARAM, NULL), 0);
    umount2(spool, MNT_DETACH);
    free(reserve);
    free(run);
}

Test(spool, what_a_full_disk_does_not_take_goes_to_the_destinations_at_the_end)
{
    enum { STEPS = 20000 };
    if (!mount_small("size=2m")) cr_skip_test("no mount");
    use_taker();
    char *artifact = tarn_test_format("%s/config.yaml", folder);
    for (int dead = 0; dead < 2; dead++) {
        tarn_test_write(artifact, "seed: 1\n", 8);
        warnings = 0;
        heard[0] = '\0';
        tarn_tracker *tracker = open_with(&(tarn_track_options){.flush_timeout = dead ? -1 : 60});
        tarn_log_metric(tracker, "before", 1, 0);
        cr_assert(tarn_track_flush(tracker, 60));
        /* With it all would go through the little room again and again, which a sink that keeps up can make. */
        char *reserve = tarn_test_format("%s/.reserve", tarn_track_spool(tracker));
        cr_assert_eq(unlink(reserve), 0);
        free(reserve);
        fill_disk();
        taker_refuses = dead;
        for (int64_t step = 0; step < STEPS; step++) tarn_log_metric(tracker, "a", (double)step, step);
        tarn_log_artifact(tracker, artifact, NULL);
        tarn_log_param(tracker, "late", "yes");
        unlink(artifact);
        cr_assert_eq(tarn_track_close(tracker, "FINISHED"), TARN_OK);
        if (dead) break;
        cr_assert(strstr(heard, " could not be written to the spool") && !strstr(heard, "could not be recorded"), "%s",
                  heard);
        cr_assert_eq(taken_of(TARN_TRACK_METRIC, "a"), STEPS);
        for (int64_t i = 0, next = 0; i < taken_count; i++)
            if (taken_events[i].kind == TARN_TRACK_METRIC && !strcmp(taken_events[i].key, "a"))
                cr_assert_eq(taken_events[i].step, next++);
        cr_assert(taken_of(TARN_TRACK_PARAM, "late") == 1 && taken_of(TARN_TRACK_ARTIFACT, "config.yaml") == 1);
        cr_assert_eq(taken_events[taken_count - 1].kind, TARN_TRACK_END);
        forget_taken();
        char *path = tarn_test_format("%s/ballast", spool);
        unlink(path);
        free(path);
    }
    /* A destination that is dead, too, is named, and what is lost is counted. */
    cr_assert(strstr(heard, "memory ") && strstr(heard, "could not be recorded"), "%s", heard);
    umount2(spool, MNT_DETACH);
    free(artifact);
}

/* ---- killed processes ------------------------------------------------------------------------------------------- */

static double curve(int64_t step, int key)
{
    return sin((double)step * 0.01 + key) * 3.7;
}

/* Logs from the step in `checkpoint` on; writes that file every 20 steps, settled, as a trainer would. */
static int train(const char *id, const char *checkpoint, int64_t steps)
{
    tarn_tracker *tracker;
    char *text = tarn_test_read(checkpoint, NULL), *new = tarn_test_format("%s.new", checkpoint), number[32];
    int64_t step = text ? atoll(text) : 0;
    if (tarn_track_open(&tracker, context,
                        &(tarn_track_options){.store = store, .spool = spool, .run_id = id, .flush_timeout = 100}))
        return 1;
    tarn_log_param(tracker, "steps", "all");
    for (; step < steps; step++) {
        for (int key = 0; key < 3; key++)
            tarn_log_metric(tracker, key == 0 ? "loss" : key == 1 ? "norm" : "a/b", curve(step, key), step);
        tarn_log_metric(tracker, "system/seconds", tarn_seconds(), step);
        if (step % 2 == 0) usleep(300);
        if (step % 20 == 19) {
            tarn_track_settle(tracker, tarn_track_mark(tracker));
            snprintf(number, sizeof number, "%lld", (long long)step + 1);
            if (!tarn_test_write(new, number, strlen(number)) || rename(new, checkpoint)) return 1;
        }
    }
    return tarn_track_close(tracker, "FINISHED") != TARN_OK || warnings;
}

Test(spool, killed_at_any_moment_the_union_has_every_point_once)
{
    static const char id[] = "0123456789abcdef0123456789abcdef";
    enum { STEPS = 3000 };
    char *checkpoint = tarn_test_format("%s/checkpoint", folder), *said = tarn_test_format("%s/said", folder);
    int kills = 0, result = -1;
    for (int life = 0; result; life++) {
        pid_t child = fork();
        if (!child) {
            tarn_set_log(context, hear, NULL);
            warnings = life == 0 ? -1 : 0; /* the store does not hold the run yet */
            int failed = train(id, checkpoint, STEPS);
            if (failed) tarn_test_write(said, heard, strlen(heard));
            _exit(failed);
        }
        if (life < 12) {
            usleep((useconds_t)(20000 + random_bits() % 150000));
            kill(child, SIGKILL);
        }
        cr_assert_eq(waitpid(child, &result, 0), child);
        if (WIFSIGNALED(result))
            kills++;
        else
            cr_assert_eq(result, 0, "life %d: %s", life, tarn_test_read(said, NULL));
        cr_assert(life < 20);
    }
    cr_assert(kills >= 2, "%d kills", kills); /* the steps sleep for 0.45 s in all */
    /* The spool. */
    char *run = tarn_test_format("%s/%s", spool, id), problem[TARN_SINK_PROBLEM];
    tarn_track_event event;
    int64_t next[4] = {0}, params = 0;
    tarn_spool_reader *reader = tarn_spool_open_reader(run, problem);
    cr_assert_not_null(reader);
    while (tarn_spool_read(reader, &event, 1)) {
        params += event.kind == TARN_TRACK_PARAM;
        if (event.kind != TARN_TRACK_METRIC) continue;
        int key = !strcmp(event.key, "loss") ? 0 : !strcmp(event.key, "norm") ? 1 : !strcmp(event.key, "a/b") ? 2 : 3;
        cr_assert_eq(event.step, next[key]++, "%s: %lld", event.key, (long long)event.step);
        if (key < 3) cr_assert_eq(event.value, curve(event.step, key));
    }
    for (int key = 0; key < 4; key++) cr_assert_eq(next[key], STEPS);
    cr_assert_eq(params, 1);
    tarn_spool_close_reader(reader);
    /* The file store. */
    static const char *const names[] = {"loss", "norm", "a/b", "system/seconds"};
    for (int key = 0; key < 4; key++) {
        char *command = tarn_test_format("cat '%s'/*/%s/metrics/%s", store, id, names[key]), *lines;
        cr_assert_eq(tarn_test_run(command, 20, &lines), 0);
        int64_t step = 0;
        for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n")) {
            long long time, at;
            double value;
            cr_assert_eq(sscanf(line, "%lld %lf %lld", &time, &value, &at), 3, "%s", line);
            cr_assert_eq(at, step++, "%s of %s", line, names[key]);
            if (key < 3) cr_assert_eq(value, curve(at, key));
        }
        cr_assert_eq(step, STEPS, "%s has %lld points", names[key], (long long)step);
        free(lines);
        free(command);
    }
    free(run);
    free(said);
    free(checkpoint);
}

/* ---- several processes ------------------------------------------------------------------------------------------ */

Test(spool, a_second_process_hands_what_it_logs_to_the_first)
{
    use_taker();
    tarn_tracker *tracker = open_with(&(tarn_track_options){.flush_timeout = 60});
    char *id = strdup(tarn_track_run_id(tracker)), *file = tarn_test_format("%s/notes.txt", folder);
    for (int64_t step = 0; step < 10; step++) tarn_log_metric(tracker, "loss", 1, step);
    tarn_test_write(file, "text", 4);
    pid_t child = fork();
    if (!child) {
        tarn_tracker *second = open_with(&(tarn_track_options){.run_id = id});
        int told = warnings;
        for (int64_t step = 5; step < 30; step++) tarn_log_metric(second, "loss", step < 29 ? 1 : 2, step);
        tarn_log_tag(second, "from", "the second");
        tarn_log_artifact(second, file, "of/second");
        unlink(file);
        tarn_status status = tarn_track_close(second, "FINISHED");
        _exit(status || told != 1 || warnings != 1 || !strstr(heard, "another process writes the spool"));
    }
    int result;
    cr_assert_eq(waitpid(child, &result, 0), child);
    cr_assert_eq(result, 0);
    /* A third one that is killed: what it had handed over counts. */
    child = fork();
    if (!child) {
        tarn_tracker *third = open_with(&(tarn_track_options){.run_id = id});
        for (int64_t step = 100; step < 200; step++) tarn_log_metric(third, "loss", 3, step);
        tarn_track_settle(third, tarn_track_mark(third));
        kill(getpid(), SIGKILL);
    }
    cr_assert_eq(waitpid(child, &result, 0), child);
    cr_assert(WIFSIGNALED(result));
    tarn_track_close(tracker, "FINISHED");
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, "loss"), 130);
    cr_assert_eq(taken_of(TARN_TRACK_TAG, "from"), 1);
    cr_assert_eq(taken_of(TARN_TRACK_BEGIN, NULL), 1);
    cr_assert_eq(taken_of(TARN_TRACK_END, NULL), 1);
    const taken_event *artifact = taken_first(TARN_TRACK_ARTIFACT, "of/second/notes.txt");
    cr_assert_not_null(artifact);
    char *text = tarn_test_read(artifact->file, NULL);
    cr_assert_str_eq(text, "text");
    cr_assert_eq(warnings, 0, "%s", heard);
    free(text);
    free(file);
    free(id);
}

Test(spool, what_lies_in_the_inbox_is_taken_in_by_the_next_process)
{
    use_taker();
    tarn_tracker *tracker = open_with(&(tarn_track_options){.flush_timeout = 60});
    char *run = strdup(tarn_track_spool(tracker));
    tarn_track_close(tracker, "KILLED");
    /* Of rank 3 of a job whose rank 0 was killed. */
    tarn_spool_writer writer;
    cr_assert_eq(tarn_inbox_open_writer(&writer, run, "rank-3-abc"), 0);
    for (int64_t step = 0; step < 40; step++)
        tarn_spool_add(&writer, &(tarn_track_event){.kind = TARN_TRACK_METRIC,
                                                    .key = "rank3/loss",
                                                    .value = (double)step,
                                                    .step = step,
                                                    .time_ms = 1795412345000 + step});
    cr_assert_eq(tarn_spool_flush(&writer), 0);
    tarn_spool_close_writer(&writer);
    char *path = tarn_test_format("%s/inbox/rank-3-abc", run);
    size_t length = 0;
    char *text = tarn_test_read(path, &length);
    text[length / 2] ^= 1;
    tarn_test_write(path, text, length);
    forget_taken();
    tarn_spool_pushed report;
    cr_assert_eq(tarn_spool_push(run, &(tarn_track_options){.store = store}, &report), TARN_OK, "%s", report.problem);
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, "rank3/loss"), 39);
    cr_assert_eq(taken_first(TARN_TRACK_METRIC, NULL)->time_ms, 1795412345000, "times stay as they were logged");
    forget_taken();
    tracker = open_with(&(tarn_track_options){.run_id = strrchr(run, '/') + 1, .flush_timeout = 60});
    tarn_track_close(tracker, "FINISHED");
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, NULL), 0, "nothing is taken in twice");
    cr_assert(access(path, F_OK), "its file is gone");
    free(text);
    free(path);
    free(run);
}
