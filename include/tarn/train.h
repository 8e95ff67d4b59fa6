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

/* Returns the summed loss of a batch. Called concurrently, once a shard; `model` is options.model. */
typedef tarn_tensor *tarn_loss_function(tarn_step *step, const tarn_batch *batch, void *model);

/* Called after each step on every rank, with the same values everywhere; returning anything but TARN_OK ends the run.
 */
typedef struct tarn_progress {
    int64_t step, steps;  /* steps done, of */
    double loss;          /* mean over the global count */
    double gradient_norm; /* before clipping */
    double lr;
    double step_seconds;
    double data_seconds, reduce_seconds, reduce_exposed_seconds, control_seconds,
        update_seconds; /* parts of it, this rank */
    double reduce_bytes;
    double per_second;          /* tokens or samples */
    double validation_loss;     /* NaN when not evaluated at this step */
    double validation_accuracy; /* NaN when targets are no classes or not evaluated */
} tarn_progress;
typedef tarn_status tarn_progress_function(void *user, const tarn_progress *progress);

/* State of the user's own that checkpoints keep: saved and restored bytewise, on any number of ranks. */
typedef struct tarn_user_state {
    const char *name;
    void *data;
    size_t bytes;
} tarn_user_state;

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
    const char *best_metric;          /* "validation.loss" (default) or "validation.accuracy" */
    bool from_scratch;                /* do not resume */
    const char *init_from;            /* start from these parameters */
    const tarn_track_options *track;  /* NULL = no tracking */
    const char *config_text;          /* the resolved configuration, kept in checkpoints and in the run; may be NULL */
    const char *run_name;
    tarn_user_state *user_states;
    int user_state_count;
    tarn_progress_function *progress;
    void *progress_user;
} tarn_train_options;

/* Trains until `steps`, resuming from the newest checkpoint when there is one. Returns TARN_STOPPED after a stop
 * request (one checkpoint is written). */
TARN_API tarn_status tarn_train(tarn_context *context, const tarn_train_options *options);

/* ---- the loop by hand
 * ------------------------------------------------------------------------------------------------ */
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
TARN_API tarn_status tarn_trainer_create(tarn_trainer **trainer, tarn_context *context,
                                         const tarn_train_options *options);
/* True when there is another step; false at the end, on a stop request and after an error. */
TARN_API bool tarn_trainer_next(tarn_trainer *trainer);
/* The next shard (or micro-batch of it) of this rank, or NULL when the step has no more. */
TARN_API tarn_step *tarn_step_begin(tarn_trainer *trainer);
/* Runs all shards of this rank on its threads with the options' loss: instead of the inner loop. */
TARN_API tarn_status tarn_trainer_run_shards(tarn_trainer *trainer);
TARN_API tarn_status tarn_optim_step(tarn_trainer *trainer);
/* The progress of the last step, borrowed. */
TARN_API const tarn_progress *tarn_trainer_progress(const tarn_trainer *trainer);
/* The run's record, to log metrics, params, tags and files of one's own; NULL without tracking. Borrowed. */
TARN_API tarn_tracker *tarn_trainer_tracker(tarn_trainer *trainer);
/* Bytes this rank will have in use at most, estimated without computing anything: call it before the first step. */
TARN_API tarn_status tarn_trainer_memory(tarn_trainer *trainer, int64_t *bytes);
/* Mean loss over a dataset, with the options' loss and no gradient; accuracy where targets are classes (else NaN). */
TARN_API tarn_status tarn_trainer_evaluate(tarn_trainer *trainer, tarn_dataset *dataset, double *loss,
                                           double *accuracy);
/* SHA-256 of parameters, moments and step, as `tarn checkpoint digest` prints it. out[65]. */
TARN_API tarn_status tarn_trainer_digest(tarn_trainer *trainer, char out[65]);
/* Writes the last checkpoint, ends the tracking run, frees everything; returns the run's status. */
TARN_API tarn_status tarn_trainer_finish(tarn_trainer *trainer);

#ifdef __cplusplus
}
#endif
#endif
