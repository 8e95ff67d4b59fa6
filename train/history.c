/* history.c - the evaluations of a run, which of them was the best, and when to stop for want of a better one.
 *
 * Invariants
 *  1. Everything here is in the checkpoint, so a resumed run goes on as if it had never stopped.
 *  2. The arrays' capacity is a function of the number of evaluations alone: a checkpoint is the same file however
 *     often the run was resumed.
 *  3. An evaluation whose metric is not finite is one without improvement.
 */
#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SMALLEST = 256 };

static bool grow(void **array, int64_t capacity, size_t size)
{
    void *grown = realloc(*array, (size_t)capacity * size);
    if (grown) *array = grown;
    return grown != NULL;
}

tarn_status tarn_trainer_fit_history(tarn_trainer *trainer)
{
    tarn_history *history = &trainer->history;
    int64_t capacity = SMALLEST, before = history->capacity;
    while (capacity < trainer->counts.evaluations) capacity *= 2;
    if (capacity == before) return TARN_OK;
    if (!grow((void **)&history->step, capacity, sizeof *history->step) ||
        !grow((void **)&history->loss, capacity, sizeof *history->loss) ||
        !grow((void **)&history->accuracy, capacity, sizeof *history->accuracy))
        return tarn_fail(trainer->context, TARN_ERROR_MEMORY, TARN_HERE,
                         "no memory for the history of %lld evaluations", (long long)trainer->counts.evaluations);
    for (int64_t i = before; i < capacity; i++) {
        history->step[i] = 0;
        history->loss[i] = history->accuracy[i] = 0;
    }
    history->capacity = capacity;
    tarn_trainer_point_at_history(trainer);
    return TARN_OK;
}

/* True when the metric the options name is better than all before. */
static bool improves(tarn_trainer *trainer)
{
    const char *metric = trainer->options.best_metric;
    bool accuracy = metric && !strcmp(metric, "validation.accuracy");
    double value = accuracy ? trainer->progress.validation_accuracy : trainer->progress.validation_loss;
    if (!isfinite(value)) return false;
    if (isfinite(trainer->best) && (accuracy ? value <= trainer->best : value >= trainer->best)) return false;
    trainer->progress.best = trainer->best = value;
    trainer->progress.best_step = trainer->counts.best_step = trainer->step;
    return true;
}

tarn_status tarn_trainer_note_evaluation(tarn_trainer *trainer, bool *best)
{
    int64_t index = trainer->counts.evaluations++;
    tarn_status status = tarn_trainer_fit_history(trainer);
    if (status) {
        trainer->counts.evaluations--;
        return status;
    }
    trainer->history.step[index] = trainer->step;
    trainer->history.loss[index] = trainer->progress.validation_loss;
    trainer->history.accuracy[index] = trainer->progress.validation_accuracy;
    *best = improves(trainer);
    trainer->counts.not_improved = *best ? 0 : trainer->counts.not_improved + 1;
    return TARN_OK;
}

int64_t tarn_trainer_history(const tarn_trainer *trainer, tarn_evaluation *out, int64_t room)
{
    const tarn_history *history = &trainer->history;
    for (int64_t i = 0; i < room && i < trainer->counts.evaluations; i++)
        out[i] = (tarn_evaluation){history->step[i], history->loss[i], history->accuracy[i]};
    return trainer->counts.evaluations;
}

tarn_run_end tarn_trainer_ended(const tarn_trainer *trainer)
{
    const tarn_train_options *options = &trainer->options;
    if (trainer->status && trainer->status != TARN_STOPPED) return TARN_RUN_FAILED;
    if (trainer->counts.evaluation_due) return trainer->stop ? TARN_RUN_STOPPED : TARN_RUN_GOES_ON;
    if (trainer->step >= options->steps) return TARN_RUN_ALL_STEPS;
    if (options->early_stop && trainer->counts.not_improved >= options->early_stop) return TARN_RUN_EARLY_STOP;
    if (trainer->data_ended) return TARN_RUN_DATA_ENDED;
    return trainer->stop ? TARN_RUN_STOPPED : TARN_RUN_GOES_ON;
}
