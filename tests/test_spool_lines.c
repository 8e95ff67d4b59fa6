/* test_spool_lines.c - the lines of a spool: any bits read back, damage at every byte. */
#include "tests/spool_run_support.h"

#include <math.h>

TestSuite(spool, .init = begin, .fini = end, .timeout = 300);

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
    /* Told when it begins, and with the counts at its end. */
    cr_assert_eq(warnings, 2, "%s", heard);
    cr_assert(strstr(heard, "2 damaged lines of the spool"), "%s", heard);
    free(text);
    free(path);
    free(id);
}
