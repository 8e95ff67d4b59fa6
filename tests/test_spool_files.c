/* test_spool_files.c - what must not get lost from a spool, or hold anybody up: lines that cannot be read, artifacts
 * that are no files, boards after a restart of the host. */
#include "runtime/base/context.h"
#include "tests/spool_support.h"
#include "train/run_log.h"

#include <criterion/criterion.h>
#include <fcntl.h>

static tarn_context *context;
static char *folder;

static void begin(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    folder = tarn_test_directory();
    unsetenv("MLFLOW_TRACKING_URI");
    unsetenv("MLFLOW_RUN_ID");
}

static void end(void)
{
    tarn_test_remove(folder);
    free(folder);
    forget_taken();
    tarn_error_clear(context);
    tarn_exit(context);
}

TestSuite(spool_files, .init = begin, .fini = end, .timeout = 120);

static void put(tarn_spool_writer *writer, tarn_track_event event)
{
    event.time_ms = 1795412345000 + writer->next;
    cr_assert_gt(tarn_spool_add(writer, &event), 0);
}

static void make_durable(tarn_spool_writer *writer)
{
    cr_assert_eq(tarn_spool_flush(writer), 0);
    cr_assert_eq(tarn_spool_sync(writer), 0);
}

/* Events of a kind in a spool. */
static int64_t count_of(const char *spool, tarn_track_kind kind)
{
    char problem[TARN_SINK_PROBLEM];
    tarn_spool_reader *reader = tarn_spool_open_reader(spool, problem);
    cr_assert_not_null(reader, "%s", problem);
    tarn_spool_read_whole(reader);
    int64_t count = 0;
    for (tarn_track_event event; tarn_spool_read(reader, &event, 1);) count += event.kind == kind;
    tarn_spool_close_reader(reader);
    return count;
}

/* The newline between two parameters is damaged: both can still be read. */
Test(spool_files, thinning_leaves_lines_that_it_cannot_read)
{
    tarn_spool_writer writer;
    cr_assert_eq(tarn_spool_open_writer(&writer, folder, 1 << 14), TARN_SPOOL_OPENED);
    put(&writer, (tarn_track_event){.kind = TARN_TRACK_PARAM, .key = "lr", .text = "0.1"});
    put(&writer, (tarn_track_event){.kind = TARN_TRACK_PARAM, .key = "batch", .text = "8"});
    for (int64_t step = 0; step < 3000; step++) {
        put(&writer, (tarn_track_event){.kind = TARN_TRACK_METRIC, .key = "loss", .step = step, .value = 0.5});
        if (step % 100 == 99) make_durable(&writer);
    }
    char *path = tarn_test_format("%s/events-%016d", folder, 1);
    size_t length = 0;
    char *text = tarn_test_read(path, &length);
    *strchr(text, '\n') = 'X';
    cr_assert(tarn_test_write(path, text, length));
    free(text);
    cr_assert_eq(count_of(folder, TARN_TRACK_PARAM), 2);
    cr_assert_gt(tarn_spool_thin(&writer, 40000, 0), 1000);
    cr_assert_lt(count_of(folder, TARN_TRACK_METRIC), 2000);
    cr_assert_eq(count_of(folder, TARN_TRACK_PARAM), 2);
    cr_assert_gt(tarn_spool_thin(&writer, 15000, 0), 100, "and again");
    cr_assert_eq(count_of(folder, TARN_TRACK_PARAM), 2);
    tarn_spool_close_writer(&writer);
    free(path);
}

Test(spool_files, a_pipe_is_no_artifact_and_holds_nobody_up)
{
    char *spool = tarn_test_format("%s/spool", folder), *pipe = tarn_test_format("%s/pipe", folder);
    cr_assert_eq(mkfifo(pipe, 0666), 0);
    tarn_tracker *tracker;
    use_taker();
    cr_assert_eq(tarn_track_open(&tracker, context, &(tarn_track_options){.store = "none", .spool = spool}), TARN_OK);
    cr_assert_eq(tarn_log_artifact(tracker, pipe, NULL), TARN_ERROR_IO);
    tarn_track_close(tracker, "FINISHED");
    /* One that took the place of a file between the call and the copy. */
    tarn_spool_writer writer;
    cr_assert_eq(tarn_spool_open_writer(&writer, folder, 1 << 20), TARN_SPOOL_OPENED);
    struct tarn_queued_file one = {.name = "pipe", .path = pipe, .file = -1};
    tarn_queued_files files = {.list = &one, .count = 1};
    tarn_path relative;
    cr_assert_eq(tarn_spool_copy(&writer, &files, "pipe", false, relative), TARN_SPOOL_SOURCE_GONE);
    tarn_spool_close_writer(&writer);
    free(pipe);
    free(spool);
}

Test(spool_files, a_histogram_without_buckets_is_refused)
{
    char *spool = tarn_test_format("%s/spool", folder);
    tarn_tracker *tracker;
    use_taker();
    cr_assert_eq(tarn_track_open(&tracker, context, &(tarn_track_options){.store = "none", .spool = spool}), TARN_OK);
    cr_assert_eq(tarn_log_histogram(tracker, "h", &(tarn_histogram){.min = 0}, 1), TARN_ERROR_ARGUMENT);
    tarn_track_close(tracker, "FINISHED");
    cr_assert_eq(taken_of(TARN_TRACK_HISTOGRAM, NULL), 0);
    free(spool);
}

static char *output_of(const char *format, ...)
{
    char *command = NULL, *output;
    va_list arguments;
    va_start(arguments, format);
    cr_assert_geq(vasprintf(&command, format, arguments), 0);
    va_end(arguments);
    cr_assert_eq(tarn_test_run(command, 60, &output), 0, "%s: %s", command, output);
    free(command);
    return output;
}

/* The event files of boards lie on a disk of this host, which may have forgotten what they took: what is acknowledged
 * does not count after a restart, and everything goes there again. */
Test(spool_files, boards_get_everything_again_after_a_restart_of_the_host)
{
    char *spool = tarn_test_format("%s/spool", folder), *boards = tarn_test_format("%s/boards", folder), id[33];
    tarn_track_options options = {
        .store = "none", .spool = spool, .tensorboard = boards, .wandb = boards, .name = "a", .flush_timeout = 60};
    tarn_tracker *tracker;
    cr_assert_eq(tarn_track_open(&tracker, context, &options), TARN_OK);
    snprintf(id, sizeof id, "%s", tarn_track_run_id(tracker));
    tarn_log_param(tracker, "learning_rate", "0.1");
    for (int64_t step = 0; step < 100; step++) tarn_log_metric(tracker, "the_loss", (double)step, step);
    tarn_track_close(tracker, "KILLED");
    free(output_of("cd %s && for f in spool/*/sinks/*/acknowledged; do grep -q '^10[0-9] ' $f || exit 1; "
                   "sed -i 's/ .*/ an-earlier-start/' $f; done && truncate -s 0 boards/*/*tfevents* boards/*/*.wandb "
                   "spool/*/sinks/tensorboard-*/tables.json",
                   folder));
    options.run_id = id;
    cr_assert_eq(tarn_track_open(&tracker, context, &options), TARN_OK);
    tarn_log_metric(tracker, "the_loss", 100, 100);
    tarn_track_close(tracker, "FINISHED");
    static const char *const files[] = {"tfevents", "wandb"};
    for (int i = 0; i < 2; i++) {
        char *points = output_of("cat %s/*/*%s* | grep -ao the_loss | wc -l", boards, files[i]);
        cr_assert_geq(atoi(points), 101, "%s has %s", files[i], points);
        free(points);
        free(output_of("cat %s/*/*%s* | grep -aq learning_rate", boards, files[i]));
    }
    free(boards);
    free(spool);
}

static void put_artifact(tarn_spool_writer *writer, const char *key, const char *path)
{
    struct tarn_queued_file one = {.name = "", .path = (char *)path, .file = -1};
    tarn_queued_files files = {.list = &one, .count = 1};
    tarn_path relative;
    cr_assert_eq(tarn_spool_copy(writer, &files, key, false, relative), TARN_SPOOL_COPIED);
    put(writer, (tarn_track_event){.kind = TARN_TRACK_ARTIFACT, .key = key, .file = relative});
    make_durable(writer);
}

static void put_points(tarn_spool_writer *writer, int64_t first, int64_t count)
{
    for (int64_t step = first; step < first + count; step++)
        put(writer, (tarn_track_event){.kind = TARN_TRACK_METRIC, .key = "loss", .step = step, .value = 0.5});
    make_durable(writer);
}

/* A log that is sent again and again would fill the disk with its own copies. */
Test(spool_files, superseded_copies_of_an_artifact_go_when_every_sink_has_a_newer_one)
{
    enum { SIZE = 20000, LIMIT = 100000 };
    char *log = tarn_test_format("%s/train.log", folder), *spool = tarn_test_format("%s/spool", folder);
    char *bytes = calloc(SIZE, 1);
    cr_assert(tarn_test_write(log, bytes, SIZE));
    tarn_spool_writer writer;
    cr_assert_eq(tarn_spool_open_writer(&writer, spool, LIMIT), TARN_SPOOL_OPENED);
    for (int i = 0; i < 5; i++) {
        put_artifact(&writer, "log/train.log", log);
        put_points(&writer, 1000 * i, 1000);
    }
    put_artifact(&writer, "once", log);
    put_points(&writer, 5000, 1000); /* the segment that is being written is left alone */
    cr_assert_geq(writer.file_bytes, 6 * SIZE);
    cr_assert_eq(writer.bytes, tarn_spool_bytes(spool));
    /* No sink has any of it: points go, down to half the limit, and no file. */
    cr_assert_gt(tarn_spool_thin(&writer, LIMIT, 0), 0);
    cr_assert_eq(count_of(spool, TARN_TRACK_ARTIFACT), 6);
    cr_assert_eq(writer.bytes, tarn_spool_bytes(spool));
    cr_assert_gt(writer.bytes - writer.file_bytes, LIMIT / 3, "%lld", (long long)(writer.bytes - writer.file_bytes));
    /* All have the first three of the log: the third is the newest that they have, the fourth is on its way. */
    int64_t numbers[6], count = 0;
    char problem[TARN_SINK_PROBLEM];
    tarn_spool_reader *reader = tarn_spool_open_reader(spool, problem);
    for (tarn_track_event event; tarn_spool_read(reader, &event, 1);)
        if (event.kind == TARN_TRACK_ARTIFACT) numbers[count++] = tarn_spool_number(reader, 0);
    tarn_spool_close_reader(reader);
    cr_assert_eq(count, 6);
    tarn_spool_thin(&writer, LIMIT, numbers[2]);
    cr_assert_eq(count_of(spool, TARN_TRACK_ARTIFACT), 6, "the newest of all is not published yet");
    tarn_spool_thin(&writer, SIZE, numbers[5]);
    cr_assert_eq(count_of(spool, TARN_TRACK_ARTIFACT), 2);
    cr_assert_eq(writer.bytes, tarn_spool_bytes(spool));
    char *files = output_of("ls %s/files", spool),
         *expected = tarn_test_format("%lld-train.log\n%lld-once\n", (long long)numbers[4], (long long)numbers[5]);
    cr_assert_str_eq(files, expected);
    tarn_spool_close_writer(&writer);
    free(expected);
    free(files);
    free(bytes);
    free(spool);
    free(log);
}

Test(spool_files, the_log_of_a_run_is_due_when_it_has_doubled)
{
    char *path = tarn_test_format("%s/train.log", folder);
    cr_assert(tarn_test_write(path, "an earlier start\n", 17));
    tarn_run_log *log = tarn_run_log_open(context, path);
    cr_assert_not_null(log);
    tarn_run_log_line(log, "begins");
    cr_assert(tarn_run_log_has_doubled(log, 0), "nothing was sent");
    int64_t sent = tarn_run_log_written(log), size = 17 + sent;
    while (17 + tarn_run_log_written(log) < 2 * size) {
        cr_assert_not(tarn_run_log_has_doubled(log, sent));
        tarn_run_log_line(log, "x");
    }
    cr_assert(tarn_run_log_has_doubled(log, sent));
    tarn_run_log_close(log);
    free(path);
}
