/* run_record.c - the record of a run: whether it is opened, and what it holds beside its metrics: tags of this start,
 * the data sets, the configuration, the log; and the samples of each host.
 *
 * Invariants
 *  1. Nothing here fails a run: what cannot be recorded is a warning.
 *  2. Collective is alone what every rank needs to sample its host: the step at which the samples go on.
 */
#include "data/dataset.h"
#include "runtime/comm/comm.h"
#include "track/address.h"
#include "track/environment.h"
#include "track/files.h"
#include "track/tracker.h"
#include "train/run_log.h"
#include "train/system_metrics.h"
#include "train/trainer.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DIGEST_DIGITS = 32 };           /* MLflow's limit is 36 characters; the whole digest is in the profile */
static const double LOG_SECONDS = 300; /* between copies of the log that go to the record */

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* A run that is over has nothing to record, but what a killed process left undone: the end, the log, the model, and
 * what destinations lack. */
static tarn_status is_wanted(tarn_trainer *trainer, const tarn_track_options *track, bool *wanted)
{
    uint64_t wants = tarn_trainer_ended(trainer) == TARN_RUN_GOES_ON;
    if (tarn_rank(trainer->context) == 0 && !wants && (wants = !tarn_track_is_complete(track)))
        tarn_log(trainer->context, TARN_LOG_INFO,
                 "the record of the run is not complete: it is now brought to its end");
    tarn_status status =
        tarn_comm_or_all(tarn_get_comm(trainer->context), &wants, 1, "telling whether the record is complete");
    *wanted = wants != 0;
    return status;
}

tarn_status tarn_trainer_open_record(tarn_trainer *trainer, bool resumed)
{
    const tarn_train_options *options = &trainer->options;
    if (!options->track) return TARN_OK;
    tarn_track_options track = *options->track;
    /* The tracker looks at MLFLOW_RUN_ID where the option is NULL: it stands above what the run itself remembers. */
    const char *named = getenv("MLFLOW_RUN_ID");
    bool chosen = track.run_id || (named && tarn_track_is_run_id(named)); /* another text is told of there */
    if (!chosen && !resumed) tarn_trainer_plan_run_id(trainer);
    bool planned = !chosen && !resumed && *trainer->run_id, wanted;
    if (!chosen && *trainer->run_id) track.run_id = trainer->run_id;
    if (!track.name) track.name = options->run_name;
    tarn_path spool;
    if (!track.spool && options->checkpoint_directory &&
        !tarn_path_make(spool, "%s/spool", options->checkpoint_directory))
        track.spool = spool;
    tarn_status status = is_wanted(trainer, &track, &wanted);
    if (status || !wanted) return status;
    status = tarn_track_open_run(&trainer->tracker, trainer->context, &track, planned, resumed ? trainer->step : -1);
    if (!status && tarn_track_run_id(trainer->tracker))
        snprintf(trainer->run_id, sizeof trainer->run_id, "%s", tarn_track_run_id(trainer->tracker));
    return tarn_agree(trainer->context, status, "opening the tracking run");
}

/* ---- tags -------------------------------------------------------------------------------------------------------- */

/* "ms:step:ranks ms:step:ranks ...": every start of the run. Of very many those in the middle go. */
static void log_start(tarn_trainer *trainer)
{
    enum { MOST = 8000, ENTRY = 64 };
    char starts[MOST + ENTRY] = "";
    tarn_track_tag(trainer->tracker, "tarn.starts", starts, MOST);
    size_t used = strlen(starts);
    if (used > MOST - ENTRY) {
        char *first_end = strchr(starts, ' '), *rest = first_end ? strchr(first_end + 1, ' ') : NULL;
        if (rest) memmove(first_end, rest, strlen(rest) + 1);
        used = strlen(starts);
    }
    snprintf(starts + used, ENTRY, "%s%lld:%lld:%d", used ? " " : "", (long long)tarn_environment_time_ms(),
             (long long)trainer->step, tarn_ranks(trainer->context));
    tarn_log_tag(trainer->tracker, "tarn.starts", starts);
}

static void log_tags(tarn_trainer *trainer)
{
    char ranks[16], parameters[24];
    const char *reason = getenv("TARN_RESTART_REASON");
    snprintf(ranks, sizeof ranks, "%d", tarn_ranks(trainer->context));
    snprintf(parameters, sizeof parameters, "%lld", (long long)tarn_module_numel(trainer->model));
    tarn_log_tag(trainer->tracker, "tarn.version", TARN_VERSION_STRING);
    tarn_log_tag(trainer->tracker, "tarn.isa", tarn_isa_name(trainer->context));
    tarn_log_tag(trainer->tracker, "tarn.ranks", ranks);
    tarn_log_tag(trainer->tracker, "tarn.parameters", parameters);
    if (reason && *reason) tarn_log_tag(trainer->tracker, "tarn.restart_reason", reason);
    log_start(trainer);
}

/* ---- data sets --------------------------------------------------------------------------------------------------- */

static const char *numpy_name(tarn_dtype dtype)
{
    static const char *const names[TARN_DTYPE_COUNT] = {"float32", "float64", "bfloat16", "int32", "int64", "bool"};
    return names[dtype];
}

/* MLflow's schema of a tensor, a JSON text in JSON: [{"type": "tensor", "tensor-spec": {dtype, shape}}] */
static char *tensor_spec(tarn_dtype dtype, int ndim, const int64_t *shape)
{
    cJSON *list = cJSON_CreateArray(), *tensor = cJSON_CreateObject(), *spec = cJSON_CreateObject(),
          *sizes = cJSON_CreateArray();
    cJSON_AddStringToObject(tensor, "type", "tensor");
    cJSON_AddStringToObject(spec, "dtype", numpy_name(dtype));
    cJSON_AddItemToArray(sizes, cJSON_CreateNumber(-1));
    for (int i = 0; i < ndim; i++) cJSON_AddItemToArray(sizes, cJSON_CreateNumber((double)shape[i]));
    cJSON_AddItemToObject(spec, "shape", sizes);
    cJSON_AddItemToObject(tensor, "tensor-spec", spec);
    cJSON_AddItemToArray(list, tensor);
    char *text = cJSON_PrintUnformatted(list);
    cJSON_Delete(list);
    return text;
}

static char *schema_of(const tarn_sample_shape *shape)
{
    cJSON *schema = cJSON_CreateObject(), *tensors = cJSON_AddObjectToObject(schema, "mlflow_tensorspec");
    char *inputs = tensor_spec(shape->input_dtype, shape->input_ndim, shape->input_shape),
         *targets = tensor_spec(shape->target_dtype, shape->target_ndim, shape->target_shape);
    cJSON_AddStringToObject(tensors, "features", inputs ? inputs : "[]");
    cJSON_AddStringToObject(tensors, "targets", targets ? targets : "[]");
    char *text = cJSON_PrintUnformatted(schema);
    cJSON_Delete(schema);
    free(inputs);
    free(targets);
    return text;
}

static char *profile_of(tarn_dataset *dataset, const tarn_sample_shape *shape)
{
    cJSON *profile = cJSON_CreateObject();
    if (!dataset->stream) {
        double rows = (double)tarn_dataset_length(dataset), elements = 1;
        for (int i = 0; i < shape->input_ndim; i++) elements *= (double)shape->input_shape[i];
        cJSON_AddNumberToObject(profile, "num_rows", rows);
        cJSON_AddNumberToObject(profile, "num_elements", rows * elements);
    }
    if (shape->classes) cJSON_AddNumberToObject(profile, "classes", (double)shape->classes);
    if (*dataset->digest) cJSON_AddStringToObject(profile, "digest", dataset->digest);
    char *text = cJSON_PrintUnformatted(profile);
    cJSON_Delete(profile);
    return text;
}

static char *source_of(const char *name)
{
    char path[PATH_MAX];
    cJSON *source = cJSON_CreateObject();
    cJSON_AddStringToObject(source, "uri", realpath(name, path) ? path : name);
    char *text = cJSON_PrintUnformatted(source);
    cJSON_Delete(source);
    return text;
}

/* context: "training" or "validation". A part cut off from the training data has the digest of the whole, and a name of
 * its own: MLflow takes name and digest for the identity. */
static void log_dataset(tarn_trainer *trainer, tarn_dataset *dataset, const char *context)
{
    tarn_sample_shape shape;
    char name[512], digest[DIGEST_DIGITS + 1] = "unknown"; /* a callback's rows have none */
    const char *slash = strrchr(dataset->name, '/'), *digits = strchr(dataset->digest, ':');
    snprintf(name, sizeof name, "%.400s%s", slash ? slash + 1 : dataset->name,
             dataset->parent ? " (validation part)" : "");
    if (digits) snprintf(digest, sizeof digest, "%.*s", DIGEST_DIGITS, digits + 1);
    tarn_dataset_shape(dataset, &shape);
    char *schema = schema_of(&shape), *profile = profile_of(dataset, &shape), *source = source_of(dataset->name);
    tarn_log_dataset(trainer->tracker, &(tarn_track_dataset){.name = name,
                                                             .digest = digest,
                                                             .source = source,
                                                             .source_type = "local",
                                                             .context = context,
                                                             .schema = schema,
                                                             .profile = profile});
    free(schema);
    free(profile);
    free(source);
}

/* ---- configuration and log --------------------------------------------------------------------------------------- */

/* The tracker opens a file when it is logged: it may go right after. */
static void log_config(tarn_trainer *trainer)
{
    const char *given = trainer->options.config_text, *temporary = getenv("TMPDIR");
    char folder[PATH_MAX], path[PATH_MAX + 16];
    if (!given || !*given) return;
    int length = snprintf(folder, sizeof folder, "%s/tarn-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (length >= (int)sizeof folder || !mkdtemp(folder)) {
        tarn_log(trainer->context, TARN_LOG_WARN, "tracking: the configuration is not among the artifacts: %s: %s",
                 folder, strerror(errno));
        return;
    }
    snprintf(path, sizeof path, "%s/run.yaml", folder);
    FILE *file = fopen(path, "w");
    char *text = strdup(given);
    if (text) tarn_environment_hide_logins(text);
    bool written = file && text && fputs(text, file) >= 0;
    free(text);
    if (file && fclose(file)) written = false;
    if (written)
        tarn_log_artifact(trainer->tracker, path, "config");
    else
        tarn_log(trainer->context, TARN_LOG_WARN, "tracking: the configuration is not among the artifacts: %s: %s",
                 path, strerror(errno));
    unlink(path);
    rmdir(folder);
}

/* Beside the checkpoints, where the next start finds it, else in the spool of the run. */
static void begin_log(tarn_trainer *trainer)
{
    char path[PATH_MAX];
    const tarn_train_options *options = &trainer->options;
    const char *folder = trainer->store ? options->checkpoint_directory : tarn_track_spool(trainer->tracker);
    int length = snprintf(path, sizeof path, "%s/train.log", folder);
    if (length >= (int)sizeof path) return;
    trainer->run_log = tarn_run_log_open(trainer->context, path);
    trainer->run_log_sent = tarn_seconds();
    tarn_run_log_line(trainer->run_log,
                      "tarn %s begins at step %lld of %lld, on %d ranks with %d threads each, %s kernels",
                      TARN_VERSION_STRING, (long long)trainer->step, (long long)options->steps,
                      tarn_ranks(trainer->context), tarn_threads(trainer->context), tarn_isa_name(trainer->context));
}

static void send_log(tarn_trainer *trainer)
{
    if (!trainer->run_log) return;
    trainer->run_log_sent = tarn_seconds();
    int64_t written = tarn_run_log_written(trainer->run_log);
    if (written == trainer->run_log_bytes) return;
    trainer->run_log_bytes = written;
    tarn_log_artifact(trainer->tracker, tarn_run_log_path(trainer->run_log), "log");
}

void tarn_trainer_go_on_with_record(tarn_trainer *trainer)
{
    if (!trainer->run_log) return;
    tarn_run_log_step(trainer->run_log, &trainer->progress);
    /* Each copy is a whole one: that they double keeps all of them together below twice the last. */
    if (tarn_seconds() - trainer->run_log_sent > LOG_SECONDS &&
        tarn_run_log_has_doubled(trainer->run_log, trainer->run_log_bytes))
        send_log(trainer);
}

/* ---- samples of the hosts ---------------------------------------------------------------------------------------- */

void tarn_trainer_place_among_hosts(char (*hosts)[TARN_HOST_BYTES], int ranks, int mine, int *node, int *nodes,
                                    bool *first)
{
    *node = *nodes = 0;
    *first = true;
    for (int rank = 0; rank < ranks; rank++) {
        bool seen = false;
        for (int before = 0; before < rank && !seen; before++) seen = !strcmp(hosts[before], hosts[rank]);
        if (!strcmp(hosts[rank], hosts[mine])) {
            if (rank < mine) *first = false;
            if (!seen) *node = *nodes;
        }
        if (!seen) ++*nodes;
    }
}

/* Samples are numbered, as MLflow's are, over all starts: rank 0 knows from the record where the numbers go on, of any
 * node (a host may have come or gone). */
static int64_t next_sample(tarn_trainer *trainer, int nodes)
{
    /* Not every sample has every one of them. */
    static const char *const names[] = {"cpu_utilization_percentage", "system_memory_usage_percentage",
                                        "disk_usage_percentage"};
    char key[96];
    int64_t next = 0;
    if (tarn_rank(trainer->context) != 0) return 0;
    for (int node = -1; node < nodes; node++)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            if (node < 0)
                snprintf(key, sizeof key, "system/%s", names[i]);
            else
                snprintf(key, sizeof key, "system/node_%d/%s", node, names[i]);
            int64_t step = tarn_track_next_step(trainer->tracker, key);
            if (step > next) next = step;
        }
    return next;
}

static tarn_status begin_samples(tarn_trainer *trainer)
{
    int node = 0, nodes = 1, ranks = tarn_ranks(trainer->context);
    bool first = true;
    double every = trainer->options.system_every;
    if (every < 0) return TARN_OK; /* the same on all ranks: compared with the options */
    if (ranks > 1)
        tarn_trainer_place_among_hosts(trainer->skew.hosts, ranks, tarn_rank(trainer->context), &node, &nodes, &first);
    uint64_t step = (uint64_t)next_sample(trainer, nodes);
    tarn_status status =
        tarn_comm_or_all(tarn_get_comm(trainer->context), &step, 1, "numbering the samples of the hosts");
    if (status || !first) return status;
    char prefix[32] = "system/";
    if (nodes > 1) snprintf(prefix, sizeof prefix, "system/node_%d/", node);
    if (!tarn_system_sampler_start(&trainer->sampler, trainer->context, trainer->tracker, every, prefix, (int64_t)step))
        return TARN_OK;
    const tarn_error *error = tarn_get_error(trainer->context);
    tarn_log(trainer->context, TARN_LOG_WARN, "tracking: hosts are not sampled: %s", error ? error->message : "?");
    tarn_error_clear(trainer->context);
    return TARN_OK;
}

/* ---- begin and end ----------------------------------------------------------------------------------------------- */

tarn_status tarn_trainer_begin_record(tarn_trainer *trainer)
{
    if (!trainer->tracker) return TARN_OK;
    if (tarn_rank(trainer->context) == 0) {
        log_tags(trainer);
        log_dataset(trainer, trainer->options.data, "training");
        if (trainer->validation) log_dataset(trainer, trainer->validation, "validation");
        log_config(trainer);
        begin_log(trainer);
    }
    return begin_samples(trainer);
}

void tarn_trainer_end_record(tarn_trainer *trainer, tarn_status status)
{
    tarn_system_sampler_stop(trainer->sampler);
    trainer->sampler = NULL;
    if (!trainer->run_log) return;
    const tarn_error *error = status ? tarn_get_error(trainer->context) : NULL;
    tarn_run_log_line(trainer->run_log, "ends after step %lld: %s", (long long)trainer->step,
                      !status ? "finished"
                      : error ? error->message
                              : tarn_status_name(status));
    send_log(trainer);
    tarn_run_log_close(trainer->run_log);
    trainer->run_log = NULL;
}
