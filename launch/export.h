/* export.h - the model of a checkpoint, with what is known about where it comes from. */
#ifndef TARN_LAUNCH_EXPORT_H
#define TARN_LAUNCH_EXPORT_H

#include "runtime/config/config.h"
#include <tarn/tarn.h>

enum { TARN_EXPORT_CLASSES = 4096 };

typedef struct tarn_export_source {
    tarn_config *config; /* the run's, as the checkpoint keeps it */
    tarn_module *model;
    tarn_onnx_origin origin; /* points into this struct */
    char path[4096];         /* the checkpoint itself, where a directory was named */
    char digest[65], run_id[65], git_revision[65], classes[TARN_EXPORT_CLASSES];
    char *vocabulary, *tokenizer; /* NULL or "": not a text model */
} tarn_export_source;

/* Opens the newest valid checkpoint of a directory, or the one that `path` is. All ranks call it. Ended with
 * tarn_export_close, whatever the status. */
tarn_status tarn_export_open(tarn_export_source *source, tarn_context *context, const char *path);
void tarn_export_close(tarn_export_source *source);

/* Sets preprocessing, and classes (in the given memory), where the run's configuration tells them. */
void tarn_export_describe_data(tarn_onnx_origin *origin, const tarn_config *config, char classes[TARN_EXPORT_CLASSES]);

typedef struct tarn_export_log_options {
    const char *register_as; /* name in the model registry, NULL = none */
    const char *alias;       /* for the new version, NULL = none */
} tarn_export_log_options;

/* Logs the model to the record of the run that wrote the checkpoint, and says so on stdout. All ranks call it. */
tarn_status tarn_export_log(tarn_context *context, const tarn_export_source *source, const tarn_onnx_options *options,
                            const tarn_export_log_options *log);

#endif
