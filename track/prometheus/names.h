/* names.h - how the key of a metric becomes a series of Prometheus: a name, perhaps a rank or node, a unit.
 *
 * train.loss is tarn_train_loss; system/rank_3/compute_seconds is tarn_rank_compute_seconds{rank="3"}; and since
 * Prometheus counts in base units, system/disk_usage_megabytes is tarn_system_disk_usage_bytes, a million times as
 * much, and a percentage is a ratio.
 *
 * Invariants
 *  1. Every name is [a-z][a-z0-9_]*, begins with tarn_, and ends in nothing that Prometheus reserves for counters and
 *     histograms (_total, _count, _sum, _bucket).
 *  2. Two keys never become one series: where the name and its label do not tell the key (`whole` is false), the series
 *     bears the key itself as a label.
 *  3. The same key becomes the same series in every run and process, whatever other keys there are.
 */
#ifndef TARN_TRACK_PROMETHEUS_NAMES_H
#define TARN_TRACK_PROMETHEUS_NAMES_H

#include <stdbool.h>

/* A key has at most 250 bytes; capitals become two characters at most, and a little goes around it. */
enum { TARN_PROMETHEUS_NAME = 600, TARN_PROMETHEUS_PART = 256 };

typedef struct tarn_prometheus_name {
    char name[TARN_PROMETHEUS_NAME];
    const char *part;                      /* "rank" or "node": the label's name; NULL: the key is of the whole run */
    char part_value[TARN_PROMETHEUS_PART]; /* its value: the rank's or node's number, as the key has it */
    double times, over; /* a value, times one and over the other, is in base units; 24.3 percent are then 0.243 */
    bool whole;         /* name and part tell the key: no other key becomes them */
} tarn_prometheus_name;

/* key: by MLflow's rules, at most 250 bytes; a longer one is cut (and then never `whole`). */
void tarn_prometheus_name_of(tarn_prometheus_name *out, const char *key);

#endif
