/* refused.c - log calls that ask for what no record can hold: a key that MLflow's rules make impossible, a file that is
 * not there, a value longer than MLflow keeps.
 *
 * Invariants
 *  1. A wrong log call fails nothing but itself: it has a status, and leaves the context's error alone. A training goes
 *     on, and ends well.
 *  2. The first wrong call of a kind is told at once, with what is wrong and the remedy; all are counted, and closing
 *     tells the counts and the first one. Told once a kind: a loop that is wrong is wrong at every step.
 */
#include "track/tracker_internal.h"

#include <stdio.h>

static const char *const functions[TARN_TRACK_KINDS][2] = {[TARN_TRACK_METRIC] = {"metric", "metrics"},
                                                           [TARN_TRACK_PARAM] = {"parameter", "parameters"},
                                                           [TARN_TRACK_TAG] = {"tag", "tags"},
                                                           [TARN_TRACK_ARTIFACT] = {"artifact", "artifacts"},
                                                           [TARN_TRACK_INPUT] = {"data set", "data sets"},
                                                           [TARN_TRACK_MODEL] = {"model", "models"},
                                                           [TARN_TRACK_HISTOGRAM] = {"histogram", "histograms"}};

void tarn_tracker_refuse_locked(tarn_tracker *tracker, tarn_track_kind kind, const char *problem)
{
    tarn_tracker_refused *refused = &tracker->refused;
    snprintf(refused->newest, sizeof refused->newest, "%s", problem);
    if (!refused->total++) snprintf(refused->first, sizeof refused->first, "%s", problem);
    if (!refused->calls[kind]++)
        tarn_tracker_tell_locked(tracker, "%s; it stays out of the record, and the run goes on", problem);
}

tarn_status tarn_tracker_refuse(tarn_tracker *tracker, tarn_track_kind kind, tarn_status status, const char *format,
                                ...)
{
    char problem[TARN_SINK_PROBLEM];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem, sizeof problem, format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&tracker->lock);
    tarn_tracker_refuse_locked(tracker, kind, problem);
    tarn_tracker_unlock(tracker);
    return status;
}

void tarn_tracker_cut_locked(tarn_tracker *tracker, tarn_track_kind kind, const char *key, size_t length, size_t most)
{
    if (tracker->refused.cut[kind]++) return;
    tarn_tracker_tell_locked(tracker,
                             "the value of %s \"%.250s\" has %zu bytes, MLflow keeps %zu: the rest is cut off; log it "
                             "as a file with tarn_log_artifact",
                             functions[kind][0], key ? key : "(null)", length, most);
}

void tarn_track_refusal(tarn_tracker *tracker, char *out, size_t size)
{
    if (size) *out = '\0';
    if (!tracker || !size) return;
    pthread_mutex_lock(&tracker->lock);
    snprintf(out, size, "%s", tracker->refused.newest);
    pthread_mutex_unlock(&tracker->lock);
}

static const char *calls_of(int64_t count)
{
    return count == 1 ? "call was" : "calls were";
}

void tarn_tracker_tell_refused(const tarn_tracker *tracker)
{
    const tarn_tracker_refused *refused = &tracker->refused;
    char kinds[256] = "";
    size_t used = 0;
    int64_t cut = 0;
    for (int kind = 0; kind < TARN_TRACK_KINDS; kind++) {
        cut += refused->cut[kind];
        if (!functions[kind][0] || !refused->calls[kind] || used >= sizeof kinds) continue;
        used += (size_t)snprintf(kinds + used, sizeof kinds - used, "%s%lld %s", used ? ", " : "",
                                 (long long)refused->calls[kind], functions[kind][refused->calls[kind] > 1]);
    }
    if (refused->total)
        tarn_log(tracker->context, TARN_LOG_WARN, "tracking: %lld log %s refused (%s) in run %s; the first: %s",
                 (long long)refused->total, calls_of(refused->total), kinds, tracker->run_id, refused->first);
    if (cut)
        tarn_log(tracker->context, TARN_LOG_WARN, "tracking: %lld too long %s cut in run %s", (long long)cut,
                 cut == 1 ? "value was" : "values were", tracker->run_id);
    if (refused->changed > 1)
        tarn_log(tracker->context, TARN_LOG_WARN,
                 "tracking: %lld times a parameter of run %s was logged with another value than its first, which stays",
                 (long long)refused->changed, tracker->run_id);
}
