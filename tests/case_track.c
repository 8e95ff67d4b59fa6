/* case_track.c - several ranks that log to one run, for test_track_ranks.c.
 *
 *   case_track log DIRECTORY STEPS [RUN_ID]   every rank logs metrics of its own and all of them one in common, a
 *                       parameter, a tag, a file; each settles now and then, as before a checkpoint
 *   case_track vanish DIRECTORY               the last rank ends without closing; rank 0 closes all the same
 *   case_track threads DIRECTORY              four threads log while one settles: for ThreadSanitizer
 *   case_track refused DIRECTORY              a spool that rank 0 cannot write is an error on all ranks
 *   case_track storeless DIRECTORY            as log, 100 steps, with a store that cannot be written
 */
#include "runtime/base/context.h"
#include "track/tracker.h"

#include <tarn/tarn.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static tarn_context *context;
static int warnings;

static void hear(void *user, tarn_log_level level, const char *line)
{
    (void)user;
    if (level != TARN_LOG_WARN) return;
    warnings++;
    printf("rank %d warns: %s\n", tarn_rank(context), line);
    fflush(stdout);
}

static int log_steps(tarn_tracker *tracker, const char *directory, int64_t steps)
{
    int rank = tarn_rank(context);
    char own[64], file[4096];
    snprintf(own, sizeof own, "rank/%d/value", rank);
    for (int64_t step = 0; step < steps; step++) {
        if (tarn_log_metric(tracker, own, (double)(rank + 1) / (double)(step + 1), step)) return 1;
        /* What all know alike is recorded once, whoever comes first. */
        if (tarn_log_metric(tracker, "common", (double)step, step)) return 1;
        if (step % 50 == 49) tarn_track_settle(tracker, tarn_track_mark(tracker));
    }
    snprintf(own, sizeof own, "rank.%d", rank);
    if (tarn_log_param(tracker, own, "here") || tarn_log_tag(tracker, own, "here, too")) return 1;
    snprintf(file, sizeof file, "%s/rank-%d.txt", directory, rank);
    FILE *out = fopen(file, "w");
    if (!out || fprintf(out, "of rank %d\n", rank) < 0 || fclose(out)) return 1;
    tarn_status status = tarn_log_artifact(tracker, file, "ranks");
    unlink(file);
    return status != TARN_OK;
}

static void *log_from_thread(void *user)
{
    tarn_tracker *tracker = user;
    char key[32];
    static atomic_int threads;
    snprintf(key, sizeof key, "thread/%d", threads++);
    for (int64_t step = 0; step < 3000; step++) {
        tarn_log_metric(tracker, key, (double)step, step);
        tarn_log_metric(tracker, "all", (double)step, step);
        if (step % 500 == 0) tarn_log_tag(tracker, "step", key);
        if (step % 1000 == 0) tarn_track_settle(tracker, tarn_track_mark(tracker));
    }
    return NULL;
}

static int log_from_threads(tarn_tracker *tracker)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, log_from_thread, tracker)) return 1;
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    return !tarn_track_flush(tracker, 60) || tarn_track_lost(tracker);
}

int main(int argc, char **argv)
{
    if (tarn_init(&context, &argc, &argv)) return tarn_exit(context);
    tarn_set_log(context, hear, NULL);
    if (argc < 3) return 2;
    int rank = tarn_rank(context), last = tarn_ranks(context) - 1;
    bool is_log = !strcmp(argv[1], "log"), vanishes = !strcmp(argv[1], "vanish"), refused = !strcmp(argv[1], "refused");
    char store[4096], spool[4096];
    bool storeless = !strcmp(argv[1], "storeless");
    snprintf(store, sizeof store, storeless ? "/dev/null/x%s" : "%s/mlruns", argv[2]);
    snprintf(spool, sizeof spool, refused ? "/dev/null/x%s" : "%s/spool", argv[2]);
    tarn_tracker *tracker;
    tarn_track_options options = {.store = store, .spool = spool, .flush_timeout = 60};
    if (is_log && argc > 4) options.run_id = argv[4];
    tarn_status status = tarn_track_open(&tracker, context, &options);
    if (refused) {
        printf("rank %d: %s\n", rank, status ? tarn_get_error(context)->message : "opened");
        fflush(stdout);
        return tarn_exit(context);
    }
    if (status) return tarn_exit(context);
    printf("rank %d run %s\n", rank, tarn_track_run_id(tracker));
    fflush(stdout);
    int failed = log_steps(tracker, argv[2], is_log && argc > 3 ? atoll(argv[3]) : 100);
    if (!strcmp(argv[1], "threads")) failed |= log_from_threads(tracker);
    if (vanishes && rank == last && last) {
        tarn_track_settle(tracker, tarn_track_mark(tracker));
        sleep(1000); /* rank 0 ends the job */
    }
    double started = tarn_seconds();
    if (tarn_track_close(tracker, "FINISHED")) failed = 1;
    if (vanishes && rank == 0) {
        printf("closed after %.1f s\n", tarn_seconds() - started);
        fflush(stdout);
        _exit(7);
    }
    if (vanishes) sleep(1000);
    int code = tarn_exit(context);
    return code ? code : failed;
}
