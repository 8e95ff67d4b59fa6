/* schema.c - the keys of a run file, with their types, defaults, ranges and conditions.
 *
 * Invariants
 *  1. A key that may change on resume changes no bit of the training state up to the step where the run was saved; a
 *     key that may move names data, whose contents may not change (resume.c compares them); everything else belongs to
 *     the run.
 *  2. A value that is used where a key of the training is not given is its default here, also where it depends on
 *     another key: the record shows it, and given in a file it is no change.
 *  3. docs/internals/configuration.md shows this table, and a test compares the two.
 */
#include "launch/schema.h"

#include <float.h>
#include <math.h>

/* Ranges: at least 1, at least 0, above 0, a share below 1. */
#define FROM_ONE  .low = 1, .high = INFINITY
#define FROM_ZERO .low = 0, .high = INFINITY
#define POSITIVE  .low = DBL_MIN, .high = INFINITY
#define SHARE     .low = 0, .high = 0.999999

const tarn_config_key tarn_run_schema[] = {
    {"name", TARN_CONFIG_STRING, .may_change = true,
     .help = "name of the run, shown in the progress and in the record"},
    {"seed", TARN_CONFIG_INTEGER, "0", FROM_ZERO, .help = "of initial weights, order of samples and dropout"},

    {"model.kind", TARN_CONFIG_CHOICE, .choices = "gpt|mlp", .required = true, .help = "the architecture"},
    {"model.layers", TARN_CONFIG_INTEGER, FROM_ONE, .required = true, .when = "model.kind=gpt",
     .help = "transformer blocks"},
    {"model.heads", TARN_CONFIG_INTEGER, FROM_ONE, .required = true, .when = "model.kind=gpt",
     .help = "attention heads; must divide width"},
    {"model.width", TARN_CONFIG_INTEGER, FROM_ONE, .required = true, .when = "model.kind=gpt",
     .help = "length of a token's vector"},
    {"model.context", TARN_CONFIG_INTEGER, FROM_ONE, .required = true, .when = "model.kind=gpt",
     .help = "tokens the model sees at once"},
    {"model.sizes", TARN_CONFIG_INTEGER_LIST, FROM_ONE, .required = true, .when = "model.kind=mlp",
     .help = "inputs, widths of the hidden layers, outputs: [784, 128, 10]"},
    {"model.activation", TARN_CONFIG_CHOICE, "relu", .choices = "relu|gelu|gelu_tanh|silu|tanh|sigmoid",
     .when = "model.kind=mlp", .help = "between the layers"},
    {"model.dropout", TARN_CONFIG_NUMBER, "0", SHARE, .help = "share of activations that a training step drops"},
    {"model.init_from", TARN_CONFIG_STRING,
     .help = "checkpoint, or directory of checkpoints, that gives the first weights"},
    {"model.freeze", TARN_CONFIG_STRING, .help = "shell pattern of the names of parameters that stay as they are"},

    {"data.kind", TARN_CONFIG_CHOICE, .choices = "text|idx", .required = true, .help = "where samples come from"},
    {"data.path", TARN_CONFIG_STRING, .required = true, .may_move = true, .when = "data.kind=text",
     .help = "a UTF-8 text"},
    {"data.tokenizer", TARN_CONFIG_CHOICE, "char", .choices = "char|byte", .when = "data.kind=text",
     .help = "what a token is"},
    {"data.images", TARN_CONFIG_STRING, .required = true, .may_move = true, .when = "data.kind=idx",
     .help = "images in IDX format, plain or gzipped"},
    {"data.labels", TARN_CONFIG_STRING, .required = true, .may_move = true, .when = "data.kind=idx",
     .help = "their labels"},
    {"data.test_images", TARN_CONFIG_STRING, .may_move = true, .when = "data.kind=idx",
     .help = "images for validation"},
    {"data.test_labels", TARN_CONFIG_STRING, .may_move = true, .when = "data.kind=idx", .help = "their labels"},
    {"data.validation", TARN_CONFIG_NUMBER, "0", SHARE, .help = "share cut from the end of the data for validation"},

    {"train.batch", TARN_CONFIG_INTEGER, "32", FROM_ONE,
     .help = "samples of a step over all ranks; a multiple of shards"},
    {"train.shards", TARN_CONFIG_INTEGER, "8", .low = 1, .high = 65536,
     .help = "parts of a batch; at most as many ranks can share the work"},
    {"train.accumulate", TARN_CONFIG_INTEGER, "1", .low = 1, .high = 65536,
     .help = "parts of a shard that are computed one after the other"},
    {"train.steps", TARN_CONFIG_INTEGER, "1000", FROM_ONE, .may_change = true, .help = "steps of the whole run"},
    {"train.threads", TARN_CONFIG_INTEGER, "0", .low = 0, .high = 1024, .may_change = true,
     .help = "threads of each rank; 0 = cores it may use / ranks on this host"},
    {"train.eval_every", TARN_CONFIG_INTEGER, "0", FROM_ZERO, .may_change = true,
     .help = "steps between evaluations; 0 = none"},
    {"train.early_stop", TARN_CONFIG_INTEGER, "0", FROM_ZERO, .may_change = true,
     .help = "evaluations without a better checkpoint.best after which the run ends; 0 = never"},

    {"optim.kind", TARN_CONFIG_CHOICE, "adamw", .choices = "adamw|sgd", .help = "the optimizer"},
    {"optim.lr", TARN_CONFIG_NUMBER, "adamw=0.001|sgd=0.01", POSITIVE, .by = "optim.kind", .help = "learning rate"},
    {"optim.momentum", TARN_CONFIG_NUMBER, "0", SHARE, .when = "optim.kind=sgd", .help = "0 = plain gradient descent"},
    {"optim.nesterov", TARN_CONFIG_BOOLEAN, "false", .when = "optim.kind=sgd", .help = "look ahead along the momentum"},
    {"optim.beta1", TARN_CONFIG_NUMBER, "0.9", .low = DBL_MIN, .high = 0.999999999, .when = "optim.kind=adamw",
     .help = "decay of the first moment"},
    {"optim.beta2", TARN_CONFIG_NUMBER, "0.999", .low = DBL_MIN, .high = 0.999999999, .when = "optim.kind=adamw",
     .help = "decay of the second moment"},
    {"optim.epsilon", TARN_CONFIG_NUMBER, "1e-8", POSITIVE, .when = "optim.kind=adamw",
     .help = "added to the denominator"},
    {"optim.weight_decay", TARN_CONFIG_NUMBER, "0", FROM_ZERO, .help = "decoupled (adamw), part of the gradient (sgd)"},
    {"optim.clip", TARN_CONFIG_NUMBER, "0", FROM_ZERO, .help = "largest norm of the gradient; 0 = no clipping"},

    {"schedule.kind", TARN_CONFIG_CHOICE, "constant", .choices = "constant|cosine|linear|step",
     .help = "course of the learning rate; cosine and linear end at train.steps"},
    {"schedule.warmup", TARN_CONFIG_INTEGER, "0", FROM_ZERO, .help = "steps in which the rate rises to optim.lr"},
    {"schedule.final_ratio", TARN_CONFIG_NUMBER, "0", .low = 0, .high = 1, .when = "schedule.kind=cosine|linear",
     .help = "last rate / optim.lr"},
    {"schedule.every", TARN_CONFIG_INTEGER, FROM_ONE, .required = true, .when = "schedule.kind=step",
     .help = "steps after which the rate falls"},
    {"schedule.gamma", TARN_CONFIG_NUMBER, "0.1", .low = DBL_MIN, .high = 1, .when = "schedule.kind=step",
     .help = "what it is multiplied by then"},

    {"checkpoint.dir", TARN_CONFIG_STRING, .may_change = true,
     .help = "directory of the checkpoints; runs/NAME when the run has a name, else none are kept"},
    {"checkpoint.every", TARN_CONFIG_INTEGER, "0", FROM_ZERO, .may_change = true,
     .help = "steps between checkpoints; 0 = only at the end"},
    {"checkpoint.keep", TARN_CONFIG_INTEGER, "3", .low = 1, .high = 1000000, .may_change = true,
     .help = "newest checkpoints that are kept"},
    {"checkpoint.parts", TARN_CONFIG_INTEGER, "0", .low = 0, .high = 256, .may_change = true,
     .help = "files of a checkpoint, written by the ranks side by side; 0 = one up to 2 GiB, above one a GiB"},
    {"checkpoint.best", TARN_CONFIG_CHOICE, "validation.loss", .choices = "validation.loss|validation.accuracy",
     .may_change = true, .help = "what the best checkpoint is chosen by"},
    {"checkpoint.shared", TARN_CONFIG_BOOLEAN, "true", .may_change = true,
     .help = "every host sees checkpoint.dir, which is checked; false = only the host of rank 0 has it"},

    {"spot", TARN_CONFIG_CHOICE, "auto", .choices = "auto|aws|gcp|azure|off", .may_change = true,
     .help = "whose notice that the machine is taken away is watched; auto = as the firmware says"},
    {"spot_endpoint", TARN_CONFIG_STRING, .may_change = true,
     .help = "address of the metadata service; not given = http://169.254.169.254"},
    {"spot_grace", TARN_CONFIG_NUMBER, "0", FROM_ZERO, .may_change = true,
     .help = "seconds from the notice to the end; 0 = 120 (aws), 30 (gcp, azure)"},

    {"health.timeout", TARN_CONFIG_NUMBER, "60", .low = 1, .high = 1e6, .may_change = true,
     .help = "seconds without progress after which a rank counts as hung and the job is ended"},
    {"health.nonfinite", TARN_CONFIG_CHOICE, "stop", .choices = "stop|skip", .may_change = true,
     .help = "what becomes of a step whose loss or gradient is not finite"},
    {"health.slow_ratio", TARN_CONFIG_NUMBER, "1.5", FROM_ZERO, .may_change = true,
     .help = "a rank is slow when it computes so many times as long as the others; 0 = never"},

    {"track.store", TARN_CONFIG_STRING, "auto", .may_change = true,
     .help =
         "where the record goes: a directory (MLflow file store) or the http(s):// address of an MLflow server; auto "
         "= MLFLOW_TRACKING_URI, else mlruns; null = no record is kept"},
    {"track.experiment", TARN_CONFIG_STRING, .may_change = true,
     .help = "experiment that the run belongs to; not given = MLFLOW_EXPERIMENT_NAME, else Default"},
    {"track.name", TARN_CONFIG_STRING, .may_change = true, .help = "name of the run in the record; not given = name"},
    {"track.run_id", TARN_CONFIG_STRING, .may_change = true,
     .help =
         "32 hex digits of the run to go on with; not given = MLFLOW_RUN_ID, else the checkpoint's, else a new one"},
    {"track.spool", TARN_CONFIG_STRING, .may_change = true,
     .help = "directory in which the record waits for its store; not given = spool in checkpoint.dir, else tarn-spool"},
    {"track.spool_limit", TARN_CONFIG_INTEGER, "1073741824", .low = 65536, .high = INFINITY, .may_change = true,
     .help = "bytes of the spool, copies of files included, beyond which the oldest metrics are thinned"},
    {"track.flush_timeout", TARN_CONFIG_NUMBER, "10", FROM_ZERO, .may_change = true,
     .help = "seconds that the end of the run waits for a server that does not answer"},
    {"track.tensorboard", TARN_CONFIG_STRING, .may_change = true,
     .help = "directory for TensorBoard's event files, a folder a run"},
    {"track.wandb", TARN_CONFIG_STRING, .may_change = true,
     .help = "directory for an offline run of Weights & Biases, for wandb sync"},
    {"track.histograms_every", TARN_CONFIG_INTEGER, "0", FROM_ZERO, .may_change = true,
     .help = "steps between histograms of weights and gradients; 0 = none"},
    {"track.system_every", TARN_CONFIG_NUMBER, "10", FROM_ZERO, .may_change = true,
     .help = "seconds between samples of CPU, memory, disk and network of each host; 0 = none"},
    {"track.model", TARN_CONFIG_BOOLEAN, "false", .may_change = true,
     .help = "log the model, as ONNX, at the end of the run"},
    {"track.register", TARN_CONFIG_STRING, .may_change = true,
     .help = "name in the model registry that the logged model becomes a version of; includes track.model"},

    {"metrics.listen", TARN_CONFIG_STRING, .may_change = true,
     .help = "ADDRESS:PORT at which rank 0 serves the metrics to Prometheus, such as 127.0.0.1:9464"},
    {"metrics.file", TARN_CONFIG_STRING, .may_change = true,
     .help = "file of the metrics for the textfile collector of Prometheus' node exporter"},
};

const int tarn_run_schema_count = sizeof tarn_run_schema / sizeof *tarn_run_schema;
