/* campaign.c - what the campaigns share: counting violations, running the process under test. */
#include "tests/faults/campaign.h"
#include "tests/support.h"

#include <inttypes.h>
#include <signal.h>

#define PRINTED 12

/* ---- invariants -------------------------------------------------------------------------------------------------- */

/* I2: the acknowledged step, or a later one of the same life. Before anything was acknowledged whatever was there at
 * the beginning of the scenario will do. */
static bool is_lost(const fault_campaign *campaign, const fault_verdict *verdict)
{
    const fault_progress *progress = &verdict->progress;
    if (progress->life) {
        if (!verdict->found || verdict->life != progress->life || verdict->step < progress->step) return true;
        /* What was set aside must not come back. */
        return campaign->options.scenario == SCENARIO_QUARANTINE && verdict->step > progress->step;
    }
    return campaign->options.scenario != SCENARIO_SERIES &&
           (!verdict->found || (verdict->life == 1 && verdict->step < FAULT_LAST_STEP - 1));
}

static bool best_is_lost(const fault_verdict *verdict)
{
    const fault_progress *progress = &verdict->progress;
    return progress->best_step &&
           (verdict->best_life != progress->best_life || verdict->best_step < progress->best_step);
}

void fault_count(const fault_campaign *campaign, fault_tally *tally, const fault_verdict *verdict, const char *what)
{
    char found[400] = "";
    size_t used = 0;
#define SAY(condition, field, ...)                                                                                     \
    if (condition) {                                                                                                   \
        tally->field++;                                                                                                \
        int more = snprintf(found + used, sizeof found - used, __VA_ARGS__);                                           \
        used += more > 0 && used + (size_t)more < sizeof found ? (size_t)more : 0;                                     \
    }
    const fault_progress *progress = &verdict->progress;
    tally->points++;
    SAY(verdict->signal || verdict->bad_exit, crashed, " crashed (loader: signal %d; writer: %d)", verdict->signal,
        verdict->bad_exit);
    SAY(verdict->moved, moved, " hit another call: %s", progress->hit);
    if (verdict->done) {
        SAY(verdict->wrong, wrong, " wrong bytes as step %" PRId64, verdict->step);
        SAY(verdict->refused, refused, " refused");
        SAY(!verdict->wrong && !verdict->refused && is_lost(campaign, verdict), lost,
            " lost step %" PRId64 " of life %" PRId64 " (found: %d, step %" PRId64 " of life %" PRId64 ")",
            progress->step, progress->life, verdict->found, verdict->step, verdict->life);
        SAY(verdict->wrong_end, diverged, " another end");
        SAY(verdict->leftovers, leftovers, " %d temporary files", verdict->leftovers);
        SAY(verdict->best_broken || best_is_lost(verdict), best,
            " best.h5 broken %d, of step %" PRId64 " instead of %" PRId64, verdict->best_broken, verdict->best_step,
            progress->best_step);
    }
    if (!used || (tally->violations++ >= PRINTED && !campaign->verbose)) return;
    char message[sizeof verdict->message];
    memcpy(message, verdict->message, sizeof message);
    for (char *c = message; *c; c++)
        if (*c == '\n') *c = ' ';
    printf("  %s:%s%s%s\n", what, found, message[0] ? "; message: " : "", message);
#undef SAY
}

void fault_add(fault_tally *sum, const fault_tally *more)
{
    int64_t *to = (int64_t *)sum;
    const int64_t *from = (const int64_t *)more;
    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++) to[i] += from[i];
}

void fault_print(const char *name, const fault_tally *tally)
{
    static const char *const names[] = {"wrong",   "lost", "refused", "diverged", "leftovers",
                                        "crashed", "best", "stuck",   "moved"};
    const int64_t *counts = &tally->wrong;
    printf("%s: %" PRId64 " points, %" PRId64 " violations", name, tally->points, tally->violations);
    const char *separator = " (";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!counts[i]) continue;
        printf("%s%" PRId64 " %s", separator, counts[i], names[i]);
        separator = ", ";
    }
    printf("%s\n", tally->violations ? ")" : "");
    fflush(stdout);
}

/* ---- the process under test -------------------------------------------------------------------------------------- */

int fault_run_child(const fault_campaign *campaign, const fault_tree *before, const char *folder, tarn_fault_plan plan,
                    fault_progress *progress)
{
    char *run = tarn_test_format("%s/run", folder);
    tarn_test_remove(folder);
    mkdir(folder, 0755);
    if (before->count) fault_tree_put(before, run);
    memset(progress, 0, sizeof *progress);
    fflush(NULL);
    pid_t child = fork();
    if (!child) {
        alarm(FAULT_JOB_SECONDS);
        plan.directory = folder;
        plan.hit = progress->hit;
        plan.no_file_sync = campaign->no_file_sync;
        plan.no_directory_sync = campaign->no_directory_sync;
        tarn_fault_begin(&plan);
        int code = fault_train(&campaign->options, run, progress);
        progress->calls = tarn_fault_count();
        /* exit, not _exit: HDF5 has crashed in its exit handler after a write of its own had failed. */
        exit(code);
    }
    int status = -1;
    if (child > 0) waitpid(child, &status, 0);
    free(run);
    return status;
}

fault_tree fault_prepare(const fault_campaign *campaign)
{
    fault_tree before = {0};
    if (campaign->options.scenario == SCENARIO_SERIES) return before;
    fault_campaign first = *campaign;
    first.options.scenario = SCENARIO_SERIES;
    first.no_file_sync = first.no_directory_sync = false;
    fault_progress *progress = fault_shared(sizeof *progress);
    char *folder = tarn_test_format("%s/prepare", campaign->base), *run = tarn_test_format("%s/run", folder);
    fault_run_child(&first, &before, folder, (tarn_fault_plan){0}, progress);
    before = fault_tree_read(run);
    if (campaign->options.kind == SUBJECT_STORE && campaign->options.scenario == SCENARIO_BACK) {
        static const uint8_t rubbish[5000] = {1, 2, 3};
        fault_tree_add(&before, "ckpt-000000000007.h5", rubbish, sizeof rubbish, 10001);
        fault_tree_add(&before, ".tmp-000000000006.h5", rubbish, sizeof rubbish, 10002);
    }
    tarn_test_remove(folder);
    free(run);
    free(folder);
    return before;
}
