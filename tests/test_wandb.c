/* test_wandb.c - W&B offline runs: the framing by known answers, what rows, artifacts and ends look like, full disks;
 * and, with TARN_TEST_PYTHON (a Python that has wandb), that wandb's message types read all of it. */
#include "tests/wandb_support.h"

TestSuite(wandb, .init = begin, .fini = end);

/* The first record of a file that wandb 0.31.0 wrote: its chunk and its bytes. */
static const unsigned char reference[] = ":W&B\xe1\xbe\x00"
                                         "\x7a\xee\x17\x02\x4d\x00\x01"
                                         "\x08\x01\xc2\x0c\x0a\x0a\x08"
                                         "4897rutt"
                                         "\xaa\x01\x3b\x0a\x39\x0a\x2f"
                                         "0.31.0+15f8cbc581d1c5cfc6e31f68b48bdd13cec2dd2c"
                                         "\x12\x06"
                                         "0.70.0";

Test(wandb, the_framing_is_that_of_wandb_itself)
{
    tarn_protobuf record = {0}, out = {0};
    tarn_protobuf_raw(&record, reference + 14, sizeof reference - 15);
    cr_assert_eq(record.used, 77u);
    tarn_wandb_log_append(&out, 0, &record);
    cr_assert_eq(out.used, sizeof reference - 1);
    cr_assert_arr_eq(out.bytes, reference, out.used);
    tarn_protobuf_free(&record);
    tarn_protobuf_free(&out);
}

Test(wandb, records_across_the_borders_of_blocks_come_back)
{
    /* Sizes that leave 0 to 20 bytes in a block, and records of several blocks. */
    char *path = tarn_test_format("%s/log", place.folder);
    tarn_board_file file;
    cr_assert_eq(tarn_board_file_open(&file, path), 0);
    unsigned char *bytes = malloc(200000);
    for (int i = 0; i < 200000; i++) bytes[i] = (unsigned char)(i * 7 + i / 251);
    size_t sizes[64], count = 0;
    tarn_protobuf record = {0}, out = {0};
    for (int rest = 0; rest <= 20; rest++) {
        long left = 32768 - (long)(file.length % 32768) - (file.length ? 0 : 7) - 7 - rest;
        sizes[count++] = (size_t)(left < 0 ? left + 32768 - 7 : left);
        sizes[count++] = rest == 10 ? 200000 : rest == 11 ? 0 : 5;
        for (size_t i = count - 2; i < count; i++) {
            tarn_protobuf_clear(&record);
            tarn_protobuf_raw(&record, bytes, sizes[i]);
            tarn_protobuf_clear(&out);
            tarn_wandb_log_append(&out, file.length, &record);
            cr_assert_eq(tarn_board_file_append(&file, out.bytes, out.used), 0);
        }
    }
    tarn_wandb_log log = {.file = &file};
    const unsigned char *got;
    size_t length;
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(tarn_wandb_log_read(&log, &got, &length), 1, "record %zu", i);
        cr_assert_eq(length, sizes[i], "record %zu", i);
        cr_assert(!length || !memcmp(got, bytes, length), "record %zu", i);
    }
    cr_assert_eq(tarn_wandb_log_read(&log, &got, &length), 0);
    tarn_board_file_close(&file);
    tarn_protobuf_free(&log.pieces);
    tarn_protobuf_free(&record);
    tarn_protobuf_free(&out);
    free(bytes);
    free(path);
}

Test(wandb, a_run_is_what_wandb_reads, .timeout = 120)
{
    board_run run = board_make(4);
    tarn_sink *sink = board_open(tarn_wandb_sink_open, &place, "first run");
    cr_assert_str_eq(sink->name, "wandb");
    board_write(sink, &run, 0, run.count);
    sink->destroy(sink);
    check_files(4, 1);
    char *output = read_with_wandb();
    if (output) {
        char numbers[7][TARN_NUMBER_TEXT], *history[4];
        static const char *const extra[] = {"", "", " validation/loss=%s",
                                            " weights/layer.0/_type=\"histogram\" weights/layer.0/bins=[-1.5,-1,0,1,2] "
                                            "weights/layer.0/values=[1,2,0,4]"};
        int64_t event = 7;
        for (int step = 1; step <= 4; step++) {
            for (int metric = 0; metric < 3; metric++) tarn_number_print(numbers[metric], board_value(metric, step));
            tarn_number_print(numbers[3], (double)run.events[event].time_ms / 1000);
            tarn_number_print(numbers[4], (double)(run.events[event].time_ms - BOARD_TIME) / 1000);
            char *more = step == 3 ? tarn_test_format(" validation/loss=%s", numbers[2]) : strdup(extra[step - 1]);
            history[step - 1] = tarn_test_format(
                "summary _runtime=%s _step=%d _timestamp=%s train.loss=%s train.lr=%s trainer/global_step=%d%s\n"
                "history _runtime=%s _step=%d _timestamp=%s train.loss=%s train.lr=%s trainer/global_step=%d%s\n",
                numbers[4], step, numbers[3], numbers[0], numbers[1], step, more, numbers[4], step, numbers[3],
                numbers[0], numbers[1], step, more);
            free(more);
            event += step == 3 ? 3 : 2;
        }
        char *expected = tarn_test_format(
            "file run-%s.wandb\nheader 0.70.0\nrun %s Default first run '' _wandb={}\nenvironment ann tarn abc\n"
            "metric trainer/global_step \nconfig optim.lr=0.001\nconfig model.kind=\"m|l<p\"\nconfig train.mix=true\n"
            "config tag/team=\"blue \\\"1\\\"\"\nrun %s Default first run 'a *note*' _wandb={}\n"
            "config dataset/digits={\"digest\":\"1234\"}\n"
            "metric train.loss trainer/global_step\nmetric train.lr trainer/global_step\n%s%s"
            "metric validation/loss trainer/global_step\n%smetric weights/layer.0 trainer/global_step\n%s"
            "summary _wandb/runtime=0\nexit 0\n",
            BOARD_RUN, BOARD_RUN, BOARD_RUN, history[0], history[1], history[2], history[3]);
        cr_assert_str_eq(output, expected);
        free(expected);
        for (int i = 0; i < 4; i++) free(history[i]);
    }
    char *config = board_path(&place, "*/files/config.yaml"), *text = tarn_test_read(config, NULL);
    cr_assert_not_null(strstr(text, "\"optim.lr\":\n    value: 0.001\n"), "%s", text);
    free(board_path(&place, "*/files/wandb-metadata.json"));
    free(config);
    free(text);
    free(output);
    free(run.events);
    if (!getenv("TARN_TEST_PYTHON"))
        cr_skip_test("TARN_TEST_PYTHON is not set: wandb's own message types were not asked");
}

Test(wandb, a_point_that_comes_late_keeps_its_step)
{
    tarn_sink *sink = board_open(tarn_wandb_sink_open, &place, "first run");
    const int64_t steps[] = {5, 6, 3, 7, 9};
    for (size_t i = 0; i < 5; i++) {
        tarn_track_event event = {.key = "a", .value = (double)steps[i], .step = steps[i], .time_ms = BOARD_TIME};
        tarn_sink_report report;
        sink->write(sink, &event, 1, &report);
        cr_assert_eq(report.taken, 1);
    }
    sink->write(sink, &(tarn_track_event){.kind = TARN_TRACK_END, .text = "KILLED", .time_ms = BOARD_TIME}, 1,
                &(tarn_sink_report){0});
    sink->destroy(sink);
    char *output = read_with_wandb();
    if (!output) cr_skip_test("TARN_TEST_PYTHON is not set");
    const char *at = output;
    static const char *const rows[] = {"_step=5 _timestamp=1700000000.123 a=5 trainer/global_step=5\n",
                                       "_step=6 _timestamp=1700000000.123 a=6 trainer/global_step=6\n",
                                       "_step=7 _timestamp=1700000000.123 a=3 trainer/global_step=3\n",
                                       "_step=8 _timestamp=1700000000.123 a=7 trainer/global_step=7\n",
                                       "_step=9 _timestamp=1700000000.123 a=9 trainer/global_step=9\n"};
    for (int i = 0; i < 5; i++) {
        at = strstr(at, "\nhistory ");
        cr_assert(at && (at = strstr(at, rows[i])), "%s\n%s", rows[i], output);
    }
    cr_assert_not_null(strstr(output, "exit 255\n"));
    free(output);
}

Test(wandb, artifacts_lie_among_the_files)
{
    char *file = tarn_test_format("%s/notes.txt", place.folder);
    cr_assert(tarn_test_write(file, "hello", 5));
    tarn_sink *sink = board_open(tarn_wandb_sink_open, &place, "first run");
    tarn_track_event events[] = {{.kind = TARN_TRACK_ARTIFACT, .key = "a/config.yaml", .file = file},
                                 {.kind = TARN_TRACK_ARTIFACT, .key = "none", .file = "/none"}};
    tarn_sink_report report;
    sink->write(sink, events, 2, &report);
    cr_assert(report.taken == 2 && report.lost == 1, "%s", report.problem);
    cr_assert_not_null(strstr(report.problem, "/none"), "%s", report.problem);
    sink->destroy(sink);
    char *path = board_path(&place, "*/files/artifacts/a/config.yaml"), *text = tarn_test_read(path, NULL);
    cr_assert_str_eq(text, "hello");
    char *output = read_with_wandb();
    if (output) cr_assert_not_null(strstr(output, "files artifacts/a/config.yaml\n"), "%s", output);
    free(output);
    free(text);
    free(path);
    free(file);
}

/* No retry would ever help. */
Test(wandb, an_artifact_whose_name_does_not_fit_is_lost_alone)
{
    char *file = tarn_test_format("%s/notes.txt", place.folder), *name = malloc(301);
    memset(name, 'n', 300);
    name[300] = '\0';
    cr_assert(tarn_test_write(file, "hello", 5));
    tarn_sink *sink = board_open(tarn_wandb_sink_open, &place, "first run");
    tarn_track_event events[] = {{.kind = TARN_TRACK_ARTIFACT, .key = "a", .file = file},
                                 {.kind = TARN_TRACK_ARTIFACT, .key = "a/b", .file = file},
                                 {.kind = TARN_TRACK_ARTIFACT, .key = "c/d", .file = file},
                                 {.kind = TARN_TRACK_ARTIFACT, .key = "c", .file = file},
                                 {.kind = TARN_TRACK_ARTIFACT, .key = name, .file = file},
                                 {.kind = TARN_TRACK_ARTIFACT, .key = "last", .file = file}};
    tarn_sink_report report;
    sink->write(sink, events, 6, &report);
    cr_assert(report.taken == 6 && report.lost == 3, "%lld, %lld: %s", (long long)report.taken, (long long)report.lost,
              report.problem);
    cr_assert_not_null(strstr(report.problem, "artifact a/b"), "%s", report.problem);
    sink->destroy(sink);
    static const char *const kept[] = {"a", "c/d", "last"};
    for (int i = 0; i < 3; i++) {
        char *pattern = tarn_test_format("*/files/artifacts/%s", kept[i]);
        free(board_path(&place, pattern));
        free(pattern);
    }
    char *output = read_with_wandb();
    if (output) cr_assert(strstr(output, "files artifacts/a\n") && !strstr(output, "artifacts/a/b"), "%s", output);
    free(output);
    free(name);
    free(file);
}

Test(wandb, a_full_disk_loses_nothing)
{
    board_run run = board_make(300);
    tarn_sink *sink = board_open(tarn_wandb_sink_open, &place, "first run");
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, full;
    getrlimit(RLIMIT_FSIZE, &before);
    full = before;
    full.rlim_cur = 15000;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &full), 0);
    int64_t at = 0;
    tarn_sink_report report = {0};
    while (at < run.count) {
        sink->write(sink, run.events + at, 10, &report);
        if (!report.taken) break;
        at += report.taken;
    }
    cr_assert(at > 0 && at < run.count);
    cr_assert_not_null(strstr(report.problem, "track.wandb"), "%s", report.problem);
    cr_assert_eq(report.lost, 0);
    sink->write(sink, run.events + at, 10, &report); /* and again */
    cr_assert_eq(report.taken, 0);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    board_write(sink, &run, at, run.count);
    sink->destroy(sink);
    check_files(300, 1);
    free(run.events);
}

Test(wandb, the_file_of_rows_under_way_stays_small)
{
    /* Rows of 100 kB that are kept three times each. */
    tarn_sink *sink = board_open(tarn_wandb_sink_open, &place, "first run");
    char *text = tarn_test_format("{\"min\":0,\"max\":1e4,\"count\":1,\"sum\":1,\"sum_squares\":1,\"limits\":[0");
    for (int i = 1; i < 500; i++) {
        char *grown = tarn_test_format("%s,%d.5000123456789", text, i);
        free(text);
        text = grown;
    }
    char *counts = strdup("1");
    for (int i = 1; i < 500; i++) {
        char *grown = tarn_test_format("%s,%d", counts, 1000000 + i);
        free(counts);
        counts = grown;
    }
    char *histogram = tarn_test_format("%s],\"counts\":[%s]}", text, counts);
    for (int64_t step = 0; step < 60; step++)
        for (int key = 0; key < 3; key++) {
            tarn_track_event event = {.kind = TARN_TRACK_HISTOGRAM,
                                      .key = key == 0   ? "a"
                                             : key == 1 ? "b"
                                                        : "c",
                                      .text = histogram,
                                      .step = step,
                                      .time_ms = BOARD_TIME};
            tarn_sink_report report;
            sink->write(sink, &event, 1, &report);
            cr_assert(report.taken == 1 && !report.lost, "%s", report.problem);
        }
    sink->destroy(sink);
    char *path = tarn_test_format("%s/rows", place.state);
    struct stat info;
    cr_assert_eq(stat(path, &info), 0);
    cr_assert_lt(info.st_size, 1200000);
    cr_assert_gt(info.st_size, 1000);
    sink = board_open(tarn_wandb_sink_open, &place, "first run"); /* with the last row */
    sink->write(sink, &(tarn_track_event){.kind = TARN_TRACK_END, .text = "FINISHED", .time_ms = BOARD_TIME}, 1,
                &(tarn_sink_report){0});
    sink->destroy(sink);
    char *output = read_with_wandb();
    if (output) {
        cr_assert_eq(count_of(output, "\nhistory "), 60);
        cr_assert_eq(count_of(output, "c/_type="), 120);
    }
    free(output);
    free(path);
    free(text);
    free(counts);
    free(histogram);
}

Test(wandb, what_cannot_be_opened_says_why)
{
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    const tarn_sink_run run = {.run_id = BOARD_RUN, .experiment = "a/b#c", .state = place.state};
    tarn_track_options options = {0};
    tarn_sink *sink = (tarn_sink *)1, *second;
    cr_assert_eq(tarn_wandb_sink_open(&sink, &options, &run, notice, problem), TARN_OK);
    cr_assert_null(sink);
    char *file = tarn_test_format("%s/a file", place.folder);
    cr_assert(tarn_test_write(file, "", 0));
    options.wandb = file;
    cr_assert_eq(tarn_wandb_sink_open(&sink, &options, &run, notice, problem), TARN_ERROR_CONFIG);
    cr_assert(strstr(problem, "a file") && strstr(problem, "track.wandb"), "%s", problem);
    options.wandb = place.boards;
    cr_assert_eq(tarn_wandb_sink_open(&sink, &options, &run, notice, problem), TARN_OK, "%s", problem);
    cr_assert_eq(tarn_wandb_sink_open(&second, &options, &run, notice, problem), TARN_ERROR_IO);
    cr_assert_not_null(strstr(problem, "another process"), "%s", problem);
    sink->write(sink, &(tarn_track_event){.key = "a", .time_ms = BOARD_TIME}, 1, &(tarn_sink_report){0});
    sink->write(sink, &(tarn_track_event){.key = "a", .step = 1, .time_ms = BOARD_TIME}, 1, &(tarn_sink_report){0});
    sink->destroy(sink);
    char *output = read_with_wandb();
    if (output) cr_assert_not_null(strstr(output, "run " BOARD_RUN " a-b-c tarn-01234567 ''"), "%s", output);
    free(output);
    free(file);
}
