/* command_export.c - tarn export: the model of a checkpoint as an ONNX file or as the folder of an MLflow model.
 *
 * Under mpirun all ranks take part in loading, which is collective; rank 0 alone writes.
 */
#include "launch/command.h"
#include "launch/export.h"
#include "runtime/dist/control.h"
#include "track/file_store/catalog.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct settings {
    const char *checkpoint, *onnx, *package;
    bool verify, must_verify, log;
    tarn_export_log_options registry;
    int opset;
} settings;

static void print_help(void)
{
    printf(
        "usage: tarn export CHECKPOINT [--onnx FILE] [--mlflow FOLDER] [--verify] [--opset N]\n"
        "                              [--log [--register NAME [--alias ALIAS]]]\n\n"
        "CHECKPOINT is a directory (its newest valid checkpoint) or a file (best.h5).\n\n"
        "  --onnx FILE        writes the model as ONNX: input \"input\", output \"output\" (logits), any batch, any\n"
        "                     length up to the context of a gpt; parameters beyond 2 GiB go to FILE.<digest>.data\n"
        "  --mlflow FOLDER    writes the folder that mlflow.pyfunc.load_model and mlflow.onnx.load_model open\n"
        "  --verify           runs the file in ONNX Runtime and compares it with the model here; says so when there\n"
        "                     is no ONNX Runtime (TARN_ONNXRUNTIME=libonnxruntime.so names one)\n"
        "  --verify=must      the same, and fails then\n"
        "  --opset N          17 to 21 [17]\n"
        "  --log              logs the model to the record of the run that wrote the checkpoint\n"
        "  --register NAME    the logged model becomes a version of NAME in the model registry\n"
        "  --alias ALIAS      an alias, such as champion, that then means this version\n");
}

static tarn_status parse_opset(tarn_context *context, const char *text, int *opset)
{
    char *end = NULL;
    long value = text ? strtol(text, &end, 10) : 0;
    if (!text || end == text || *end || value < 17 || value > 21)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn export --opset %s: expected 17 to 21",
                         text ? text : "(nothing)");
    *opset = (int)value;
    return TARN_OK;
}

static tarn_status parse(tarn_context *context, int argc, char **argv, settings *out)
{
    *out = (settings){0};
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i], *text = i + 1 < argc ? argv[i + 1] : NULL;
        tarn_status status = TARN_OK;
        if (!strcmp(option, "--onnx") && text)
            out->onnx = text, i++;
        else if (!strcmp(option, "--mlflow") && text)
            out->package = text, i++;
        else if (!strcmp(option, "--register") && text)
            out->registry.register_as = text, out->log = true, i++;
        else if (!strcmp(option, "--alias") && text)
            out->registry.alias = text, i++;
        else if (!strcmp(option, "--log"))
            out->log = true;
        else if (!strcmp(option, "--verify"))
            out->verify = true;
        else if (!strcmp(option, "--verify=must"))
            out->verify = out->must_verify = true;
        else if (!strcmp(option, "--opset"))
            status = parse_opset(context, text, &out->opset), i++;
        else if (option[0] != '-' && !out->checkpoint)
            out->checkpoint = option;
        else
            return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                             "tarn export: unexpected %s: see tarn export --help", option);
        if (status) return status;
    }
    if (!out->checkpoint)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn export needs a checkpoint directory or file");
    if (!out->onnx && !out->package && !out->log)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "tarn export: say where to: --onnx FILE, --mlflow FOLDER, --log");
    const char *name = out->registry.register_as, *alias = out->registry.alias;
    const char *wrong = name ? tarn_registry_name_problem(name) : NULL;
    if (wrong)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn export --register \"%.260s\": %s", name, wrong);
    wrong = alias ? tarn_registry_alias_problem(alias) : NULL;
    if (wrong)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn export --alias \"%.260s\": %s", alias, wrong);
    if (out->registry.alias && !out->registry.register_as)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "tarn export --alias %s: an alias is one of a registered model: --register NAME",
                         out->registry.alias);
    return TARN_OK;
}

static void report(const char *path, const tarn_export_source *source, const tarn_onnx_written *written)
{
    printf("%s: %s of step %" PRId64 ", opset %d, %d nodes, %d parameters, %" PRId64 " bytes\n", path,
           tarn_config_string(source->config, "model.kind"), source->origin.step, written->opset, written->nodes,
           written->parameters, written->bytes);
    if (*written->data_file) printf("%s: the parameters; it must stay beside the model\n", written->data_file);
}

static tarn_status verify(tarn_context *context, tarn_module *model, const char *path, const tarn_onnx_options *options,
                          bool must)
{
    tarn_onnx_comparison comparison;
    tarn_status status = tarn_onnx_verify(context, model, path, options, &comparison);
    if (status) return status;
    if (!comparison.compared && must)
        return tarn_fail(context, TARN_ERROR_UNSUPPORTED, TARN_HERE, "%s was not verified: %s", path,
                         comparison.message);
    if (!comparison.compared)
        printf("not verified: %s\n", comparison.message);
    else
        printf("verified: ONNX Runtime %s gives the same on %d inputs, to %.1e of the largest output (%.3g)\n",
               comparison.runtime, comparison.cases,
               comparison.largest > 0 ? comparison.most_absolute / comparison.largest : 0, comparison.largest);
    return TARN_OK;
}

static tarn_status export(tarn_context *context, const tarn_export_source *source, const settings *s)
{
    tarn_onnx_options options = {.opset = s->opset, .origin = &source->origin};
    tarn_onnx_written written;
    tarn_status status = TARN_OK;
    if (s->onnx) {
        status = tarn_onnx_export(context, source->model, s->onnx, &options, &written);
        if (!status) report(s->onnx, source, &written);
        if (!status && s->verify) status = verify(context, source->model, s->onnx, &options, s->must_verify);
    }
    if (status || !s->package) return status;
    status = tarn_onnx_package(context, source->model, s->package, &options, &written);
    if (!status) report(s->package, source, &written);
    if (status || !s->verify || s->onnx) return status;
    char path[4200];
    snprintf(path, sizeof path, "%s/model.onnx", s->package);
    return verify(context, source->model, path, &options, s->must_verify);
}

int tarn_command_export(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_help();
            return 0;
        }
    tarn_context *context;
    settings s = {0};
    tarn_export_source source = {0};
    tarn_status status = tarn_init(&context, NULL, NULL);
    if (!context) return 1;
    if (!status) status = parse(context, argc, argv, &s);
    if (!status) status = tarn_export_open(&source, context, s.checkpoint);
    if (!status && tarn_rank(context) == 0) status = export(context, &source, &s);
    if (s.log && tarn_get_comm(context)) status = tarn_agree(context, status, "exporting the model");
    if (!status && s.log)
        tarn_export_log(context, &source, &(tarn_onnx_options){.opset = s.opset, .origin = &source.origin},
                        &s.registry);
    tarn_export_close(&source);
    return tarn_exit(context);
}
