/* trainer.h - the inside of a trainer, for the files of train/ alone.
 *
 *   trainer.c   making and ending one; checks that all ranks make together
 *   shards.c    running this rank's shards: on all threads, or one after the other by hand
 *   update.c    the end of a step: reduce, agree, update, evaluate, checkpoint, track
 *   evaluate.c  mean loss and accuracy over a data set
 *   state.c     what a checkpoint holds, saving and loading it
 *
 * Invariants
 *  1. Every rank goes through the same sequence of collective calls: a local failure travels in the control word.
 *  2. A step that failed anywhere never touches the weights.
 *  3. Bits depend on seed, data, model, options and V alone; ranks, threads and ISA only decide who computes what.
 */
#ifndef TARN_TRAIN_TRAINER_H
#define TARN_TRAIN_TRAINER_H

#include "checkpoint/store.h"
#include "data/loader.h"
#include "nn/module.h"
#include "optim/optimizer.h"
#include "runtime/autograd/step.h"
#include "runtime/base/context.h"
#include "runtime/dist/control.h"
#include "runtime/dist/reducer.h"
#include "runtime/monitor/monitor.h"
#include "runtime/worker/worker.h"
#include <tarn/train.h>

enum { TARN_FINGERPRINT_BYTES = 4096 };

/* What one thread that runs shards keeps between steps. */
typedef struct tarn_leader {
    tarn_trainer *trainer;
    tarn_pool *pool;
    tarn_scratch *scratch;
    bool *seen; /* per trainable parameter: its gradient is final in this micro-batch */
    int shard;  /* being run */
    bool last_micro;
    float *gradients;
} tarn_leader;

/* What a shard left behind in this step. */
typedef struct tarn_shard_result {
    double loss;
    int64_t count;
    tarn_status status;
    char message[1600];
    const char *file;
    int line;
} tarn_shard_result;

struct tarn_trainer {
    tarn_context *context;
    tarn_train_options options; /* resolved */
    tarn_module *model;
    tarn_sample_shape shape;
    tarn_dataset *validation;
    tarn_workers *workers;
    tarn_shard_range mine;
    int leaders;
    tarn_leader *leader;
    tarn_shard_result *result; /* [shards], those of this rank filled */

    tarn_loader *loader;
    tarn_loader *evaluation_loader; /* of `evaluation_of`, kept between evaluations */
    tarn_dataset *evaluation_of;
    tarn_reducer *reducer;
    tarn_optimizer *optimizer;
    tarn_control *control;
    tarn_checkpoint_store *store;
    tarn_checkpoint_entry *entries;
    int entry_count;
    char *entry_names;
    tarn_tracker *tracker;

    int64_t step;       /* done */
    int64_t taken_step; /* of the newest checkpoint that was begun, or loaded; -1: none */
    bool saved_final;   /* all ranks went through the last save */
    bool stop;
    char stop_reason[160]; /* the same on all ranks */
    double best;           /* NaN: none yet */
    uint64_t parameter_hash;
    tarn_status status;
    tarn_progress progress;
    char run_id[40];
    char fingerprint[TARN_FINGERPRINT_BYTES];
    double step_started;
    bool prepared; /* memory for snapshots was asked for */
    bool dry;      /* steps opened now run no kernels, see memory.c */

    /* The loop by hand. */
    bool in_step;
    int hand_shard, hand_micro;
    tarn_step *hand_step;
    tarn_batch hand_batch;
    unsigned hand_environment;
};

/* ---- shards.c ---- */
/* The step of one slot (shard, micro-batch) with its batch; gradients NULL: evaluation. */
tarn_status tarn_trainer_open_slot(tarn_trainer *trainer, tarn_leader *leader, tarn_team *team,
                                   const tarn_loader *loader, int shard, int micro, int64_t step_index,
                                   float *gradients, tarn_step **step, tarn_batch *batch);
/* Gives up the shards of a step that have not ended: they count as failed. */
void tarn_trainer_abandon_shards(tarn_trainer *trainer);
/* The default loss, and the model's output when `logits` asks for it (NULL otherwise). */
tarn_tensor *tarn_trainer_loss(tarn_trainer *trainer, tarn_step *step, const tarn_batch *batch, tarn_tensor **logits);

/* ---- update.c ---- */
/* tarn_optim_step without its checks: also for a step whose data could not be loaded. */
tarn_status tarn_trainer_end_step(tarn_trainer *trainer);

/* ---- evaluate.c ---- */
/* True when a model trained so has an accuracy: classes, one target a sample, the default loss, no language model. */
bool tarn_trainer_has_accuracy(const tarn_train_options *options, const tarn_sample_shape *shape);

/* ---- state.c ---- */
tarn_status tarn_trainer_describe_state(tarn_trainer *trainer);
/* Loads the newest checkpoint, if any: step, parameters, moments, user state. Collective; *found is false without. */
tarn_status tarn_trainer_resume(tarn_trainer *trainer, bool *found);
/* Makes memory for snapshots, under the first steps. */
void tarn_trainer_prepare_saves(tarn_trainer *trainer);
/* Learns and logs what the writer of checkpoints has done since the last call. */
void tarn_trainer_poll_saves(tarn_trainer *trainer);
/* Takes a checkpoint of this step: its copy, that is; writing it is not waited for. A failure is logged when it is
 * known. The best one waits for a write under way, others are left out then. final (collective): waits until it is
 * durable, and a failure is the run's, on all ranks. */
tarn_status tarn_trainer_save(tarn_trainer *trainer, bool is_best, bool final);
tarn_status tarn_trainer_make_fingerprint(tarn_trainer *trainer);
/* An error on all ranks, which names the first option that differs, unless they were given the same. Collective. */
tarn_status tarn_trainer_compare_ranks(tarn_trainer *trainer);

#endif
