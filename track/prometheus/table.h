/* table.h - what /metrics shows of a run: the newest value of each metric, counters, who and when; and its text.
 *
 * Fed with the run's events by one thread, read by any number. The text is the exposition format 0.0.4 of Prometheus.
 *
 * Invariants
 *  1. Taking an event twice, or events older than one already taken, changes nothing: values go by step, counters by
 *     the highest step or the newest time.
 *  2. The lock is held while an event is taken or the text is made, and never over input or output.
 *  3. A text is complete (all series of a name together, HELP and TYPE before them, a final newline) and never changes:
 *     readers keep it as long as they like.
 *  4. Memory is bounded: TARN_PROMETHEUS_SERIES keys, further ones are counted.
 */
#ifndef TARN_TRACK_PROMETHEUS_TABLE_H
#define TARN_TRACK_PROMETHEUS_TABLE_H

#include "track/sink.h"

#include <stdatomic.h>
#include <stddef.h>

enum { TARN_PROMETHEUS_SERIES = 10000 };

typedef struct tarn_prometheus_table tarn_prometheus_table;

/* A text that several readers hold. */
typedef struct tarn_prometheus_text {
    atomic_int holders;
    size_t bytes;
    char data[]; /* and a zero */
} tarn_prometheus_text;

/* NULL without memory. run is read during the call only. */
tarn_prometheus_table *tarn_prometheus_table_create(const tarn_sink_run *run);
void tarn_prometheus_table_destroy(tarn_prometheus_table *table);
/* True when memory was short: the event is then not shown. */
bool tarn_prometheus_table_take(tarn_prometheus_table *table, const tarn_track_event *event);
/* What tracking says of itself, in place of what it said before. */
void tarn_prometheus_table_statistics(tarn_prometheus_table *table, const tarn_track_statistics *statistics);
/* The text as of now; release it after use. NULL without memory. */
tarn_prometheus_text *tarn_prometheus_table_text(tarn_prometheus_table *table);
void tarn_prometheus_text_release(tarn_prometheus_text *text);
/* Counts up with every change. Of those, *weighty: the changes that a restart must not forget. */
int64_t tarn_prometheus_table_changes(tarn_prometheus_table *table, int64_t *weighty);

/* The table for a later process of the run, as JSON to free(); NULL without memory. */
char *tarn_prometheus_table_save(tarn_prometheus_table *table);
/* Takes back what was saved; false when it is not what tarn_prometheus_table_save writes, the table is then as new. */
bool tarn_prometheus_table_restore(tarn_prometheus_table *table, const char *json);

#endif
