/* trainer.h - the inside of a trainer, for the files of train/ alone.
 *
 *   trainer.c   making and ending one; checks that all ranks make together
 *   shards.c    running this rank's shards: on all threads, or one after the other by hand
 *   update.c    the end of a step: reduce, agree, update, evaluate, checkpoint, track
 *   health.c    steps that are not finite, slow ranks
 *   measurements.c  where the time of a step goes, on every rank, and how much is done in it: for the record
 *   desync.c    which tensor and which ranks, when parameters differ
 *   history.c   the evaluations so far, the best one, early stopping
 *   evaluate.c  mean loss and accuracy over a data set
 *   histograms.c  weights and gradients, how they are spread
 *   run_id.c    the tracking run of a run without a checkpoint
 *   run_record.c  tags, data sets, configuration and log of a run in its record; samples of the hosts
 *   state.c     what a checkpoint holds, saving and loading it
 *   spot/       watching for the notice that a spot machine is taken away
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
/* Steps over which a rank's compute time is smoothed (median), and host names in messages. */
enum { TARN_SKEW_STEPS = 16, TARN_HOST_BYTES = 64 };
/* Steps in a row that may be skipped; one more is an error. */
enum { TARN_SKIP_LIMIT = 99 };

/* What a run counts beside its steps. All of it is in the checkpoint. */
typedef struct tarn_run_counts {
    int64_t skipped, skipped_in_a_row;
    int64_t best_step;
    int64_t not_improved;   /* evaluations since the best one */
    int64_t evaluation_due; /* 1: a stop request broke off the evaluation of the last step */
    int64_t evaluations;    /* entries of the history */
} tarn_run_counts;

/* The evaluations of a run; capacity is a function of their number, so that it leaves no trace in a checkpoint. */
typedef struct tarn_history {
    int64_t *step;
    double *loss, *accuracy;
    int64_t capacity;
} tarn_history;

/* Compute times of all ranks over the last steps. The same on every rank, since all see one control word. */
typedef struct tarn_skew {
    char (*hosts)[TARN_HOST_BYTES];
    float *window, *medians, *others; /* [ranks][TARN_SKEW_STEPS]; [ranks]; scratch */
    int64_t seen;
    int slow_rank;           /* of the episode under way, -1: none */
    double loaded, departed; /* when this step's rows were there, when the last exchange ended */
} tarn_skew;

/* What the time of a step is spent on. */
enum {
    TARN_PART_DATA,    /* waiting for the rows */
    TARN_PART_COMPUTE, /* forward and backward */
    TARN_PART_REDUCE,  /* waiting for the rest of the reduction, and for the other ranks */
    TARN_PART_UPDATE,
    TARN_PART_SAVE, /* the training's pause for a checkpoint */
    TARN_PART_TRACK,
    TARN_PARTS
};

/* Sums over the steps since measurements were last logged. Rank 0 has those of all ranks, from the control word. */
typedef struct tarn_split {
    float before[TARN_PARTS]; /* of this rank's step before, for the control word */
    double (*ranks)[TARN_PARTS];
    double seconds, skew, targets;
    int64_t steps;
} tarn_split;

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
    tarn_checkpoint_entry *history_entries; /* three of them */
    char *entry_names;
    tarn_tracker *tracker;
    struct tarn_run_log *run_log; /* rank 0, with a tracker */
    double run_log_sent;          /* when it went to the record, as tarn_seconds; and how long it was */
    int64_t run_log_bytes;
    struct tarn_system_sampler *sampler; /* first rank of each host, with a tracker */
    struct tarn_spot *spot;              /* NULL: this rank has no part in watching for spot notices */

    int64_t step;       /* done */
    int64_t taken_step; /* of the newest checkpoint that was begun, or loaded; -1: none */
    bool saved_final;   /* all ranks went through the last save */
    bool stop;
    char stop_reason[160]; /* the same on all ranks */
    bool data_ended;
    tarn_status pending; /* what this rank's progress function returned and the others do not know yet */
    double best;         /* NaN: none yet */
    double last[3];      /* loss, gradient norm and rate of the last step */
    tarn_run_counts counts;
    tarn_history history;
    tarn_skew skew;
    tarn_split split;
    uint64_t parameter_hash;
    int64_t hashed_step; /* after which parameter_hash covers all moments; -1: none */
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

/* ---- trainer.c ---- */
/* All ranks know that one of them was asked to stop: takes the reason along. Collective. */
tarn_status tarn_trainer_note_stop(tarn_trainer *trainer);

/* ---- run_id.c ---- */
/* Before the first checkpoint of a run: its id in the tracking store, kept in the checkpoint directory, into run_id. */
void tarn_trainer_plan_run_id(tarn_trainer *trainer);
/* A checkpoint holds it from now on. */
void tarn_trainer_forget_planned_run_id(const tarn_trainer *trainer);

/* ---- run_record.c ---- */
/* Opens the tracker of a run that goes on, or whose record a killed process left without its end. Collective. */
tarn_status tarn_trainer_open_record(tarn_trainer *trainer, bool resumed);
/* After the tracker is open and the hosts are known: tags, data sets, configuration; begins the log and the samples.
 * Collective. */
tarn_status tarn_trainer_begin_record(tarn_trainer *trainer);
/* The number of a rank's host among the hosts, in order of their first ranks; whether the rank is that first one. */
void tarn_trainer_place_among_hosts(char (*hosts)[TARN_HOST_BYTES], int ranks, int mine, int *node, int *nodes,
                                    bool *first);
/* After each step: a line of the log, which goes to the record now and then. */
void tarn_trainer_go_on_with_record(tarn_trainer *trainer);
/* Before the tracker is closed. status: of the run. */
void tarn_trainer_end_record(tarn_trainer *trainer, tarn_status status);

/* ---- update.c ---- */
/* tarn_optim_step without its checks: also for a step whose data could not be loaded. */
tarn_status tarn_trainer_end_step(tarn_trainer *trainer);

/* Evaluation, metrics, progress function and checkpoint of the step just done. */
tarn_status tarn_trainer_after_update(tarn_trainer *trainer);
/* Collective, before a checkpoint: the status of every rank, and whether their parameters are the same. */
tarn_status tarn_trainer_agree_to_save(tarn_trainer *trainer, tarn_status status);

/* ---- health.c ---- */
/* A step that is not finite: an error on all ranks, or, with the options' skip, counted and logged. */
tarn_status tarn_trainer_not_finite(tarn_trainer *trainer, double loss, double norm_squared);
/* Collective, once: memory, the hosts of all ranks. */
tarn_status tarn_trainer_open_skew(tarn_trainer *trainer);
void tarn_trainer_close_skew(tarn_trainer *trainer);
/* Puts this rank's times into the control word / reads those of all ranks out of it. */
void tarn_trainer_report_times(tarn_trainer *trainer, double arrived);
void tarn_trainer_read_times(tarn_trainer *trainer);
/* The tracker on rank 0, NULL elsewhere: for what every rank knows alike, and one records. */
tarn_tracker *tarn_trainer_record(const tarn_trainer *trainer);

/* ---- measurements.c ---- */
tarn_status tarn_trainer_open_split(tarn_trainer *trainer);
/* Adds what the control word says of a rank. */
void tarn_trainer_measure_rank(tarn_trainer *trainer, int rank, const tarn_control_times *times);
/* The step is updated: adds it to the sums, and logs them as system/... every tenth step. */
void tarn_trainer_log_measurements(tarn_trainer *trainer);
/* A checkpoint is durable, an evaluation done. */
void tarn_trainer_log_saved(tarn_trainer *trainer, int64_t step);
void tarn_trainer_log_evaluation(tarn_trainer *trainer, double seconds);

/* ---- histograms.c ---- */
/* Logs how weights and gradient are spread, every options.histograms_every steps, on rank 0. After the update: gradient
 * is that of the step, still as the reduction left it; its mean is over `total`. */
void tarn_trainer_track_histograms(tarn_trainer *trainer, const float *gradient, double total);

/* ---- desync.c ---- */
/* Of all parameters and moments as they lie in memory now. */
uint64_t tarn_trainer_hash_state(tarn_trainer *trainer);
/* Collective, after the ranks' hashes differed: replaces the error by one that names tensor and ranks. */
tarn_status tarn_trainer_name_tensor(tarn_trainer *trainer, const char *label);

/* ---- history.c ---- */
/* Room for the evaluations counted, in a capacity that follows from their number. */
tarn_status tarn_trainer_fit_history(tarn_trainer *trainer);
/* Enters an evaluation; *best when its metric is better than all before. */
tarn_status tarn_trainer_note_evaluation(tarn_trainer *trainer, bool *best);

/* ---- evaluate.c ---- */
/* True when a model trained so has an accuracy: classes, one target a sample, the default loss, no language model. */
bool tarn_trainer_has_accuracy(const tarn_train_options *options, const tarn_sample_shape *shape);

/* ---- state.c ---- */
tarn_status tarn_trainer_describe_state(tarn_trainer *trainer);
/* After the history has moved or grown. */
void tarn_trainer_point_at_history(tarn_trainer *trainer);
/* Loads the newest checkpoint, if any: step, parameters, moments, user state. Collective; *found is false without. */
tarn_status tarn_trainer_resume(tarn_trainer *trainer, bool *found);
/* Of a run from scratch: warns that the directory's checkpoints are not used. Rank 0 alone does anything. */
void tarn_trainer_tell_unused(const tarn_trainer *trainer);
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
