/* io.c - kill, torn write, EIO, ENOSPC and short write at every call of a series of saves that changes the directory,
 * once and from there on.
 */
#include "tests/faults/campaign.h"
#include "tests/faults/trace.h"
#include "tests/support.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>

typedef struct mode {
    const char *name;
    tarn_fault_mode mode;
    int error;
    bool persistent, writes_only;
} mode;

static const mode modes[] = {
    {"kill", TARN_FAULT_KILL, 0, false, false},
    {"torn write, then kill", TARN_FAULT_TORN_KILL, 0, false, true},
    {"EIO once", TARN_FAULT_ERROR, EIO, false, false},
    {"EIO from there on", TARN_FAULT_ERROR, EIO, true, false},
    {"ENOSPC once", TARN_FAULT_ERROR, ENOSPC, false, false},
    {"ENOSPC from there on", TARN_FAULT_ERROR, ENOSPC, true, false},
    {"short write once", TARN_FAULT_SHORT, 0, false, true},
    {"short writes from there on", TARN_FAULT_SHORT, 0, true, true},
};

#define MODES (sizeof modes / sizeof *modes)

typedef struct point {
    const mode *mode;
    int64_t number;
} point;

typedef struct io_work {
    const fault_campaign *campaign;
    fault_tree before;
    fault_trace list;
    point *points;
    int64_t count;
    fault_progress *progress; /* shared, one per worker */
} io_work;

static void try_point(void *user, int64_t index, int slot, fault_verdict *verdict)
{
    io_work *work = user;
    const point *at = &work->points[index];
    char *folder = tarn_test_format("%s/w%d", work->campaign->base, slot), *run = tarn_test_format("%s/run", folder);
    tarn_fault_plan plan = {
        .at = at->number, .mode = at->mode->mode, .error = at->mode->error, .persistent = at->mode->persistent};
    fault_progress *progress = &work->progress[slot];
    int status = fault_run_child(work->campaign, &work->before, folder, plan, progress);
    verdict->progress = *progress;
    /* In parts a checkpoint that could not become the best is one all the same, and that is logged only. */
    if (work->campaign->options.parts && at->mode->mode == TARN_FAULT_ERROR) verdict->progress.best_step = 0;
    char expected[128];
    fault_trace_name(&work->list, at->number, expected);
    fault_trace_plain(verdict->progress.hit);
    verdict->moved = strcmp(expected, verdict->progress.hit) != 0;
    bool kills = at->mode->mode == TARN_FAULT_KILL || at->mode->mode == TARN_FAULT_TORN_KILL;
    /* 1: the store could not be opened. Sanitizers exit with another code. */
    bool expected_end =
        kills ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL : WIFEXITED(status) && WEXITSTATUS(status) <= 1;
    if (!expected_end) verdict->bad_exit = WIFSIGNALED(status) ? WTERMSIG(status) : 256 + WEXITSTATUS(status);
    fault_judge(&work->campaign->options, run, true, verdict);
    free(run);
    free(folder);
}

/* I8: one error costs one save at most, a short write none. */
static bool is_stuck(const mode *kind, const fault_progress *progress)
{
    if (kind->mode == TARN_FAULT_SHORT) return !progress->finished || progress->failed;
    return kind->mode == TARN_FAULT_ERROR && !kind->persistent && progress->finished && progress->failed > 1;
}

static bool same_lists(const fault_trace *a, const fault_trace *b)
{
    bool same = a->count == b->count;
    for (int64_t i = 0; same && i < a->count; i++) {
        const fault_call *x = &a->calls[i], *y = &b->calls[i];
        char first[128], second[128];
        fault_trace_name(a, x->head.number, first);
        fault_trace_name(b, y->head.number, second);
        same = x->head.kind == y->head.kind && x->head.number == y->head.number && !strcmp(first, second) &&
               !strcmp(x->other, y->other);
        if (!same) printf("  call %" PRId64 " differs: %s and %s\n", x->head.number, first, second);
    }
    return same;
}

static fault_trace list_calls(io_work *work)
{
    char *path = tarn_test_format("%s/list.trace", work->campaign->base),
         *folder = tarn_test_format("%s/w0", work->campaign->base);
    unlink(path);
    fault_run_child(work->campaign, &work->before, folder, (tarn_fault_plan){.trace = path}, &work->progress[0]);
    fault_trace list = fault_trace_read(path);
    unlink(path);
    free(path);
    free(folder);
    return list;
}

fault_tally fault_campaign_io(const fault_campaign *campaign)
{
    fault_tally sum = {0};
    io_work work = {campaign, fault_prepare(campaign), {0}, NULL, 0, fault_shared(64 * sizeof(fault_progress))};
    work.list = list_calls(&work);
    fault_trace again = list_calls(&work);
    /* I9: what is counted is reproducible. */
    if (!same_lists(&work.list, &again)) sum.moved++, sum.violations++;
    fault_trace_free(&again);
    int64_t last = fault_trace_last(&work.list);
    printf("  %" PRId64 " calls in the series\n", last);
    work.points = calloc((size_t)last * MODES + 1, sizeof *work.points);
    int64_t skip = 0;
    for (size_t m = 0; m < MODES; m++)
        for (int64_t number = 1; number <= last; number++) {
            char name[128];
            fault_trace_name(&work.list, number, name);
            if (modes[m].writes_only && strncmp(name, "write ", 6)) continue;
            if (skip++ % campaign->stride) continue;
            work.points[work.count++] = (point){&modes[m], number};
        }
    fault_verdict *verdicts = fault_pool_run(work.count, campaign->workers, try_point, &work);
    for (size_t m = 0; verdicts && m < MODES; m++) {
        fault_tally tally = {0};
        for (int64_t i = 0; i < work.count; i++) {
            if (work.points[i].mode != &modes[m]) continue;
            char what[200], call[128];
            fault_trace_name(&work.list, work.points[i].number, call);
            snprintf(what, sizeof what, "%s at call %" PRId64 " (%s)", modes[m].name, work.points[i].number, call);
            int64_t before = tally.violations;
            fault_count(campaign, &tally, &verdicts[i], what);
            if (!is_stuck(&modes[m], &verdicts[i].progress)) continue;
            tally.stuck++;
            tally.violations = before + 1;
            printf("  %s: %" PRId64 " saves failed: %s\n", what, verdicts[i].progress.failed,
                   verdicts[i].progress.message);
        }
        fault_print(modes[m].name, &tally);
        fault_add(&sum, &tally);
    }
    fault_pool_free(verdicts, work.count);
    fault_trace_free(&work.list);
    fault_tree_free(&work.before, false);
    free(work.points);
    return sum;
}
