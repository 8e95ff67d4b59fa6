/* board_support.h - a run as events, given to a sink directly, also in processes that are killed and begun anew.
 *
 * `acknowledged` is what a drain would have on disk: events before it are never offered again.
 */
#ifndef TARN_TESTS_BOARD_SUPPORT_H
#define TARN_TESTS_BOARD_SUPPORT_H

#include "runtime/config/number.h"
#include "track/sink.h"
#include "tests/support.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define BOARD_RUN  "0123456789abcdef0123456789abcdef"
#define BOARD_TIME 1700000000123
enum { BOARD_METRICS = 3 };

typedef struct board_run {
    tarn_track_event *events;
    int64_t count;
} board_run;

static const char board_histogram[] = "{\"min\":-1.5,\"max\":2,\"count\":7,\"sum\":1.25,\"sum_squares\":9.5,"
                                      "\"limits\":[-1,0,1,2],\"counts\":[1,2,0,4]}";

__attribute__((unused)) static double board_value(int metric, int64_t step)
{
    return (metric + 1) / (0.37 + (double)step);
}

__attribute__((unused)) static const char *board_key(int metric)
{
    static const char *const keys[] = {"train.loss", "train.lr", "validation/loss"};
    return keys[metric];
}

static void board_add(board_run *run, tarn_track_event event)
{
    event.time_ms = BOARD_TIME + run->count;
    run->events = realloc(run->events, (size_t)(run->count + 1) * sizeof event);
    run->events[run->count++] = event;
}

/* Metric by metric, as a trainer logs them: every third step has a validation, every fourth a histogram, every fifth a
 * measurement of the system. */
__attribute__((unused)) static board_run board_make(int64_t steps)
{
    board_run run = {0};
    board_add(&run,
              (tarn_track_event){.kind = TARN_TRACK_BEGIN,
                                 .text = "{\"user\":\"ann\",\"source\":\"tarn\",\"commit\":\"abc\",\"ranks\":2}"});
    board_add(&run, (tarn_track_event){.kind = TARN_TRACK_PARAM, .key = "optim.lr", .text = "0.001"});
    board_add(&run, (tarn_track_event){.kind = TARN_TRACK_PARAM, .key = "model.kind", .text = "m|l<p"});
    board_add(&run, (tarn_track_event){.kind = TARN_TRACK_PARAM, .key = "train.mix", .text = "true"});
    board_add(&run, (tarn_track_event){.kind = TARN_TRACK_TAG, .key = "team", .text = "blue \"1\""});
    board_add(&run, (tarn_track_event){.kind = TARN_TRACK_TAG, .key = "mlflow.note.content", .text = "a *note*"});
    board_add(&run, (tarn_track_event){.kind = TARN_TRACK_INPUT, .key = "digits", .text = "{\"digest\":\"1234\"}"});
    for (int64_t step = 1; step <= steps; step++) {
        for (int metric = 0; metric < BOARD_METRICS; metric++)
            if (metric < 2 || step % 3 == 0)
                board_add(&run, (tarn_track_event){.kind = TARN_TRACK_METRIC,
                                                   .id = metric,
                                                   .key = board_key(metric),
                                                   .value = board_value(metric, step),
                                                   .step = step});
        if (step % 4 == 0)
            board_add(&run, (tarn_track_event){.kind = TARN_TRACK_HISTOGRAM,
                                               .key = "weights/layer.0",
                                               .text = board_histogram,
                                               .step = step});
        if (step % 5 == 0)
            board_add(&run, (tarn_track_event){.kind = TARN_TRACK_METRIC,
                                               .id = BOARD_METRICS,
                                               .key = "system/cpu",
                                               .value = (double)step,
                                               .step = step});
    }
    board_add(&run, (tarn_track_event){.kind = TARN_TRACK_END, .text = "FINISHED"});
    return run;
}

typedef struct board_place {
    char *folder, *state, *boards; /* of the test, of the sink, of the files */
} board_place;

__attribute__((unused)) static board_place board_begin(void)
{
    board_place place = {.folder = tarn_test_directory()};
    place.state = tarn_test_format("%s/state", place.folder);
    place.boards = tarn_test_format("%s/the boards", place.folder);
    mkdir(place.state, 0777);
    return place;
}

__attribute__((unused)) static void board_end(board_place *place)
{
    tarn_test_remove(place->folder);
    free(place->folder);
    free(place->state);
    free(place->boards);
}

/* Opens a sink that must open. */
__attribute__((unused)) static tarn_sink *board_open(tarn_sink_open *open_sink, const board_place *place,
                                                     const char *name)
{
    tarn_sink *sink = NULL;
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    const tarn_track_options options = {.tensorboard = place->boards, .wandb = place->boards};
    const tarn_sink_run run = {.run_id = BOARD_RUN, .experiment = "Default", .name = name, .state = place->state};
    tarn_status status = open_sink(&sink, &options, &run, notice, problem);
    cr_assert_eq(status, TARN_OK, "%s", problem);
    cr_assert_str_empty(notice, "%s", notice);
    return sink;
}

/* Gives the sink events [from, to); all must be taken. */
__attribute__((unused)) static void board_write(tarn_sink *sink, const board_run *run, int64_t from, int64_t to)
{
    while (from < to) {
        tarn_sink_report report;
        int64_t count = to - from;
        if (sink->most && count > sink->most) count = sink->most;
        sink->write(sink, run->events + from, count, &report);
        cr_assert_eq(report.taken, count, "%s", report.problem);
        cr_assert_eq(report.lost, 0, "%s", report.problem);
        from += count;
    }
}

/* One process: goes on behind what is acknowledged, in pieces of a size of its own, and acknowledges now and then. */
__attribute__((unused)) static void board_process(tarn_sink_open *open_sink, const board_place *place,
                                                  const board_run *run, volatile int64_t *acknowledged, unsigned seed)
{
    tarn_sink *sink = NULL;
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    const tarn_track_options options = {.tensorboard = place->boards, .wandb = place->boards};
    const tarn_sink_run about = {
        .run_id = BOARD_RUN, .experiment = "Default", .name = "first run", .state = place->state};
    if (open_sink(&sink, &options, &about, notice, problem)) {
        fprintf(stderr, "%s\n", problem);
        _exit(3);
    }
    for (int64_t at = *acknowledged; at < run->count;) {
        tarn_sink_report report;
        int64_t count = 1 + rand_r(&seed) % 17;
        if (count > run->count - at) count = run->count - at;
        sink->write(sink, run->events + at, count, &report);
        if (report.taken != count) {
            fprintf(stderr, "%s\n", report.problem);
            _exit(4);
        }
        at += count;
        if (rand_r(&seed) % 3 == 0 || at == run->count) *acknowledged = at;
    }
    sink->destroy(sink);
    _exit(0);
}

/* Processes that are killed at any moment, until one has come to the end; `between` may damage what they left. Returns
 * how many were killed. */
__attribute__((unused)) static int board_kill_and_go_on(tarn_sink_open *open_sink, const board_place *place,
                                                        const board_run *run, unsigned seed,
                                                        void (*between)(const board_place *place, unsigned *seed))
{
    volatile int64_t *acknowledged = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int killed = 0;
    cr_assert_neq((void *)acknowledged, MAP_FAILED);
    for (int attempt = 0;; attempt++) {
        cr_assert_lt(attempt, 2000, "no process came to the end: %lld of %lld", (long long)*acknowledged,
                     (long long)run->count);
        pid_t child = fork();
        cr_assert_geq(child, 0);
        if (!child) board_process(open_sink, place, run, acknowledged, seed + (unsigned)attempt);
        /* Later and later, so that on a slow machine one arrives, too. */
        usleep((useconds_t)(rand_r(&seed) % (4000 + 400 * attempt)));
        kill(child, SIGKILL);
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        if (WIFEXITED(status)) {
            cr_assert_eq(WEXITSTATUS(status), 0, "the sink said no");
            break;
        }
        killed++;
        if (between) between(place, &seed);
    }
    munmap((void *)acknowledged, 4096);
    return killed;
}

/* The first path that a shell pattern under the place of the boards names; freed by the caller. */
__attribute__((unused)) static char *board_path(const board_place *place, const char *pattern)
{
    char *command = tarn_test_format("ls -d '%s'/%s", place->boards, pattern), *found;
    cr_assert_eq(tarn_test_run(command, 20, &found), 0, "%s", found);
    found[strcspn(found, "\n")] = '\0';
    free(command);
    return found;
}

/* What a crash of the machine leaves at the end of a file: a piece of a record (which begins so), or zeros. */
__attribute__((unused)) static void board_append_torn(const char *path, const char start[8], unsigned *seed)
{
    FILE *file = fopen(path, "ab");
    char bytes[40] = {0};
    if (rand_r(seed) % 2 == 0) memcpy(bytes, start, 8);
    cr_assert(file && fwrite(bytes, 1, (size_t)(1 + rand_r(seed) % 40), file));
    fclose(file);
}

#endif
