/* batch.c - metrics, params and tags, many in one request.
 *
 * Invariants
 *  1. Events count as taken when all requests of their window have succeeded; repeating a window changes nothing: the
 *     server knows a point by key, value, time and step, a param by key and value, and the last value of a tag counts.
 *  2. Params go in requests of their own: one that has changed makes the server refuse all that comes with it.
 *  3. What a refused request holds is halved until the event that is at fault stands alone. That one is lost and
 *     counted, unless the server cannot record anything at the moment.
 *  4. A number is sent with all its digits, and only when it is finite.
 */
#include "track/mlflow/mlflow_sink.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NUMBERS = 120 }; /* bytes of a metric around its key: value, time, step, names of the members */

/* Bytes of a text as JSON, at most. */
static size_t printed(const char *text)
{
    size_t bytes = 2;
    for (; text && *text; text++) bytes += (unsigned char)*text < 32 ? 6 : *text == '"' || *text == '\\' ? 2 : 1;
    return bytes;
}

/* ---- one request ------------------------------------------------------------------------------------------------- */

static bool add_metric(cJSON *metrics, const tarn_track_event *event)
{
    cJSON *metric = cJSON_CreateObject();
    if (metric && tarn_mlflow_add_text(metric, "key", event->key) &&
        tarn_mlflow_add_number(metric, "value", event->value) &&
        tarn_mlflow_add_integer(metric, "timestamp", event->time_ms) &&
        tarn_mlflow_add_integer(metric, "step", event->step) && cJSON_AddItemToArray(metrics, metric))
        return true;
    cJSON_Delete(metric);
    return false;
}

static tarn_mlflow_outcome send_events(tarn_mlflow_sink *sink, const tarn_track_event *const *events, int64_t count)
{
    static const struct {
        tarn_track_kind kind;
        const char *name;
    } lists[] = {{TARN_TRACK_METRIC, "metrics"}, {TARN_TRACK_PARAM, "params"}, {TARN_TRACK_TAG, "tags"}};
    cJSON *body = cJSON_CreateObject(), *arrays[3] = {0};
    bool fine = body && tarn_mlflow_add_text(body, "run_id", sink->server_run);
    for (int64_t i = 0; fine && i < count; i++) {
        const tarn_track_event *event = events[i];
        int list = event->kind == lists[0].kind ? 0 : event->kind == lists[1].kind ? 1 : 2;
        if (!arrays[list]) arrays[list] = cJSON_AddArrayToObject(body, lists[list].name);
        fine = arrays[list] &&
               (list == 0 ? add_metric(arrays[list], event)
                          : tarn_mlflow_add_pair(arrays[list], event->key, event->text ? event->text : ""));
    }
    tarn_mlflow_outcome outcome = fine ? tarn_mlflow_ask(sink->client, "POST", "runs/log-batch", body, NULL)
                                       : tarn_mlflow_no_memory(sink->client);
    cJSON_Delete(body);
    return outcome;
}

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

static void lose(tarn_mlflow_sink *sink, const tarn_track_event *event, const char *why)
{
    static const char *const kinds[TARN_TRACK_KINDS] = {"metric", "param", "tag",   "artifact", "start",
                                                        "end",    "input", "model", "histogram"};
    sink->lost++;
    if (!*sink->reason)
        snprintf(sink->reason, sizeof sink->reason, "%s \"%.60s\": %.420s", kinds[event->kind],
                 event->key ? event->key : "", why);
}

bool tarn_mlflow_is_suspect(const tarn_mlflow_client *client)
{
    static const int others[] = {401, 403, 407, 408, 409, 425, 429, 499, 502, 503, 504};
    bool suspect = client->code >= 400;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) suspect = suspect && client->code != others[i];
    return suspect;
}

tarn_mlflow_outcome tarn_mlflow_give_up(tarn_mlflow_sink *sink, const tarn_track_event *event)
{
    tarn_mlflow_client *client = sink->client;
    char why[TARN_SINK_PROBLEM];
    memcpy(why, client->problem, sizeof why);
    /* A value that MLflow's own rules forbid; anything else may be a database that is full. */
    bool certain = !strcmp(client->error_code, "INVALID_PARAMETER_VALUE") || client->code == 413 || !client->code;
    if (!sink->checked) {
        tarn_mlflow_outcome there = tarn_mlflow_run_check(sink);
        if (there) return there == TARN_MLFLOW_MISSING ? there : TARN_MLFLOW_WAIT;
        sink->checked = true;
    }
    if (!certain) {
        tarn_mlflow_outcome writes = tarn_mlflow_run_probe(sink);
        if (writes) return writes == TARN_MLFLOW_MISSING ? writes : TARN_MLFLOW_WAIT;
    }
    lose(sink, event, why);
    return TARN_MLFLOW_OK;
}

static tarn_mlflow_outcome deliver(tarn_mlflow_sink *sink, const tarn_track_event *const *events, int64_t count)
{
    if (!count) return TARN_MLFLOW_OK;
    tarn_mlflow_client *client = sink->client;
    tarn_mlflow_outcome outcome = send_events(sink, events, count);
    /* An error of the server that comes again and again for these events and no others. */
    if (outcome == TARN_MLFLOW_WAIT && sink->strikes >= TARN_MLFLOW_TRIES && tarn_mlflow_is_suspect(client))
        outcome = TARN_MLFLOW_REFUSED;
    /* Nothing but the run can be missing; if it is not, the server means what was sent. */
    if (outcome == TARN_MLFLOW_EXISTS || outcome == TARN_MLFLOW_MISSING) outcome = TARN_MLFLOW_REFUSED;
    if (outcome != TARN_MLFLOW_REFUSED) {
        if (client->timed_out && count > 1) sink->window = count / 2;
        return outcome == TARN_MLFLOW_ABSENT ? TARN_MLFLOW_WAIT : outcome;
    }
    if (count == 1) return tarn_mlflow_give_up(sink, events[0]);
    if (!sink->checked) {
        outcome = tarn_mlflow_run_check(sink);
        if (outcome) return outcome == TARN_MLFLOW_MISSING ? outcome : TARN_MLFLOW_WAIT;
        sink->checked = true;
    }
    outcome = deliver(sink, events, count / 2);
    return outcome ? outcome : deliver(sink, events + count / 2, count - count / 2);
}

/* ---- windows ----------------------------------------------------------------------------------------------------- */

tarn_mlflow_outcome tarn_mlflow_batch(tarn_mlflow_sink *sink, const tarn_track_event *events, int64_t count,
                                      int64_t *taken)
{
    const tarn_track_event *params[TARN_MLFLOW_PAIRS], *others[TARN_MLFLOW_METRICS];
    int64_t param_count = 0, other_count = 0, tag_count = 0, lost = sink->lost, end = 0;
    size_t param_bytes = 0, other_bytes = 0;
    *taken = 0;
    sink->checked = false;
    for (; end < count; end++) {
        const tarn_track_event *event = &events[end];
        if (event->kind == TARN_TRACK_HISTOGRAM) continue; /* MLflow has no place for one */
        bool metric = event->kind == TARN_TRACK_METRIC, param = event->kind == TARN_TRACK_PARAM;
        if (!metric && !param && event->kind != TARN_TRACK_TAG) break;
        if (metric && !isfinite(event->value)) {
            lose(sink, event, "its value is not finite, which JSON has no word for");
            continue;
        }
        size_t bytes = printed(event->key) + (metric ? NUMBERS : printed(event->text) + 24);
        size_t *sum = param ? &param_bytes : &other_bytes;
        /* One that is too large by itself goes alone, for the server to judge. */
        if (*sum && *sum + bytes > TARN_MLFLOW_BODY) break;
        if (param ? param_count == TARN_MLFLOW_PAIRS
                  : other_count >= sink->window || (!metric && tag_count == TARN_MLFLOW_PAIRS))
            break;
        *sum += bytes;
        if (param)
            params[param_count++] = event;
        else
            others[other_count++] = event;
        tag_count += !param && !metric;
    }
    tarn_mlflow_outcome outcome = deliver(sink, params, param_count);
    if (!outcome) outcome = deliver(sink, others, other_count);
    if (outcome) {
        sink->lost = lost; /* they will be offered, and refused, again */
        return outcome;
    }
    if (other_count == sink->window && sink->window < TARN_MLFLOW_METRICS)
        sink->window = 2 * sink->window < TARN_MLFLOW_METRICS ? 2 * sink->window : TARN_MLFLOW_METRICS;
    *taken = end;
    return TARN_MLFLOW_OK;
}
