/* state.c - what a checkpoint of a run holds.
 *
 *   model/<parameter>            values, in the parameter's shape
 *   optim/<state>/<parameter>    the optimizer's moments, likewise
 *   state/step                   i64: steps done
 *   state/best                   f64: the best validation metric so far
 *   state/last                   f64[3]: loss, gradient norm and rate of the last step
 *   state/skipped ...            i64 each: what tarn_run_counts holds
 *   history/step, loss, accuracy the evaluations so far, state/evaluations of them; capacity a power of two times 256
 *   user/<name>                  the user's own state, bytes
 *   text/config, vocabulary, tokenizer, run_id, fingerprint, validation_digest
 *
 * Parameters, moments and step make the digest. The fingerprint names what the bits depend on beside them; a resume
 * with another one is refused, naming the key. What the validation data hold is no part of it: no bit depends on them,
 * and from C they may be others; `tarn train` compares their digest (launch/resume.c).
 */
#include "checkpoint/files.h"
#include "track/tracker.h"
#include "train/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

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
    const struct {
        const char *name;
        int64_t *value;
    } counts[] = {{"skipped", &trainer->counts.skipped},
                  {"skipped_in_a_row", &trainer->counts.skipped_in_a_row},
                  {"best_step", &trainer->counts.best_step},
                  {"evaluations_without_improvement", &trainer->counts.not_improved},
                  {"evaluation_due", &trainer->counts.evaluation_due},
                  {"evaluations", &trainer->counts.evaluations}};
    enum { COUNTS = sizeof counts / sizeof *counts };
    size_t most = (size_t)parameters * (size_t)(1 + state_count) + (size_t)users + 3 + COUNTS + 3;
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
    /* Those that later versions added are optional: a checkpoint without them leaves them as in a new run. */
    static const int64_t three = 3;
    snprintf(name_at(trainer, trainer->entry_count), NAME_BYTES, "state/last");
    add_entry(trainer, TARN_F64, 1, &three, trainer->last, false)->optional = true;
    for (int i = 0; i < COUNTS; i++) {
        snprintf(name_at(trainer, trainer->entry_count), NAME_BYTES, "state/%s", counts[i].name);
        add_entry(trainer, TARN_I64, 1, &one, counts[i].value, false)->optional = true;
    }
    trainer->history_entries = &trainer->entries[trainer->entry_count];
    static const char *const columns[] = {"step", "loss", "accuracy"};
    for (int i = 0; i < 3; i++) {
        snprintf(name_at(trainer, trainer->entry_count), NAME_BYTES, "history/%s", columns[i]);
        tarn_checkpoint_entry *column =
            add_entry(trainer, i ? TARN_F64 : TARN_I64, 1, &trainer->history.capacity, NULL, false);
        column->optional = column->growing = true;
    }
    tarn_trainer_point_at_history(trainer);
    for (int u = 0; u < users; u++) {
        const tarn_user_state *user = &trainer->options.user_states[u];
        int64_t bytes = (int64_t)user->bytes;
        snprintf(name_at(trainer, trainer->entry_count), NAME_BYTES, "user/%s", user->name);
        add_entry(trainer, TARN_BOOL, 1, &bytes, user->data, false);
    }
    return TARN_OK;
}

void tarn_trainer_point_at_history(tarn_trainer *trainer)
{
    tarn_history *history = &trainer->history;
    void *columns[] = {history->step, history->loss, history->accuracy};
    for (int i = 0; trainer->history_entries && i < 3; i++) {
        trainer->history_entries[i].data = columns[i];
        trainer->history_entries[i].shape[0] = history->capacity;
    }
}

/* Loading may have given the columns other memory and another capacity. */
static void take_history(tarn_trainer *trainer)
{
    tarn_checkpoint_entry *entries = trainer->history_entries;
    trainer->history = (tarn_history){entries[0].data, entries[1].data, entries[2].data, entries[0].shape[0]};
}

/* What the kernels compute with, the same bits on every machine. The number is raised by whoever changes the bits of a
 * training (tests/test_same_bits.c notices): a run that was begun with other bits is not gone on with in silence. */
static const char numerics[] = "portable 1";

tarn_status tarn_trainer_make_fingerprint(tarn_trainer *trainer)
{
    const tarn_train_options *o = &trainer->options;
    const tarn_optim_options *p = &o->optim;
    const tarn_schedule_options *s = &o->schedule;
    int used = snprintf(
        trainer->fingerprint, sizeof trainer->fingerprint,
        "seed: %llu\ntrain.batch: %lld\ntrain.shards: %d\ntrain.accumulate: %d\noptim.kind: %s\noptim.lr: %.17g\n"
        "optim.momentum: %.17g\noptim.nesterov: %d\noptim.beta1: %.17g\noptim.beta2: %.17g\noptim.epsilon: %.17g\n"
        "optim.weight_decay: %.17g\noptim.clip: %.17g\nschedule.kind: %d\nschedule.warmup: %lld\n"
        "schedule.final_ratio: %.17g\nschedule.every: %lld\nschedule.gamma: %.17g\nmodel: %.200s\ndata: %.200s\n",
        (unsigned long long)o->seed, (long long)o->batch, o->shards, o->accumulate,
        p->kind == TARN_SGD ? "sgd" : "adamw", p->lr, p->momentum, p->nesterov, p->beta1, p->beta2, p->epsilon,
        p->weight_decay, p->clip, (int)s->kind, (long long)s->warmup, s->final_ratio, (long long)s->every, s->gamma,
        tarn_module_kind(trainer->model), tarn_dataset_digest(o->data));
    /* Lines are only ever added at the end: a checkpoint without them can still be resumed. */
    used += snprintf(trainer->fingerprint + used, sizeof trainer->fingerprint - (size_t)used,
                     "data.samples: %lld\nmodel.parameters: %lld\nmodel.trainable: %d\n",
                     (long long)tarn_dataset_length(o->data), (long long)tarn_module_numel(trainer->model),
                     tarn_module_trainable_count(trainer->model));
    tarn_gpt_options gpt;
    if (tarn_module_is_gpt(trainer->model)) {
        tarn_status status = tarn_gpt_get_options(trainer->model, &gpt);
        if (status) return status;
        used += snprintf(
            trainer->fingerprint + used, sizeof trainer->fingerprint - (size_t)used,
            "model.layers: %lld\nmodel.heads: %lld\nmodel.width: %lld\nmodel.context: %lld\nmodel.dropout: %.17g\n",
            (long long)gpt.layers, (long long)gpt.heads, (long long)gpt.width, (long long)gpt.context, gpt.dropout);
    }
    snprintf(trainer->fingerprint + used, sizeof trainer->fingerprint - (size_t)used, "numerics: %s\n", numerics);
    return TARN_OK;
}

/* The first line in which two texts differ, while both have lines; false when there is none. */
static bool first_difference(const char *a, const char *b, char line_a[256], char line_b[256])
{
    while (*a && *b) {
        size_t length_a = strcspn(a, "\n"), length_b = strcspn(b, "\n");
        if (length_a != length_b || memcmp(a, b, length_a)) {
            snprintf(line_a, 256, "%.*s", (int)length_a, a);
            snprintf(line_b, 256, "%.*s", (int)length_b, b);
            return true;
        }
        a += length_a + (a[length_a] != 0);
        b += length_b + (b[length_b] != 0);
    }
    return false;
}

/* The ranks' texts differ: rank 0 sends its own, and the lowest rank with another line says which. */
static tarn_status name_difference(tarn_trainer *trainer, const char *mine, const char *label)
{
    char first[TARN_FINGERPRINT_BYTES + 512], line[256], line_of_first[256];
    snprintf(first, sizeof first, "%s", mine);
    tarn_status status = tarn_comm_broadcast(tarn_get_comm(trainer->context), first, sizeof first, 0, label);
    if (status) return status;
    if (first_difference(mine, first, line, line_of_first))
        status = tarn_fail(trainer->context, TARN_ERROR_CONFIG, TARN_HERE,
                           "%s: it has \"%s\", rank 0 has \"%s\". Start all ranks with the same options and data",
                           label, line, line_of_first);
    return tarn_agree(trainer->context, status, label);
}

tarn_status tarn_trainer_compare_ranks(tarn_trainer *trainer)
{
    static const char label[] = "comparing the options and data of the ranks";
    const tarn_train_options *o = &trainer->options;
    if (tarn_ranks(trainer->context) == 1) return TARN_OK;
    /* With what decides which collective calls follow, though the bits do not depend on it. */
    char text[TARN_FINGERPRINT_BYTES + 512];
    snprintf(text, sizeof text,
             "%strain.steps: %lld\ntrain.eval_every: %lld\ndata.validation_samples: %lld\ncheckpoint: %d\n"
             "checkpoint.shared: %d\ncheckpoint.every: %lld\ncheckpoint.parts: %d\ncheckpoint.best: %s\nfrom_scratch: "
             "%d\nmodel.init_from: "
             "%d\ntrack: %d\ntrack.system_every: %d\n"
             "train.early_stop: %lld\nhealth.nonfinite: %s\n",
             trainer->fingerprint, (long long)o->steps, (long long)o->eval_every,
             (long long)(trainer->validation ? tarn_dataset_length(trainer->validation) : 0),
             o->checkpoint_directory != NULL, !o->checkpoint_unshared, (long long)o->checkpoint_every,
             o->checkpoint_parts, o->best_metric ? o->best_metric : "validation.loss", o->from_scratch,
             o->init_from != NULL, o->track != NULL, o->system_every > 0, (long long)o->early_stop,
             o->nonfinite == TARN_NONFINITE_SKIP ? "skip" : "stop");
    /* A word of its own: that of the trainer is as long as this rank's number of shards says. */
    tarn_control *control = NULL;
    tarn_status status = tarn_agree(trainer->context, tarn_control_create(&control, trainer->context, 1), label);
    if (!status) {
        uint64_t hash = XXH3_64bits(text, strlen(text));
        tarn_control_set_hash(control, hash ? hash : 1);
        status = tarn_control_exchange(control, label);
        if (tarn_control_flags(control) & TARN_CONTROL_DIVERGED) {
            tarn_error_clear(trainer->context);
            status = name_difference(trainer, text, label);
        }
    }
    tarn_control_destroy(control);
    return status;
}

/* Names the first key in which this rank's fingerprint is not that of the checkpoint; checks what was loaded. */
static tarn_status check_fingerprint(tarn_trainer *trainer)
{
    if (trainer->counts.evaluations < 0 || trainer->counts.evaluations > trainer->history.capacity)
        return tarn_fail(trainer->context, TARN_ERROR_FORMAT, TARN_HERE,
                         "the checkpoint in %s counts %lld evaluations and has room for %lld: it was not written by "
                         "this program",
                         trainer->options.checkpoint_directory, (long long)trainer->counts.evaluations,
                         (long long)trainer->history.capacity);
    const char *text = tarn_checkpoint_text_get(trainer->store, "text/fingerprint");
    char old[256], now[256];
    if (!text || !first_difference(text, trainer->fingerprint, old, now)) return TARN_OK;
    return tarn_fail(trainer->context, TARN_ERROR_CONFIG, TARN_HERE,
                     "the checkpoints in %s belong to a run with \"%s\", this one has \"%s\": set it back, choose "
                     "another checkpoint directory, or start over with --from-scratch (from_scratch in C)",
                     trainer->options.checkpoint_directory, old, now);
}

tarn_status tarn_trainer_resume(tarn_trainer *trainer, bool *found)
{
    int64_t step;
    *found = false;
    tarn_status status = tarn_checkpoint_load(trainer->store, trainer->entries, trainer->entry_count, &step, found);
    take_history(trainer);
    if (status || !*found) return status;
    status = tarn_agree(trainer->context, check_fingerprint(trainer), "comparing the run with the checkpoint");
    if (status) return status;
    trainer->taken_step = trainer->progress.saved_step = trainer->step;
    const char *run_id = tarn_checkpoint_text_get(trainer->store, "text/run_id");
    if (run_id) snprintf(trainer->run_id, sizeof trainer->run_id, "%s", run_id);
    tarn_log(trainer->context, TARN_LOG_INFO, "resumed from step %lld of %s", (long long)trainer->step,
             trainer->options.checkpoint_directory);
    return TARN_OK;
}

/* Somebody who resumed in earnest would else find out when the checkpoints have other names. */
void tarn_trainer_tell_unused(const tarn_trainer *trainer)
{
    int64_t *steps;
    int count;
    tarn_problem problem;
    const char *directory = trainer->options.checkpoint_directory;
    if (tarn_rank(trainer->context) != 0 || !tarn_checkpoint_scan(&steps, &count, directory, &problem)) return;
    free(steps);
    if (!count) return;
    tarn_log(trainer->context, TARN_LOG_WARN,
             "starting from scratch: %d checkpoint%s in %s %s not used; once this run saves, those of later steps are "
             "called superseded-..., those of earlier steps count as its own older ones (checkpoint.keep)",
             count, count == 1 ? "" : "s", directory, count == 1 ? "is" : "are");
}

/* ---- saving ------------------------------------------------------------------------------------------------------ */

enum { SAVED_TEXTS = 6 };

static void settle_record(void *tracker, int64_t mark)
{
    tarn_track_settle(tracker, mark);
}

static tarn_checkpoint_request request_of(const tarn_trainer *trainer, tarn_checkpoint_text texts[SAVED_TEXTS])
{
    const char *vocabulary = tarn_text_vocabulary(trainer->options.data);
    const tarn_dataset *validation = trainer->options.validation;
    texts[0] = (tarn_checkpoint_text){"text/config", trainer->options.config_text ? trainer->options.config_text : ""};
    texts[1] = (tarn_checkpoint_text){"text/vocabulary", vocabulary ? vocabulary : ""};
    texts[2] = (tarn_checkpoint_text){"text/tokenizer", vocabulary ? *vocabulary ? "char" : "byte" : ""};
    texts[3] = (tarn_checkpoint_text){"text/run_id", trainer->run_id};
    texts[4] = (tarn_checkpoint_text){"text/fingerprint", trainer->fingerprint};
    texts[5] = (tarn_checkpoint_text){"text/validation_digest", validation ? tarn_dataset_digest(validation) : ""};
    return (tarn_checkpoint_request){.step = trainer->step,
                                     .entries = trainer->entries,
                                     .entry_count = trainer->entry_count,
                                     .texts = texts,
                                     .text_count = SAVED_TEXTS,
                                     .workers = trainer->workers};
}

/* Training goes on: the next checkpoint tries again. The newest one on disk stays valid. */
static void log_failure(tarn_trainer *trainer, tarn_status status)
{
    const tarn_error *error = tarn_get_error(trainer->context);
    tarn_log(trainer->context, TARN_LOG_ERROR, "checkpoint of step %lld was not saved: %s", (long long)trainer->step,
             error ? error->message : tarn_status_name(status));
    tarn_error_clear(trainer->context);
}

void tarn_trainer_prepare_saves(tarn_trainer *trainer)
{
    tarn_checkpoint_text texts[SAVED_TEXTS];
    tarn_checkpoint_request request = request_of(trainer, texts);
    tarn_status status = tarn_checkpoint_prepare(trainer->store, &request);
    if (status) log_failure(trainer, status);
}

void tarn_trainer_poll_saves(tarn_trainer *trainer)
{
    tarn_checkpoint_poll(trainer->store);
    int64_t saved = tarn_checkpoint_saved_step(trainer->store);
    if (saved < 0) return;
    if (saved != trainer->progress.saved_step && tarn_rank(trainer->context) == 0)
        tarn_monitor_tell(trainer->context, "saved %lld", (long long)saved);
    if (saved != trainer->progress.saved_step) {
        tarn_trainer_forget_planned_run_id(trainer);
        tarn_trainer_log_saved(trainer, saved);
    }
    trainer->progress.saved_step = saved;
}

/* The state goes into the snapshot; the record of tracking must be as far as the state before the checkpoint counts:
 * after a kill the resumed run does not log it again. */
static tarn_status take(tarn_trainer *trainer, bool is_best, bool must)
{
    tarn_checkpoint_text texts[SAVED_TEXTS];
    tarn_checkpoint_request request = request_of(trainer, texts);
    bool taken;
    /* What became durable before this is told of before this can. */
    tarn_trainer_poll_saves(trainer);
    request.is_best = is_best;
    request.must = must;
    request.settle = settle_record;
    request.settle_user = trainer->tracker;
    request.settle_mark = tarn_track_mark(trainer->tracker);
    tarn_status status = tarn_checkpoint_begin(trainer->store, &request, &taken);
    if (taken) trainer->taken_step = trainer->step;
    return status;
}

tarn_status tarn_trainer_save(tarn_trainer *trainer, bool is_best, bool final)
{
    if (!final) {
        tarn_status status = take(trainer, is_best, is_best);
        if (status) log_failure(trainer, status);
        tarn_trainer_poll_saves(trainer);
        return TARN_OK;
    }
    tarn_status status = TARN_OK;
    bool taken = trainer->taken_step == trainer->step && !is_best;
    if (taken && (status = tarn_checkpoint_wait(trainer->store))) log_failure(trainer, status);
    tarn_trainer_poll_saves(trainer);
    taken = taken && trainer->progress.saved_step == trainer->step;
    if (!taken) status = take(trainer, is_best, true);
    if (!taken && !status) status = tarn_checkpoint_wait(trainer->store);
    tarn_trainer_poll_saves(trainer);
    /* Only rank 0 writes; that nothing was saved is the outcome of the run on every rank. */
    trainer->saved_final = true;
    return tarn_agree(trainer->context, status, "saving the last checkpoint");
}

tarn_status tarn_trainer_digest(tarn_trainer *trainer, char out[65])
{
    return tarn_checkpoint_digest(trainer->entries, trainer->entry_count, out);
}
