/* log_model.c - see log_model.h. */
#include "launch/log_model.h"
#include "launch/export.h"
#include "track/environment.h"
#include "track/file_store/catalog.h"
#include "track/tracker.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <tarn/onnx.h>
#include <unistd.h>

void tarn_logged_model_name(const char *wanted, char out[TARN_MODEL_NAME])
{
    snprintf(out, TARN_MODEL_NAME, "%s", wanted && *wanted ? wanted : "model");
    /* What both a key of the record and MLflow's logged models allow. */
    for (char *at = out; *at; at++)
        if (!isascii((unsigned char)*at) || (!isalnum((unsigned char)*at) && !strchr("_- ", *at))) *at = '_';
}

static bool asked_for(const tarn_config *config)
{
    return tarn_config_boolean(config, "track.model") || tarn_config_string(config, "track.register");
}

static bool came_to_its_end(const tarn_trainer *trainer)
{
    tarn_run_end end = tarn_trainer_ended(trainer);
    return end == TARN_RUN_ALL_STEPS || end == TARN_RUN_EARLY_STOP || end == TARN_RUN_DATA_ENDED;
}

static tarn_status package(tarn_context *context, const tarn_run *run, tarn_trainer *trainer, const char *folder)
{
    const char *vocabulary = tarn_text_vocabulary(run->data);
    char digest[65], commit[65], classes[TARN_EXPORT_CLASSES];
    tarn_environment_commit(commit);
    tarn_status status = tarn_trainer_digest(trainer, digest);
    if (status) return status;
    tarn_onnx_origin origin = {.checkpoint_digest = digest,
                               .step = tarn_trainer_progress(trainer)->step,
                               .run_id = tarn_track_run_id(tarn_trainer_tracker(trainer)),
                               .git_revision = *commit ? commit : NULL,
                               .vocabulary = vocabulary && *vocabulary ? vocabulary : NULL,
                               .tokenizer = !vocabulary   ? NULL
                                            : *vocabulary ? "char"
                                                          : "byte"};
    tarn_export_describe_data(&origin, run->config, classes);
    return tarn_onnx_package(context, run->model, folder, &(tarn_onnx_options){.origin = &origin}, NULL);
}

void tarn_run_log_model(tarn_context *context, const tarn_run *run, tarn_trainer *trainer)
{
    tarn_tracker *tracker = tarn_trainer_tracker(trainer);
    const char *registered = tarn_config_string(run->config, "track.register");
    char folder[PATH_MAX], name[TARN_MODEL_NAME];
    if (tarn_rank(context) != 0 || !tracker || !asked_for(run->config) || !came_to_its_end(trainer) ||
        tarn_get_error(context))
        return;
    tarn_logged_model_name(registered ? registered : run->track.name, name);
    int length = snprintf(folder, sizeof folder, "%s/model-%ld", tarn_track_spool(tracker), (long)getpid());
    if (length >= (int)sizeof folder) return;
    tarn_status status = package(context, run, trainer, folder);
    if (!status)
        status =
            tarn_log_model(tracker, &(tarn_track_model){.name = name,
                                                        .folder = folder,
                                                        .register_as = registered,
                                                        .step = tarn_trainer_progress(trainer)->step,
                                                        .model_type = tarn_config_string(run->config, "model.kind")});
    /* Its files are open, which is enough for the tracker. */
    tarn_folder_remove(folder);
    if (!status) return;
    const tarn_error *error = tarn_get_error(context);
    tarn_log(context, TARN_LOG_WARN, "the model is not in the record%s%s; `tarn export` makes it of the checkpoint",
             error ? ": " : "", error ? error->message : ""); /* of a refused log call the tracker has told why */
    tarn_error_clear(context);
}
