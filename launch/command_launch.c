/* command_launch.c - tarn launch render KIND RUN.yaml: what the user asked for, checked, and the manifest written.
 *
 * Invariant: everything a renderer gets is right by itself and fits together, so that a manifest that is written is one
 * the cluster takes.
 */
#include "launch/command.h"
#include "launch/render/options.h"
#include "launch/render/render.h"
#include "launch/schema.h"
#include "runtime/config/document.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* cJSON leaves out what it has no memory for: the tree would be written with holes. */
static bool memory_ran_out;
static void *remember_failure(size_t bytes)
{
    void *memory = malloc(bytes);
    if (!memory) memory_ran_out = true;
    return memory;
}

static const struct {
    const char *name;
    tarn_render_kind kind;
    tarn_status (*render)(tarn_context *context, const tarn_render *render, char **text);
    const char *help;
} kinds[] = {
    {"slurm", TARN_RENDER_SLURM, tarn_render_slurm, "a script for sbatch"},
    {"kubernetes", TARN_RENDER_KUBERNETES, tarn_render_kubernetes, "a Job of one pod"},
    {"mpijob", TARN_RENDER_MPIJOB, tarn_render_mpijob, "an MPIJob of the MPI operator, kubeflow.org/v2beta1"},
    {"volcano", TARN_RENDER_VOLCANO, tarn_render_volcano, "a Job of Volcano, batch.volcano.sh/v1alpha1"},
    {"sagemaker", TARN_RENDER_SAGEMAKER, tarn_render_sagemaker, "the request of SageMaker's CreateTrainingJob, JSON"},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void print_help(FILE *out)
{
    fprintf(out, "usage: tarn launch render KIND RUN.yaml [key=value ...] [-o FILE] [options]\n\n"
                 "Writes what a cluster needs to train the run; submits nothing. KIND:\n");
    for (int i = 0; i < KINDS; i++) fprintf(out, "  %-12s %s\n", kinds[i].name, kinds[i].help);
    fprintf(out, "\noptions (of some kinds only: in brackets):\n");
    tarn_render_print_options(out);
    fprintf(
        out,
        "\nexamples:\n"
        "  tarn launch render slurm run.yaml --nodes 2 --ranks 8 --cpus 4 --time 12h -o train.sbatch\n"
        "  tarn launch render kubernetes run.yaml --image registry/tarn:1 --pvc checkpoints --gpus 1 -o job.yaml\n");
}

/* "tarn launch render ..." as it can be typed again, on one line; freed with free(). */
static char *command_line(int argc, char **argv)
{
    char *line = strdup("tarn");
    for (int i = 0; i < argc && line; i++) {
        char *word = tarn_render_shell_word(argv[i]), *longer = NULL;
        if (!word || asprintf(&longer, "%s %s", line, word) < 0) longer = NULL;
        free(word);
        free(line);
        line = longer;
    }
    for (char *at = line; at && *at; at++)
        if ((unsigned char)*at < ' ') *at = ' '; /* it stands in a comment */
    return line;
}

static tarn_status write_text(tarn_context *context, const char *path, const char *text, bool program)
{
    FILE *file = path ? fopen(path, "w") : stdout;
    bool written = file && fputs(text, file) >= 0 && !fflush(file);
    if (written && program && path) written = !fchmod(fileno(file), 0755);
    int error = errno;
    if (file && path && fclose(file)) written = false;
    if (written) return TARN_OK;
    return tarn_fail(context, path ? TARN_ERROR_ARGUMENT : TARN_ERROR_IO, TARN_HERE, "writing %s: %s",
                     path ? path : "the manifest to stdout", strerror(error));
}

static tarn_status render(tarn_context *context, int kind, int argc, char **argv)
{
    tarn_render_options options;
    tarn_status status = tarn_render_parse(&options, context, kinds[kind].kind, kinds[kind].name, argc - 3, argv + 3);
    tarn_config *config = NULL;
    char *text = NULL, *run_text = NULL, *absolute = NULL, *line = NULL;
    if (!status)
        status = tarn_config_load(&config, context, tarn_run_schema, tarn_run_schema_count, options.file,
                                  options.render.overrides, options.render.override);
    if (!status) {
        options.render.config = config;
        options.render.out = options.out;
        options.render.command_line = line = command_line(argc, argv);
        options.render.run_file = absolute = realpath(options.file, NULL);
        options.render.run_text = run_text = tarn_document_read_file(options.file, NULL);
        if (!line || !absolute || !run_text)
            status = tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: %s", options.file, strerror(errno));
    }
    if (!status) status = tarn_render_complete(&options, context);
    if (!status) tarn_render_warn(&options.render, context);
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = remember_failure, .free_fn = free});
    if (!status) status = kinds[kind].render(context, &options.render, &text);
    cJSON_InitHooks(NULL);
    if (!status && memory_ran_out)
        status = tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory while making the manifest");
    if (!status) status = write_text(context, options.out, text, kinds[kind].kind == TARN_RENDER_SLURM);
    free(text);
    free(line);
    free(absolute);
    free(run_text);
    tarn_config_destroy(config);
    tarn_render_options_free(&options);
    return status;
}

int tarn_command_launch(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_help(stdout);
            return 0;
        }
    int kind = -1;
    for (int i = 0; argc > 2 && !strcmp(argv[1], "render") && i < KINDS; i++)
        if (!strcmp(argv[2], kinds[i].name)) kind = i;
    if (kind < 0) {
        if (argc > 1 && strcmp(argv[1], "render"))
            fprintf(stderr, "tarn launch: there is no action '%s'\n\n", argv[1]);
        else if (argc > 2)
            fprintf(stderr, "tarn launch render: there is no kind '%s'\n\n", argv[2]);
        print_help(stderr);
        return 2;
    }
    tarn_context *context;
    if (!tarn_init(&context, NULL, NULL) && tarn_rank(context) == 0) render(context, kind, argc, argv);
    return tarn_exit(context);
}
