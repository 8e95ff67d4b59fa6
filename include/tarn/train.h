/* train.h - training: the whole loop in one call, or the loop by hand.
 *
 * A step of V shards (the same V whatever the machine): each shard's loss function runs on its own part of the batch
 * and returns a *sum*; gradients are summed over the canonical tree of shards and divided once by the global count.
 */
#ifndef TARN_TRAIN_H
#define TARN_TRAIN_H

#include <tarn/data.h>
#include <tarn/nn.h>
#include <tarn/optim.h>
#include <tarn/track.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Returns the summed loss of a batch: a scalar of `step`. Called once a shard and micro-batch, on several threads at
 * once; `model` is options.model. batch->count is what the sum is divided by, over all shards. */
typedef tarn_tensor *tarn_loss_function(tarn_step *step, const tarn_batch *batch, void *model);

/* What a step was. step to lr and the validation values are the same bits on every rank; times (in seconds), bytes and
 * rates are this rank's own. */
typedef struct tarn_progress {
    int64_t step, steps;           /* steps done, of */
    double loss;                   /* of the last step: its sum divided by the global count */
    double gradient_norm;          /* 2-norm of the mean gradient, before clipping */
    double lr;                     /* the rate the last update used */
    double step_seconds;           /* from tarn_trainer_next to the end of the update */
    double data_seconds;           /* of these waiting for the step's rows */
    double reduce_seconds;         /* in the reduction: own sums, sends, waits; most of it under backward */
    double reduce_exposed_seconds; /* of these after this rank's last shard had ended */
    double control_seconds;        /* in the control word, without waiting for other ranks */
    double update_seconds;         /* in the optimizer */
    double track_seconds;       /* after the update: in the tracking calls for this step, without the program's own */
    double reduce_bytes;        /* sent by this rank in the reduction */
    double per_second;          /* valid targets of all ranks (tarn_batch.count: tokens or samples) a second */
    double validation_loss;     /* mean over the validation part; NaN when not evaluated at this step */
    double validation_accuracy; /* share in [0, 1]; NaN when not evaluated, and where tarn_trainer_evaluate says so */
    int64_t saved_step; /* rank 0: the newest step whose checkpoint is durable, as known now; -1: none. Others: -1, or
                           the step resumed from */
    int64_t skipped;    /* steps of the run so far that were skipped (nonfinite); the same on every rank */
    double best;        /* best value of best_metric so far, NaN: none yet; and the step it is of, 0: none */
    int64_t best_step;
    double compute_seconds; /* of this rank: from the step's rows being there to its last shard's end */
    double arrival_skew; /* seconds between the first and the last rank's arrival at the reduction, same on all ranks */
    int slowest_rank;    /* by compute time over the last 16 steps; -1 with one rank and before these; same on all */
    double slow_ratio;   /* its compute time over the median of the other ranks'; 0 when there is no slowest rank */
} tarn_progress;
/* Called on the main thread of every rank after each step and its evaluation, before its checkpoint. *progress is valid
 * during the call. Anything but TARN_OK ends the run with that status, on all ranks, whether it was returned by one or
 * by all: this rank's tarn_optim_step returns it at once, the others' within a step; no checkpoint is written of that
 * step or later. */
typedef tarn_status tarn_progress_function(void *user, const tarn_progress *progress);

/* State of the user's own that checkpoints keep: saved and restored bytewise, on any number of ranks. */
typedef struct tarn_user_state {
    const char *name;
    void *data;
    size_t bytes;
} tarn_user_state;

/* What becomes of a step whose loss or gradient is not finite. */
typedef enum tarn_nonfinite {
    TARN_NONFINITE_STOP = 0, /* TARN_ERROR_NUMERIC, weights as before the step */
    TARN_NONFINITE_SKIP /* weights and moments stay, the step counts; the 100th in a row is an error all the same */
} tarn_nonfinite;

/* What to train, on what, how. The struct itself is copied; everything it points at (model, data, validation, track and
 * its strings, user_states and their data, all strings, progress_user) is borrowed until tarn_trainer_finish, or until
 * tarn_train returns. */
typedef struct tarn_train_options {
    tarn_module *model;       /* required */
    tarn_loss_function *loss; /* NULL: cross entropy of the model's output; for a gpt the fused classifier */
    tarn_dataset *data;       /* required */
    tarn_dataset *validation; /* NULL: data's own validation part, if any */
    tarn_optim_options optim;
    tarn_schedule_options schedule;
    uint64_t seed;
    int64_t steps;                    /* 0 = 1000 */
    int64_t batch;                    /* samples of a global batch; 0 = 32 */
    int shards;                       /* V; 0 = 8 */
    int accumulate;                   /* micro-batches of a shard, added in order; 0 = 1 */
    int threads;                      /* of this rank; 0 = as tarn_set_threads says */
    int64_t eval_every;               /* steps between evaluations; 0 = never */
    const char *checkpoint_directory; /* NULL = no checkpoints */
    int64_t checkpoint_every;         /* 0 = only at the end */
    int checkpoint_keep;              /* 0 = 3 */
    int checkpoint_parts; /* files of a checkpoint, which the ranks write side by side; 0 = by size, one up to 2 GiB; at
                             most 256; one with checkpoint_unshared; may change on resume */
    const char *best_metric;  /* "validation.loss" (default) or "validation.accuracy" */
    int64_t early_stop;       /* evaluations without a better best_metric after which the run ends; 0 = never */
    tarn_nonfinite nonfinite; /* may change on resume, as early_stop and slow_ratio */
    double slow_ratio;        /* a rank is called slow when its compute time is this many times the median of the
                                 others'; 0 = 1.5, negative = never */
    bool checkpoint_unshared; /* hosts need not see each other's checkpoints, see tarn_trainer_create */
    /* Spot notices: whose metadata service says that the machine will be taken away. Watched on each host while there
     * is a checkpoint directory; a notice is a stop request. NULL = "auto": "aws", "gcp", "azure" or "off", by the
     * names of the firmware. The environment's TARN_SPOT comes first. */
    const char *spot;
    const char *spot_endpoint;       /* NULL = the provider's http://169.254.169.254; TARN_SPOT_ENDPOINT comes first */
    double spot_grace;               /* seconds from the notice to the end; 0 = 120 (aws), 30 (gcp, azure) */
    bool from_scratch;               /* do not resume */
    const char *init_from;           /* start from these parameters */
    const tarn_track_options *track; /* NULL = no tracking */
    int64_t histograms_every;        /* steps between histograms of each parameter's weights and gradient, which go to
                                        TensorBoard and W&B; 0 = none; may change on resume */
    double system_every;     /* seconds between samples of each host's CPU, memory, disk and network, which go to
                                the record; 0 = 10, negative = never */
    const char *config_text; /* the resolved configuration, kept in checkpoints and in the run; may be NULL */
    const char *run_name;
    tarn_user_state *user_states;
    int user_state_count;
    double health_timeout; /* seconds one rank waits for another; after 0.8 of them without any progress a rank counts
                              as hung, and names itself; 0 = 60. See tarn_still_working */
    tarn_progress_function *progress;
    void *progress_user;
} tarn_train_options;

/* Trains until `steps`, until early_stop says so or a stream ends, resuming from the newest checkpoint when there is
 * one. Returns TARN_STOPPED after a stop request (one checkpoint is written). */
TARN_API tarn_status tarn_train(tarn_context *context, const tarn_train_options *options);

/* ---- the loop by hand -------------------------------------------------------------------------------------------- */
/*  tarn_trainer_create(&trainer, context, &options);
 *  while (tarn_trainer_next(trainer)) {                                  one global step
 *      for (tarn_step *step; (step = tarn_step_begin(trainer));) {       this rank's shards, one after the other
 *          const tarn_batch *batch = tarn_step_batch(step);
 *          tarn_backward(step, my_loss(step, batch));
 *          tarn_step_end(step);
 *      }
 *      tarn_optim_step(trainer);                                         reduce, agree, update, checkpoint, track
 *  }
 *  status = tarn_trainer_finish(trainer);                                and destroys it
 * gives the same bits as tarn_train, in which the shards run on all threads at once. */

typedef struct tarn_trainer tarn_trainer;
/* Checks the options, fits model and data to each other (vocabulary, context), builds the model if nobody did, loads
 * the newest checkpoint unless from_scratch, or init_from when there is none, and opens tracking. Ranks on several
 * hosts must see the same checkpoint directory, unless checkpoint_unshared says that rank 0 always runs on one host;
 * and the first rank of each host watches for spot notices. Collective: all ranks with the same options; they agree
 * after each stage, so a failure of one is the same error on all, and *trainer is NULL then. An error that the context
 * holds already is returned the same way. Sets the context's threads. The model must outlive the trainer and has one
 * trainer at a time. Errors: TARN_ERROR_ARGUMENT (no model or data), TARN_ERROR_CONFIG (batch, shards, accumulate and
 * ranks do not fit each other; the checkpoint is of another run; the checkpoint directory is not shared; spot,
 * spot_endpoint or spot_grace make no sense), TARN_ERROR_FORMAT (checkpoints, none of them valid), TARN_ERROR_IO,
 * TARN_ERROR_MEMORY, and those of tarn_module_build, tarn_module_init_from and tarn_track_open. */
TARN_API tarn_status tarn_trainer_create(tarn_trainer **trainer, tarn_context *context,
                                         const tarn_train_options *options);
/* True when there is another step, whose rows are then loaded; false at the end, on a stop request and after an error,
 * all of which tarn_trainer_finish tells apart. TARN_ERROR_STATE when the step before was not ended. Collective. */
TARN_API bool tarn_trainer_next(tarn_trainer *trainer);
/* The next shard (or micro-batch of it) of this rank, or NULL when the step has no more. */
TARN_API tarn_step *tarn_step_begin(tarn_trainer *trainer);
/* Runs all shards of this rank on its threads with the options' loss: instead of the inner loop. */
TARN_API tarn_status tarn_trainer_run_shards(tarn_trainer *trainer);
/* Ends the step: waits for the sum of gradients, agrees with all ranks, updates the parameters; evaluates, tracks and
 * writes a checkpoint when they are due; calls the progress function. Collective, once after each tarn_trainer_next
 * that was true, when every shard was run and no shard's step is open.
 * Errors: that of the lowest shard that failed; TARN_ERROR_STATE (a shard was left out, or called at the wrong moment);
 * TARN_ERROR_NUMERIC (loss or gradient not finite, see nonfinite); TARN_ERROR_COMM (parameters differ between ranks,
 * with the tensor and the ranks named; a rank is in another call, or missing). The weights are then as they were before
 * the step, and tarn_trainer_next is false. What evaluation or the progress function returns comes after the update.
 * TARN_OK without a step when a stream ended: tarn_trainer_next is false then. All ranks return the same, except for a
 * missing rank, the progress function (the others return its status within a step) and a call at the wrong moment.
 * Before a checkpoint the ranks compare their parameters: none is written of parameters that differ. A checkpoint is
 * written by a thread of its own under the steps that follow (saved_step of the progress); one in the middle that could
 * not be written is logged, not an error: the next one tries again. The last one is waited for. */
TARN_API tarn_status tarn_optim_step(tarn_trainer *trainer);
/* The progress of the last step, borrowed until tarn_trainer_finish; the next step changes it. */
TARN_API const tarn_progress *tarn_trainer_progress(const tarn_trainer *trainer);
/* Why a run has ended. */
typedef enum tarn_run_end {
    TARN_RUN_GOES_ON = 0,
    TARN_RUN_ALL_STEPS,  /* options.steps are done */
    TARN_RUN_EARLY_STOP, /* early_stop evaluations in a row were no better than the best */
    TARN_RUN_DATA_ENDED, /* the stream it read from has no more whole batch */
    TARN_RUN_STOPPED,    /* on request */
    TARN_RUN_FAILED
} tarn_run_end;
/* Whether there are more steps, and if not why. After tarn_trainer_create it tells of a resumed run what it was saved
 * as: one that stopped early goes on when early_stop is raised or 0. The same on every rank. */
TARN_API tarn_run_end tarn_trainer_ended(const tarn_trainer *trainer);
/* The evaluations of the run so far, those before a resume included, oldest first: the first `room` of them to *out.
 * Returns their number. */
typedef struct tarn_evaluation {
    int64_t step;
    double loss, accuracy; /* NaN where the run has none */
} tarn_evaluation;
TARN_API int64_t tarn_trainer_history(const tarn_trainer *trainer, tarn_evaluation *out, int64_t room);
/* The run's record, to log metrics, params, tags and files of one's own; NULL without tracking. Borrowed. */
TARN_API tarn_tracker *tarn_trainer_tracker(tarn_trainer *trainer);
/* Bytes this rank will have in use at most, estimated without computing anything: call it before the first step. */
TARN_API tarn_status tarn_trainer_memory(tarn_trainer *trainer, int64_t *bytes);
/* Mean loss over a dataset of the training data's sample shape, with the options' loss and no gradient, divided by the
 * number of valid targets; accuracy (share in [0, 1]) with the default loss of a model other than gpt whose targets are
 * one class a sample, else NaN. Either may be NULL. A stop request ends it on all ranks after the same batch:
 * TARN_STOPPED with NaN values and no error recorded, and tarn_trainer_next is false then. Collective, outside steps
 * (else TARN_ERROR_STATE). */
TARN_API tarn_status tarn_trainer_evaluate(tarn_trainer *trainer, tarn_dataset *dataset, double *loss,
                                           double *accuracy);
/* SHA-256 of parameters, moments and step, as `tarn checkpoint digest` prints it. out[65]. */
TARN_API tarn_status tarn_trainer_digest(tarn_trainer *trainer, char out[65]);
/* Writes the last checkpoint, ends the tracking run, frees the trainer (not what the options pointed at) and returns
 * the run's status: TARN_OK, TARN_STOPPED after a stop request, or the first error, after which nothing is saved. NULL
 * is fine. Collective. */
TARN_API tarn_status tarn_trainer_finish(tarn_trainer *trainer);

#ifdef __cplusplus
}
#endif
#endif
