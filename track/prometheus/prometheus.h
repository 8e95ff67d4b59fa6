/* prometheus.h - the sink behind metrics.listen and metrics.file: what a run is doing now, for Prometheus.
 *
 * Two ways out of one text (table.h): a web server for a scrape (web.h), and a file for the textfile collector of node
 * exporter, which a machine without a way in from Prometheus has.
 *
 * Invariants
 *  1. Taking events waits neither for a scraper nor for a disk: a thread of the sink writes the files and tries a taken
 *     port again.
 *  2. Readers of the file see the old or the new text whole, at most one new one a second, and the last one is of the
 *     end.
 *  3. What a run has counted outlives its processes: it is kept in the sink's state folder.
 *  4. Only what is wrong by itself is an error (an address that is none, a folder that is not there); a port in use and
 *     a disk that is full are told once, and training goes on.
 */
#ifndef TARN_TRACK_PROMETHEUS_PROMETHEUS_H
#define TARN_TRACK_PROMETHEUS_PROMETHEUS_H

#include "track/sink.h"

tarn_sink_open tarn_prometheus_sink_open;

/* Where the sink serves ("127.0.0.1:9464"); "" when it does not, or not yet. Until the sink is destroyed. */
void tarn_prometheus_sink_address(tarn_sink *sink, char out[80]);

#endif
