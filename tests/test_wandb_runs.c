/* test_wandb_runs.c - W&B offline runs of several processes: every point once and every step one row, however often one
 * is killed, ends or is synced in between; and, with TARN_TEST_PYTHON, that `wandb sync` uploads each point once. */
#include "tests/run_support.h"
#include "tests/wandb_support.h"

#include <cjson/cJSON.h>
#include <sys/prctl.h>

TestSuite(wandb, .init = begin, .fini = end);

static void tear(const board_place *where, unsigned *seed)
{
    char *command = tarn_test_format("ls '%s'/*/*.wandb '%s'/rows 2>/dev/null", where->boards, where->state), *paths;
    tarn_test_run(command, 20, &paths);
    for (char *path = strtok(paths, "\n"); path; path = strtok(NULL, "\n")) {
        if (rand_r(seed) % 2) continue;
        board_append_torn(path, (const char[8]){1, 2, 3, 4, 20, 0, 1, 'x'}, seed);
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
