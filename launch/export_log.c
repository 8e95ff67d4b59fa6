/* export_log.c - tarn export --log: the model of a checkpoint goes to the record of the run that made it.
 *
 * The run is opened as a resumed training would open it: the spool beside the checkpoint, the store that the run's
 * configuration or MLFLOW_TRACKING_URI names. It ends as it had ended before.
 */
#include "launch/export.h"
#include "launch/log_model.h"
#include "launch/run.h"
#include "track/file_store/catalog.h"
#include "track/spool.h"
#include "track/tracker.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* DIRECTORY/spool of DIRECTORY/ckpt-<step>.h5. */
static bool spool_beside(const char *checkpoint, char out[PATH_MAX])
{
    const char *slash = strrchr(checkpoint, '/');
    return snprintf(out, PATH_MAX, "%.*s%sspool", slash ? (int)(slash - checkpoint) : 0, checkpoint, slash ? "/" : "") <
           PATH_MAX;
}

/* How the run ended last: FINISHED, FAILED, KILLED; a run without an end was killed, one without a spool is taken for
 * finished. A literal. */
static const char *ended_as(const char *spools, const char *run_id)
{
    static const char *const known[] = {"FINISHED", "FAILED", "KILLED"};
    char folder[PATH_MAX], problem[TARN_SINK_PROBLEM];
    if (snprintf(folder, sizeof folder, "%s/%s", spools, run_id) >= (int)sizeof folder || access(folder, F_OK))
        return known[0];
    const char *ended = known[2];
    tarn_spool_reader *reader = tarn_spool_open_reader(folder, problem);
    tarn_track_event events[64];
    for (int64_t count; reader && (count = tarn_spool_read(reader, events, 64)) > 0;)
        for (int64_t i = 0; i < count; i++) {
            if (events[i].kind == TARN_TRACK_BEGIN) ended = known[2];
            if (events[i].kind != TARN_TRACK_END || !events[i].text) continue;
            for (int k = 0; k < 3; k++)
                if (!strcmp(events[i].text, known[k])) ended = known[k];
        }
    tarn_spool_close_reader(reader);
    return ended;
}

/* Says what came of it, or fails with the reason: an alias that has not moved must not look like one that has. */
static tarn_status tell(tarn_context *context, tarn_tracker *tracker, const tarn_track_model *model)
{
    tarn_track_published published;
    const char *run = tarn_track_run_id(tracker), *spool = tarn_track_spool(tracker), *name = model->register_as;
    char wanted[600] = "";
    if (name)
        snprintf(wanted, sizeof wanted, ", a version of %.250s%s%.250s", name, model->alias ? " with the alias " : "",
                 model->alias ? model->alias : "");
    tarn_track_await_model(tracker, model, &published);
    const char *why = *published.problem ? published.problem : "the store says no more";
    if (published.nowhere && name)
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                         "model %s of run %s is in the spool %s only: the run has no store (track.store) that could "
                         "hold%s",
                         model->name, run, spool, wanted + 1);
    if (published.handed)
        printf("model %s of run %s%s: handed to the process that writes %s, and publishes it\n", model->name, run,
               wanted, spool);
    else if (published.behind && name)
        return tarn_fail(context, TARN_ERROR_IO, TARN_HERE,
                         "model %s of run %s is in the spool, but not yet%s: %s; when the store takes it: tarn track "
                         "push %s",
                         model->name, run, wanted + 1, why, spool);
    else if (published.behind)
        printf("model %s of run %s is in the spool, and not yet in the store: %s; tarn track push %s\n", model->name,
               run, why, spool);
    else if (name && !*published.version)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "model %s of run %s did not become%s: %s",
                         model->name, run, wanted + 1, why);
    else if (name)
        printf("logged as model %s of run %s: version %s of %s%s%s\n", model->name, run, published.version, name,
               model->alias ? ", which is now " : "", model->alias ? model->alias : "");
    else
        printf("logged as model %s of run %s\n", model->name, run);
    return TARN_OK;
}

static tarn_status log_model(tarn_context *context, const tarn_export_source *source, tarn_tracker *tracker,
                             const tarn_onnx_options *options, const tarn_export_log_options *log, const char *name)
{
    char folder[PATH_MAX];
    if (snprintf(folder, sizeof folder, "%s/model-%ld", tarn_track_spool(tracker), (long)getpid()) >=
        (int)sizeof folder)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "the path of the spool is too long");
    tarn_track_model model = {.name = name,
                              .folder = folder,
                              .register_as = log->register_as,
                              .alias = log->alias,
                              .step = source->origin.step,
                              .model_type = tarn_config_string(source->config, "model.kind"),
                              .again = log->register_as != NULL};
    tarn_status status = tarn_onnx_package(context, source->model, folder, options, NULL);
    if (!status) status = tarn_log_model(tracker, &model);
    tarn_folder_remove(folder); /* its files are open, which is enough for the tracker */
    if (status && !tarn_get_error(context)) {
        char refusal[1024];
        tarn_track_refusal(tracker, refusal, sizeof refusal);
        tarn_fail(context, status, TARN_HERE, "%s", refusal);
    }
    return status ? status : tell(context, tracker, &model);
}

tarn_status tarn_export_log(tarn_context *context, const tarn_export_source *source, const tarn_onnx_options *options,
                            const tarn_export_log_options *log)
{
    tarn_run run = {.config = source->config};
    char spool[PATH_MAX], name[TARN_MODEL_NAME];
    tarn_run_fill_options(&run);
    if (!source->origin.run_id || !run.options.track)
        return tarn_fail(
            context, TARN_ERROR_CONFIG, TARN_HERE,
            "%s: its run has no record (track.store was null): there is nothing to log the model to; write "
            "it with --mlflow FOLDER",
            source->path);
    run.track.run_id = source->origin.run_id;
    run.track.tensorboard = run.track.wandb = run.track.metrics_listen = run.track.metrics_file = NULL;
    if (!tarn_config_string(source->config, "track.spool") && spool_beside(source->path, spool))
        run.track.spool = spool;
    const char *ended = ended_as(run.track.spool ? run.track.spool : "tarn-spool", run.track.run_id);
    tarn_logged_model_name(log->register_as ? log->register_as : run.track.name, name);
    tarn_tracker *tracker;
    tarn_status status = tarn_track_open_strict(&tracker, context, &run.track);
    if (status) return status;
    if (tarn_rank(context) == 0) status = log_model(context, source, tracker, options, log, name);
    tarn_status closed = tarn_track_close(tracker, ended);
    return status ? status : closed;
}
