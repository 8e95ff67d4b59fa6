/* power.c - loss of power after every call of a series of saves: every state of the disk that the model of disk.h
 * allows is put on disk and loaded.
 */
#include "tests/faults/campaign.h"
#include "tests/faults/disk.h"
#include "tests/support.h"

#include <inttypes.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* A state of the disk, the call behind which it came up first, and the most that was acknowledged at any of its calls:
 * what the loader finds is a function of the state. */
typedef struct power_state {
    XXH64_hash_t hash;
    fault_tree tree;
    int64_t call;
    fault_progress progress;
} power_state;

typedef struct power_work {
    const fault_campaign *campaign;
    power_state *states;
    int64_t count, capacity, points;
    int64_t call;
    fault_progress now; /* what the notes said up to here */
} power_work;

static XXH64_hash_t hash_of(const fault_tree *tree)
{
    XXH64_hash_t sum = (XXH64_hash_t)tree->count;
    for (int i = 0; i < tree->count; i++) {
        const fault_file *file = &tree->files[i];
        /* Contents are kept once: the address stands for them. Order of the names does not matter. */
        uint64_t parts[3] = {(uint64_t)(uintptr_t)file->data, (uint64_t)file->bytes, file->identity < 0};
        sum += XXH64(parts, sizeof parts, XXH64(file->path, strlen(file->path), 7));
    }
    return sum;
}

static void take(void *user, const fault_tree *tree)
{
    power_work *work = user;
    XXH64_hash_t hash = hash_of(tree);
    work->points++;
    for (int64_t i = work->count - 1; i >= 0; i--) {
        if (work->states[i].hash != hash) continue;
        work->states[i].progress = work->now;
        work->states[i].call = work->call;
        return;
    }
    if (work->count == work->capacity) {
        work->capacity = work->capacity ? 2 * work->capacity : 256;
        work->states = realloc(work->states, (size_t)work->capacity * sizeof *work->states);
    }
    power_state state = {.hash = hash, .call = work->call, .progress = work->now};
    for (int i = 0; i < tree->count; i++) {
        const fault_file *file = &tree->files[i];
        fault_tree_add(&state.tree, file->path, file->data, file->bytes, file->identity);
    }
    work->states[work->count++] = state;
}

static void read_note(fault_progress *progress, const char *note)
{
    long long life, step;
    int best;
    if (sscanf(note, "acknowledged %lld %lld %d", &life, &step, &best) != 3) return;
    progress->life = life;
    progress->step = step;
    if (best) {
        progress->best_life = life;
        progress->best_step = step;
    }
}

static void try_state(void *user, int64_t index, int slot, fault_verdict *verdict)
{
    power_work *work = user;
    const power_state *state = &work->states[index];
    char *folder = tarn_test_format("%s/w%d", work->campaign->base, slot), *run = tarn_test_format("%s/run", folder);
    mkdir(folder, 0755);
    fault_tree_put(&state->tree, run);
    verdict->progress = state->progress;
    fault_judge(&work->campaign->options, run, work->campaign->long_form || index % 4 == 0, verdict);
    free(run);
    free(folder);
}

fault_tally fault_campaign_power(const fault_campaign *campaign)
{
    fault_tally tally = {0};
    fault_tree before = fault_prepare(campaign);
    fault_progress *progress = fault_shared(sizeof *progress);
    char *path = tarn_test_format("%s/power.trace", campaign->base),
         *folder = tarn_test_format("%s/w0", campaign->base);
    fault_run_child(campaign, &before, folder, (tarn_fault_plan){.trace = path}, progress);
    fault_trace trace = fault_trace_read(path);
    fault_disk *disk = fault_disk_create(&before);
    power_work work = {.campaign = campaign};
    for (int64_t i = 0; i < trace.count; i++) {
        const fault_call *call = &trace.calls[i];
        work.call = call->head.number;
        if (call->head.kind == TARN_FAULT_NOTE) read_note(&work.now, call->path);
        if (!fault_disk_apply(disk, call)) tally.moved++, tally.violations++;
        if (i % campaign->stride) continue;
        fault_disk_crash(disk, campaign->seed * 1000003 + (uint64_t)i, campaign->long_form ? 1024 : 128, take, &work);
    }
    printf("  %" PRId64 " calls, %" PRId64 " states of the disk, %" PRId64 " of them different\n",
           fault_trace_last(&trace), work.points, work.count);
    fault_verdict *verdicts = fault_pool_run(work.count, campaign->workers, try_state, &work);
    for (int64_t i = 0; verdicts && i < work.count; i++) {
        char what[200], call[128];
        fault_trace_name(&trace, work.states[i].call, call);
        snprintf(what, sizeof what, "power lost after call %" PRId64 " (%s), state %" PRId64, work.states[i].call, call,
                 i);
        fault_count(campaign, &tally, &verdicts[i], what);
        if (campaign->verbose && tally.violations)
            for (int k = 0; k < work.states[i].tree.count; k++)
                printf("    %s %" PRId64 "\n", work.states[i].tree.files[k].path, work.states[i].tree.files[k].bytes);
    }
    fault_print("loss of power", &tally);
    fault_pool_free(verdicts, work.count);
    for (int64_t i = 0; i < work.count; i++) fault_tree_free(&work.states[i].tree, false);
    free(work.states);
    fault_disk_destroy(disk);
    fault_trace_free(&trace);
    fault_tree_free(&before, false);
    free(path);
    free(folder);
    return tally;
}
