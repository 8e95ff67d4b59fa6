/* trainer.c - making a trainer: resolve the options, check what cannot work, open everything, resume; and ending it. */
#include "train/trainer.h"
#include "checkpoint/files.h"
#include "checkpoint/shared.h"
#include "runtime/comm/comm.h"
#include "track/tracker.h"
#include "train/spot/spot.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void resolve(tarn_train_options *options)
{
    if (!options->steps) options->steps = 1000;
    if (!options->batch) options->batch = 32;
    if (!options->shards) options->shards = 8;
    if (!options->accumulate) options->accumulate = 1;
    if (!options->checkpoint_keep) options->checkpoint_keep = 3;
    if (options->checkpoint_unshared && !options->checkpoint_parts) options->checkpoint_parts = 1;
    if (options->slow_ratio == 0) options->slow_ratio = 1.5;
    if (!options->validation && options->data) options->validation = tarn_dataset_validation(options->data);
    if (!(options->health_timeout > 0)) options->health_timeout = 60;
    if (options->system_every == 0) options->system_every = 10;
    tarn_optim_options optim;
    tarn_optim_resolve(&options->optim, &optim);
    options->optim = optim;
}

static tarn_status check_plan(tarn_context *context, const tarn_train_options *options)
{
    int ranks = tarn_ranks(context), shards = options->shards;
    int64_t parts = (int64_t)shards * options->accumulate;
    if (!options->model || !options->data)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn_train_options needs a model and data");
    if (shards < 1 || options->accumulate < 1 || options->batch < 1 || options->steps < 1)
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                         "train.batch %lld, train.shards %d, train.accumulate %d and train.steps %lld must be positive",
                         (long long)options->batch, shards, options->accumulate, (long long)options->steps);
    if (ranks > shards)
        return tarn_fail(
            context, TARN_ERROR_CONFIG, TARN_HERE,
            "%d ranks share train.shards = %d shards: at most one rank a shard. Start at most %d ranks, or (in a "
            "new run) set train.shards to %d or more",
            ranks, shards, shards, ranks);
    if (options->batch % parts) {
        int64_t below = options->batch / parts * parts, above = below + parts;
        char lower[32] = "";
        if (below) snprintf(lower, sizeof lower, "%lld or ", (long long)below);
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                         "train.batch %lld does not divide by train.shards %d x train.accumulate %d = %lld: use %s%lld",
                         (long long)options->batch, shards, options->accumulate, (long long)parts, lower,
                         (long long)above);
    }
    tarn_status status = tarn_spot_check(context, options);
    if (status) return status;
    if (options->checkpoint_parts < 0 || options->checkpoint_parts > 256)
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                         "checkpoint.parts %d (checkpoint_parts in C): use 0 (by size) or 1 to 256",
                         options->checkpoint_parts);
    if (options->checkpoint_parts > 1 && options->checkpoint_unshared)
        return tarn_fail(
            context, TARN_ERROR_CONFIG, TARN_HERE,
            "checkpoint.parts %d (checkpoint_parts in C) and checkpoint.shared false: parts are written by "
            "all ranks into one directory, which all hosts must share; use one part",
            options->checkpoint_parts);
    const char *metric = options->best_metric;
    if (metric && strcmp(metric, "validation.loss") && strcmp(metric, "validation.accuracy"))
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                         "checkpoint.best \"%s\" (best_metric in C) is no metric: use validation.loss or "
                         "validation.accuracy",
                         metric);
    tarn_sample_shape shape;
    tarn_dataset_shape(options->data, &shape);
    if (metric && !strcmp(metric, "validation.accuracy") && !tarn_trainer_has_accuracy(options, &shape))
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                         "checkpoint.best validation.accuracy (best_metric in C): this run has no accuracy, which "
                         "language models, targets that are no classes and a loss function of one's own do not have: "
                         "use validation.loss");
    if (options->early_stop < 0 || (options->early_stop && !options->eval_every))
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                         "train.early_stop %lld counts evaluations, and train.eval_every is %lld: set train.eval_every "
                         "to the steps between them, or train.early_stop to 0",
                         (long long)options->early_stop, (long long)options->eval_every);
    if (options->early_stop && (!options->validation || tarn_dataset_length(options->validation) < 1))
        return tarn_fail(
            context, TARN_ERROR_CONFIG, TARN_HERE,
            "train.early_stop %lld needs validation data: set data.validation to a share, or train.early_stop "
            "to 0",
            (long long)options->early_stop);
    if (options->slow_ratio > 0 && !(options->slow_ratio > 1))
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                         "health.slow_ratio %g: a rank is slow when it computes so many times as long as the others; "
                         "use a number above 1, or 0 for never (negative in C)",
                         options->slow_ratio);
    if (tarn_dataset_length(options->data) < 1 && !tarn_module_is_gpt(options->model))
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "the training data set is empty");
    return TARN_OK;
}

/* A gpt without vocabulary takes the data's; a text without context takes the model's. */
static tarn_status fit_model_to_data(tarn_context *context, const tarn_train_options *options)
{
    tarn_gpt_options gpt;
    if (!tarn_module_is_gpt(options->model)) return TARN_OK;
    tarn_status status = tarn_gpt_get_options(options->model, &gpt);
    if (!status && tarn_text_vocabulary(options->data)) status = tarn_text_set_context(options->data, gpt.context);
    tarn_sample_shape shape;
    tarn_dataset_shape(options->data, &shape);
    if (!status && !gpt.vocabulary)
        status = tarn_gpt_set_vocabulary(options->model, shape.classes);
    else if (!status && shape.classes > gpt.vocabulary)
        status = tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                           "the data has %lld tokens, the model a vocabulary of %lld: enlarge the model's vocabulary",
                           (long long)shape.classes, (long long)gpt.vocabulary);
    return status;
}

static tarn_status build_model(tarn_context *context, const tarn_train_options *options)
{
    tarn_status status = fit_model_to_data(context, options);
    if (!status && !tarn_module_is_built(options->model)) status = tarn_module_build(options->model, options->seed);
    return status;
}

static tarn_status make_leaders(tarn_trainer *trainer)
{
    trainer->leader = calloc((size_t)trainer->leaders, sizeof *trainer->leader);
    trainer->result = calloc((size_t)trainer->options.shards, sizeof *trainer->result);
    bool fine = trainer->leader && trainer->result;
    size_t trainable = (size_t)tarn_module_trainable_count(trainer->model);
    for (int i = 0; fine && i < trainer->leaders; i++) {
        tarn_leader *leader = &trainer->leader[i];
        leader->trainer = trainer;
        leader->pool = tarn_pool_create();
        leader->scratch = tarn_scratch_create();
        leader->seen = calloc(trainable + 1, sizeof *leader->seen);
        fine = leader->pool && leader->scratch && leader->seen;
    }
    return fine ? TARN_OK
                : tarn_fail(trainer->context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for %d threads",
                            trainer->leaders);
}

static tarn_status make_parts(tarn_trainer *trainer)
{
    tarn_context *context = trainer->context;
    const tarn_train_options *options = &trainer->options;
    tarn_status status = tarn_set_threads(context, options->threads);
    if (status) return status;
    tarn_comm_check_binding(context, options->threads);
    trainer->workers = tarn_context_workers(context);
    if (!trainer->workers) return TARN_ERROR_MEMORY;
    trainer->mine = tarn_shards_of_rank(options->shards, tarn_ranks(context), tarn_rank(context));
    int shards = trainer->mine.end - trainer->mine.begin, threads = tarn_workers_count(trainer->workers);
    trainer->leaders = threads < shards ? threads : shards;
    tarn_log(context, TARN_LOG_INFO, "rank %d of %d runs shards %d to %d of %d on %d threads (%s kernels)",
             tarn_rank(context), tarn_ranks(context), trainer->mine.begin, trainer->mine.end - 1, options->shards,
             threads, tarn_isa_name(context));
    status = make_leaders(trainer);
    int64_t count = tarn_module_flat_count(trainer->model), slots = options->accumulate;
    tarn_loader_options loader = {.seed = options->seed,
                                  .batch = options->batch,
                                  .slots = slots * options->shards,
                                  .slot_begin = slots * trainer->mine.begin,
                                  .slot_end = slots * trainer->mine.end,
                                  .prefetch = true};
    if (!status) status = tarn_loader_create(&trainer->loader, context, options->data, &loader);
    if (!status) status = tarn_reducer_create(&trainer->reducer, context, options->shards, count, trainer->leaders, 0);
    const tarn_optim_range *ranges;
    int range_count = tarn_module_ranges(trainer->model, &ranges);
    if (!status)
        status = tarn_optimizer_create(&trainer->optimizer, context, &options->optim, count, ranges, range_count);
    if (!status) status = tarn_control_create(&trainer->control, context, options->shards);
    if (!status) status = tarn_trainer_open_split(trainer);
    if (!status) status = tarn_trainer_fit_history(trainer);
    if (!status) status = tarn_trainer_describe_state(trainer);
    return status;
}

/* The supervisor counts the run's checkpoints there, and keeps its status file there: told before the directory's lock
 * is tried, and made before that, so that the supervisor of a second job finds the first one's file and refuses. What
 * cannot be made is told where the directory is opened. */
static void claim_directory(const tarn_trainer *trainer)
{
    const char *directory = trainer->options.checkpoint_directory;
    char path[PATH_MAX], here[PATH_MAX];
    tarn_problem problem;
    if (tarn_rank(trainer->context) != 0 || !tarn_monitor_supervised(trainer->context)) return;
    tarn_checkpoint_make_directory(directory, &problem);
    if (!realpath(directory, path)) {
        if (directory[0] == '/')
            here[0] = '\0';
        else if (!getcwd(here, sizeof here))
            return;
        if (snprintf(path, sizeof path, "%s%s%s", here, *here ? "/" : "", directory) >= (int)sizeof path) return;
    }
    tarn_monitor_claim(trainer->context, path);
}

static tarn_status open_records(tarn_trainer *trainer)
{
    const tarn_train_options *options = &trainer->options;
    bool resumed = false;
    tarn_status status =
        tarn_agree(trainer->context, tarn_trainer_make_fingerprint(trainer), "describing the options and data");
    if (!status) status = tarn_trainer_compare_ranks(trainer);
    if (!status && options->checkpoint_directory) claim_directory(trainer);
    if (!status && options->checkpoint_directory)
        status = tarn_checkpoint_store_open(&trainer->store, trainer->context, options->checkpoint_directory,
                                            options->checkpoint_keep);
    if (trainer->store) tarn_checkpoint_store_set_parts(trainer->store, options->checkpoint_parts);
    if (!status && trainer->store && !options->checkpoint_unshared)
        status = tarn_checkpoint_check_shared(trainer->context, options->checkpoint_directory);
    if (!status && trainer->store && options->from_scratch) tarn_trainer_tell_unused(trainer);
    tarn_monitor_enter(trainer->context, "loading a checkpoint");
    if (!status && trainer->store && !options->from_scratch) status = tarn_trainer_resume(trainer, &resumed);
    /* A run that goes on has left its pre-trained parameters behind: their file may be gone. */
    if (!status && options->init_from && !resumed)
        status = tarn_module_init_from(options->model, options->init_from, true, NULL);
    if (status) return status;
    if (tarn_rank(trainer->context) == 0) tarn_monitor_tell(trainer->context, "resumed %lld", (long long)trainer->step);
    tarn_monitor_enter(trainer->context, "opening the tracking run");
    status = tarn_trainer_open_record(trainer, resumed);
    if (!status && trainer->step < options->steps) status = tarn_spot_start(&trainer->spot, trainer);
    return status;
}

/* Whether any rank was asked to stop while the run was being set up. */
tarn_status tarn_trainer_note_stop(tarn_trainer *trainer)
{
    trainer->stop = true;
    return tarn_stop_agree(trainer->context, trainer->stop_reason, sizeof trainer->stop_reason);
}

static tarn_status agree_on_stop(tarn_trainer *trainer)
{
    uint64_t stop = tarn_stop_requested();
    tarn_status status = tarn_comm_or_all(tarn_get_comm(trainer->context), &stop, 1, "the end of setting up");
    return !status && stop ? tarn_trainer_note_stop(trainer) : status;
}

tarn_status tarn_trainer_create(tarn_trainer **out, tarn_context *context, const tarn_train_options *options)
{
    *out = NULL;
    if (tarn_get_error(context)) return tarn_agree(context, tarn_get_error(context)->status, "before training");
    tarn_trainer *trainer = calloc(1, sizeof *trainer);
    if (!trainer)
        return tarn_agree(context, tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for a trainer"),
                          "start");
    trainer->context = context;
    trainer->options = *options;
    trainer->best = trainer->progress.validation_loss = trainer->progress.validation_accuracy = NAN;
    trainer->taken_step = trainer->hashed_step = trainer->progress.saved_step = -1;
    for (int i = 0; i < 3; i++) trainer->last[i] = NAN;
    resolve(&trainer->options);
    trainer->model = options->model;
    tarn_monitor_watch(context, trainer->options.health_timeout);
    tarn_monitor_enter(context, "building the model");
    unsigned environment = tarn_float_environment_enter();
    /* Each stage is agreed on by all ranks before the next, so that one rank's failure leaves nobody waiting. */
    tarn_status status = tarn_agree(context, check_plan(context, &trainer->options), "checking the options");
    if (!status) status = tarn_agree(context, build_model(context, &trainer->options), "building the model");
    if (!status) {
        tarn_monitor_enter(context, "setting up the training");
        tarn_dataset_shape(trainer->options.data, &trainer->shape);
        trainer->validation = trainer->options.validation;
        if (trainer->validation && tarn_dataset_length(trainer->validation) < 1) trainer->validation = NULL;
        status = tarn_agree(context, make_parts(trainer), "setting up");
    }
    if (!status) status = open_records(trainer);
    if (!status) status = tarn_trainer_open_skew(trainer);
    if (!status) status = tarn_trainer_begin_record(trainer);
    if (!status) status = agree_on_stop(trainer);
    tarn_float_environment_leave(environment);
    tarn_progress *progress = &trainer->progress;
    progress->step = trainer->step;
    progress->steps = trainer->options.steps;
    progress->loss = trainer->last[0];
    progress->gradient_norm = trainer->last[1];
    progress->lr = trainer->last[2];
    progress->skipped = trainer->counts.skipped;
    progress->best = trainer->best;
    progress->best_step = trainer->counts.best_step;
    trainer->status = status;
    tarn_monitor_enter(context, "between two calls of the trainer");
    if (status) {
        tarn_trainer_finish(trainer);
        return status;
    }
    *out = trainer;
    return TARN_OK;
}

bool tarn_trainer_next(tarn_trainer *trainer)
{
    if (trainer->status || trainer->stop) return false;
    if (trainer->counts.evaluation_due) {
        /* The run was stopped in the evaluation of the step it was saved after. */
        trainer->status = tarn_trainer_after_update(trainer);
        if (trainer->status) return false;
    }
    if (tarn_trainer_ended(trainer) != TARN_RUN_GOES_ON) return false;
    if (trainer->in_step) {
        trainer->status = tarn_fail(trainer->context, TARN_ERROR_STATE, TARN_HERE,
                                    "tarn_trainer_next: the step before was not ended with tarn_optim_step");
        return false;
    }
    if (trainer->store && !trainer->prepared) tarn_trainer_prepare_saves(trainer);
    trainer->prepared = true;
    trainer->step_started = tarn_seconds();
    tarn_monitor_step(trainer->context, trainer->step);
    tarn_monitor_enter(trainer->context, "loading the rows");
    for (int shard = trainer->mine.begin; shard < trainer->mine.end; shard++)
        trainer->result[shard] = (tarn_shard_result){0};
    tarn_control_begin(trainer->control);
    char label[64];
    snprintf(label, sizeof label, "step %lld", (long long)trainer->step);
    trainer->status = tarn_control_announce(trainer->control, label);
    if (trainer->status) return false;
    trainer->hand_shard = trainer->mine.begin;
    trainer->hand_micro = 0;
    tarn_status status = trainer->pending ? trainer->pending : tarn_loader_load(trainer->loader, trainer->step);
    trainer->skew.loaded = tarn_seconds();
    trainer->progress.data_seconds = trainer->skew.loaded - trainer->step_started;
    tarn_status begun = tarn_reducer_begin(trainer->reducer); /* whatever the loader said: the other ranks have begun */
    if (!status) status = begun;
    trainer->in_step = true;
    tarn_monitor_enter(trainer->context, "between two shards");
    if (!status) return true;
    /* The others are in the step already: take part with zeros, and let the control word say why. */
    if (status == TARN_EXHAUSTED)
        tarn_control_raise(trainer->control, TARN_CONTROL_EXHAUSTED);
    else
        tarn_control_fail(trainer->control, trainer->mine.begin, status);
    tarn_trainer_end_step(trainer);
    return false;
}

const tarn_progress *tarn_trainer_progress(const tarn_trainer *trainer)
{
    return &trainer->progress;
}

tarn_tracker *tarn_trainer_record(const tarn_trainer *trainer)
{
    return tarn_rank(trainer->context) == 0 ? trainer->tracker : NULL;
}

tarn_tracker *tarn_trainer_tracker(tarn_trainer *trainer)
{
    return trainer->tracker;
}

static void destroy(tarn_trainer *trainer)
{
    tarn_spot_end(trainer->spot);
    tarn_loader_destroy(trainer->loader);
    tarn_loader_destroy(trainer->evaluation_loader);
    tarn_reducer_destroy(trainer->reducer);
    tarn_optimizer_destroy(trainer->optimizer);
    tarn_control_destroy(trainer->control);
    for (int i = 0; trainer->leader && i < trainer->leaders; i++) {
        tarn_pool_destroy(trainer->leader[i].pool);
        tarn_scratch_destroy(trainer->leader[i].scratch);
        free(trainer->leader[i].seen);
    }
    tarn_trainer_close_skew(trainer);
    free(trainer->split.ranks);
    free(trainer->history.step);
    free(trainer->history.loss);
    free(trainer->history.accuracy);
    free(trainer->leader);
    free(trainer->result);
    free(trainer->entries);
    free(trainer->entry_names);
    free(trainer);
}

tarn_status tarn_trainer_finish(tarn_trainer *trainer)
{
    if (!trainer) return TARN_OK;
    tarn_context *context = trainer->context;
    tarn_status status = trainer->status;
    tarn_monitor_enter(context, "ending the training");
    if (trainer->in_step) tarn_control_await(trainer->control); /* the loop was left inside a step, by all ranks */
    /* The loop was left after the progress function's failure: the others learn of it wherever they are now. */
    if (!status && trainer->pending) status = tarn_agree(context, trainer->pending, "the progress function");
    if (!status && trainer->store && !trainer->saved_final && !trainer->in_step) {
        status = tarn_trainer_agree_to_save(trainer, TARN_OK);
        if (!status) status = tarn_trainer_save(trainer, false, true);
    }
    if (!status && tarn_trainer_ended(trainer) == TARN_RUN_STOPPED) {
        status = tarn_fail(context, TARN_STOPPED, TARN_HERE, "stopped on request (%s) after step %lld",
                           trainer->stop_reason, (long long)trainer->step);
        tarn_error_agree(context);
    }
    /* Its writer may still be waiting for the record. */
    tarn_checkpoint_store_close(trainer->store);
    trainer->store = NULL;
    tarn_trainer_end_record(trainer, status);
    if (trainer->tracker)
        tarn_track_close(trainer->tracker, !status ? "FINISHED" : status == TARN_STOPPED ? "KILLED" : "FAILED");
    destroy(trainer);
    tarn_monitor_watch(context, 0);
    return status;
}
