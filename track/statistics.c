/* statistics.c - what tracking says of itself, for the sinks that show it. */
#include "track/tracker_internal.h"

void tarn_tracker_tell_sinks(tarn_tracker *tracker)
{
    tarn_track_statistics statistics = {.spool_bytes = tracker->spool.bytes, .sinks = tracker->drain_count};
    bool asked = false;
    for (int i = 0; i < tracker->drain_count; i++) asked |= tarn_drain_shows_statistics(tracker->drains[i]);
    if (!asked) return;
    pthread_mutex_lock(&tracker->lock);
    int64_t shown = tracker->shown;
    statistics.events = tracker->durable - tracker->lost;
    statistics.lost = tracker->lost + tracker->queue.dropped;
    statistics.thinned = tracker->thinned;
    pthread_mutex_unlock(&tracker->lock);
    if (statistics.events < 0) statistics.events = 0;
    for (int i = 0; i < tracker->drain_count; i++) {
        tarn_drain_state state;
        tarn_drain_get(tracker->drains[i], &state);
        statistics.lost += state.lost;
        statistics.sink[i].name = tarn_drain_name(tracker->drains[i]);
        statistics.sink[i].behind = shown > state.acknowledged ? shown - state.acknowledged : 0;
    }
    for (int i = 0; i < tracker->drain_count; i++) tarn_drain_show_statistics(tracker->drains[i], &statistics);
}
