/* test_prometheus.c - opening the sink, the textfile: addresses and files that are none, files whole at every moment,
 * what outlives a process. tests/test_prometheus_text.c has what is said, tests/test_prometheus_web.c the server,
 * tests/test_monitoring.c whole runs, the dashboard and the alerts. */
#include "tests/prometheus_support.h"

TestSuite(prometheus, .init = set_up, .fini = tear_down, .timeout = 600);

/* ---- addresses and files that are none --------------------------------------------------------------------------- */

Test(prometheus, wrong_addresses_are_errors_that_name_key_and_remedy)
{
    static const struct {
        const char *listen, *part;
    } rows[] = {{"9464", "is no ADDRESS:PORT"},
                {"127.0.0.1", "is no ADDRESS:PORT"},
                {"127.0.0.1:", "is no ADDRESS:PORT"},
                {"127.0.0.1:http", "is no ADDRESS:PORT"},
                {"127.0.0.1:65536", "is no ADDRESS:PORT"},
                {"127.0.0.1:123456789012", "is no ADDRESS:PORT"},
                {"127.0.0.1:-1", "is no ADDRESS:PORT"},
                {"::1:9464", "is no ADDRESS:PORT"},
                {"[]:9464", "is no ADDRESS:PORT"},
                {"[::1:9464", "is no ADDRESS:PORT"},
                {"http://127.0.0.1:9464", "is no ADDRESS:PORT"},
                {"metrics.example.org:9464", "is no ADDRESS:PORT"},
                {"300.1.2.3:9464", "is no ADDRESS:PORT"},
                {"192.0.2.1:9464", "it is not an address of this machine"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
        const tarn_sink_run run = run_of(NULL);
        tarn_sink *sink = NULL;
        tarn_status status = tarn_prometheus_sink_open(&sink, &(tarn_track_options){.metrics_listen = rows[i].listen},
                                                       &run, notice, problem);
        cr_expect_eq(status, TARN_ERROR_CONFIG, "%s: %d", rows[i].listen, status);
        cr_expect_null(sink);
        cr_expect(strstr(problem, "metrics.listen") && strstr(problem, rows[i].part), "%s: %s", rows[i].listen,
                  problem);
    }
}

Test(prometheus, nothing_asked_for_is_no_sink)
{
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    const tarn_sink_run run = run_of(NULL);
    tarn_sink *sink = (tarn_sink *)folder;
    cr_expect_eq(tarn_prometheus_sink_open(&sink, &(tarn_track_options){.store = "none"}, &run, notice, problem),
                 TARN_OK);
    cr_expect_null(sink);
    cr_expect_eq(tarn_prometheus_sink_open(&sink, &(tarn_track_options){.metrics_listen = "", .metrics_file = ""}, &run,
                                           notice, problem),
                 TARN_OK);
    cr_expect_null(sink);
}

Test(prometheus, a_taken_port_is_a_warning_and_served_once_it_is_free)
{
    char notice[TARN_SINK_PROBLEM], address[80], later[80] = "";
    tarn_sink *first = open_sink(&(tarn_track_options){.metrics_listen = "127.0.0.1:0"}, notice);
    tarn_prometheus_sink_address(first, address);
    tarn_sink *second = open_sink(&(tarn_track_options){.metrics_listen = address}, notice);
    cr_expect(strstr(notice, "metrics.listen") && strstr(notice, "training goes on"), "%s", notice);
    give(second, metric("train.loss", 3, 3));
    tarn_prometheus_sink_address(second, later);
    cr_expect_str_eq(later, "");
    first->destroy(first);
    for (int i = 0; i < 600 && !*later; i++) {
        usleep(100000);
        tarn_prometheus_sink_address(second, later);
    }
    cr_expect_str_eq(later, address);
    tarn_track_event event = metric("train.loss", 3, 4);
    tarn_sink_report report;
    second->write(second, &event, 1, &report);
    cr_expect(strstr(report.problem, "metrics.listen") && strstr(report.problem, address), "%s", report.problem);
    char *text = get(address, "/metrics", NULL);
    cr_expect_eq(value_of(text, "tarn_train_loss", NULL), 3, "%s", text);
    free(text);
    second->destroy(second);
}

Test(prometheus, without_libmicrohttpd_the_package_is_named)
{
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    const tarn_sink_run run = run_of(NULL);
    tarn_sink *sink = NULL;
    setenv("TARN_MICROHTTPD", "/nowhere/libmicrohttpd.so", 1);
    tarn_status status =
        tarn_prometheus_sink_open(&sink, &(tarn_track_options){.metrics_listen = "127.0.0.1:0"}, &run, notice, problem);
    cr_expect_eq(status, TARN_ERROR_UNSUPPORTED);
    cr_expect_null(sink);
    cr_expect(strstr(problem, "package libmicrohttpd12") && strstr(problem, "metrics.listen"), "%s", problem);
    /* The file needs no server. */
    char *path = tarn_test_format("%s/tarn.prom", folder);
    sink = open_sink(&(tarn_track_options){.metrics_file = path}, notice);
    sink->destroy(sink);
    cr_expect_eq(access(path, R_OK), 0);
    free(path);
}

Test(prometheus, files_that_cannot_be_written_are_errors)
{
    char *no_folder = tarn_test_format("%s/missing/tarn.prom", folder);
    const char *const paths[] = {no_folder, folder, "/proc/tarn.prom"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
        const tarn_sink_run run = run_of(NULL);
        tarn_sink *sink = NULL;
        cr_expect_eq(
            tarn_prometheus_sink_open(&sink, &(tarn_track_options){.metrics_file = paths[i]}, &run, notice, problem),
            TARN_ERROR_CONFIG);
        cr_expect_null(sink);
        cr_expect(strstr(problem, "metrics.file") && strstr(problem, paths[i]), "%s", problem);
    }
    free(no_folder);
    char notice[TARN_SINK_PROBLEM], *path = tarn_test_format("%s/metrics.txt", folder);
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_file = path}, notice);
    cr_expect(strstr(notice, ".prom"), "%s", notice);
    sink->destroy(sink);
    free(path);
}

/* ---- the file, and what outlives a process ----------------------------------------------------------------------- */

Test(prometheus, the_file_is_whole_at_every_moment_and_ends_with_the_last_values)
{
    char notice[TARN_SINK_PROBLEM], *path = tarn_test_format("%s/tarn.prom", folder);
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_file = path}, notice);
    int looks = 0;
    for (int step = 1; step <= 400; step++) {
        for (int i = 0; i < 50; i++) give(sink, metric("train.loss", step, step));
        char *text = tarn_test_read(path, NULL);
        if (text) {
            looks++;
            cr_expect(*text == '#' && text[strlen(text) - 1] == '\n' && strstr(text, "tarn_run_status"), "%s", text);
        }
        free(text);
        usleep(5000);
    }
    cr_expect_gt(looks, 0, "the file is there before the end");
    give(sink, (tarn_track_event){.kind = TARN_TRACK_END, .text = "FINISHED", .time_ms = 1700000100000});
    sink->destroy(sink);
    char *text = tarn_test_read(path, NULL);
    cr_assert(text);
    cr_expect_eq(value_of(text, "tarn_train_loss", NULL), 400);
    cr_expect_eq(value_of(text, "tarn_run_status", "status=\"finished\""), 1);
    cr_expect_eq(value_of(text, "tarn_run_status", "status=\"running\""), 0);
    if (has_promtool()) check_text(text);
    free(text);
    int files = 0;
    DIR *directory = opendir(folder);
    for (struct dirent *entry; (entry = readdir(directory));) files += entry->d_name[0] != '.';
    closedir(directory);
    cr_expect_eq(files, 2, "nothing is left beside the file and the counters");
    free(path);
}

Test(prometheus, counters_go_on_in_the_next_process)
{
    char notice[TARN_SINK_PROBLEM], *path = tarn_test_format("%s/tarn.prom", folder);
    const tarn_track_options options = {.metrics_file = path};
    for (int process = 0; process < 4; process++) {
        tarn_sink *sink = open_sink(&options, notice);
        cr_expect_str_eq(notice, "");
        give(sink, begin(1700000000000 + process));
        give(sink, begin(1700000000000 + process)); /* may come again */
        if (!process) {
            give(sink, metric("train.loss", 0.1, 100));
            give(sink, metric("validation.loss", 1.0 / 3, 100));
            give(sink, metric("train.skipped", 2, 100));
            give(sink, (tarn_track_event){.kind = TARN_TRACK_TAG, .key = "nonfinite.train.loss", .text = "nan"});
        }
        sink->destroy(sink);
    }
    char *text = tarn_test_read(path, NULL);
    cr_assert(text);
    cr_expect_eq(value_of(text, "tarn_restarts_total", NULL), 3);
    cr_expect_eq(value_of(text, "tarn_steps_total", NULL), 100);
    cr_expect_eq(value_of(text, "tarn_skipped_steps_total", NULL), 2);
    cr_expect_eq(value_of(text, "tarn_validation_loss", NULL), 1.0 / 3);
    cr_expect_eq(value_of(text, "tarn_nonfinite", "key=\"train.loss\""), 1);
    cr_expect_eq(value_of(text, "tarn_last_step_timestamp_seconds", NULL), 1700000000.1);
    free(text);
    free(path);
}

Test(prometheus, broken_counters_begin_anew)
{
    static const char *const broken[] = {
        "", "{", "[]", "{\"format\":1}", "{\"format\":2,\"metrics\":[]}", "{\"format\":1,\"metrics\":[3]}", "\xFF\xFE"};
    char *path = tarn_test_format("%s/counters.json", folder), *file = tarn_test_format("%s/tarn.prom", folder);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        char notice[TARN_SINK_PROBLEM];
        cr_assert(tarn_test_write(path, broken[i], strlen(broken[i])));
        tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_file = file}, notice);
        cr_expect(strstr(notice, "counters.json"), "%s: %s", broken[i], notice);
        give(sink, metric("train.loss", 1, 1));
        sink->destroy(sink);
        char *text = tarn_test_read(file, NULL);
        cr_expect_eq(value_of(text, "tarn_steps_total", NULL), 1);
        free(text);
    }
    free(path);
    free(file);
}

Test(prometheus, a_folder_that_goes_away_is_told_once_and_nothing_is_lost)
{
    char notice[TARN_SINK_PROBLEM], *inside = tarn_test_format("%s/textfile", folder);
    cr_assert_not(mkdir(inside, 0755));
    char *path = tarn_test_format("%s/tarn.prom", inside);
    tarn_sink *sink = open_sink(&(tarn_track_options){.metrics_file = path}, notice);
    char *away = tarn_test_format("%s/away", folder);
    cr_assert_not(rename(inside, away)); /* at once, whatever the publisher is doing in it */
    int told = 0;
    for (int step = 1; step < 100; step++) {
        tarn_track_event event = metric("train.loss", step, step);
        tarn_sink_report report;
        sink->write(sink, &event, 1, &report);
        cr_assert_eq(report.taken, 1);
        cr_assert_eq(report.lost, 0);
        if (*report.problem) {
            told++;
            cr_expect(strstr(report.problem, "metrics.file") && strstr(report.problem, path), "%s", report.problem);
        }
        usleep(50000);
    }
    cr_expect_eq(told, 1);
    sleep(2);                           /* so that the last values were tried, too */
    cr_assert_not(mkdir(inside, 0755)); /* and comes back */
    sink->destroy(sink);
    char *text = tarn_test_read(path, NULL);
    cr_expect(text && value_of(text, "tarn_train_loss", NULL) == 99);
    free(text);
    free(path);
    free(away);
    free(inside);
}
