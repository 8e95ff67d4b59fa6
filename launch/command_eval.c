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
    if (!data)
        status =
            tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                      "the run has no validation data: set data.validation or data.test_images, or use --train-data");
    else
        status = tarn_trainer_evaluate(trainer, data, &loss, &accuracy);
    if (!status && tarn_rank(context) == 0) {
        printf("samples %lld  loss %.6f", (long long)tarn_dataset_length(data), loss);
        if (tarn_module_is_gpt(run->model)) printf("  perplexity %.3f", exp(loss));
        if (isfinite(accuracy)) printf("  accuracy %.2f %%", 100 * accuracy);
        printf("\n");
    }
    tarn_status finished = tarn_trainer_finish(trainer);
    return status ? status : finished;
}

int tarn_command_eval(int argc, char **argv)
{
    const char *path = NULL, **overrides = calloc((size_t)argc + 1, sizeof *overrides);
    int count = 0;
    bool train_data = false;
    tarn_context *context;
    tarn_status status = tarn_init(&context, NULL, NULL);
    for (int i = 1; i < argc && !status; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_help();
            free(overrides);
            return tarn_exit(context);
        }
        if (!strcmp(argv[i], "--train-data"))
            train_data = true;
        else if (argv[i][0] != '-' && strchr(argv[i], '='))
            overrides[count++] = argv[i];
        else if (argv[i][0] != '-' && !path)
            path = argv[i];
        else
            status = tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                               "tarn eval: unexpected %s: see tarn eval --help", argv[i]);
    }
    if (!status && !path)
        status = tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn eval needs a checkpoint directory or file");
    tarn_config *config = NULL;
    char *vocabulary = NULL;
    tarn_run run = {0};
    if (!status) status = tarn_run_from_checkpoint(&config, &vocabulary, context, path, count, overrides);
    if (!status) status = tarn_run_open(&run, context, config, vocabulary);
    if (context && tarn_get_comm(context)) status = tarn_agree(context, status, "opening the checkpoint and the data");
    if (!status) evaluate(context, &run, path, train_data);
    tarn_run_close(&run);
    free(vocabulary);
    free(overrides);
    return tarn_exit(context);
}
