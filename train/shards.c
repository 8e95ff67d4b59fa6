/* shards.c - running the shards of a rank: each on its own tape, on all threads at once or one after the other by hand.
 *
 * A shard's micro-batches add up inside its gradient buffer, in order. Ranges of the buffer are announced to the
 * reducer as they become final in the last micro-batch, so that communication starts during backward.
 */
#include "train/trainer.h"

#include <stdio.h>
#include <string.h>

enum { PADDING = 16 }; /* parameters begin at multiples of this in the flat buffer, see nn/module.h */

static int64_t padded(int64_t numel)
{
    return (numel + PADDING - 1) / PADDING * PADDING;
}

/* A parameter's gradient is final in this micro-batch. */
static void on_ready(void *user, const tarn_parameter_slot *slot)
{
    tarn_leader *leader = user;
    leader->seen[slot->index] = true;
    if (!leader->last_micro) return;
    int64_t end = slot->offset + padded(slot->numel);
    memset(leader->gradients + slot->offset + slot->numel, 0,
           (size_t)(end - slot->offset - slot->numel) * sizeof(float));
    tarn_reducer_ready(leader->trainer->reducer, leader->shard, slot->offset, end);
}

static void on_poll(void *user)
{
    tarn_leader *leader = user;
    tarn_reducer_poll(leader->trainer->reducer);
}

/* Parameters no op used: exact zeros, and their buckets may leave. */
static void finish_unused(tarn_leader *leader, bool accumulate)
{
    tarn_module *model = leader->trainer->model;
    for (int i = 0; i < tarn_module_trainable_count(model); i++) {
        if (leader->seen[i]) continue;
        const tarn_parameter_slot *slot = tarn_module_slot(model, i);
        if (!accumulate) memset(leader->gradients + slot->offset, 0, (size_t)slot->numel * sizeof(float));
        on_ready(leader, slot);
    }
}

tarn_tensor *tarn_trainer_loss(tarn_trainer *trainer, tarn_step *step, const tarn_batch *batch, tarn_tensor **logits)
{
    if (logits) *logits = NULL;
    if (trainer->options.loss) return trainer->options.loss(step, batch, trainer->model);
    if (tarn_module_is_gpt(trainer->model)) return tarn_gpt_loss(step, trainer->model, batch->inputs, batch->targets);
    tarn_tensor *output = tarn_forward(step, trainer->model, batch->inputs);
    if (logits) *logits = output;
    return trainer->shape.classes ? tarn_cross_entropy(output, batch->targets) : tarn_mse(output, batch->targets);
}

tarn_status tarn_trainer_open_slot(tarn_trainer *trainer, tarn_leader *leader, tarn_team *team,
                                   const tarn_loader *loader, int shard, int micro, int64_t step_index,
                                   float *gradients, tarn_step **step, tarn_batch *batch)
{
    int accumulate = trainer->options.accumulate;
    tarn_rows rows;
    tarn_loader_get(loader, (int64_t)shard * accumulate + micro, &rows);
    leader->shard = shard;
    leader->gradients = gradients;
    leader->last_micro = micro == accumulate - 1;
    int trainable = tarn_module_trainable_count(trainer->model);
    memset(leader->seen, 0, (size_t)trainable);
    tarn_step_setup setup = {.pool = leader->pool,
                             .scratch = leader->scratch,
                             .team = team,
                             .no_gradient = gradients == NULL,
                             .dry = trainer->dry,
                             .random = {.seed = trainer->options.seed,
                                        .step = (uint64_t)step_index,
                                        .first_sample = (uint64_t)rows.first,
                                        .samples = rows.samples ? rows.samples : 1},
                             .gradients = gradients,
                             .accumulate = micro > 0,
                             .parameters = trainable,
                             .ready = gradients && !trainer->dry ? on_ready : NULL,
                             .poll = gradients && !trainer->dry && leader == trainer->leader ? on_poll : NULL,
                             .user = leader};
    tarn_status status = tarn_step_create(step, trainer->context, &setup);
    if (status) return status;
    tarn_step_make_current(*step);
    tarn_at(NULL, 0); /* what was called last in an earlier step explains no error of this one */
    const tarn_sample_shape *shape = &trainer->shape;
    int64_t dims[TARN_MAX_DIMS] = {rows.samples};
    memcpy(dims + 1, shape->input_shape, (size_t)shape->input_ndim * sizeof *dims);
    batch->inputs = tarn_step_borrow(*step, shape->input_dtype, 1 + shape->input_ndim, dims, rows.inputs);
    memcpy(dims + 1, shape->target_shape, (size_t)shape->target_ndim * sizeof *dims);
    batch->targets = tarn_step_borrow(*step, shape->target_dtype, 1 + shape->target_ndim, dims, rows.targets);
    batch->samples = rows.samples;
    batch->count = rows.count;
    batch->first = rows.first;
    return TARN_OK;
}

/* Takes a finished micro-batch into the shard's result. The step is freed. */
static tarn_status close_slot(tarn_trainer *trainer, tarn_leader *leader, tarn_step *step, int micro, int64_t count)
{
    tarn_shard_result *result = &trainer->result[leader->shard];
    tarn_status status = tarn_step_status(step);
    if (status && !result->status) {
        result->status = status;
        tarn_step_place(step, &result->file, &result->line);
        snprintf(result->message, sizeof result->message, "step %lld, shard %d: %s", (long long)trainer->step,
                 leader->shard, tarn_step_message(step));
    }
    result->count += count;
    tarn_step_free(step);
    if (!status && !result->status) finish_unused(leader, micro > 0);
    return result->status;
}

/* The step of a shard could not be opened. */
static void fail_to_open(tarn_shard_result *result, tarn_status status, int shard)
{
    result->status = status;
    result->file = __FILE__;
    result->line = __LINE__;
    snprintf(result->message, sizeof result->message, "no memory for shard %d", shard);
}

static void run_shard(tarn_trainer *trainer, tarn_leader *leader, tarn_team *team, int shard)
{
    float *gradients = tarn_reducer_acquire(trainer->reducer, shard);
    tarn_status status = TARN_OK;
    tarn_place_enter_shard(shard);
    for (int micro = 0; micro < trainer->options.accumulate && !status; micro++) {
        tarn_step *step;
        tarn_batch batch;
        status = tarn_trainer_open_slot(trainer, leader, team, trainer->loader, shard, micro, trainer->step, gradients,
                                        &step, &batch);
        if (status) {
            fail_to_open(&trainer->result[shard], status, shard);
            break;
        }
        tarn_step_on_loss(step, &trainer->result[shard].loss);
        tarn_tensor *loss = tarn_trainer_loss(trainer, step, &batch, NULL);
        tarn_backward(step, loss);
        status = close_slot(trainer, leader, step, micro, batch.count);
    }
    tarn_reducer_release(trainer->reducer, shard, status != TARN_OK);
    tarn_place_enter_shard(-1);
}

static void run_leader(void *argument, int index, tarn_team *team)
{
    tarn_trainer *trainer = argument;
    tarn_shard_range shards = tarn_reducer_plan(trainer->reducer, index);
    for (int shard = shards.begin; shard < shards.end; shard++)
        run_shard(trainer, &trainer->leader[index], team, shard);
}

tarn_status tarn_trainer_run_shards(tarn_trainer *trainer)
{
    if (!trainer->in_step || trainer->hand_shard > trainer->mine.begin || trainer->hand_micro || trainer->hand_step)
        return tarn_fail(trainer->context, TARN_ERROR_STATE, TARN_HERE,
                         "tarn_trainer_run_shards: call it once after tarn_trainer_next, instead of tarn_step_begin");
    tarn_workers_run_teams(trainer->workers, trainer->leaders, run_leader, trainer);
    trainer->hand_shard = trainer->mine.end;
    for (int shard = trainer->mine.begin; shard < trainer->mine.end; shard++)
        if (trainer->result[shard].status) return trainer->result[shard].status;
    return TARN_OK;
}

void tarn_trainer_abandon_shards(tarn_trainer *trainer)
{
    for (int shard = trainer->hand_shard; shard < trainer->mine.end; shard++) {
        if (!trainer->hand_micro) tarn_reducer_acquire(trainer->reducer, shard); /* else some of it has run */
        tarn_reducer_release(trainer->reducer, shard, true);
        trainer->hand_micro = 0;
    }
    trainer->hand_shard = trainer->mine.end;
}

/* ---- by hand ----------------------------------------------------------------------------------------------------- */

static tarn_status end_by_hand(tarn_step *step, void *owner)
{
    tarn_trainer *trainer = owner;
    tarn_leader *leader = trainer->leader;
    if (!tarn_step_backward_done(step))
        tarn_step_fail(step, TARN_ERROR_STATE, TARN_HERE,
                       "tarn_step_end without tarn_backward: the shard would count with a gradient of zeros. Call "
                       "tarn_backward with the shard's loss first");
    tarn_status status = close_slot(trainer, leader, step, trainer->hand_micro, trainer->hand_batch.count);
    trainer->hand_step = NULL;
    tarn_place_enter_shard(-1);
    tarn_float_environment_leave(trainer->hand_environment);
    if (status || ++trainer->hand_micro == trainer->options.accumulate) {
        tarn_reducer_release(trainer->reducer, trainer->hand_shard, status != TARN_OK);
        trainer->hand_micro = 0;
        trainer->hand_shard++;
    }
    return status;
}

tarn_step *tarn_step_begin(tarn_trainer *trainer)
{
    if (!trainer->in_step) return NULL;
    if (trainer->hand_step) {
        tarn_fail(trainer->context, TARN_ERROR_STATE, TARN_HERE,
                  "tarn_step_begin: end the step before with tarn_step_end");
        return NULL;
    }
    if (trainer->hand_shard >= trainer->mine.end) return NULL;
    tarn_leader *leader = trainer->leader;
    if (trainer->hand_micro == 0) leader->gradients = tarn_reducer_acquire(trainer->reducer, trainer->hand_shard);
    trainer->hand_environment = tarn_float_environment_enter();
    tarn_status status =
        tarn_trainer_open_slot(trainer, leader, NULL, trainer->loader, trainer->hand_shard, trainer->hand_micro,
                               trainer->step, leader->gradients, &trainer->hand_step, &trainer->hand_batch);
    if (status) {
        tarn_float_environment_leave(trainer->hand_environment);
        fail_to_open(&trainer->result[trainer->hand_shard], status, trainer->hand_shard);
        tarn_reducer_release(trainer->reducer, trainer->hand_shard++, true);
        trainer->hand_micro = 0;
        tarn_trainer_abandon_shards(trainer);
        return NULL;
    }
    tarn_place_enter_shard(trainer->hand_shard);
    tarn_step_set_owner(trainer->hand_step, &trainer->hand_batch, trainer, end_by_hand);
    tarn_step_on_loss(trainer->hand_step, &trainer->result[trainer->hand_shard].loss);
    return trainer->hand_step;
}
