/* evaluate.c - mean loss and accuracy over a data set: each sample once, the last batch padded, true counts.
 *
 * A shard adds the losses of its slots over all batches, in order; shards are added in index order by the control word:
 * the same bits on any number of ranks and threads.
 *
 * Evaluations may be long: the ranks tell each other after every batch whether one of them failed or was asked to stop,
 * in an exchange that runs beside the next batch, and all leave after the same one.
 */
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct evaluation {
    tarn_trainer *trainer;
    double *correct; /* per shard */
    bool accuracy;
} evaluation;

bool tarn_trainer_has_accuracy(const tarn_train_options *options, const tarn_sample_shape *shape)
{
    return shape->classes && !options->loss && !tarn_module_is_gpt(options->model) && shape->target_ndim == 0;
}

/* Rows whose largest logit is the target; the first of equal ones counts. */
static int64_t count_correct(const tarn_tensor *logits, const tarn_tensor *targets)
{
    if (!logits || !tarn_tensor_is_valid(logits) || logits->view.dtype != TARN_F32) return 0;
    int64_t classes = tarn_tensor_dim(logits, -1), rows = tarn_tensor_numel(targets), correct = 0;
    const float *value = logits->view.data;
    const int32_t *target = targets->view.data;
    for (int64_t r = 0; r < rows; r++, value += classes) {
        int64_t best = 0;
        for (int64_t c = 1; c < classes; c++)
            if (value[c] > value[best]) best = c;
        correct += target[r] == best;
    }
    return correct;
}

static void evaluate_leader(void *argument, int index, tarn_team *team)
{
    evaluation *evaluation = argument;
    tarn_trainer *trainer = evaluation->trainer;
    tarn_shard_range shards = tarn_reducer_plan(trainer->reducer, index);
    for (int shard = shards.begin; shard < shards.end; shard++) {
        tarn_shard_result *result = &trainer->result[shard];
        tarn_place_enter_shard(shard);
        for (int micro = 0; micro < trainer->options.accumulate && !result->status; micro++) {
            tarn_rows rows;
            tarn_loader_get(trainer->evaluation_loader, (int64_t)shard * trainer->options.accumulate + micro, &rows);
            if (!rows.count) continue;
            tarn_step *step;
            tarn_batch batch;
            result->status = tarn_trainer_open_slot(trainer, &trainer->leader[index], team, trainer->evaluation_loader,
                                                    shard, micro, trainer->step, NULL, &step, &batch);
            if (result->status) {
                result->file = __FILE__;
                result->line = __LINE__;
                snprintf(result->message, sizeof result->message, "evaluation: no memory for shard %d", shard);
                break;
            }
            tarn_tensor *logits;
            double value = 0;
            tarn_tensor *loss = tarn_trainer_loss(trainer, step, &batch, evaluation->accuracy ? &logits : NULL);
            if (!tarn_step_status(step)) tarn_item(loss, &value);
            if (!tarn_step_status(step) && evaluation->accuracy)
                evaluation->correct[shard] += (double)count_correct(logits, batch.targets);
            result->loss += value;
            result->count += rows.count;
            result->status = tarn_step_status(step);
            if (result->status) {
                tarn_step_place(step, &result->file, &result->line);
                snprintf(result->message, sizeof result->message, "evaluation, shard %d: %s", shard,
                         tarn_step_message(step));
            }
            tarn_step_free(step);
        }
    }
    tarn_place_enter_shard(-1);
}

static tarn_status open_loader(tarn_trainer *trainer, tarn_dataset *dataset)
{
    if (trainer->evaluation_of == dataset) return TARN_OK;
    tarn_loader_destroy(trainer->evaluation_loader);
    trainer->evaluation_loader = NULL;
    trainer->evaluation_of = NULL;
    int64_t slots = (int64_t)trainer->options.shards * trainer->options.accumulate;
    tarn_loader_options options = {.seed = trainer->options.seed,
                                   .batch = trainer->options.batch,
                                   .slots = slots,
                                   .slot_begin = (int64_t)trainer->mine.begin * trainer->options.accumulate,
                                   .slot_end = (int64_t)trainer->mine.end * trainer->options.accumulate,
                                   .evaluation = true};
    tarn_status status = tarn_loader_create(&trainer->evaluation_loader, trainer->context, dataset, &options);
    if (!status) trainer->evaluation_of = dataset;
    return status;
}

/* One exchange of per-shard sums. */
static tarn_status sum_over_shards(tarn_trainer *trainer, const evaluation *evaluation, bool correct,
                                   tarn_status status, double *sum, int64_t *count)
{
    tarn_control_begin(trainer->control);
    for (int shard = trainer->mine.begin; shard < trainer->mine.end; shard++) {
        const tarn_shard_result *result = &trainer->result[shard];
        if (result->status) {
            tarn_error_record(trainer->context, result->status, tarn_rank(trainer->context), result->file, result->line,
                              result->message);
            tarn_control_fail(trainer->control, shard, result->status);
        }
        tarn_control_set_loss(trainer->control, shard, correct ? evaluation->correct[shard] : result->loss,
                              result->count);
    }
    if (status) tarn_control_fail(trainer->control, trainer->options.shards, status);
    status = tarn_control_exchange(trainer->control, "evaluation");
    if (!status) tarn_control_loss(trainer->control, sum, count);
    return status;
}

/* The flags of the batches, exchanged while the next one is computed. */
typedef struct batch_flags {
    tarn_comm *comm;
    uint64_t word;
    tarn_request request;
    bool open; /* an exchange is under way */
} batch_flags;

/* What any rank raised at the batch before last; 0 when nothing is known yet. */
static tarn_status read_flags(batch_flags *flags, uint64_t *raised)
{
    *raised = 0;
    if (!flags->open) return TARN_OK;
    flags->open = false;
    tarn_status status = tarn_comm_wait(flags->comm, &flags->request, "a batch of the evaluation");
    *raised = status ? 0 : flags->word;
    return status;
}

static tarn_status send_flags(batch_flags *flags, uint64_t own)
{
    flags->word = own;
    tarn_status status = flags->comm->or_all(flags->comm, &flags->word, 1, &flags->request);
    flags->open = !status;
    return status;
}

static bool any_failed(const tarn_trainer *trainer)
{
    for (int shard = trainer->mine.begin; shard < trainer->mine.end; shard++)
        if (trainer->result[shard].status) return true;
    return false;
}

/* All batches, or as many as there were before a rank failed or was asked to stop: the same number on every rank.
 * Returns a failure of the exchange itself; *failed is this rank's own. */
static tarn_status run_batches(tarn_trainer *trainer, evaluation *evaluation, tarn_status *failed, bool *stopped)
{
    batch_flags flags = {.comm = tarn_get_comm(trainer->context)};
    uint64_t raised = 0;
    /* A rank whose loader could not be made does not know how many batches there are: it leaves at the first. */
    int64_t batches = *failed ? 1 : tarn_loader_batches(trainer->evaluation_loader);
    tarn_status status = TARN_OK;
    for (int64_t batch = 0; batch < batches && !status && !raised; batch++) {
        if (!*failed) *failed = tarn_loader_load(trainer->evaluation_loader, batch);
        if (!*failed) tarn_workers_run_teams(trainer->workers, trainer->leaders, evaluate_leader, evaluation);
        status = read_flags(&flags, &raised);
        uint64_t own = (*failed || any_failed(trainer) ? TARN_CONTROL_FAILED : 0) |
                       (tarn_stop_requested() ? TARN_CONTROL_STOP : 0);
        if (!status && !raised) status = send_flags(&flags, own);
    }
    /* At the end the last batch's flags are still on their way; they come too late to leave early. */
    uint64_t late = 0;
    tarn_status drained = read_flags(&flags, &late);
    *stopped = (raised & TARN_CONTROL_STOP) != 0;
    return status ? status : drained;
}

tarn_status tarn_trainer_evaluate(tarn_trainer *trainer, tarn_dataset *dataset, double *loss, double *accuracy)
{
    if (loss) *loss = NAN;
    if (accuracy) *accuracy = NAN;
    if (trainer->in_step)
        return tarn_fail(trainer->context, TARN_ERROR_STATE, TARN_HERE,
                         "tarn_trainer_evaluate inside a step: end it first");
    double correct[trainer->options.shards];
    memset(correct, 0, sizeof correct);
    tarn_monitor_enter(trainer->context, "evaluating");
    evaluation evaluation = {trainer, correct, tarn_trainer_has_accuracy(&trainer->options, &trainer->shape)};
    for (int shard = 0; shard < trainer->options.shards; shard++) trainer->result[shard] = (tarn_shard_result){0};
    tarn_status status = tarn_comm_announce(tarn_get_comm(trainer->context), "an evaluation");
    if (status) return status;
    status = open_loader(trainer, dataset);
    bool stopped = false;
    tarn_status lost = run_batches(trainer, &evaluation, &status, &stopped);
    if (lost) return lost;
    double sum = 0, right = 0;
    int64_t count = 0;
    status = sum_over_shards(trainer, &evaluation, false, status, &sum, &count);
    if (!status && evaluation.accuracy) status = sum_over_shards(trainer, &evaluation, true, TARN_OK, &right, &count);
    if (status) return status;
    if (stopped) {
        status = tarn_trainer_note_stop(trainer);
        return status ? status : TARN_STOPPED;
    }
    if (loss && count) *loss = sum / (double)count;
    tarn_monitor_enter(trainer->context, "between two calls of the trainer");
    if (accuracy && count && evaluation.accuracy) *accuracy = right / (double)count;
    return TARN_OK;
}
