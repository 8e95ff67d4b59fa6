/* measurements.c - where the time of a step goes, on every rank, and how much is done in it: for the record.
 *
 * Every tenth step rank 0 logs the means of the ten steps, under keys in system/:
 *   step_seconds, and of its own step data_, compute_, reduce_, update_, save_ and track_seconds; with several ranks
 * the same parts of each as rank_<r>/...; samples_per_second, and of a gpt tokens_per_second; arrival_skew_seconds,
 *   slowest_rank, slow_ratio
 * and when they happen checkpoint_seconds (from the copy to durable), evaluation_seconds.
 *
 * Invariants
 *  1. Nothing here decides what is computed; none of it is part of the promise of the same bits, nor in a checkpoint.
 *  2. The parts of other ranks come with the control word: no message of their own. What follows the word in a step
 *     (reduce, update, save, track) comes with the next step's, so these sums lag by a step.
 *  3. Of many ranks each is logged less often: about RANKS_AT_ONCE of them every tenth step.
 */
#include "track/tracker.h"
#include "train/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_EVERY = 10, RANKS_AT_ONCE = 8 };

static const char *const part_names[TARN_PARTS] = {"data", "compute", "reduce", "update", "save", "track"};

tarn_status tarn_trainer_open_split(tarn_trainer *trainer)
{
    size_t ranks = (size_t)tarn_ranks(trainer->context);
    trainer->split.ranks = calloc(ranks, sizeof *trainer->split.ranks);
    if (trainer->split.ranks) return TARN_OK;
    return tarn_fail(trainer->context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for the times of %zu ranks", ranks);
}

void tarn_trainer_measure_rank(tarn_trainer *trainer, int rank, const tarn_control_times *times)
{
    double *sums = trainer->split.ranks[rank];
    const float parts[TARN_PARTS] = {times->data,   times->compute, times->reduce,
                                     times->update, times->save,    times->track};
    for (int part = 0; part < TARN_PARTS; part++) sums[part] += (double)parts[part];
}

static void log_one(tarn_trainer *trainer, const char *name, double value)
{
    char key[64];
    snprintf(key, sizeof key, "system/%s", name);
    tarn_log_metric(tarn_trainer_record(trainer), key, value, trainer->progress.step);
}

/* prefix: "" or "rank_3/" */
static void log_parts(tarn_trainer *trainer, const char *prefix, const double *sums)
{
    char name[48];
    for (int part = 0; part < TARN_PARTS; part++) {
        snprintf(name, sizeof name, "%s%s_seconds", prefix, part_names[part]);
        log_one(trainer, name, sums[part] / (double)trainer->split.steps);
    }
}

static void log_ranks(tarn_trainer *trainer)
{
    int ranks = tarn_ranks(trainer->context), groups = (ranks + RANKS_AT_ONCE - 1) / RANKS_AT_ONCE;
    if (ranks == 1) return;
    int group = (int)(trainer->progress.step / LOG_EVERY % groups);
    for (int rank = group; rank < ranks; rank += groups) {
        char prefix[24];
        snprintf(prefix, sizeof prefix, "rank_%d/", rank);
        log_parts(trainer, prefix, trainer->split.ranks[rank]);
    }
    log_one(trainer, "arrival_skew_seconds", trainer->split.skew / (double)trainer->split.steps);
    if (trainer->progress.slowest_rank < 0) return;
    log_one(trainer, "slowest_rank", trainer->progress.slowest_rank);
    log_one(trainer, "slow_ratio", trainer->progress.slow_ratio);
}

void tarn_trainer_log_measurements(tarn_trainer *trainer)
{
    const tarn_progress *progress = &trainer->progress;
    tarn_split *split = &trainer->split;
    split->before[TARN_PART_REDUCE] = (float)progress->reduce_exposed_seconds;
    split->before[TARN_PART_UPDATE] = (float)progress->update_seconds;
    if (!tarn_trainer_record(trainer)) return;
    split->steps++;
    split->seconds += progress->step_seconds;
    split->skew += progress->arrival_skew;
    split->targets += progress->per_second * progress->step_seconds;
    bool short_run = progress->step == progress->steps && progress->steps < LOG_EVERY;
    if (progress->step % LOG_EVERY && !short_run) return;
    log_one(trainer, "step_seconds", split->seconds / (double)split->steps);
    log_parts(trainer, "", split->ranks[0]);
    log_ranks(trainer);
    if (split->seconds > 0) {
        double samples = (double)trainer->options.batch * (double)split->steps;
        log_one(trainer, "samples_per_second", samples / split->seconds);
        if (tarn_module_is_gpt(trainer->model)) log_one(trainer, "tokens_per_second", split->targets / split->seconds);
    }
    split->steps = 0;
    split->seconds = split->skew = split->targets = 0;
    memset(split->ranks, 0, (size_t)tarn_ranks(trainer->context) * sizeof *split->ranks);
}

void tarn_trainer_log_saved(tarn_trainer *trainer, int64_t step)
{
    double seconds = tarn_checkpoint_persist_seconds(trainer->store);
    if (trainer->tracker && seconds > 0) tarn_log_metric(trainer->tracker, "system/checkpoint_seconds", seconds, step);
}

void tarn_trainer_log_evaluation(tarn_trainer *trainer, double seconds)
{
    log_one(trainer, "evaluation_seconds", seconds);
}
