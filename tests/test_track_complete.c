/* test_track_complete.c - runs that are killed in their first moments, and behind their last checkpoint: the next start
 * makes their record what it would have been.
 */
#include "tests/server_support.h"
#include "tests/track_train_support.h"

TestSuite(track_complete, .init = set_up, .fini = tear_down, .timeout = 600);

/* Starts a training, and kills it as hard as it gets once `until` (a shell condition in the folder) holds. */
static void kill_once(const char *arguments, const char *until)
{
    char *line = tarn_test_format("cd '%s' && { %s train run.yaml --quiet %s >log 2>&1 & } && pid=$! && "
                                  "until %s; do kill -0 $pid 2>/dev/null || break; done; kill -9 $pid; wait $pid; true",
                                  folder, TARN_PROGRAM, arguments, until);
    cr_assert_eq(tarn_test_run(line, 240, NULL), 0);
    free(line);
}

/* Events of a kind in the spool of the one run. */
static int events_of(const char *checkpoints, const char *kind)
{
    char *line = tarn_test_format("cat %s/spool/*/events-* 2>/dev/null | cut -f4 | grep -cx %s", checkpoints, kind);
    char *output = shell(line);
    int count = atoi(output);
    free(output);
    free(line);
    return count;
}

static void expect_complete_store(const char *store)
{
    char *line = tarn_test_format("grep -h '^status' %s/*/*/meta.yaml; wc -l <$(ls %s/*/*/metrics/train.loss); "
                                  "cut -d' ' -f3 %s/*/*/metrics/train.loss | sort -n | uniq | wc -l; "
                                  "tail -n1 %s/*/*/artifacts/log/train.log | grep -o 'ends after step 40: finished'; "
                                  "ls %s/models/kept/version-1/meta.yaml | wc -l",
                                  store, store, store, store, store);
    expect_shell(line, "status: 3\n40\n40\nends after step 40: finished\n1");
    free(line);
}

Test(track_complete, a_run_killed_behind_its_last_checkpoint_is_brought_to_its_end)
{
    int caught = 0;
    for (int i = 0; i < 20 && !caught; i++) {
        char *names = tarn_test_format("checkpoint.dir=c%d track.store=s%d track.register=kept", i, i);
        char *until = tarn_test_format("[ -e c%d/ckpt-000000000040.h5 ]", i), *place = tarn_test_format("c%d", i);
        char *store = tarn_test_format("s%d", i);
        char *again = tarn_test_format("train run.yaml %s", names), *said;
        kill_once(names, until);
        caught = !events_of(place, "end");
        expect_tarn("", 0, again, 0, &said);
        cr_assert(strstr(said, "finished already: 40 steps"), "%s", said);
        expect_complete_store(store);
        free(said);
        /* Once it is complete, nothing is added. */
        int begins = events_of(place, "begin");
        cr_assert(begins == 2 || !caught);
        expect_tarn("", 0, again, 0, NULL);
        cr_assert_eq(events_of(place, "begin"), begins);
        free(names);
        free(until);
        free(place);
        free(store);
        free(again);
    }
    cr_assert(caught, "no process was killed between its last checkpoint and its end");
}

Test(track_complete, a_run_killed_while_it_waits_for_its_server_is_told_of_again)
{
    int port = tarn_test_free_port();
    cr_assert(port);
    char *arguments = tarn_test_format("track.store=http://127.0.0.1:%d track.flush_timeout=", port), *said;
    char *first = tarn_test_format("%s100", arguments), *second = tarn_test_format("train run.yaml %s0.2", arguments);
    kill_once(first, "grep -qs '\tend\t' checkpoints/spool/*/events-*");
    cr_assert_eq(events_of("checkpoints", "end"), 1);
    expect_tarn("", 2, second, 0, &said);
    cr_assert(strstr(said, "finished already: 40 steps") && strstr(said, "tarn track push "), "%s", said);
    free(said);
    free(arguments);
    free(first);
    free(second);
}

Test(track_complete, a_run_killed_in_its_first_moments_keeps_who_began_it)
{
    /* The store has the run, and of its spool nothing came to the disk. */
    kill_once("train.steps=50000 checkpoint.every=50000", "ls mlruns/*/*/meta.yaml >/dev/null 2>&1");
    expect_shell("ls checkpoints/ckpt-* 2>/dev/null; ls checkpoints/tracking-run; ls -d mlruns/*/*/metrics | wc -l; "
                 "rm -rf checkpoints/spool/*/events-* mlruns/*/*/tags/*",
                 "checkpoints/tracking-run\n1");
    expect_tarn("", 0, "train run.yaml --quiet", 0, NULL);
    expect_shell("ls -d mlruns/*/*/metrics | wc -l; cd mlruns/*/*/tags && ls mlflow.user mlflow.source.name "
                 "mlflow.source.type mlflow.runName",
                 "1\nmlflow.runName\nmlflow.source.name\nmlflow.source.type\nmlflow.user");
}
