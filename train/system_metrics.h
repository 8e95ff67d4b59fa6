/* system_metrics.h - CPU, memory, disk and network of a host, sampled by a thread of its own into the record of a run
 * under the names that MLflow's pages know.
 *
 * Invariants
 *  1. What is sampled changes nothing that is computed: the thread sleeps, reads a few files of /proc, and logs.
 *  2. Steps of these metrics count samples, as MLflow's own sampler does, and go on where an earlier process stopped.
 *  3. A file of /proc that is not there or not as expected leaves its metrics out, without a word.
 */
#ifndef TARN_TRAIN_SYSTEM_METRICS_H
#define TARN_TRAIN_SYSTEM_METRICS_H

#include <stdbool.h>
#include <tarn/track.h>

typedef struct tarn_system_sampler tarn_system_sampler;

/* every: seconds between samples, above 0. prefix: "system/" or "system/node_1/", copied. first_step: of the first
 * sample. The tracker must live until the stop. */
tarn_status tarn_system_sampler_start(tarn_system_sampler **sampler, tarn_context *context, tarn_tracker *tracker,
                                      double every, const char *prefix, int64_t first_step);
/* Ends the thread; a run too short for a sample gets one here. NULL is fine. */
void tarn_system_sampler_stop(tarn_system_sampler *sampler);

/* Counters of the kernel, as /proc shows them. */
typedef struct tarn_system_counters {
    double busy, total;           /* processor time since boot, in ticks, of all cores */
    double received, transmitted; /* bytes since boot, of all interfaces */
    double memory, memory_used;   /* bytes; used is what cannot be had without swapping */
} tarn_system_counters;
/* Of the texts of /proc/stat, /proc/net/dev and /proc/meminfo; false: not as expected. */
bool tarn_system_parse_stat(const char *text, tarn_system_counters *out);
bool tarn_system_parse_network(const char *text, tarn_system_counters *out);
bool tarn_system_parse_memory(const char *text, tarn_system_counters *out);

#endif
