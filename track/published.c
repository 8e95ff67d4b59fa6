/* published.c - what has become of a model: which version of a registered model it is now.
 *
 * Invariant: a number is told only when the store has taken the event that asked for it.
 */
#include "track/file_store/catalog.h"
#include "track/mlflow/registry.h"
#include "track/sinks.h"
#include "track/tracker_internal.h"
#include "runtime/base/context.h"

#include <stdio.h>
#include <string.h>

/* The state folder of the sink that has that name. */
static bool state_of(const tarn_tracker *tracker, const char *name, tarn_path state)
{
    for (int i = 0; i < tarn_sink_row_count; i++)
        if (!strcmp(tarn_sink_rows[i].name, name))
            return !tarn_sink_state_folder(state, tracker->folder, &tarn_sink_rows[i], &tracker->to.options);
    return false;
}

static void find_version(const tarn_tracker *tracker, const tarn_track_model *model, tarn_track_published *out)
{
    char id[TARN_MODEL_ID];
    tarn_path state;
    int64_t version;
    if (!tarn_track_model_id(tracker, model->name, model->step, id)) return;
    if (tracker->to.place == TARN_TRACK_SERVER) {
        if (state_of(tracker, "mlflow", state))
            (void)tarn_mlflow_noted_version(state, id, model->register_as, model->alias, out->version);
    } else if ((version = tarn_registry_version(tracker->to.store, model->register_as, id, model->alias)))
        snprintf(out->version, sizeof out->version, "%lld", (long long)version);
}

void tarn_track_await_model(tarn_tracker *tracker, const tarn_track_model *model, tarn_track_published *out)
{
    *out = (tarn_track_published){.handed = !tracker->holds, .nowhere = tracker->to.place == TARN_TRACK_NOWHERE};
    double began = tarn_seconds();
    (void)tarn_track_flush(tracker, tracker->to.options.flush_timeout);
    double left = tracker->to.options.flush_timeout - (tarn_seconds() - began);
    tracker->to.options.flush_timeout = left > 0 ? left : 0;
    if (out->handed || out->nowhere) return;
    for (int i = 0; i < tracker->drain_count; i++) {
        tarn_drain_state state;
        tarn_drain_get(tracker->drains[i], &state);
        if (tracker->shown - state.acknowledged > out->behind) out->behind = tracker->shown - state.acknowledged;
        if (state.lost || state.acknowledged < tracker->shown) memcpy(out->problem, state.problem, sizeof out->problem);
    }
    if (!out->behind && model->register_as) find_version(tracker, model, out);
}
