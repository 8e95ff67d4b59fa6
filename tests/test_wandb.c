/* test_wandb.c - W&B offline runs: the framing by known answers; every point once and every step one row, however often
 * the process is killed; what a full disk, an end that was none and a sync in between do; and, with TARN_TEST_PYTHON (a
 * Python that has wandb), that wandb's message types read all of it and that `wandb sync` uploads each point once. */
#include "track/wandb/wandb.h"
#include "tests/board_support.h"
#include "tests/run_support.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <sys/prctl.h>

static board_place place;

static void begin(void)
{
    place = board_begin();
}

static void end(void)
{
    board_end(&place);
}

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

/* What wandb's message types find in the place of the boards, a line a record. NULL without Python. */
static char *read_with_wandb(void)
{
    const char *python = getenv("TARN_TEST_PYTHON");
    if (!python) return NULL;
    char *command = tarn_test_format("%s %s/tests/python/read_wandb.py '%s'", python, TARN_SOURCE_DIR, place.boards);
    char *output;
    cr_assert_eq(tarn_test_run(command, TARN_TEST_SECONDS, &output), 0, "%s", output);
    free(command);
    return output;
}

static int count_of(const char *text, const char *part)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) count++;
    return count;
}

/* What a file of the run holds, read by our own reader. */
typedef struct found {
    int64_t rows, points, histograms, stats, exits, runs, last_step, bad_steps;
    tarn_points seen;
    bool twice;
} found;

static void look_at(const char *path, found *all)
{
    /* A copy: the file itself may be locked. */
    char *copy = tarn_test_format("%s/copy", place.folder);
    size_t size, count;
    char *text = tarn_test_read(path, &size);
    tarn_board_file file;
    cr_assert(text && tarn_test_write(copy, text, size) && !tarn_board_file_open(&file, copy));
    tarn_wandb_log log = {.file = &file};
    const unsigned char *bytes;
    int got;
    while ((got = tarn_wandb_log_read(&log, &bytes, &count)) > 0) {
        tarn_protobuf_reader reader = {.at = bytes, .end = bytes + count};
        for (tarn_protobuf_field field; tarn_protobuf_next(&reader, &field);) {
            all->exits += field.number == TARN_WANDB_EXIT;
            all->runs += field.number == TARN_WANDB_HEADER;
            tarn_protobuf_reader items = tarn_protobuf_inner(&field);
            if (field.number == TARN_WANDB_STATS)
                for (tarn_protobuf_field item; tarn_protobuf_next(&items, &item);) all->stats += item.number == 3;
            if (field.number != TARN_WANDB_HISTORY) continue;
            int64_t step = -1, own = -1;
            char loss[64] = "";
            all->rows++;
            for (tarn_protobuf_field item; tarn_protobuf_next(&items, &item);) {
                char key[64] = "", below[32] = "", json[64] = "";
                tarn_protobuf_reader parts = tarn_protobuf_inner(&item);
                for (tarn_protobuf_field part; tarn_protobuf_next(&parts, &part);) {
                    if (part.number == 2) tarn_protobuf_field_text(&part, *key ? below : key, *key ? 32 : 64);
                    if (part.number == 16) tarn_protobuf_field_text(&part, json, sizeof json);
                }
                if (!strcmp(key, TARN_WANDB_STEP)) step = strtoll(json, NULL, 10);
                if (!strcmp(key, "_step")) own = strtoll(json, NULL, 10);
                if (!strcmp(key, board_key(0))) memcpy(loss, json, sizeof loss);
                all->histograms += !strcmp(below, "_type");
                for (int metric = 0; metric < BOARD_METRICS; metric++) all->points += !strcmp(key, board_key(metric));
            }
            if (own <= all->last_step || own != step) all->bad_steps++;
            all->last_step = own;
            if (tarn_points_add(&all->seen, (uint64_t)step + 1) != 1) all->twice = true;
            char expected[TARN_NUMBER_TEXT];
            tarn_number_print(expected, board_value(0, step));
            cr_assert_str_eq(loss, expected, "step %lld", (long long)step);
        }
    }
    cr_assert_eq(got, 0, "%s ends in something that is no record", path);
    tarn_board_file_close(&file);
    tarn_protobuf_free(&log.pieces);
    free(text);
    free(copy);
}

static void check_files(int64_t steps, int files)
{
    found all = {.last_step = -1};
    char *command = tarn_test_format("ls '%s'/offline-run-*-" BOARD_RUN "/run-" BOARD_RUN ".wandb", place.boards),
         *list;
    cr_assert_eq(tarn_test_run(command, 20, &list), 0, "%s", list);
    cr_assert_eq(count_of(list, "\n"), files, "%s", list);
    for (char *path = strtok(list, "\n"); path; path = strtok(NULL, "\n")) look_at(path, &all);
    cr_assert_not(all.twice, "a step has two rows");
    cr_assert_eq(all.rows, steps);
    cr_assert_eq(all.points, 2 * steps + steps / 3);
    cr_assert_eq(all.histograms, steps / 4);
    cr_assert_eq(all.stats, steps / 5);
    cr_assert_eq(all.bad_steps, 0, "_step is not the step");
    cr_assert_eq(all.exits, files, "%lld exit records", (long long)all.exits);
    cr_assert_eq(all.runs, files);
    tarn_points_free(&all.seen);
    free(command);
    free(list);
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

/* What a crash of the machine leaves at the end of a file: a piece of a record, or zeros. */
static void tear(const board_place *where, unsigned *seed)
{
    char *command = tarn_test_format("ls '%s'/*/*.wandb '%s'/rows 2>/dev/null", where->boards, where->state), *paths;
    tarn_test_run(command, 20, &paths);
    for (char *path = strtok(paths, "\n"); path; path = strtok(NULL, "\n")) {
        if (rand_r(seed) % 2) continue;
        FILE *file = fopen(path, "ab");
        char bytes[40] = {1, 2, 3, 4, 20, 0, 1, 'x'};
        if (rand_r(seed) % 2) memset(bytes, 0, sizeof bytes);
        cr_assert(file && fwrite(bytes, 1, (size_t)(1 + rand_r(seed) % 40), file));
        fclose(file);
    }
    free(command);
    free(paths);
}

Test(wandb, a_run_killed_anywhere_and_continued_has_every_point_once, .timeout = 240)
{
    for (unsigned seed = 1; seed <= 3; seed++) {
        board_run run = board_make(400);
        int killed = board_kill_and_go_on(tarn_wandb_sink_open, &place, &run, seed, tear);
        cr_log_info("killed %d times\n", killed);
        cr_assert_geq(killed, 3);
        check_files(400, 1);
        char *output = seed == 1 ? read_with_wandb() : NULL;
        if (output) cr_assert_eq(count_of(output, "\nhistory "), 400, "%s", output);
        free(output);
        tarn_test_remove(place.boards);
        tarn_test_remove(place.state);
        mkdir(place.state, 0777);
        free(run.events);
    }
}

Test(wandb, events_that_come_again_change_nothing)
{
    board_run run = board_make(30);
    tarn_sink *sink = board_open(tarn_wandb_sink_open, &place, "first run");
    board_write(sink, &run, 0, run.count);
    sink->destroy(sink);
    char *path = board_path(&place, "*/*.wandb");
    size_t before = 0, after = 0;
    char *was = tarn_test_read(path, &before);
    sink = board_open(tarn_wandb_sink_open, &place, "first run");
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

/* The steps (from, to] of a longer run, as another process logs them. */
static void go_on(const board_run *run, int64_t from, int64_t to)
{
    tarn_sink *sink = board_open(tarn_wandb_sink_open, &place, "first run");
    tarn_track_event again = {
        .kind = TARN_TRACK_BEGIN, .text = "{\"user\":\"ann\"}", .time_ms = BOARD_TIME + 900000 + from};
    tarn_track_event over = {.kind = TARN_TRACK_END, .text = "FINISHED", .time_ms = BOARD_TIME + 950000 + to};
    tarn_sink_report report;
    if (from) {
        sink->write(sink, &again, 1, &report);
        cr_assert_eq(report.taken, 1, "%s", report.problem);
    }
    for (int64_t i = 0; i < run->count; i++) {
        const tarn_track_event *event = &run->events[i];
        bool point = event->kind == TARN_TRACK_METRIC || event->kind == TARN_TRACK_HISTOGRAM;
        if (event->kind == TARN_TRACK_END || (point ? event->step <= from || event->step > to : from > 0)) continue;
        sink->write(sink, event, 1, &report);
        cr_assert_eq(report.taken, 1, "%s", report.problem);
    }
    sink->write(sink, &over, 1, &report);
    cr_assert_eq(report.taken, 1, "%s", report.problem);
    sink->destroy(sink);
}

Test(wandb, a_finished_run_that_is_continued_ends_once)
{
    board_run run = board_make(40);
    go_on(&run, 0, 21);
    check_files(21, 1);
    go_on(&run, 21, 40);
    check_files(40, 1);
    free(run.events);
}

Test(wandb, after_a_sync_the_run_goes_on_in_another_file)
{
    board_run run = board_make(40);
    go_on(&run, 0, 20);
    char *path = board_path(&place, "*/*.wandb"), *marker = tarn_test_format("%s.synced", path);
    size_t before = 0, after = 0;
    char *was = tarn_test_read(path, &before);
    cr_assert(tarn_test_write(marker, "", 0));
    go_on(&run, 20, 40);
    char *is = tarn_test_read(path, &after);
    cr_assert(before == after && !memcmp(was, is, before), "a file that was synced has changed");
    check_files(40, 2);
    free(was);
    free(is);
    free(path);
    free(marker);
    free(run.events);
}

/* Starts tests/python/wandb_server.py, which writes what it gets to `got`. */
static pid_t start_server(const char *python, const char *got, int *port)
{
    char *script = tarn_test_format("%s/tests/python/wandb_server.py", TARN_SOURCE_DIR);
    char *path = tarn_test_format("%s/port", place.folder), *text = NULL;
    pid_t server = fork();
    if (!server) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that crashes leaves no server behind */
        if (freopen(path, "w", stdout)) execl(python, python, script, got, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 1200 && !(text && strchr(text, '\n')); i++) {
        usleep(50000);
        free(text);
        text = tarn_test_read(path, NULL);
    }
    *port = text ? atoi(text) : 0;
    cr_assert_gt(*port, 0, "the server did not start");
    free(script);
    free(path);
    free(text);
    return server;
}

/* `wandb sync` of the place of the boards, to the server at `port`. */
static void sync_to(int port)
{
    char *command = tarn_test_format(
        "cd '%s' && HOME='%s' WANDB_BASE_URL=http://127.0.0.1:%d WANDB_API_KEY=%040d timeout 80 %s -m wandb sync '%s'",
        place.folder, place.folder, port, 7, getenv("TARN_TEST_PYTHON"), place.boards);
    char *output;
    cr_assert_eq(tarn_test_run(command, TARN_TEST_SECONDS, &output), 0, "%s", output);
    cr_assert_not_null(strstr(output, "Finished syncing"), "%s", output);
    free(command);
    free(output);
}

static const cJSON *member(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    cr_assert_not_null(item, "no %s", key);
    return item;
}

Test(wandb, wandb_sync_uploads_every_point_once, .timeout = 300)
{
    const char *python = getenv("TARN_TEST_PYTHON");
    if (!python) cr_skip_test("TARN_TEST_PYTHON is not set: `wandb sync` was not run");
    board_run run = board_make(40);
    char *got = tarn_test_format("%s/got.json", place.folder);
    int port = 0;
    pid_t server = start_server(python, got, &port);
    go_on(&run, 0, 25);
    sync_to(port);
    go_on(&run, 25, 40);
    sync_to(port);
    kill(server, SIGTERM);
    waitpid(server, NULL, 0);
    char *text = tarn_test_read(got, NULL);
    cJSON *all = cJSON_Parse(text);
    const cJSON *uploaded = member(member(all, "runs"), BOARD_RUN), *history = member(uploaded, "history");
    cr_assert_eq(cJSON_GetArraySize(member(all, "runs")), 1);
    cr_assert_eq(cJSON_GetArraySize(history), 40);
    for (int i = 0; i < 40; i++) {
        const cJSON *row = cJSON_GetArrayItem(history, i);
        cr_assert_eq(member(row, "_step")->valuedouble, i + 1);
        cr_assert_eq(member(row, TARN_WANDB_STEP)->valuedouble, i + 1);
        for (int metric = 0; metric < BOARD_METRICS; metric++) {
            const cJSON *value = cJSON_GetObjectItemCaseSensitive(row, board_key(metric));
            if (metric == 2 && (i + 1) % 3)
                cr_assert_null(value);
            else
                cr_assert(value && value->valuedouble == board_value(metric, i + 1));
        }
        const cJSON *histogram = cJSON_GetObjectItemCaseSensitive(row, "weights/layer.0");
        cr_assert_eq(histogram != NULL, (i + 1) % 4 == 0);
        if (histogram) cr_assert_eq(cJSON_GetArraySize(member(histogram, "bins")), 5);
    }
    cr_assert_eq(cJSON_GetArraySize(member(uploaded, "system")), 8);
    cr_assert_eq(member(uploaded, "exit")->valuedouble, 0);
    cr_assert_eq(member(member(uploaded, "summary"), "train.loss")->valuedouble, board_value(0, 40));
    const cJSON *upsert = NULL;
    cJSON_ArrayForEach(upsert, member(uploaded, "upserts"))
    {
        const cJSON *config = cJSON_GetObjectItemCaseSensitive(upsert, "config");
        if (!upsert->next) cr_assert_not_null(strstr(config->valuestring, "\"optim.lr\":{\"value\":0.001}"));
    }
    cJSON_Delete(all);
    free(text);
    free(got);
    free(run.events);
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

Test(wandb, the_last_row_of_a_killed_run_is_written_by_whoever_opens_it_next)
{
    pid_t child = fork();
    if (!child) {
        tarn_sink *sink = board_open(tarn_wandb_sink_open, &place, "first run");
        for (int64_t step = 1; step <= 2; step++)
            sink->write(sink, &(tarn_track_event){.key = "a", .value = 1, .step = step, .time_ms = BOARD_TIME}, 1,
                        &(tarn_sink_report){0});
        raise(SIGKILL);
    }
    waitpid(child, NULL, 0);
    char *before = read_with_wandb();
    if (!before) cr_skip_test("TARN_TEST_PYTHON is not set");
    cr_assert_eq(count_of(before, "\nhistory "), 1);
    for (int times = 0; times < 2; times++) {
        tarn_sink *sink = board_open(tarn_wandb_sink_open, &place, "first run");
        sink->destroy(sink);
        char *after = read_with_wandb();
        cr_assert_eq(count_of(after, "\nhistory "), 2, "%s", after);
        free(after);
    }
    free(before);
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

Test(wandb, a_real_run_continued_on_other_ranks_is_one_run_on_both_boards, .timeout = 300)
{
    char *text = tarn_test_format("%s/text", place.folder), *file = tarn_test_format("%s/run.yaml", place.folder),
         *output;
    static const char run_file[] =
        "name: boards\n"
        "model: {kind: gpt, layers: 1, heads: 2, width: 16, context: 16}\n"
        "data: {kind: text, path: text, validation: 0.1}\n"
        "train: {steps: 20, batch: 8, eval_every: 10}\n"
        "checkpoint: {dir: checkpoints}\n"
        "track: {store: null, tensorboard: the boards, wandb: the boards, histograms_every: 5}\n";
    cr_assert(tarn_test_write_text(text, 200) && tarn_test_write(file, run_file, sizeof run_file - 1));
    cr_assert_eq(tarn_test_tarn(place.folder, "", 2, "train run.yaml --quiet", &output), 0, "%s", output);
    free(output);
    cr_assert_eq(tarn_test_tarn(place.folder, "", 0, "train run.yaml --quiet train.steps=40", &output), 0, "%s",
                 output);
    cr_assert_null(strstr(output, "could not be recorded"), "%s", output);
    free(output);
    free(board_path(&place, "boards/*tfevents*"));
    free(text);
    free(file);
    output = read_with_wandb();
    if (!output) cr_skip_test("TARN_TEST_PYTHON is not set");
    cr_assert_eq(count_of(output, "\nhistory "), 40, "%s", output);
    cr_assert_eq(count_of(output, "\nrun "), 1, "%s", output);
    cr_assert_eq(count_of(output, "\nenvironment "), 2, "%s", output);
    cr_assert_eq(count_of(output, "\nexit "), 1, "%s", output);
    for (int step = 1; step <= 40; step++) {
        static const char row[] = "\nhistory ";
        char *own = tarn_test_format(" _step=%d ", step);
        const char *at = output;
        for (int i = 0; i < step && at; i++) at = strstr(at + 1, row);
        cr_assert(at);
        const char *found = strstr(at, own), *stop = strchr(at + 1, '\n');
        cr_assert(found && found < stop, "row %d is not of step %d", step, step);
        free(own);
    }
    free(output);
    char *command = tarn_test_format("%s %s/tests/python/read_tensorboard.py '%s'", getenv("TARN_TEST_PYTHON"),
                                     TARN_SOURCE_DIR, place.boards);
    cr_assert_eq(tarn_test_run(command, TARN_TEST_SECONDS, &output), 0, "%s", output);
    cr_assert_eq(count_of(output, "scalar train.loss "), 40, "%s", output);
    cr_assert_eq(count_of(output, "scalar validation.loss "), 4, "%s", output);
    cr_assert_eq(count_of(output, "histogram weights/token_embedding.weight "), 8, "%s", output);
    cr_assert_eq(count_of(output, "histogram gradients/token_embedding.weight "), 8, "%s", output);
    cr_assert_not_null(strstr(output, "hparam model.width 16.0\n"), "%s", output);
    free(command);
    free(output);
}
