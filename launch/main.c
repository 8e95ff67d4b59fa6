/* main.c - the `tarn` program: picks the command. */
#include "launch/command.h"

#include <stdio.h>
#include <string.h>
#include <tarn/base.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"train", tarn_command_train, "train a model from a run file; resumes when there is a checkpoint"},
    {"run", tarn_command_run, "start a program on its ranks, watch it, start it again until it has finished"},
    {"eval", tarn_command_eval, "loss and accuracy of a checkpoint on data"},
    {"sample", tarn_command_sample, "generate text from a checkpoint"},
    {"export", tarn_command_export, "the model of a checkpoint as an ONNX file, or as a model for MLflow"},
    {"checkpoint", tarn_command_checkpoint, "list, show, verify checkpoints; digest of the training state"},
    {"report", tarn_command_report, "a page that shows runs: curves, configuration, restarts, a comparison"},
    {"track", tarn_command_track, "list and show records of runs, publish spools, move aliases of models"},
    {"launch", tarn_command_launch, "write manifests for SLURM, Kubernetes, MPIJob, Volcano, SageMaker"},
};

static void usage(FILE *out)
{
    fprintf(out,
            "tarn %s - distributed training with the same bits on any number of ranks\n\nusage: tarn COMMAND ...\n\n",
            TARN_VERSION_STRING);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\ntarn COMMAND --help says more. Several ranks: tarn run -n N -- tarn train run.yaml\n");
}

int main(int argc, char **argv)
{
    if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))) {
        usage(stdout);
        return 0;
    }
    if (argc > 1 && !strcmp(argv[1], "--version")) {
        printf("tarn %s\n", TARN_VERSION_STRING);
        return 0;
    }
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(argv[1], commands[i].name)) return commands[i].run(argc - 1, argv + 1);
    if (argc > 1) fprintf(stderr, "tarn: there is no command '%s'\n\n", argv[1]);
    usage(stderr);
    return 2;
}
