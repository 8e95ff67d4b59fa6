/* complete.c - whether the record of a run has come to its end: for a start that finds nothing left to train.
 *
 * A process may be killed between its last checkpoint and the end of its record, or while destinations still lacked
 * some of it. Nothing is trained when the run is started again, but its record is to be completed.
 */
#include "track/address.h"
#include "track/drain.h"
#include "track/sinks.h"
#include "track/spool.h"
#include "track/tracker.h"

#include <string.h>
#include <unistd.h>

/* Reads a spool through: whether the newest BEGIN has its END, FINISHED. *last: the number of the newest event. */
static bool is_finished(tarn_spool_reader *reader, int64_t *last)
{
    tarn_track_event event;
    bool finished = false;
    tarn_spool_read_whole(reader);
    for (*last = 0; tarn_spool_read(reader, &event, 1); *last = tarn_spool_number(reader, 0)) {
        if (event.kind == TARN_TRACK_BEGIN) finished = false;
        if (event.kind == TARN_TRACK_END) finished = event.text && !strcmp(event.text, "FINISHED");
    }
    return finished;
}

bool tarn_track_is_complete(const tarn_track_options *options)
{
    char problem[TARN_SINK_PROBLEM];
    tarn_track_resolved to;
    tarn_path folder, state;
    int64_t last;
    if (tarn_track_resolve_run(&to, options, false, problem) || !*to.run_id ||
        tarn_path_make(folder, "%s/%s", to.spool, to.run_id) || access(folder, F_OK))
        return true; /* nothing is known of it here */
    tarn_spool_reader *reader = tarn_spool_open_reader(folder, problem);
    if (!reader) return true;
    bool complete = is_finished(reader, &last);
    tarn_spool_close_reader(reader);
    for (int i = 0; i < tarn_sink_row_count && complete; i++) {
        const tarn_sink_row *row = &tarn_sink_rows[i];
        if (!row->push || !tarn_sink_is_asked(row, &to.options)) continue;
        /* No folder: a sink of another kind has that destination, or it is new, and for `tarn track push`. */
        complete = tarn_sink_state_path(state, folder, row, &to.options) || access(state, F_OK) ||
                   tarn_drain_acknowledged(state, row->on_this_host) >= last;
    }
    return complete;
}
