/* families.c - see families.h. */
#include "track/prometheus/families.h"

#include <stddef.h>
#include <string.h>

const tarn_prometheus_family tarn_prometheus_families[TARN_PROMETHEUS_OWN] = {
    [TARN_PROMETHEUS_BUILD_INFO] = {"tarn_build_info", "gauge", "Version of Tarn that runs; always 1."},
    [TARN_PROMETHEUS_RUN_INFO] = {"tarn_run_info", "gauge",
                                  "Who runs what: id, user, program, commit, ranks; always 1."},
    [TARN_PROMETHEUS_RUN_STATUS] = {"tarn_run_status", "gauge", "1 for the status that the run has, 0 for the others."},
    [TARN_PROMETHEUS_BEGIN_TIME] = {"tarn_begin_timestamp_seconds", "gauge",
                                    "When the run began, or went on the last time, since 1970."},
    [TARN_PROMETHEUS_STEPS] = {"tarn_steps_total", "counter", "Training steps done, over all restarts."},
    [TARN_PROMETHEUS_LAST_STEP_TIME] = {"tarn_last_step_timestamp_seconds", "gauge",
                                        "When the newest step ended, since 1970; steps run again after a restart do "
                                        "not count."},
    [TARN_PROMETHEUS_SKIPPED] = {"tarn_skipped_steps_total", "counter",
                                 "Steps left out because their loss or gradient was not finite."},
    [TARN_PROMETHEUS_RESTARTS] = {"tarn_restarts_total", "counter", "Times the run went on after an end."},
    [TARN_PROMETHEUS_CHECKPOINTS] = {"tarn_checkpoints_total", "counter", "Checkpoints that became durable."},
    [TARN_PROMETHEUS_LAST_CHECKPOINT_TIME] = {"tarn_last_checkpoint_timestamp_seconds", "gauge",
                                              "When the newest checkpoint became durable, since 1970; 0 before the "
                                              "first."},
    [TARN_PROMETHEUS_LAST_CHECKPOINT_STEP] = {"tarn_last_checkpoint_step", "gauge",
                                              "Step of the newest durable checkpoint; 0 before the first."},
    [TARN_PROMETHEUS_NONFINITE] = {"tarn_nonfinite", "gauge",
                                   "1 for each metric that was NaN or infinite at some step of the run."},
    [TARN_PROMETHEUS_BROKEN_PROMISE] = {"tarn_broken_promise", "gauge",
                                        "1 when a step that was run again gave another value than before."},
    [TARN_PROMETHEUS_EVENTS] = {"tarn_track_events_total", "counter",
                                "Events (metrics, parameters, tags, files) that this process recorded."},
    [TARN_PROMETHEUS_LOST] = {"tarn_track_lost_total", "counter",
                              "Events that could not be recorded, or that a destination refused for good."},
    [TARN_PROMETHEUS_THINNED] = {"tarn_track_thinned_total", "counter",
                                 "Metrics that gave way because the spool was full."},
    [TARN_PROMETHEUS_SPOOL_BYTES] = {"tarn_track_spool_bytes", "gauge", "Size of the run's spool on disk."},
    [TARN_PROMETHEUS_BEHIND] = {"tarn_track_behind_events", "gauge",
                                "Events of the spool that a destination has yet to take."},
    [TARN_PROMETHEUS_LEFT_OUT] = {"tarn_left_out_values_total", "counter",
                                  "Values that are not shown here because the run has too many metrics."},
};

static const struct {
    const char *name, *help;
} helps[] = {
    {"tarn_train_loss", "Training loss of the newest step."},
    {"tarn_train_lr", "Learning rate that the newest update used."},
    {"tarn_train_gradient_norm", "2-norm of the mean gradient of the newest step, before clipping."},
    {"tarn_train_skipped", "Steps left out so far because they were not finite."},
    {"tarn_validation_loss", "Loss over the validation part, at the newest evaluation."},
    {"tarn_validation_accuracy", "Share of right answers in the validation part, at the newest evaluation."},
    {"tarn_system_step_seconds", "Duration of a step; a mean of ten, as its parts."},
    {"tarn_system_samples_per_second", "Samples of all ranks a second."},
    {"tarn_system_tokens_per_second", "Tokens of all ranks a second."},
    {"tarn_system_evaluation_seconds", "Duration of the newest evaluation."},
    {"tarn_system_checkpoint_seconds", "From the copy of the state to a durable checkpoint, of the newest one."},
    {"tarn_system_arrival_skew_seconds", "Time between the first and the last rank's arrival at the reduction."},
    {"tarn_system_slowest_rank", "The rank that computes longest."},
    {"tarn_system_slow_ratio", "Compute time of the slowest rank over the median of the others'."},
    {"tarn_system_data_seconds", "Part of rank 0's step waiting for its rows."},
    {"tarn_rank_data_seconds", "Part of a rank's step waiting for its rows."},
    {"tarn_system_compute_seconds", "Part of rank 0's step computing loss and gradient."},
    {"tarn_rank_compute_seconds", "Part of a rank's step computing loss and gradient."},
    {"tarn_system_reduce_seconds", "Part of rank 0's step waiting for the reduction of the gradient."},
    {"tarn_rank_reduce_seconds", "Part of a rank's step waiting for the reduction of the gradient."},
    {"tarn_system_update_seconds", "Part of rank 0's step in the optimizer."},
    {"tarn_rank_update_seconds", "Part of a rank's step in the optimizer."},
    {"tarn_system_save_seconds", "Part of rank 0's step copying the state for a checkpoint."},
    {"tarn_rank_save_seconds", "Part of a rank's step copying the state for a checkpoint."},
    {"tarn_system_track_seconds", "Part of rank 0's step in tracking."},
    {"tarn_rank_track_seconds", "Part of a rank's step in tracking."},
    {"tarn_system_cpu_utilization_ratio", "Busy share of all cores of this host."},
    {"tarn_system_memory_usage_bytes", "Memory in use on this host."},
    {"tarn_system_memory_usage_ratio", "Share of the memory in use on this host."},
    {"tarn_system_disk_usage_bytes", "Space in use in the file system at / of this host."},
    {"tarn_system_disk_available_bytes", "Space left in the file system at / of this host."},
    {"tarn_system_disk_usage_ratio", "Share in use of the file system at / of this host."},
    {"tarn_system_network_receive_bytes", "Bytes that this host received since the process began."},
    {"tarn_system_network_transmit_bytes", "Bytes that this host sent since the process began."},
    {"tarn_node_cpu_utilization_ratio", "Busy share of all cores of a host."},
    {"tarn_node_memory_usage_bytes", "Memory in use on a host."},
    {"tarn_node_memory_usage_ratio", "Share of the memory in use on a host."},
    {"tarn_node_disk_usage_bytes", "Space in use in the file system at / of a host."},
    {"tarn_node_disk_available_bytes", "Space left in the file system at / of a host."},
    {"tarn_node_disk_usage_ratio", "Share in use of the file system at / of a host."},
    {"tarn_node_network_receive_bytes", "Bytes that a host received since the process began."},
    {"tarn_node_network_transmit_bytes", "Bytes that a host sent since the process began."},
};

bool tarn_prometheus_is_own(const char *name)
{
    for (int i = 0; i < TARN_PROMETHEUS_OWN; i++)
        if (!strcmp(tarn_prometheus_families[i].name, name)) return true;
    return false;
}

const char *tarn_prometheus_help(const char *name)
{
    for (size_t i = 0; i < sizeof helps / sizeof *helps; i++)
        if (!strcmp(helps[i].name, name)) return helps[i].help;
    return "Newest value of a metric that the run logged.";
}
