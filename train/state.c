/* state.c - what a checkpoint of a run holds.
 *
 *   model/<parameter>            values, in the parameter's shape
 *   optim/<state>/<parameter>    the optimizer's moments, likewise
 *   state/step                   i64: steps done
 *   state/best                   f64: the best validation metric so far
 *   user/<name>                  the user's own state, bytes
 *   text/config, vocabulary, tokenizer, run_id, fingerprint
 *
 * Parameters, moments and step make the digest. The fingerprint names what the bits depend on beside them; a resume
 * with another one is refused, naming the key.
 */
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 320 };

static char *name_at(tarn_trainer *trainer, int index)
{
    return trainer->entry_names + (size_t)index * NAME_BYTES;
}

static tarn_checkpoint_entry *add_entry(tarn_trainer *trainer, tarn_dtype dtype, int ndim, const int64_t *shape,
                                        void *data, bool in_digest)
{
    tarn_checkpoint_entry *entry = &trainer->entries[trainer->entry_count];
    *entry = (tarn_checkpoint_entry){.name = name_at(trainer, trainer->entry_count),
                                     .dtype = dtype,
                                     .ndim = ndim,
                                     .data = data,
                                     .in_digest = in_digest};
    for (int d = 0; d < ndim; d++) entry->shape[d] = shape[d];
    trainer->entry_count++;
    return entry;
}

tarn_status tarn_trainer_describe_state(tarn_trainer *trainer)
{
    const char *states[4];
    float *buffers[4];
    int state_count = tarn_optimizer_states(trainer->optimizer, states, buffers);
    int parameters = tarn_module_parameter_count(trainer->model), users = trainer->options.user_state_count;
    size_t most = (size_t)parameters * (size_t)(1 + state_count) + (size_t)users + 2;
    trainer->entries = calloc(most, sizeof *trainer->entries);
    trainer->entry_names = calloc(most, NAME_BYTES);
    if (!trainer->entries || !trainer->entry_names)
        return tarn_fail(trainer->context, TARN_ERROR_MEMORY, TARN_HERE, "no memory to describe the state of the run");
    for (int i = 0; i < parameters; i++) {
        tarn_parameter_info info;
        tarn_module_parameter_at(trainer->model, i, &info);
        snprintf(name_at(trainer, trainer->entry_count), NAME_BYTES, "model/%s", info.name);
        add_entry(trainer, TARN_F32, info.ndim, info.shape, info.values, true);
        for (int s = 0; s < state_count && !info.frozen; s++) {
            snprintf(name_at(trainer, trainer->entry_count), NAME_BYTES, "optim/%s/%s", states[s], info.name);
            add_entry(trainer, TARN_F32, info.ndim, info.shape, buffers[s] + info.offset, true);
        }
    }
    static const int64_t one = 1;
    snprintf(name_at(trainer, trainer->entry_count), NAME_BYTES, "state/step");
    add_entry(trainer, TARN_I64, 1, &one, &trainer->step, true);
    snprintf(name_at(trainer, trainer->entry_count), NAME_BYTES, "state/best");
    add_entry(trainer, TARN_F64, 1, &one, &trainer->best, false);
    for (int u = 0; u < users; u++) {
        const tarn_user_state *user = &trainer->options.user_states[u];
        int64_t bytes = (int64_t)user->bytes;
        snprintf(name_at(trainer, trainer->entry_count), NAME_BYTES, "user/%s", user->name);
        add_entry(trainer, TARN_BOOL, 1, &bytes, user->data, false);
    }
    return TARN_OK;
}

void tarn_trainer_make_fingerprint(tarn_trainer *trainer)
{
    const tarn_train_options *o = &trainer->options;
    const tarn_optim_options *p = &o->optim;
    const tarn_schedule_options *s = &o->schedule;
    snprintf(trainer->fingerprint, sizeof trainer->fingerprint,
             "seed: %llu\ntrain.batch: %lld\ntrain.shards: %d\ntrain.accumulate: %d\noptim.kind: %s\noptim.lr: %.17g\n"
             "optim.momentum: %.17g\noptim.nesterov: %d\noptim.beta1: %.17g\noptim.beta2: %.17g\noptim.epsilon: %.17g\n"
             "optim.weight_decay: %.17g\noptim.clip: %.17g\nschedule.kind: %d\nschedule.warmup: %lld\n"
             "schedule.final_ratio: %.17g\nschedule.every: %lld\nschedule.gamma: %.17g\nmodel: %s\ndata: %s\n",
             (unsigned long long)o->seed, (long long)o->batch, o->shards, o->accumulate,
             p->kind == TARN_SGD ? "sgd" : "adamw", p->lr, p->momentum, p->nesterov, p->beta1, p->beta2, p->epsilon,
             p->weight_decay, p->clip, (int)s->kind, (long long)s->warmup, s->final_ratio, (long long)s->every,
             s->gamma, tarn_module_kind(trainer->model), tarn_dataset_digest(o->data));
}

/* Compares line by line; names the first key that differs. */
static tarn_status check_fingerprint(tarn_trainer *trainer)
{
    const char *old = tarn_checkpoint_text_get(trainer->store, "text/fingerprint"), *now = trainer->fingerprint;
    while (old && *old && *now) {
        size_t old_length = strcspn(old, "\n"), now_length = strcspn(now, "\n");
        if (old_length != now_length || memcmp(old, now, old_length)) {
            tarn_fail(trainer->context, TARN_ERROR_CONFIG, TARN_HERE,
                      "the checkpoints in %s belong to a run with \"%.*s\", this one has \"%.*s\": set it back, choose "
                      "another checkpoint directory, or start over with --from-scratch (from_scratch in C)",
                      trainer->options.checkpoint_directory, (int)old_length, old, (int)now_length, now);
            tarn_error_agree(trainer->context); /* the texts are the same on all ranks */
            return TARN_ERROR_CONFIG;
        }
        old += old_length + (old[old_length] != 0);
        now += now_length + (now[now_length] != 0);
    }
    return TARN_OK;
}

tarn_status tarn_trainer_resume(tarn_trainer *trainer)
{
    int64_t step;
    bool found;
    tarn_status status = tarn_checkpoint_load(trainer->store, trainer->entries, trainer->entry_count, &step, &found);
    if (status || !found) return status;
    status = check_fingerprint(trainer);
    if (status) return status;
    trainer->saved_step = trainer->step;
    const char *run_id = tarn_checkpoint_text_get(trainer->store, "text/run_id");
    if (run_id) snprintf(trainer->run_id, sizeof trainer->run_id, "%s", run_id);
    tarn_log(trainer->context, TARN_LOG_INFO, "resumed from step %lld of %s", (long long)trainer->step,
             trainer->options.checkpoint_directory);
    return TARN_OK;
}

tarn_status tarn_trainer_save(tarn_trainer *trainer, bool is_best)
{
    const tarn_dataset *data = trainer->options.data;
    const char *vocabulary = tarn_text_vocabulary(data);
    const tarn_checkpoint_text texts[] = {
        {"text/config", trainer->options.config_text ? trainer->options.config_text : ""},
        {"text/vocabulary", vocabulary ? vocabulary : ""},
        {"text/tokenizer", vocabulary ? *vocabulary ? "char" : "byte" : ""},
        {"text/run_id", trainer->run_id},
        {"text/fingerprint", trainer->fingerprint}};
    tarn_status status = tarn_checkpoint_save(trainer->store, trainer->step, trainer->entries, trainer->entry_count,
                                              texts, (int)(sizeof texts / sizeof *texts), is_best);
    if (status) {
        /* Training goes on: the next checkpoint tries again. The newest one on disk stays valid. */
        const tarn_error *error = tarn_get_error(trainer->context);
        bool final = trainer->stop || trainer->step == trainer->options.steps;
        tarn_log(trainer->context, TARN_LOG_ERROR, "checkpoint of step %lld was not saved: %s",
                 (long long)trainer->step, error ? error->message : tarn_status_name(status));
        if (final) return status;
        tarn_error_clear(trainer->context);
        return TARN_OK;
    }
    trainer->saved_step = trainer->step;
    return TARN_OK;
}

tarn_status tarn_trainer_digest(tarn_trainer *trainer, char out[65])
{
    return tarn_checkpoint_digest(trainer->entries, trainer->entry_count, out);
}
