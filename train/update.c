/* update.c - the end of a step: sum the gradients, agree, update, evaluate, checkpoint, track.
 *
 * The control word is exchanged after the reduction and before the update: a step that failed on any rank, or whose
 * loss or gradient is not finite, leaves the weights as they were on every rank. Before a checkpoint the ranks meet
 * again: what a progress function returned on one of them, and parameters that differ, are known before it is written.
 */
#include "track/tracker.h"
#include "train/spot/spot.h"
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
        tarn_log_metric(tarn_trainer_record(trainer), metrics[i].key, metrics[i].value, progress->step);
    if (trainer->counts.skipped_in_a_row)
        tarn_log_metric(tarn_trainer_record(trainer), "train.skipped", (double)progress->skipped, progress->step);
    tarn_trainer_log_measurements(trainer);
    trainer->progress.track_seconds = tarn_seconds() - started;
    trainer->split.before[TARN_PART_TRACK] = (float)trainer->progress.track_seconds;
}

/* A stop request breaks the evaluation off: it stays due, in the checkpoint too, and is made first when the run goes
 * on. */
static tarn_status evaluate_when_due(tarn_trainer *trainer, bool *best)
{
    const tarn_train_options *options = &trainer->options;
    tarn_progress *progress = &trainer->progress;
    progress->validation_loss = progress->validation_accuracy = NAN;
    trainer->counts.evaluation_due = 0;
    if (!options->eval_every || !trainer->validation) return TARN_OK;
    if (trainer->step % options->eval_every && trainer->step != options->steps) return TARN_OK;
    double begun = tarn_seconds();
    tarn_status status =
        tarn_trainer_evaluate(trainer, trainer->validation, &progress->validation_loss, &progress->validation_accuracy);
    if (status == TARN_STOPPED) {
        trainer->counts.evaluation_due = 1;
        return TARN_OK;
    }
    if (!status) status = tarn_trainer_note_evaluation(trainer, best);
    if (status) return status;
    double started = tarn_seconds();
    tarn_trainer_log_evaluation(trainer, started - begun);
    if (isfinite(progress->validation_loss))
        tarn_log_metric(tarn_trainer_record(trainer), "validation.loss", progress->validation_loss, progress->step);
    if (isfinite(progress->validation_accuracy))
        tarn_log_metric(tarn_trainer_record(trainer), "validation.accuracy", progress->validation_accuracy,
                        progress->step);
    progress->track_seconds += tarn_seconds() - started;
    return TARN_OK;
}

static bool checkpoint_due(const tarn_trainer *trainer, int64_t step)
{
    const tarn_train_options *options = &trainer->options;
    return step == options->steps || (options->checkpoint_every && step % options->checkpoint_every == 0);
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
    double total = count > 0 ? (double)count : 1;
    uint64_t *hash =
        tarn_ranks(trainer->context) > 1 ? &trainer->parameter_hash : NULL; /* alone there is nobody to differ */
    /* A checkpoint that is due compares the moments too: hashed here, where they pass through the cache. */
    bool whole = trainer->store && checkpoint_due(trainer, trainer->step + 1);
    tarn_status status;
    bool finite = isfinite(loss) && isfinite(sum_of_squares);
    if (!finite) {
        status = tarn_trainer_not_finite(trainer, loss, sum_of_squares);
        progress->gradient_norm = sqrt(sum_of_squares) / total;
    } else {
        status = tarn_optimizer_update(trainer->optimizer, trainer->workers, tarn_module_flat_values(trainer->model),
                                       gradient, sum_of_squares, total, progress->lr, trainer->step,
                                       &progress->gradient_norm, hash, whole);
        if (!status && whole) trainer->hashed_step = trainer->step + 1;
        if (!status) trainer->counts.skipped_in_a_row = 0;
    }
    if (status) return status;
    trainer->step++;
    progress->update_seconds = tarn_seconds() - started;
    progress->step = trainer->step;
    progress->loss = loss / total;
    progress->skipped = trainer->counts.skipped;
    trainer->last[0] = progress->loss;
    trainer->last[1] = progress->gradient_norm;
    trainer->last[2] = progress->lr;
    double now = tarn_seconds();
    progress->step_seconds = now - trainer->step_started;
    progress->per_second = total / progress->step_seconds;
    if (finite) tarn_trainer_track_histograms(trainer, gradient, total);
    return TARN_OK;
}

tarn_status tarn_trainer_agree_to_save(tarn_trainer *trainer, tarn_status status)
{
    char label[64];
    snprintf(label, sizeof label, "the checkpoint of step %lld", (long long)trainer->step);
    tarn_control_begin(trainer->control);
    if (status) tarn_control_fail(trainer->control, trainer->options.shards, status);
    /* What a checkpoint holds must be right, moments too. Where it was due the update has hashed them; at another
     * moment (the best so far, a stop) everything is read once more. */
    if (tarn_ranks(trainer->context) > 1)
        tarn_control_set_hash(trainer->control, trainer->hashed_step == trainer->step
                                                    ? trainer->parameter_hash
                                                    : tarn_trainer_hash_state(trainer));
    status = tarn_control_exchange(trainer->control, label);
    if (tarn_control_flags(trainer->control) & TARN_CONTROL_DIVERGED) status = tarn_trainer_name_tensor(trainer, label);
    return status;
}

/* Calls the program's function; what it returns is this rank's alone until the ranks meet again. */
static tarn_status call_progress(tarn_trainer *trainer)
{
    const tarn_train_options *options = &trainer->options;
    if (!options->progress) return TARN_OK;
    tarn_monitor_enter(trainer->context, "in the progress function");
    tarn_status status = options->progress(options->progress_user, &trainer->progress);
    if (status && !tarn_get_error(trainer->context))
        tarn_fail(trainer->context, status, TARN_HERE, "the progress function ended the run at step %lld",
                  (long long)trainer->step);
    return status;
}

tarn_status tarn_trainer_after_update(tarn_trainer *trainer)
{
    bool best = false;
    tarn_monitor_enter(trainer->context, "tracking");
    trainer->split.before[TARN_PART_SAVE] = 0;
    track(trainer);
    tarn_status status = evaluate_when_due(trainer, &best);
    if (status) return status;
    /* Before the checkpoint: what the function does to the user's state belongs to this step. A step whose evaluation
     * was broken off is not over: the function is called when it is. */
    if (!trainer->counts.evaluation_due) {
        tarn_trainer_go_on_with_record(trainer);
        status = call_progress(trainer);
    }
    bool due = checkpoint_due(trainer, trainer->step);
    bool final = tarn_trainer_ended(trainer) != TARN_RUN_GOES_ON;
    const bool saves = trainer->store && (best || due || final);
    if (saves || final) {
        if (saves) tarn_monitor_enter(trainer->context, "saving the checkpoint of step %lld", (long long)trainer->step);
        double started = tarn_seconds();
        status = tarn_trainer_agree_to_save(trainer, status);
        if (!status && saves) status = tarn_trainer_save(trainer, best, final);
        trainer->split.before[TARN_PART_SAVE] = (float)(tarn_seconds() - started);
        return status;
    }
    if (!status) return TARN_OK;
    if (tarn_ranks(trainer->context) == 1) return status;
    /* The others go on to the next step, and hear of it there. */
    trainer->pending = status;
    return TARN_OK;
}

/* The stream has no more rows for some rank: no rank counts the step. */
static tarn_status end_of_data(tarn_trainer *trainer)
{
    trainer->data_ended = true;
    tarn_status status = tarn_trainer_agree_to_save(trainer, TARN_OK);
    if (status) return status;
    if (tarn_rank(trainer->context) == 0)
        tarn_log(trainer->context, TARN_LOG_WARN,
                 "the data ended: %lld whole steps of at most %lld were in it, and the run is finished",
                 (long long)trainer->step, (long long)trainer->options.steps);
    if (!trainer->store) return TARN_OK;
    return tarn_trainer_save(trainer, false, true);
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
    tarn_status status = tarn_trainer_end_step(trainer);
    return status ? status : trainer->pending;
}

/* The exchange of the step, and what it says beside errors. */
static tarn_status agree_on_step(tarn_trainer *trainer)
{
    double wait;
    char label[64];
    if (tarn_stop_requested()) tarn_control_raise(trainer->control, TARN_CONTROL_STOP);
    tarn_control_set_hash(trainer->control, trainer->parameter_hash);
    snprintf(label, sizeof label, "step %lld", (long long)trainer->step);
    tarn_status status = tarn_control_exchange(trainer->control, label);
    if (trainer->store && status != TARN_ERROR_COMM)
        tarn_checkpoint_voted(trainer->store, tarn_control_flags(trainer->control) >> TARN_CONTROL_VOTES);
    trainer->progress.control_seconds = tarn_control_seconds(trainer->control, &wait) - wait;
    if (!status && tarn_control_flags(trainer->control) & TARN_CONTROL_STOP) status = tarn_trainer_note_stop(trainer);
    if (tarn_control_flags(trainer->control) & TARN_CONTROL_DIVERGED) return tarn_trainer_name_tensor(trainer, label);
    if (!status) tarn_trainer_read_times(trainer);
    return status;
}

tarn_status tarn_trainer_end_step(tarn_trainer *trainer)
{
    double arrived = tarn_seconds();
    tarn_monitor_enter(trainer->context, "reducing the gradients");
    tarn_trainer_abandon_shards(trainer); /* those that were never begun */
    trainer->in_step = false;
    float *gradient;
    double sum_of_squares = 0;
    tarn_status status = tarn_reducer_finish(trainer->reducer, &gradient, &sum_of_squares);
    report_shards(trainer);
    /* A peer that is gone or stuck would not answer the announcement either, only after a second deadline. */
    tarn_status met = status == TARN_ERROR_COMM ? status : tarn_control_await(trainer->control);
    if (met) {
        trainer->status = met;
        return met;
    }
    if (status) tarn_control_fail(trainer->control, trainer->options.shards, status);
    tarn_trainer_report_times(trainer, arrived);
    if (trainer->store) {
        tarn_trainer_poll_saves(trainer);
        tarn_control_raise(trainer->control, tarn_checkpoint_vote(trainer->store) << TARN_CONTROL_VOTES);
    }
    tarn_monitor_enter(trainer->context, "agreeing on the step");
    status = agree_on_step(trainer);
    tarn_reducer_times times;
    tarn_reducer_get_times(trainer->reducer, &times);
    trainer->progress.reduce_seconds = times.seconds;
    trainer->progress.reduce_exposed_seconds = times.exposed_seconds;
    trainer->progress.reduce_bytes = times.bytes;
    if (!status && tarn_control_flags(trainer->control) & TARN_CONTROL_EXHAUSTED) {
        status = end_of_data(trainer);
    } else if (!status) {
        status = apply_update(trainer, gradient, sum_of_squares);
        if (!status) status = tarn_trainer_after_update(trainer);
    }
    if (!status && trainer->spot)
        tarn_spot_step_done(trainer->spot, trainer->progress.step_seconds,
                            tarn_checkpoint_persist_seconds(trainer->store));
    trainer->status = status;
    tarn_monitor_enter(trainer->context, "between two steps");
    return status;
}
