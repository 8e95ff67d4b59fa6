/* health.c - steps that are not finite, and ranks that are slower than the others.
 *
 * Invariants
 *  1. Whether a step is skipped follows from its summed loss and gradient, which are the same on every rank.
 *  2. A skipped step changes no weight and no moment; its number counts, so that order of samples and schedule go on.
 *  3. The times of all ranks are in one control word: every rank smooths the same numbers and comes to the same answer.
 *  4. Nothing measured here decides what is computed, and none of it is part of the promise of the same bits.
 */
#include "runtime/base/host.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_EVERY = 8 }; /* steps */
/* Differences below this (seconds of a round of shards) are no news, whatever their ratio: a scheduler that shares a
 * core hands it out in slices of 3 to 4 ms, so that on full cores one rank or another is late by about one, and the
 * next moment it is another. Where 5 ms are much of a step, the step is so short that there is little to gain. */
#define LEAST_DIFFERENCE 5e-3

/* ---- steps that are not finite ---------------------------------------------------------------------------------- */

tarn_status tarn_trainer_not_finite(tarn_trainer *trainer, double loss, double norm_squared)
{
    tarn_run_counts *counts = &trainer->counts;
    const char *what = isfinite(loss) ? "gradient" : "loss";
    double value = isfinite(loss) ? sqrt(norm_squared) : loss;
    bool skips = trainer->options.nonfinite == TARN_NONFINITE_SKIP;
    if (skips && counts->skipped_in_a_row < TARN_SKIP_LIMIT) {
        counts->skipped++;
        counts->skipped_in_a_row++;
        if (tarn_rank(trainer->context) == 0)
            tarn_log(trainer->context, TARN_LOG_WARN,
                     "step %lld: the %s is not finite (%g); skipped, the weights stay (%lld skipped so far, %lld in a "
                     "row)",
                     (long long)trainer->step, what, value, (long long)counts->skipped,
                     (long long)counts->skipped_in_a_row);
        return TARN_OK;
    }
    char row[80] = "";
    if (skips) snprintf(row, sizeof row, ", as in %d steps in a row before it, which were skipped", TARN_SKIP_LIMIT);
    tarn_fail(
        trainer->context, TARN_ERROR_NUMERIC, TARN_HERE,
        "step %lld: the %s is not finite (%g)%s; the weights were left as they were. Lower optim.lr (now %g), set "
        "optim.clip, or look at the data of this step%s",
        (long long)trainer->step, what, value, row, trainer->progress.lr,
        skips ? "" : "; health.nonfinite=skip leaves such steps out");
    tarn_error_agree(trainer->context); /* loss and gradient are the same everywhere */
    return TARN_ERROR_NUMERIC;
}

/* ---- slow ranks ------------------------------------------------------------------------------------------------- */

tarn_status tarn_trainer_open_skew(tarn_trainer *trainer)
{
    tarn_skew *skew = &trainer->skew;
    size_t ranks = (size_t)tarn_ranks(trainer->context);
    skew->slow_rank = trainer->progress.slowest_rank = -1;
    skew->departed = tarn_seconds();
    if (ranks == 1) return TARN_OK;
    skew->hosts = calloc(ranks, sizeof *skew->hosts);
    skew->window = calloc(ranks * TARN_SKEW_STEPS, sizeof *skew->window);
    skew->medians = calloc(2 * ranks, sizeof *skew->medians);
    tarn_status status = TARN_OK;
    if (!skew->hosts || !skew->window || !skew->medians)
        status = tarn_fail(trainer->context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for the times of the ranks");
    status = tarn_agree(trainer->context, status, "comparing the times of the ranks");
    if (status) return status;
    skew->others = skew->medians + ranks;
    tarn_host_name(skew->hosts[tarn_rank(trainer->context)], TARN_HOST_BYTES);
    return tarn_comm_or_all(tarn_get_comm(trainer->context), (uint64_t *)skew->hosts,
                            (int)(ranks * TARN_HOST_BYTES / sizeof(uint64_t)), "learning the hosts of the ranks");
}

void tarn_trainer_close_skew(tarn_trainer *trainer)
{
    free(trainer->skew.hosts);
    free(trainer->skew.window);
    free(trainer->skew.medians);
}

void tarn_trainer_report_times(tarn_trainer *trainer, double arrived)
{
    tarn_skew *skew = &trainer->skew;
    int shards = trainer->mine.end - trainer->mine.begin;
    tarn_control_times times = {.compute = (float)(arrived - skew->loaded),
                                .data = (float)trainer->progress.data_seconds,
                                .arrival = (float)(arrived - skew->departed),
                                .rounds = (shards + trainer->leaders - 1) / trainer->leaders,
                                .reduce = trainer->split.before[TARN_PART_REDUCE],
                                .update = trainer->split.before[TARN_PART_UPDATE],
                                .save = trainer->split.before[TARN_PART_SAVE],
                                .track = trainer->split.before[TARN_PART_TRACK]};
    trainer->progress.compute_seconds = arrived - skew->loaded;
    tarn_control_set_times(trainer->control, &times);
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Of up to n values, which it sorts. */
static float median(float *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* The slowest rank by the median of its last steps, against the median of the other ranks' medians. */
static void find_slowest(tarn_trainer *trainer)
{
    tarn_skew *skew = &trainer->skew;
    int ranks = tarn_ranks(trainer->context), slowest = 0;
    for (int rank = 0; rank < ranks; rank++) {
        float steps[TARN_SKEW_STEPS];
        memcpy(steps, skew->window + rank * TARN_SKEW_STEPS, sizeof steps);
        skew->medians[rank] = median(steps, TARN_SKEW_STEPS);
        if (skew->medians[rank] > skew->medians[slowest]) slowest = rank;
    }
    int others = 0;
    for (int rank = 0; rank < ranks; rank++)
        if (rank != slowest) skew->others[others++] = skew->medians[rank];
    float usual = median(skew->others, others), slow = skew->medians[slowest];
    trainer->progress.slowest_rank = slowest;
    trainer->progress.slow_ratio = usual > 0 ? (double)slow / (double)usual : 0;
    double limit = trainer->options.slow_ratio, excess = (double)slow - (double)usual;
    if (limit < 0) return;
    bool speaks = tarn_rank(trainer->context) == 0;
    /* Half of what begins an episode ends it, so that one at the limit is not told over and over. */
    int before = skew->slow_rank;
    bool fell = trainer->progress.slow_ratio < 1 + (limit - 1) / 2 || excess < LEAST_DIFFERENCE / 2;
    if (before >= 0 && (before != slowest || fell)) {
        skew->slow_rank = -1;
        if (speaks)
            tarn_log(trainer->context, TARN_LOG_WARN, "step %lld: rank %d on %s is not slow any more",
                     (long long)trainer->step, before, skew->hosts[before]);
    }
    if (skew->slow_rank < 0 && trainer->progress.slow_ratio > limit && excess > LEAST_DIFFERENCE) {
        skew->slow_rank = slowest;
        if (speaks)
            tarn_log(
                trainer->context, TARN_LOG_WARN,
                "step %lld: rank %d on %s is slow: it computes %.2f times as long as the median of the other ranks "
                "(%.1f against %.1f ms for a round of shards, over %d steps); all wait for it",
                (long long)trainer->step, slowest, skew->hosts[slowest], trainer->progress.slow_ratio,
                (double)slow * 1e3, (double)usual * 1e3, TARN_SKEW_STEPS);
    }
}

void tarn_trainer_read_times(tarn_trainer *trainer)
{
    tarn_skew *skew = &trainer->skew;
    int ranks = tarn_ranks(trainer->context);
    skew->departed = tarn_seconds();
    float earliest = INFINITY, latest = 0;
    for (int rank = 0; rank < ranks; rank++) {
        tarn_control_times times;
        tarn_control_times_of(trainer->control, rank, &times);
        tarn_trainer_measure_rank(trainer, rank, &times);
        if (ranks == 1) return; /* there is nobody to compare with */
        if (times.arrival < earliest) earliest = times.arrival;
        if (times.arrival > latest) latest = times.arrival;
        skew->window[rank * TARN_SKEW_STEPS + skew->seen % TARN_SKEW_STEPS] =
            times.rounds > 0 ? times.compute / (float)times.rounds : times.compute;
    }
    trainer->progress.arrival_skew = (double)(latest - earliest);
    skew->seen++;
    if (skew->seen >= TARN_SKEW_STEPS && skew->seen % LOOK_EVERY == 0) find_slowest(trainer);
}
