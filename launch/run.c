/* run.c - see run.h. */
#include "launch/run.h"
#include "checkpoint/store.h"
#include "launch/schema.h"
#include "track/file_store/catalog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static tarn_activation activation_of(const char *name)
{
    static const struct {
        const char *name;
        tarn_activation activation;
    } known[] = {{"relu", TARN_RELU}, {"gelu", TARN_GELU}, {"gelu_tanh", TARN_GELU_TANH},
                 {"silu", TARN_SILU}, {"tanh", TARN_TANH}, {"sigmoid", TARN_SIGMOID}};
    for (size_t i = 0; name && i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name)) return known[i].activation;
    return TARN_NO_ACTIVATION;
}

static bool is(const tarn_config *config, const char *key, const char *value)
{
    const char *given = tarn_config_string(config, key);
    return given && !strcmp(given, value);
}

tarn_status tarn_run_model(tarn_module **model, tarn_context *context, const tarn_config *config, int64_t vocabulary)
{
    if (is(config, "model.kind", "gpt")) {
        tarn_gpt_options gpt = {.layers = tarn_config_integer(config, "model.layers"),
                                .heads = tarn_config_integer(config, "model.heads"),
                                .width = tarn_config_integer(config, "model.width"),
                                .context = tarn_config_integer(config, "model.context"),
                                .vocabulary = vocabulary,
                                .dropout = tarn_config_number(config, "model.dropout")};
        if (gpt.heads > 0 && gpt.width % gpt.heads)
            return tarn_config_fail(context, config, "model.width", "%lld does not divide by model.heads %lld",
                                    (long long)gpt.width, (long long)gpt.heads);
        return tarn_gpt_create(model, context, &gpt);
    }
    tarn_mlp_options mlp = {.activation = activation_of(tarn_config_string(config, "model.activation")),
                            .dropout = tarn_config_number(config, "model.dropout")};
    mlp.count = tarn_config_integers(config, "model.sizes", &mlp.sizes);
    if (mlp.count < 2) return tarn_config_fail(context, config, "model.sizes", "it needs at least [inputs, outputs]");
    return tarn_mlp_create(model, context, &mlp);
}

tarn_status tarn_run_check_file(tarn_context *context, const tarn_config *config, const char *key)
{
    const char *path = tarn_config_string(config, key);
    if (path && access(path, R_OK)) return tarn_config_fail(context, config, key, "%s: %s", path, strerror(errno));
    return TARN_OK;
}

/* A data file the run file names must be there: that is the user's to mend, and the line says where. */
static tarn_status check_files(tarn_context *context, const tarn_config *config, bool test_only)
{
    static const char *const keys[] = {"data.test_images", "data.test_labels", "data.path", "data.images",
                                       "data.labels"};
    const char *images = tarn_config_string(config, keys[0]), *labels = tarn_config_string(config, keys[1]);
    if (!images != !labels)
        return tarn_config_fail(context, config, images ? keys[1] : keys[0],
                                "is missing: test images and test labels are given together");
    tarn_status status = TARN_OK;
    for (size_t i = 0; i < (test_only && images ? 2 : sizeof keys / sizeof *keys) && !status; i++)
        status = tarn_run_check_file(context, config, keys[i]);
    return status;
}

/* What the registry would refuse when the run has ended. */
static tarn_status check_register(tarn_context *context, const tarn_config *config)
{
    const char *name = tarn_config_string(config, "track.register"),
               *problem = name ? tarn_registry_name_problem(name) : NULL;
    if (!problem) return TARN_OK;
    return tarn_config_fail(context, config, "track.register", "\"%.300s\" cannot name a registered model: %s", name,
                            problem);
}

static tarn_status open_data(tarn_run *run, tarn_context *context, const char *vocabulary, bool test_only)
{
    const tarn_config *config = run->config;
    if (is(config, "data.kind", "text")) {
        bool bytes = is(config, "data.tokenizer", "byte");
        tarn_text_options text = {.tokenizer = bytes ? TARN_TOKENIZE_BYTES : TARN_TOKENIZE_CHARACTERS,
                                  .validation = tarn_config_number(config, "data.validation"),
                                  .vocabulary = vocabulary && *vocabulary ? vocabulary : NULL};
        if (is(config, "model.kind", "gpt"))
            text.context = tarn_config_integer(config, "model.context");
        else
            return tarn_config_fail(context, config, "data.kind", "text needs model.kind gpt, not %s",
                                    tarn_config_string(config, "model.kind"));
        if (!tarn_config_string(config, "data.path"))
            return tarn_config_fail(context, config, "data.path", "is missing: the text to train on");
        return tarn_text_open(&run->data, context, tarn_config_string(config, "data.path"), &text);
    }
    if (is(config, "model.kind", "gpt"))
        return tarn_config_fail(context, config, "data.kind", "model.kind gpt needs text");
    const char *images = tarn_config_string(config, "data.images"), *labels = tarn_config_string(config, "data.labels");
    if (!images || !labels)
        return tarn_config_fail(context, config, images ? "data.labels" : "data.images",
                                "is missing: data.kind idx needs images and labels");
    const char *test_images = tarn_config_string(config, "data.test_images");
    const char *test_labels = tarn_config_string(config, "data.test_labels");
    if (test_only && test_images && test_labels) {
        tarn_status status = tarn_idx_open(&run->data, context, test_images, test_labels);
        run->test = run->data;
        return status;
    }
    tarn_status status = tarn_idx_open(&run->data, context, images, labels);
    if (!status && test_images && test_labels)
        status = tarn_idx_open(&run->test, context, test_images, test_labels);
    else if (!status && tarn_config_number(config, "data.validation") > 0)
        status = tarn_dataset_split(run->data, tarn_config_number(config, "data.validation"));
    return status;
}

/* A key that was given stands above MLFLOW_*, which the tracker looks at where an option is NULL. */
static void fill_track(tarn_run *run)
{
    const tarn_config *config = run->config;
    tarn_train_options *o = &run->options;
    const char *store = tarn_config_string(config, "track.store");
    const double flush = tarn_config_number(config, "track.flush_timeout");
    const double every = tarn_config_number(config, "track.system_every");
    run->track = (tarn_track_options){.store = !store                  ? "none"
                                               : strcmp(store, "auto") ? store
                                                                       : NULL,
                                      .experiment = tarn_config_string(config, "track.experiment"),
                                      .name = tarn_config_string(config, "track.name"),
                                      .run_id = tarn_config_string(config, "track.run_id"),
                                      .spool = tarn_config_string(config, "track.spool"),
                                      .spool_limit = tarn_config_integer(config, "track.spool_limit"),
                                      .flush_timeout = flush > 0 ? flush : -1,
                                      .tensorboard = tarn_config_string(config, "track.tensorboard"),
                                      .wandb = tarn_config_string(config, "track.wandb"),
                                      .metrics_listen = tarn_config_string(config, "metrics.listen"),
                                      .metrics_file = tarn_config_string(config, "metrics.file")};
    if (!run->track.name) run->track.name = o->run_name;
    if (!run->track.spool && o->checkpoint_directory &&
        snprintf(run->spool, sizeof run->spool, "%s/spool", o->checkpoint_directory) < (int)sizeof run->spool)
        run->track.spool = run->spool;
    o->system_every = every > 0 ? every : -1;
    o->histograms_every = tarn_config_integer(config, "track.histograms_every");
    const tarn_track_options *track = &run->track;
    if (store || track->tensorboard || track->wandb || track->metrics_listen || track->metrics_file)
        o->track = &run->track; /* track.store=null alone: nobody gets a record */
}

void tarn_run_fill_options(tarn_run *run)
{
    const tarn_config *config = run->config;
    tarn_train_options *o = &run->options;
    o->model = run->model;
    o->data = run->data;
    o->validation = run->test;
    o->seed = (uint64_t)tarn_config_integer(config, "seed");
    o->steps = tarn_config_integer(config, "train.steps");
    o->batch = tarn_config_integer(config, "train.batch");
    o->shards = (int)tarn_config_integer(config, "train.shards");
    o->accumulate = (int)tarn_config_integer(config, "train.accumulate");
    o->threads = (int)tarn_config_integer(config, "train.threads");
    o->eval_every = tarn_config_integer(config, "train.eval_every");
    o->early_stop = tarn_config_integer(config, "train.early_stop");
    o->nonfinite = is(config, "health.nonfinite", "skip") ? TARN_NONFINITE_SKIP : TARN_NONFINITE_STOP;
    const double slow_ratio = tarn_config_number(config, "health.slow_ratio");
    o->slow_ratio = slow_ratio > 0 ? slow_ratio : -1;
    o->optim = (tarn_optim_options){.kind = is(config, "optim.kind", "sgd") ? TARN_SGD : TARN_ADAMW,
                                    .lr = tarn_config_number(config, "optim.lr"),
                                    .momentum = tarn_config_number(config, "optim.momentum"),
                                    .nesterov = tarn_config_boolean(config, "optim.nesterov"),
                                    .beta1 = tarn_config_number(config, "optim.beta1"),
                                    .beta2 = tarn_config_number(config, "optim.beta2"),
                                    .epsilon = tarn_config_number(config, "optim.epsilon"),
                                    .weight_decay = tarn_config_number(config, "optim.weight_decay"),
                                    .clip = tarn_config_number(config, "optim.clip")};
    const tarn_schedule_kind kind = is(config, "schedule.kind", "cosine")   ? TARN_COSINE
                                    : is(config, "schedule.kind", "linear") ? TARN_LINEAR
                                    : is(config, "schedule.kind", "step")   ? TARN_STEP_DECAY
                                                                            : TARN_CONSTANT;
    o->schedule = (tarn_schedule_options){.kind = kind,
                                          .warmup = tarn_config_integer(config, "schedule.warmup"),
                                          .final_ratio = tarn_config_number(config, "schedule.final_ratio"),
                                          .every = tarn_config_integer(config, "schedule.every"),
                                          .gamma = tarn_config_number(config, "schedule.gamma")};
    o->checkpoint_directory = tarn_config_string(config, "checkpoint.dir");
    o->checkpoint_every = tarn_config_integer(config, "checkpoint.every");
    o->checkpoint_keep = (int)tarn_config_integer(config, "checkpoint.keep");
    o->checkpoint_parts = (int)tarn_config_integer(config, "checkpoint.parts");
    o->best_metric = tarn_config_string(config, "checkpoint.best");
    o->health_timeout = tarn_config_number(config, "health.timeout");
    o->checkpoint_unshared = !tarn_config_boolean(config, "checkpoint.shared");
    o->spot = tarn_config_string(config, "spot");
    o->spot_endpoint = tarn_config_string(config, "spot_endpoint");
    o->spot_grace = tarn_config_number(config, "spot_grace");
    o->init_from = tarn_config_string(config, "model.init_from");
    o->config_text = tarn_config_text(config);
    o->run_name = tarn_config_string(config, "name");
    if (!o->checkpoint_directory && o->run_name) {
        snprintf(run->directory, sizeof run->directory, "runs/%s", o->run_name);
        o->checkpoint_directory = run->directory;
    }
    fill_track(run);
}

tarn_status tarn_run_open(tarn_run *run, tarn_context *context, tarn_config *config, const char *vocabulary,
                          bool test_only)
{
    *run = (tarn_run){.config = config};
    tarn_status status = check_files(context, config, test_only);
    if (!status && !test_only) status = check_register(context, config);
    if (!status) status = open_data(run, context, vocabulary, test_only);
    tarn_sample_shape shape = {0};
    if (!status) tarn_dataset_shape(run->data, &shape);
    if (!status) status = tarn_run_model(&run->model, context, config, shape.classes);
    const char *freeze = tarn_config_string(config, "model.freeze");
    if (!status && freeze) status = tarn_module_freeze(run->model, freeze, true, NULL);
    if (!status) tarn_run_fill_options(run);
    return status;
}

void tarn_run_close(tarn_run *run)
{
    tarn_module_destroy(run->model);
    if (run->test != run->data) tarn_dataset_close(run->test);
    tarn_dataset_close(run->data);
    tarn_config_destroy(run->config);
    *run = (tarn_run){0};
}

tarn_status tarn_run_from_checkpoint(tarn_config **config, char **vocabulary, tarn_context *context, const char *path,
                                     int overrides, const char *const *override)
{
    *config = NULL;
    *vocabulary = NULL;
    char *text = NULL;
    tarn_status status = tarn_checkpoint_peek(context, path, "text/config", &text);
    if (!status && (!text || !*text))
        status = tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                           "%s keeps no run file: it was written by a program that gave no config_text", path);
    if (!status)
        status = tarn_config_parse_with(config, context, tarn_run_schema, tarn_run_schema_count, text, path, overrides,
                                        override);
    if (!status) status = tarn_checkpoint_peek(context, path, "text/vocabulary", vocabulary);
    free(text);
    return status;
}
