/* command_eval.c - tarn eval: loss and accuracy of a checkpoint on its run's validation data, or on other data. */
#include "launch/command.h"
#include "launch/run.h"
#include "runtime/dist/control.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_help(void)
{
    printf("usage: tarn eval CHECKPOINT [key=value ...] [--train-data]\n\n"
           "CHECKPOINT is a directory (its newest valid checkpoint) or a file (best.h5). Prints the mean loss, the "
           "perplexity\n"
           "of text, the accuracy of classes, on the validation data of the run: data.validation's share, or the test "
           "files.\n\n"
           "  key=value      changes the run's configuration: data.path=other.txt data.validation=0.999\n"
           "  --train-data   evaluate on the training part\n");
}

static tarn_status evaluate(tarn_context *context, tarn_run *run, const char *path, bool train_data)
{
    run->options.checkpoint_directory = NULL;
    run->options.track = NULL;
    run->options.init_from = path;
    tarn_trainer *trainer;
    tarn_status status = tarn_trainer_create(&trainer, context, &run->options);
    if (status) return status;
    tarn_dataset *data = run->test ? run->test : tarn_dataset_validation(run->data);
    if (train_data) data = run->data;
    double loss, accuracy;
    if (!data || tarn_dataset_length(data) < 1)
        status =
            tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                      "the run has no validation data: set data.validation or data.test_images, or use --train-data");
    /* Agreed, so that it is said once and all ranks end in order. */
    status = tarn_agree(context, status, "choosing the data to evaluate on");
    if (!status) status = tarn_trainer_evaluate(trainer, data, &loss, &accuracy);
    if (!status && tarn_rank(context) == 0) {
        printf("samples %lld  loss %.6f", (long long)tarn_dataset_length(data), loss);
        if (tarn_module_is_gpt(run->model)) printf("  perplexity %.3f", exp(loss));
        if (isfinite(accuracy)) printf("  accuracy %.2f %%", 100 * accuracy);
        printf("\n");
    }
    tarn_status finished = tarn_trainer_finish(trainer);
    return status ? status : finished;
}

typedef struct arguments {
    const char *path, **overrides;
    int override_count;
    bool train_data;
} arguments;

static tarn_status parse(tarn_context *context, int argc, char **argv, arguments *out)
{
    *out = (arguments){.overrides = calloc((size_t)argc + 1, sizeof(char *))};
    if (!out->overrides) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for the arguments");
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--train-data"))
            out->train_data = true;
        else if (argv[i][0] != '-' && strchr(argv[i], '='))
            out->overrides[out->override_count++] = argv[i];
        else if (argv[i][0] != '-' && !out->path)
            out->path = argv[i];
        else
            return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn eval: unexpected %s: see tarn eval --help",
                             argv[i]);
    }
    if (out->path) return TARN_OK;
    return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn eval needs a checkpoint directory or file");
}

int tarn_command_eval(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_help();
            return 0;
        }
    tarn_context *context;
    tarn_status status = tarn_init(&context, NULL, NULL);
    if (!context) return 1;
    arguments arguments = {0};
    tarn_config *config = NULL;
    char *vocabulary = NULL;
    tarn_run run = {0};
    if (!status) status = parse(context, argc, argv, &arguments);
    if (!status)
        status = tarn_run_from_checkpoint(&config, &vocabulary, context, arguments.path, arguments.override_count,
                                          arguments.overrides);
    if (!status) status = tarn_run_open(&run, context, config, vocabulary, !arguments.train_data);
    if (tarn_get_comm(context)) status = tarn_agree(context, status, "opening the checkpoint and the data");
    if (!status) evaluate(context, &run, arguments.path, arguments.train_data);
    tarn_run_close(&run);
    free(vocabulary);
    free(arguments.overrides);
    return tarn_exit(context);
}
