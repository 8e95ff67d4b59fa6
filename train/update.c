/* update.c - the end of a step: sum the gradients, agree, update, evaluate, checkpoint, track.
 *
 * The control word is exchanged after the reduction and before the update: a step that failed on any rank, or whose
 * loss or gradient is not finite, leaves the weights as they were on every rank.
 */
#include "track/tracker.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Tells the control word what this rank's shards did. */
static void report_shards(tarn_trainer *trainer)
{
    for (int shard = trainer->mine.begin; shard < trainer->mine.end; shard++) {
        const tarn_shard_result *result = &trainer->result[shard];
        if (result->status) {
            /* The lowest shard's error wins: the context keeps the first that is recorded. */
            tarn_error_record(trainer->context, result->status, tarn_rank(trainer->context), result->file, result->line,
                              result->message);
            tarn_control_fail(trainer->control, shard, result->status);
        }
        tarn_control_set_loss(trainer->control, shard, result->loss, result->count);
    }
}

static tarn_status not_finite(tarn_trainer *trainer, double loss, double norm_squared)
{
    tarn_fail(trainer->context, TARN_ERROR_NUMERIC, TARN_HERE,
              "step %lld: the %s is not finite (%g); the weights were left as they were. Lower optim.lr (now %g), set "
              "optim.clip, or look at the data of this step",
              (long long)trainer->step, isfinite(loss) ? "gradient" : "loss",
              isfinite(loss) ? sqrt(norm_squared) : loss, trainer->progress.lr);
    tarn_error_agree(trainer->context); /* loss and gradient are the same everywhere */
    return TARN_ERROR_NUMERIC;
}

static void track(tarn_trainer *trainer)
{
    const tarn_progress *progress = &trainer->progress;
    double started = tarn_seconds();
    const struct {
        const char *key;
        double value;
    } metrics[] = {
        {"train.loss", progress->loss}, {"train.gradient_norm", progress->gradient_norm}, {"train.lr", progress->lr}};
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        tarn_log_metric(trainer->tracker, metrics[i].key, metrics[i].value, progress->step);
    if (isfinite(progress->validation_loss))
        tarn_log_metric(trainer->tracker, "validation.loss", progress->validation_loss, progress->step);
    if (isfinite(progress->validation_accuracy))
        tarn_log_metric(trainer->tracker, "validation.accuracy", progress->validation_accuracy, progress->step);
    trainer->progress.track_seconds = tarn_seconds() - started;
}

/* True when the metric the options name is better than all before. */
static bool improves(tarn_trainer *trainer)
{
    const char *metric = trainer->options.best_metric;
    bool accuracy = metric && !strcmp(metric, "validation.accuracy");
    double value = accuracy ? trainer->progress.validation_accuracy : trainer->progress.validation_loss;
    if (!isfinite(value)) return false;
    if (isfinite(trainer->best) && (accuracy ? value <= trainer->best : value >= trainer->best)) return false;
    trainer->best = value;
    return true;
}

static tarn_status evaluate_when_due(tarn_trainer *trainer)
{
    const tarn_train_options *options = &trainer->options;
    tarn_progress *progress = &trainer->progress;
    progress->validation_loss = progress->validation_accuracy = NAN;
    if (!options->eval_every || !trainer->validation) return TARN_OK;
    if (trainer->step % options->eval_every && trainer->step != options->steps) return TARN_OK;
    return tarn_trainer_evaluate(trainer, trainer->validation, &progress->validation_loss,
                                 &progress->validation_accuracy);
}

/* The update itself and what follows it, once all ranks agreed on the step. */
static tarn_status apply_update(tarn_trainer *trainer, const float *gradient, double sum_of_squares)
{
    tarn_progress *progress = &trainer->progress;
    const tarn_train_options *options = &trainer->options;
    double started = tarn_seconds(), loss;
    int64_t count;
    tarn_monitor_enter(trainer->context, "updating the parameters");
    tarn_control_loss(trainer->control, &loss, &count);
    progress->lr = tarn_schedule_rate(&options->schedule, options->optim.lr, trainer->step, options->steps);
    if (!isfinite(loss) || !isfinite(sum_of_squares)) return not_finite(trainer, loss, sum_of_squares);
    double total = count > 0 ? (double)count : 1;
    uint64_t *hash =
        tarn_ranks(trainer->context) > 1 ? &trainer->parameter_hash : NULL; /* alone there is nobody to differ */
    tarn_status status =
        tarn_optimizer_update(trainer->optimizer, trainer->workers, tarn_module_flat_values(trainer->model), gradient,
                              sum_of_squares, total, progress->lr, trainer->step, &progress->gradient_norm, hash);
    if (status) return status;
    trainer->step++;
    progress->update_seconds = tarn_seconds() - started;
    progress->step = trainer->step;
    progress->loss = loss / total;
    double now = tarn_seconds();
    progress->step_seconds = now - trainer->step_started;
    progress->per_second = total / progress->step_seconds;
    return TARN_OK;
}

static tarn_status after_update(tarn_trainer *trainer)
{
    const tarn_train_options *options = &trainer->options;
    tarn_status status = evaluate_when_due(trainer);
    if (status) return status;
    bool best = improves(trainer);
    tarn_monitor_enter(trainer->context, "tracking");
    track(trainer);
    bool due = options->checkpoint_every && trainer->step % options->checkpoint_every == 0;
    /* Before the checkpoint too: what the function does to the user's state belongs to this step. */
    tarn_monitor_enter(trainer->context, "in the progress function");
    if (options->progress) status = options->progress(options->progress_user, &trainer->progress);
    if (status && !tarn_get_error(trainer->context))
        tarn_fail(trainer->context, status, TARN_HERE, "the progress function ended the run at step %lld",
                  (long long)trainer->step);
    if (!status && trainer->store && (best || due || trainer->stop || trainer->step == options->steps)) {
        tarn_monitor_enter(trainer->context, "saving the checkpoint of step %lld", (long long)trainer->step);
        status = tarn_trainer_save(trainer, best, trainer->stop || trainer->step == options->steps);
    }
    return status;
}

/* Shards the program left out are an error of the step, unless it stopped at one that failed. */
static void check_all_ran(tarn_trainer *trainer)
{
    if (trainer->hand_shard >= trainer->mine.end) return;
    for (int shard = trainer->mine.begin; shard < trainer->hand_shard; shard++)
        if (trainer->result[shard].status) return;
    tarn_status status =
        tarn_fail(trainer->context, TARN_ERROR_STATE, TARN_HERE,
                  "tarn_optim_step at step %lld: shard %d was not run to its end. Run every shard of the step first: "
                  "call tarn_step_begin until it returns NULL, or tarn_trainer_run_shards once",
                  (long long)trainer->step, trainer->hand_shard);
    tarn_control_fail(trainer->control, trainer->hand_shard, status);
}

tarn_status tarn_optim_step(tarn_trainer *trainer)
{
    if (!trainer->in_step || trainer->hand_step)
        return tarn_fail(trainer->context, TARN_ERROR_STATE, TARN_HERE,
                         "tarn_optim_step: call it after tarn_trainer_next, when every shard's step has ended");
    check_all_ran(trainer);
    return tarn_trainer_end_step(trainer);
}

tarn_status tarn_trainer_end_step(tarn_trainer *trainer)
{
    tarn_monitor_enter(trainer->context, "reducing the gradients");
    tarn_trainer_abandon_shards(trainer); /* those that were never begun */
    trainer->in_step = false;
    float *gradient;
    double sum_of_squares, wait;
    tarn_status status = tarn_reducer_finish(trainer->reducer, &gradient, &sum_of_squares);
    report_shards(trainer);
    if (status == TARN_ERROR_COMM) {
        /* A peer is gone or stuck: it would not answer the control word either, only after a second deadline. */
        trainer->status = status;
        return status;
    }
    if (status) tarn_control_fail(trainer->control, trainer->options.shards, status);
    if (tarn_stop_requested()) tarn_control_raise(trainer->control, TARN_CONTROL_STOP);
    tarn_control_set_hashes(trainer->control, (uint64_t)trainer->step + 1, trainer->parameter_hash);
    if (trainer->store) tarn_trainer_poll_saves(trainer);
    tarn_monitor_enter(trainer->context, "agreeing on the step");
    char label[64];
    snprintf(label, sizeof label, "step %lld", (long long)trainer->step);
    status = tarn_control_exchange(trainer->control, label);
    if (tarn_control_flags(trainer->control) & TARN_CONTROL_STOP)
        trainer->stop = true; /* before evaluation reuses it */
    if (!status && trainer->stop)
        status = tarn_stop_agree(trainer->context, trainer->stop_reason, sizeof trainer->stop_reason);
    trainer->progress.control_seconds = tarn_control_seconds(trainer->control, &wait) - wait;
    tarn_reducer_times times;
    tarn_reducer_get_times(trainer->reducer, &times);
    trainer->progress.reduce_seconds = times.seconds;
    trainer->progress.reduce_exposed_seconds = times.exposed_seconds;
    trainer->progress.reduce_bytes = times.bytes;
    if (!status) status = apply_update(trainer, gradient, sum_of_squares);
    if (!status) status = after_update(trainer);
    trainer->status = status;
    tarn_monitor_enter(trainer->context, "between two steps");
    return status;
}
