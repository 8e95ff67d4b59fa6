/* test_tensorboard.c - TensorBoard's event files: the framing by known answers; every point once however often the
 * process is killed, what a full disk, a foreign folder and damage do; and, with TARN_TEST_PYTHON (a Python that has
 * tensorboard), that TensorBoard's own reader finds all of it. */
#include "track/tensorboard/tensorboard.h"
#include "tests/board_support.h"

#include <errno.h>

static board_place place;

static void begin(void)
{
    place = board_begin();
}

static void end(void)
{
    board_end(&place);
}

TestSuite(tensorboard, .init = begin, .fini = end);

Test(tensorboard, checksums_by_known_answers)
{
    /* RFC 3720, B.4 */
    unsigned char bytes[32] = {0};
    cr_assert_eq(tarn_crc32c(bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, 32);
    cr_assert_eq(tarn_crc32c(bytes, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++) bytes[i] = (unsigned char)i;
    cr_assert_eq(tarn_crc32c(bytes, 32), 0x46dd794eu);
    for (int i = 0; i < 32; i++) bytes[i] = (unsigned char)(31 - i);
    cr_assert_eq(tarn_crc32c(bytes, 32), 0x113fdb5cu);
    cr_assert_eq(tarn_crc32c("123456789", 9), 0xe3069283u);
    /* the mask of TFRecord over the checksum of "123456789" */
    cr_assert_eq(tarn_crc32c_masked("123456789", 9), ((0xe3069283u >> 15 | 0xe3069283u << 17) + 0xa282ead8u));
}

Test(tensorboard, the_first_record_is_that_of_every_event_file)
{
    tarn_event_writer writer = {0};
    tarn_event_version(&writer, 1.5);
    /* as TensorFlow's and PyTorch's writers make it: length 24, wall time, "brain.Event:2" */
    static const unsigned char head[] = {24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22};
    cr_assert_eq(writer.out.used, 40u);
    cr_assert_arr_eq(writer.out.bytes, head, sizeof head);
    cr_assert_arr_eq(writer.out.bytes + 12 + 9,
                     "\x1a\x0d"
                     "brain.Event:2",
                     15);
    tarn_event_writer_free(&writer);
}

/* Counts what the run's file holds: each point must be there once, and in order of events. */
static void check_file(const board_run *run)
{
    /* A copy: the file itself is locked while the sink is open. */
    char *path = board_path(&place, "*/*tfevents*"), *copy = tarn_test_format("%s/copy", place.folder);
    size_t size;
    char *all = tarn_test_read(path, &size);
    cr_assert(all && tarn_test_write(copy, all, size));
    tarn_board_file file;
    cr_assert_eq(tarn_board_file_open(&file, copy), 0, "%s: %s", copy, strerror(errno));
    int64_t offset = 0, at = 0;
    const unsigned char *bytes;
    size_t count;
    int got, ends = 0, starts = 0;
    while ((got = tarn_event_read(&file, &offset, &bytes, &count)) > 0) {
        tarn_event_seen seen;
        cr_assert(tarn_event_parse(bytes, count, &seen));
        ends += seen.kind == TARN_EVENT_SESSION_END;
        starts += seen.kind == TARN_EVENT_SESSION_START;
        if (seen.kind != TARN_EVENT_SCALAR && seen.kind != TARN_EVENT_HISTOGRAM) continue;
        while (at < run->count && run->events[at].kind != TARN_TRACK_METRIC &&
               run->events[at].kind != TARN_TRACK_HISTOGRAM)
            at++;
        cr_assert_lt(at, run->count, "a point too many: %.*s of step %lld", (int)seen.tag_length, seen.tag,
                     (long long)seen.step);
        cr_assert(strlen(run->events[at].key) == seen.tag_length &&
                      !memcmp(run->events[at].key, seen.tag, seen.tag_length) && run->events[at].step == seen.step,
                  "%.*s of step %lld where %s of step %lld should be", (int)seen.tag_length, seen.tag,
                  (long long)seen.step, run->events[at].key, (long long)run->events[at].step);
        at++;
    }
    cr_assert_eq(got, 0, "the file ends in something that is no record");
    while (at < run->count && run->events[at].kind != TARN_TRACK_METRIC && run->events[at].kind != TARN_TRACK_HISTOGRAM)
        at++;
    cr_assert_eq(at, run->count, "points are missing from event %lld on", (long long)at);
    cr_assert_eq(starts, 1);
    cr_assert_eq(ends, 1);
    tarn_board_file_close(&file);
    free(path);
    free(copy);
    free(all);
}

static char *expected_lines(const board_run *run)
{
    char *text = strdup("version 2.0\n");
    static const char *const keys[] = {"system/cpu", "train.loss", "train.lr", "validation/loss"}; /* as sorted */
    for (int key = 0; key < 4; key++)
        for (int64_t i = 0; i < run->count; i++) {
            const tarn_track_event *event = &run->events[i];
            if (event->kind != TARN_TRACK_METRIC || strcmp(event->key, keys[key])) continue;
            char *grown = tarn_test_format("%sscalar %s %lld %.9g %.3f\n", text, event->key, (long long)event->step,
                                           (float)event->value, (double)event->time_ms / 1000);
            free(text);
            text = grown;
        }
    for (int64_t i = 0; i < run->count; i++) {
        const tarn_track_event *event = &run->events[i];
        if (event->kind != TARN_TRACK_HISTOGRAM) continue;
        char *grown =
            tarn_test_format("%shistogram %s %lld -1.5 2.0 7.0 1.25 9.5 [-1.0, 0.0, 1.0, 2.0] [1.0, 2.0, 0.0, 4.0]\n",
                             text, event->key, (long long)event->step);
        free(text);
        text = grown;
    }
    int64_t first = 0;
    while (run->events[first].kind != TARN_TRACK_METRIC) first++;
    char *whole =
        tarn_test_format("%s"
                         "status 1\n"
                         "hparam model.kind 'm|l<p'\nhparam optim.lr 0.001\nhparam train.mix True\n"
                         "group first run %.3f\n"
                         "text run/datasets '| dataset | value |\\n|---|---|\\n| digits | {\"digest\":\"1234\"} |\\n'\n"
                         "text run/notes 'a *note*'\n"
                         "text run/parameters '| parameter | value |\\n|---|---|\\n| optim.lr | 0.001 |\\n| model.kind "
                         "| m\\\\|l&lt;p |\\n"
                         "| train.mix | true |\\n'\n"
                         "text run/tags '| tag | value |\\n|---|---|\\n| team | blue \"1\" |\\n'\n",
                         text, (double)run->events[first].time_ms / 1000);
    free(text);
    return whole;
}

/* What TensorBoard's own reader says of the directory. */
static void check_with_tensorboard(const board_run *run)
{
    const char *python = getenv("TARN_TEST_PYTHON");
    if (!python) return;
    char *command = tarn_test_format("%s %s/tests/python/read_tensorboard.py '%s' 2>'%s/stderr'", python,
                                     TARN_SOURCE_DIR, place.boards, place.folder);
    char *output, *expected = expected_lines(run);
    int code = tarn_test_run(command, TARN_TEST_SECONDS, &output);
    char *path = tarn_test_format("%s/stderr", place.folder), *said = tarn_test_read(path, NULL);
    cr_assert_eq(code, 0, "%s%s", output, said);
    cr_assert_null(strstr(said, "DataLoss"), "%s", said);
    cr_assert_str_eq(output, expected);
    free(command);
    free(output);
    free(expected);
    free(path);
    free(said);
}

Test(tensorboard, every_point_is_there_as_it_was_logged, .timeout = 120)
{
    board_run run = board_make(60);
    tarn_sink *sink = board_open(tarn_tensorboard_sink_open, &place, "first run");
    cr_assert_str_eq(sink->name, "tensorboard");
    board_write(sink, &run, 0, run.count);
    check_file(&run); /* before the sink is closed: it is live */
    sink->destroy(sink);
    check_with_tensorboard(&run);
    if (!getenv("TARN_TEST_PYTHON"))
        cr_skip_test("TARN_TEST_PYTHON is not set: TensorBoard's own reader was not asked");
    free(run.events);
}

static void tear(const board_place *where, unsigned *seed)
{
    char *command = tarn_test_format("ls '%s'/*/*tfevents* 2>/dev/null", where->boards), *path = NULL;
    if (rand_r(seed) % 2 == 0 && !tarn_test_run(command, 20, &path) && strchr(path, '\n')) {
        *strchr(path, '\n') = '\0';
        board_append_torn(path, (const char[8]){24}, seed);
    }
    free(path);
    free(command);
}

Test(tensorboard, a_run_killed_anywhere_and_continued_has_every_point_once, .timeout = 240)
{
    for (unsigned seed = 1; seed <= 3; seed++) {
        board_run run = board_make(400);
        int killed = board_kill_and_go_on(tarn_tensorboard_sink_open, &place, &run, seed, tear);
        cr_log_info("killed %d times\n", killed);
        cr_assert_geq(killed, 3);
        check_file(&run);
        if (seed == 1) check_with_tensorboard(&run);
        tarn_test_remove(place.boards);
        tarn_test_remove(place.state);
        mkdir(place.state, 0777);
        free(run.events);
    }
}

Test(tensorboard, events_that_come_again_change_nothing)
{
    board_run run = board_make(30);
    tarn_sink *sink = board_open(tarn_tensorboard_sink_open, &place, "first run");
    board_write(sink, &run, 0, run.count);
    sink->destroy(sink);
    char *path = board_path(&place, "*/*tfevents*");
    size_t before, after;
    char *was = tarn_test_read(path, &before);
    sink = board_open(tarn_tensorboard_sink_open, &place, "first run");
    board_write(sink, &run, 0, run.count);
    sink->destroy(sink);
    char *is = tarn_test_read(path, &after);
    cr_assert_eq(before, after);
    cr_assert_arr_eq(was, is, before);
    free(was);
    free(is);
    free(path);
    free(run.events);
}

Test(tensorboard, the_file_is_found_again_without_the_state_folder)
{
    board_run run = board_make(20);
    tarn_sink *sink = board_open(tarn_tensorboard_sink_open, &place, "first run");
    board_write(sink, &run, 0, 30);
    sink->destroy(sink);
    tarn_test_remove(place.state);
    mkdir(place.state, 0777);
    sink = board_open(tarn_tensorboard_sink_open, &place, "first run");
    board_write(sink, &run, 0, run.count);
    sink->destroy(sink);
    check_file(&run);
    free(run.events);
}

Test(tensorboard, a_folder_of_another_run_gets_a_neighbour)
{
    char *other = tarn_test_format("%s/first run", place.boards),
         *file = tarn_test_format("%s/events.out.tfevents.1.x", other);
    mkdir(place.boards, 0777);
    mkdir(other, 0777);
    cr_assert(tarn_test_write(file, "abc", 3));
    tarn_sink *sink = board_open(tarn_tensorboard_sink_open, &place, "first run");
    sink->destroy(sink);
    char *path = board_path(&place, "'first run-01234567'/*" BOARD_RUN);
    size_t bytes;
    char *text = tarn_test_read(file, &bytes);
    cr_assert_eq(bytes, 3u);
    free(text);
    free(path);
    free(other);
    free(file);
    sink = board_open(tarn_tensorboard_sink_open, &place, "../a\nname/");
    sink->destroy(sink);
    free(board_path(&place, "'first run-01234567'/*" BOARD_RUN)); /* the name of the first process stays */
}

Test(tensorboard, a_name_that_is_no_folder_becomes_one)
{
    tarn_sink *sink = board_open(tarn_tensorboard_sink_open, &place, "../a/b");
    sink->destroy(sink);
    free(board_path(&place, "_.-a-b/*tfevents*"));
}

Test(tensorboard, a_full_disk_loses_nothing)
{
    board_run run = board_make(300);
    tarn_sink *sink = board_open(tarn_tensorboard_sink_open, &place, "first run");
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, full;
    getrlimit(RLIMIT_FSIZE, &before);
    full = before;
    full.rlim_cur = 9000;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &full), 0);
    int64_t at = 0;
    tarn_sink_report report = {0};
    while (at < run.count) {
        sink->write(sink, run.events + at, 10, &report);
        if (!report.taken) break;
        at += report.taken;
    }
    cr_assert(at > 0 && at < run.count);
    cr_assert_not_null(strstr(report.problem, "track.tensorboard"), "%s", report.problem);
    cr_assert_eq(report.lost, 0);
    sink->write(sink, run.events + at, 10, &report); /* and again */
    cr_assert_eq(report.taken, 0);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    board_write(sink, &run, at, run.count);
    sink->destroy(sink);
    check_file(&run);
    check_with_tensorboard(&run);
    free(run.events);
}

Test(tensorboard, what_cannot_be_opened_says_why)
{
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    const tarn_sink_run run = {.run_id = BOARD_RUN, .experiment = "Default", .state = place.state};
    tarn_track_options options = {0};
    tarn_sink *sink = (tarn_sink *)1, *second;
    cr_assert_eq(tarn_tensorboard_sink_open(&sink, &options, &run, notice, problem), TARN_OK);
    cr_assert_null(sink);
    char *file = tarn_test_format("%s/a file", place.folder);
    cr_assert(tarn_test_write(file, "", 0));
    options.tensorboard = file;
    cr_assert_eq(tarn_tensorboard_sink_open(&sink, &options, &run, notice, problem), TARN_ERROR_CONFIG);
    cr_assert(strstr(problem, "a file") && strstr(problem, "track.tensorboard"), "%s", problem);
    options.tensorboard = "/proc/none";
    cr_assert_eq(tarn_tensorboard_sink_open(&sink, &options, &run, notice, problem), TARN_ERROR_CONFIG);
    options.tensorboard = place.boards;
    cr_assert_eq(tarn_tensorboard_sink_open(&sink, &options, &run, notice, problem), TARN_OK);
    cr_assert_eq(tarn_tensorboard_sink_open(&second, &options, &run, notice, problem), TARN_ERROR_IO);
    cr_assert_not_null(strstr(problem, "another process"), "%s", problem);
    sink->destroy(sink);
    free(file);
}

Test(tensorboard, a_histogram_that_is_none_is_left_out)
{
    tarn_sink *sink = board_open(tarn_tensorboard_sink_open, &place, "first run");
    const char *const bad[] = {
        "", "{}", "[1]", "{\"min\":0,\"max\":1,\"count\":1,\"sum\":0,\"sum_squares\":0,\"limits\":[1],\"counts\":[]}",
        "{\"min\":0,\"max\":1,\"count\":1,\"sum\":0,\"sum_squares\":0,\"limits\":[\"x\"],\"counts\":[1]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tarn_track_event event = {.kind = TARN_TRACK_HISTOGRAM, .key = "h", .text = bad[i], .step = (int64_t)i};
        tarn_sink_report report;
        sink->write(sink, &event, 1, &report);
        cr_assert(report.taken == 1 && report.lost == 1, "%s", bad[i]);
        cr_assert_not_null(strstr(report.problem, "histogram h"), "%s", report.problem);
    }
    sink->destroy(sink);
}

/* As after a crash that came before what was taken was remembered: everything comes again. */
Test(tensorboard, a_histogram_that_is_none_does_not_make_points_come_twice)
{
    board_run run = {0};
    for (int64_t step = 1; step <= 9; step++) {
        board_add(&run, (tarn_track_event){.kind = TARN_TRACK_METRIC, .key = "m", .step = step, .value = 0.5});
        if (step == 3)
            board_add(&run, (tarn_track_event){.kind = TARN_TRACK_HISTOGRAM, .key = "h", .step = 3, .text = "{}"});
    }
    size_t size[2];
    for (int i = 0; i < 2; i++) {
        tarn_sink *sink = board_open(tarn_tensorboard_sink_open, &place, "first run");
        tarn_sink_report report;
        sink->write(sink, run.events, run.count, &report);
        cr_assert(report.taken == run.count && report.lost == 1, "%s", report.problem);
        sink->destroy(sink);
        char *path = board_path(&place, "*/*tfevents*");
        free(tarn_test_read(path, &size[i]));
        free(path);
    }
    cr_assert_eq(size[0], size[1]);
    free(run.events);
}
