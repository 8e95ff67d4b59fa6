/* test_spool_disk.c - a spool on a full disk: what is given up, in which order, and what the destinations still get. */
#include "tests/spool_run_support.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

TestSuite(spool, .init = begin, .fini = end, .timeout = 300);

Test(spool, a_full_disk_costs_the_oldest_metrics_beyond_what_memory_holds)
{
    use_taker();
    tarn_tracker *tracker = open_with(&(tarn_track_options){.flush_timeout = 60});
    tarn_log_metric(tracker, "before", 1, 0);
    cr_assert(tarn_track_flush(tracker, 60));
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, limit;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){100, before.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum { STEPS = 200000 };
    char *artifact = tarn_test_format("%s/file", folder), name[32];
    tarn_test_write(artifact, "0123456789", 10);
    tarn_log_artifact(tracker, artifact, NULL);
    for (int64_t step = 0; step < STEPS; step++) {
        tarn_log_metric(tracker, "a", (double)step, step);
        if (step % 2000 == 0) {
            snprintf(name, sizeof name, "param%lld", (long long)step);
            tarn_log_param(tracker, name, "kept");
        }
    }
    unlink(artifact);
    int64_t lost = tarn_track_lost(tracker);
    cr_assert(lost > STEPS / 8 && lost < STEPS / 2, "%lld lost", (long long)lost);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    cr_assert_eq(tarn_track_close(tracker, "FINISHED"), TARN_OK);
    char *count = tarn_test_format("%lld events of run", (long long)lost);
    cr_assert(strstr(heard, count), "%s", heard);
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, "a") + lost, STEPS);
    cr_assert_eq(taken_of(TARN_TRACK_PARAM, NULL), STEPS / 2000);
    cr_assert_eq(taken_of(TARN_TRACK_ARTIFACT, NULL), 1);
    cr_assert_eq(taken_events[taken_count - 2].step, STEPS - 1, "the newest stayed");
    free(count);
    free(artifact);
}

/* A small file system for the spools, in a mount name space of this test's own. */
static bool mount_small(const char *size)
{
    if (mkdir(spool, 0777) || unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("tarn-test", spool, "tmpfs", 0, size)) {
        cr_log_warn("skipped: cannot mount a small file system here (%s)", strerror(errno));
        return false;
    }
    return true;
}

/* Writes until the disk is full. */
static void fill_disk(void)
{
    char *path = tarn_test_format("%s/ballast", spool);
    FILE *file = fopen(path, "wb");
    static const char block[4096] = {1};
    cr_assert_eq(setvbuf(file, NULL, _IONBF, 0), 0);
    while (fwrite(block, sizeof block, 1, file) == 1) continue;
    fclose(file);
    free(path);
}

Test(spool, a_full_disk_gives_up_what_every_sink_has)
{
    enum { STEPS = 150000 };
    if (!mount_small("size=2m")) cr_skip_test("no mount");
    use_taker();
    tarn_tracker *tracker = open_with(&(tarn_track_options){.flush_timeout = 60});
    char *run = strdup(tarn_track_spool(tracker));
    tarn_log_param(tracker, "kept", "yes");
    for (int64_t step = 0; step < STEPS; step++) {
        tarn_log_metric(tracker, "a", (double)step, step);
        if (step % 5000 == 0) cr_assert(tarn_track_flush(tracker, 60), "%s", heard);
    }
    tarn_track_close(tracker, "FINISHED");
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, "a"), STEPS, "of about four times what fits: %s", heard);
    cr_assert_eq(taken_of(TARN_TRACK_END, NULL), 1);
    cr_assert_eq(warnings, 0, "%s", heard);
    char *reserve = tarn_test_format("%s/.reserve", run);
    cr_assert(access(reserve, F_OK), "nothing is kept from a disk when the run has ended");
    forget_taken();
    /* What is gone is known, what is no point is there. */
    tracker = open_with(&(tarn_track_options){.run_id = strrchr(run, '/') + 1, .flush_timeout = 60});
    tarn_log_param(tracker, "kept", "yes");
    for (int64_t step = 0; step < STEPS + 10; step++) tarn_log_metric(tracker, "a", (double)step, step);
    tarn_track_close(tracker, "FINISHED");
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, "a"), 10);
    cr_assert_eq(taken_of(TARN_TRACK_PARAM, NULL), 0);
    umount2(spool, MNT_DETACH);
    free(reserve);
    free(run);
}

Test(spool, what_a_full_disk_does_not_take_goes_to_the_destinations_at_the_end)
{
    enum { STEPS = 20000 };
    if (!mount_small("size=2m")) cr_skip_test("no mount");
    use_taker();
    char *artifact = tarn_test_format("%s/config.yaml", folder);
    for (int dead = 0; dead < 2; dead++) {
        tarn_test_write(artifact, "seed: 1\n", 8);
        warnings = 0;
        heard[0] = '\0';
        tarn_tracker *tracker = open_with(&(tarn_track_options){.flush_timeout = dead ? -1 : 60});
        tarn_log_metric(tracker, "before", 1, 0);
        cr_assert(tarn_track_flush(tracker, 60));
        /* With it all would go through the little room again and again, which a sink that keeps up can make. */
        char *reserve = tarn_test_format("%s/.reserve", tarn_track_spool(tracker));
        cr_assert_eq(unlink(reserve), 0);
        free(reserve);
        fill_disk();
        taker_refuses = dead;
        for (int64_t step = 0; step < STEPS; step++) tarn_log_metric(tracker, "a", (double)step, step);
        tarn_log_artifact(tracker, artifact, NULL);
        tarn_log_param(tracker, "late", "yes");
        unlink(artifact);
        cr_assert_eq(tarn_track_close(tracker, "FINISHED"), TARN_OK);
        if (dead) break;
        cr_assert(strstr(heard, " could not be written to the spool") && !strstr(heard, "could not be recorded"), "%s",
                  heard);
        cr_assert_eq(taken_of(TARN_TRACK_METRIC, "a"), STEPS);
        for (int64_t i = 0, next = 0; i < taken_count; i++)
            if (taken_events[i].kind == TARN_TRACK_METRIC && !strcmp(taken_events[i].key, "a"))
                cr_assert_eq(taken_events[i].step, next++);
        cr_assert(taken_of(TARN_TRACK_PARAM, "late") == 1 && taken_of(TARN_TRACK_ARTIFACT, "config.yaml") == 1);
        cr_assert_eq(taken_events[taken_count - 1].kind, TARN_TRACK_END);
        forget_taken();
        char *path = tarn_test_format("%s/ballast", spool);
        unlink(path);
        free(path);
    }
    /* A destination that is dead, too, is named, and what is lost is counted. */
    cr_assert(strstr(heard, "memory ") && strstr(heard, "could not be recorded"), "%s", heard);
    umount2(spool, MNT_DETACH);
    free(artifact);
}
