/* test_spool_processes.c - processes on a spool: killed at any moment, two at once, what a killed one left in the
 * inbox. */
#include "runtime/base/context.h"
#include "tests/spool_run_support.h"
#include "track/inbox.h"

#include <math.h>
#include <signal.h>

TestSuite(spool, .init = begin, .fini = end, .timeout = 300);

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
