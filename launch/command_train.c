/* command_train.c - tarn train: a run file, overrides, ranks that agree on everything before the first step. */
#include "launch/command.h"
#include "launch/log_model.h"
#include "launch/plan.h"
#include "launch/progress.h"
#include "launch/resume.h"
#include "launch/run.h"
#include "launch/sagemaker.h"
#include "launch/schema.h"
#include "runtime/dist/control.h"
#include "track/environment.h"
#include "track/tracker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct arguments {
    const char *file;
    const char **overrides;
    int override_count, expect_ranks;
    char **hyper_parameters; /* owned; the first of the overrides, so that the command line wins */
    int hyper_parameter_count;
    bool from_scratch, dry_run, quiet, help, sagemaker;
} arguments;

static void print_help(void)
{
    printf("usage: tarn train RUN.yaml [key=value ...] [--from-scratch] [--dry-run] [--quiet] [--expect-ranks N]\n\n"
           "Trains the model a run file describes, alone or under mpirun/srun. Started again with the same file it "
           "resumes\n"
           "from the newest checkpoint. Ctrl-C and SIGTERM save a checkpoint after the step and exit with 75.\n\n"
           "  --from-scratch     do not resume (restarts by tarn run do)\n"
           "  --dry-run          print the resolved configuration, parameters, shard plan and memory; train nothing\n"
           "  --quiet            no progress\n"
           "  --expect-ranks N   fail unless exactly N ranks were started\n"
           "  --sagemaker        take key=value from SageMaker's hyper-parameters, keep checkpoints in its folder;\n"
           "                     the run file may be left out. Also without the option inside a training job\n\n"
           "keys (* may change on resume, + may name another file of the same contents then):\n");
    for (int i = 0; i < tarn_run_schema_count; i++) {
        const tarn_config_key *key = &tarn_run_schema[i];
        printf("  %s%-22s %s",
               key->may_change ? "*"
               : key->may_move ? "+"
                               : " ",
               key->name, key->help ? key->help : "");
        if (key->choices) printf(" (%s)", key->choices);
        if (key->fallback) printf(" [%s]", key->fallback);
        printf("\n");
    }
}

static tarn_status add_hyper_parameters(tarn_context *context, arguments *arguments)
{
    tarn_status status =
        tarn_sagemaker_overrides(context, &arguments->hyper_parameters, &arguments->hyper_parameter_count);
    if (status) return status;
    size_t first = (size_t)arguments->hyper_parameter_count, given = (size_t)arguments->override_count;
    const char **all = calloc(first + given + 1, sizeof *all);
    if (!all) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for the arguments");
    for (size_t i = 0; i < first; i++) all[i] = arguments->hyper_parameters[i];
    for (size_t i = 0; i < given; i++) all[first + i] = arguments->overrides[i];
    free(arguments->overrides);
    arguments->overrides = all;
    arguments->override_count = (int)(first + given);
    return TARN_OK;
}

static tarn_status parse(tarn_context *context, int argc, char **argv, arguments *out)
{
    *out = (arguments){.overrides = calloc((size_t)argc + 1, sizeof(char *))};
    if (!out->overrides) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for the arguments");
    for (int i = 1; i < argc; i++) {
        const char *argument = argv[i];
        if (!strcmp(argument, "--help") || !strcmp(argument, "-h"))
            out->help = true;
        else if (!strcmp(argument, "--from-scratch"))
            /* A restart under tarn run goes on with what the launch before began from scratch. */
            out->from_scratch = !getenv("TARN_RESTARTED");
        else if (!strcmp(argument, "--dry-run"))
            out->dry_run = true;
        else if (!strcmp(argument, "--quiet"))
            out->quiet = true;
        else if (!strcmp(argument, "--sagemaker"))
            out->sagemaker = true;
        else if (!strcmp(argument, "--expect-ranks") && i + 1 < argc)
            out->expect_ranks = atoi(argv[++i]);
        else if (argument[0] == '-')
            return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                             "tarn train does not know the option %s: see tarn train --help", argument);
        else if (strchr(argument, '='))
            out->overrides[out->override_count++] = argument;
        else if (out->file)
            return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                             "two run files, %s and %s: give one, and changes as key=value", out->file, argument);
        else
            out->file = argument;
    }
    if (tarn_sagemaker_detected()) out->sagemaker = true;
    if (out->sagemaker) return add_hyper_parameters(context, out);
    if (!out->help && !out->file)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn train needs a run file: tarn train run.yaml");
    return TARN_OK;
}

static tarn_status check_ranks(tarn_context *context, const arguments *arguments)
{
    if (!arguments->expect_ranks || arguments->expect_ranks == tarn_ranks(context)) return TARN_OK;
    return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                     "--expect-ranks %d, but %d started: were the ranks launched by an mpirun this build understands?",
                     arguments->expect_ranks, tarn_ranks(context));
}

/* What a run that goes on has other values of than its record holds, which keeps the first ones. */
typedef struct changed_keys {
    char text[4096]; /* "train.steps=260, checkpoint.keep=5" */
    int count;
    bool odd; /* one of them may not change: this is another training in the record of the first */
} changed_keys;

/* resumed: what files hold that have moved was compared. */
static void add_changed(changed_keys *changed, const tarn_config_key *key, const char *value, bool resumed)
{
    size_t used = strlen(changed->text);
    snprintf(changed->text + used, sizeof changed->text - used, "%s%s=%.200s", used ? ", " : "", key->name, value);
    changed->count++;
    changed->odd = changed->odd || !(key->may_change || (key->may_move && resumed));
}

/* Once, at the start that changed them: the tag says whether this one did. */
static void tell_changed(tarn_context *context, tarn_tracker *tracker, const changed_keys *changed)
{
    char before[sizeof changed->text] = "";
    tarn_track_tag(tracker, "tarn.changed_parameters", before, sizeof before);
    if (!strcmp(before, changed->text)) return;
    tarn_log_tag(tracker, "tarn.changed_parameters", changed->text);
    if (changed->count)
        tarn_log(context, changed->odd ? TARN_LOG_WARN : TARN_LOG_INFO,
                 "tracking: %s now; parameters of a record cannot change, its config/run.yaml has %s", changed->text,
                 changed->count == 1 ? "it" : "them");
}

/* Values longer than MLflow takes are cut by the tracker. */
static void log_parameters(tarn_context *context, tarn_tracker *tracker, const tarn_config *config, bool resumed)
{
    changed_keys changed = {0};
    for (int i = 0; i < tarn_run_schema_count; i++) {
        const tarn_config_key *key = &tarn_run_schema[i];
        const char *value = tarn_config_value_text(config, key->name);
        char *own = value ? strdup(value) : NULL;
        if (!own) continue;
        tarn_environment_hide_logins(own);
        if (tarn_track_param_differs(tracker, key->name, own))
            add_changed(&changed, key, own, resumed);
        else
            tarn_log_param(tracker, key->name, own);
        free(own);
    }
    tell_changed(context, tracker, &changed);
}

static void print_early(const tarn_trainer *trainer, const tarn_run *run)
{
    const tarn_progress *progress = tarn_trainer_progress(trainer);
    const char *metric = run->options.best_metric ? run->options.best_metric : "validation.loss";
    printf("stopped early at step %lld: %lld evaluations without a better %s than %.6g, of step %lld%s\n",
           (long long)progress->step, (long long)run->options.early_stop, metric, progress->best,
           (long long)progress->best_step, run->options.checkpoint_directory ? ", which best.h5 holds" : "");
}

static tarn_status train(tarn_context *context, tarn_run *run, const arguments *arguments)
{
    bool speaks = tarn_rank(context) == 0;
    tarn_progress_display display;
    if (speaks) {
        run->options.progress = tarn_progress_show;
        run->options.progress_user = &display;
    }
    run->options.from_scratch = arguments->from_scratch;
    tarn_trainer *trainer;
    tarn_status status = tarn_trainer_create(&trainer, context, &run->options);
    if (status) return status;
    int64_t begun = tarn_trainer_progress(trainer)->step;
    tarn_run_end ended = tarn_trainer_ended(trainer);
    if (speaks && !run->options.checkpoint_directory)
        tarn_log(context, TARN_LOG_WARN, "nothing will be saved: the run file has neither checkpoint.dir nor name");
    if (speaks && ended == TARN_RUN_EARLY_STOP)
        printf(
            "finished already: stopped early at step %lld of %lld in %s. Raise train.early_stop (0 = never) to go on, "
            "or start over with --from-scratch\n",
            (long long)begun, (long long)run->options.steps, run->options.checkpoint_directory);
    else if (speaks && ended == TARN_RUN_ALL_STEPS)
        printf("finished already: %lld steps in %s. Raise train.steps to go on, or start over with --from-scratch\n",
               (long long)begun, run->options.checkpoint_directory);
    else if (speaks && begun)
        printf("resumed at step %lld from %s\n", (long long)begun, run->options.checkpoint_directory);
    fflush(stdout);
    tarn_tracker *tracker = tarn_trainer_tracker(trainer);
    if (tracker && tarn_rank(context) == 0) log_parameters(context, tracker, run->config, begun > 0);
    if (speaks) tarn_progress_start(&display, tracker, begun, tarn_module_is_gpt(run->model), arguments->quiet);
    while (tarn_trainer_next(trainer)) {
        tarn_trainer_run_shards(trainer);
        tarn_optim_step(trainer);
    }
    tarn_run_log_model(context, run, trainer);
    if (speaks) {
        tarn_progress_end(&display);
        tarn_progress_saved(&display, tarn_trainer_progress(trainer)); /* the last one */
    }
    if (speaks && ended == TARN_RUN_GOES_ON && tarn_trainer_ended(trainer) == TARN_RUN_EARLY_STOP)
        print_early(trainer, run);
    status = tarn_trainer_finish(trainer);
    if (speaks && status == TARN_STOPPED) {
        const tarn_error *error = tarn_get_error(context);
        printf("%s: start again with the same command to go on\n", error ? error->message : "stopped");
    }
    return status;
}

int tarn_command_train(int argc, char **argv)
{
    tarn_context *context;
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_help();
            return 0;
        }
    tarn_status status = tarn_init(&context, NULL, NULL);
    if (!context) return 1;
    arguments arguments = {0};
    if (!status) status = parse(context, argc, argv, &arguments);
    if (!status) status = check_ranks(context, &arguments);
    if (!status) status = tarn_handle_signals(context);
    tarn_run run = {0};
    tarn_config *config = NULL;
    if (!status)
        status = tarn_config_load(&config, context, tarn_run_schema, tarn_run_schema_count, arguments.file,
                                  arguments.override_count, arguments.overrides);
    if (!status) status = tarn_run_open(&run, context, config, NULL, false);
    if (tarn_get_comm(context)) status = tarn_agree(context, status, "reading the run file and opening the data");
    if (!status) status = tarn_run_check_resume(context, &run, arguments.from_scratch);
    if (!status && arguments.dry_run)
        tarn_plan_print(context, &run);
    else if (!status)
        train(context, &run, &arguments);
    if (arguments.sagemaker && tarn_rank(context) == 0) tarn_sagemaker_tell_failure(context);
    free(arguments.overrides);
    tarn_sagemaker_free(arguments.hyper_parameters, arguments.hyper_parameter_count);
    tarn_run_close(&run);
    return tarn_exit(context);
}
