/* mlflow.c - an MLflow server as a sink: events of the spool to its REST interface.
 *
 * Invariants
 *  1. Events are taken in their order. Metrics, params and tags between two other events go out together, which changes
 *     nothing: each of them is by itself.
 *  2. The server's state never stops training, and loses nothing: what it cannot take now is offered again. An event
 *     that it will never take, or that alone makes it fail while it records others, is lost with the reason, and
 *     counted.
 *  3. Whatever was sent and not acknowledged may be sent again.
 */
#include "track/mlflow/mlflow.h"
#include "track/mlflow/mlflow_sink.h"
#include "track/mlflow/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4 * TARN_MLFLOW_METRICS }; /* events of one write: some seconds at most, in full requests */

/* One event that is not for a batch. */
static tarn_mlflow_outcome take_alone(tarn_mlflow_sink *sink, const tarn_track_event *event)
{
    switch (event->kind) {
    case TARN_TRACK_BEGIN:
        return tarn_mlflow_run_begin(sink, event);
    case TARN_TRACK_END:
        return tarn_mlflow_run_end(sink, event);
    case TARN_TRACK_INPUT:
        return tarn_mlflow_run_input(sink, event);
    case TARN_TRACK_ARTIFACT:
        return tarn_mlflow_upload(sink->client, sink->artifacts, event->key, event->file, NULL, NULL);
    case TARN_TRACK_MODEL:
        return tarn_mlflow_model(sink, event);
    default:
        return TARN_MLFLOW_OK;
    }
}

static bool is_batched(tarn_track_kind kind)
{
    return kind == TARN_TRACK_METRIC || kind == TARN_TRACK_PARAM || kind == TARN_TRACK_TAG ||
           kind == TARN_TRACK_HISTOGRAM;
}

static tarn_mlflow_outcome take_one(tarn_mlflow_sink *sink, const tarn_track_event *event)
{
    bool of_run = event->kind == TARN_TRACK_BEGIN || event->kind == TARN_TRACK_END;
    sink->checked = false;
    if (event->kind == TARN_TRACK_BEGIN && event->text) {
        free(sink->begin);
        sink->begin = strdup(event->text);
    }
    tarn_mlflow_outcome outcome = take_alone(sink, event);
    /* A file that the server's store does not take, say: not for ever in the way of all that follows. */
    bool failed = outcome == TARN_MLFLOW_WAIT && sink->strikes >= TARN_MLFLOW_TRIES &&
                  (tarn_mlflow_is_suspect(sink->client) || sink->client->code > 500 || sink->client->timed_out);
    bool refused = outcome && outcome != TARN_MLFLOW_WAIT && !(of_run && outcome == TARN_MLFLOW_ABSENT);
    return failed || refused ? tarn_mlflow_give_up(sink, event) : outcome;
}

/* The run was purged at the server, or its database is another one: what is left goes to a new run. */
static void begin_anew(tarn_mlflow_sink *sink)
{
    snprintf(sink->notice, sizeof sink->notice,
             "the run %.64s is no longer on the MLflow server %.200s (purged, or another database): what follows goes "
             "to a new run",
             sink->server_run, sink->client->base);
    sink->told = false;
    tarn_mlflow_run_forget(sink);
}

static void write_events(tarn_sink *base, const tarn_track_event *events, int64_t count, tarn_sink_report *report)
{
    tarn_mlflow_sink *sink = (tarn_mlflow_sink *)base;
    tarn_mlflow_client *client = sink->client;
    *report = (tarn_sink_report){0};
    *sink->reason = '\0';
    tarn_mlflow_outcome outcome = TARN_MLFLOW_OK;
    bool anew = false;
    while (!outcome && report->taken < count) {
        const tarn_track_event *next = &events[report->taken];
        int64_t taken = 1;
        sink->lost = 0;
        outcome = tarn_mlflow_run_open(sink, next);
        if (!outcome && !sink->told) {
            snprintf(report->information, TARN_SINK_PROBLEM,
                     "the run at the MLflow server: %.300s/#/experiments/%.64s/runs/%.64s", client->base,
                     sink->server_experiment, sink->server_run);
            sink->told = true;
        }
        if (!outcome)
            outcome = is_batched(next->kind) ? tarn_mlflow_batch(sink, next, count - report->taken, &taken)
                                             : take_one(sink, next);
        if (outcome == TARN_MLFLOW_MISSING && !anew) {
            anew = true;
            begin_anew(sink);
            outcome = TARN_MLFLOW_OK;
        } else if (!outcome) {
            report->taken += taken;
            report->lost += sink->lost;
            sink->strikes = 0;
        }
    }
    if (outcome) {
        /* A server that is not there is no fault of the event. */
        bool answered = tarn_mlflow_is_suspect(client) || client->code > 500 || client->timed_out;
        sink->strikes = answered ? sink->strikes + 1 : 0;
        report->retry_after = client->retry_after;
        if (!client->cancelled) memcpy(report->problem, client->problem, sizeof report->problem);
    } else if (*sink->reason)
        memcpy(report->problem, sink->reason, sizeof report->problem);
    else {
        memcpy(report->problem, sink->notice, sizeof report->problem);
        *sink->notice = '\0';
    }
}

static void cancel(tarn_sink *base)
{
    tarn_mlflow_cancel(((tarn_mlflow_sink *)base)->client);
}

static void destroy(tarn_sink *base)
{
    tarn_mlflow_sink *sink = (tarn_mlflow_sink *)base;
    tarn_mlflow_client_close(sink->client);
    tarn_mlflow_run_clear(sink);
    free(sink->run_id);
    free(sink->begin);
    free(sink->experiment);
    free(sink->name);
    free(sink->wanted);
    free(sink->state);
    free(sink);
}

/* strdup of a text that may be none. */
static bool copy(char **out, const char *text)
{
    *out = text && *text ? strdup(text) : NULL;
    return *out || !text || !*text;
}

tarn_status tarn_mlflow_sink_open(tarn_sink **out, const tarn_track_options *options, const tarn_sink_run *run,
                                  char notice[TARN_SINK_PROBLEM], char problem[TARN_SINK_PROBLEM])
{
    *out = NULL;
    *notice = *problem = '\0';
    if (!tarn_mlflow_is_address(options->store)) return TARN_OK;
    tarn_mlflow_sink *sink = calloc(1, sizeof *sink);
    tarn_status status = TARN_ERROR_MEMORY;
    if (sink) {
        sink->sink =
            (tarn_sink){.name = "mlflow", .most = MOST, .write = write_events, .cancel = cancel, .destroy = destroy};
        sink->window = TARN_MLFLOW_METRICS;
        sink->named = run->named;
        status = tarn_mlflow_client_open(&sink->client, options->store, notice, problem);
    }
    if (!status &&
        !(copy(&sink->run_id, run->run_id) && copy(&sink->experiment, run->experiment) &&
          copy(&sink->name, run->name) && copy(&sink->wanted, options->run_id) && copy(&sink->state, run->state)))
        status = TARN_ERROR_MEMORY;
    if (status) {
        if (!*problem) snprintf(problem, TARN_SINK_PROBLEM, "out of memory while opening the MLflow sink");
        if (sink) destroy(&sink->sink);
        return status;
    }
    snprintf(sink->sink.where, sizeof sink->sink.where, "recording to the MLflow server %.300s (run %.32s)",
             sink->client->base, run->run_id);
    *out = &sink->sink;
    return TARN_OK;
}
