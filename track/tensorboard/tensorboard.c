/* tensorboard.c - see tensorboard.h: taking events, and reading back what an earlier process wrote. */
#include "track/tensorboard/tensorboard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4096 }; /* events of one call: they stand in memory until all are written */

static void explain(tarn_sink_report *report, const char *path)
{
    tarn_board_explain(report->problem, path, "track.tensorboard");
}

/* ---- reading back ------------------------------------------------------------------------------------------------ */

static void forget(tarn_tensorboard *board)
{
    tarn_points_free(&board->seen);
    for (int i = 0; i < TARN_EVENT_TABLES; i++) {
        free(board->table[i].shown);
        board->table[i] = (struct tarn_event_table){0};
    }
    board->session_started = board->session_ended = board->loaded = false;
}

static bool enter(tarn_tensorboard *board, const tarn_event_seen *seen)
{
    switch (seen->kind) {
    case TARN_EVENT_SCALAR:
        return tarn_points_add(&board->seen,
                               tarn_points_hash(TARN_TRACK_METRIC, seen->tag, seen->tag_length, seen->step)) >= 0;
    case TARN_EVENT_HISTOGRAM:
        return tarn_points_add(&board->seen,
                               tarn_points_hash(TARN_TRACK_HISTOGRAM, seen->tag, seen->tag_length, seen->step)) >= 0;
    case TARN_EVENT_TEXT:
        return tarn_event_tables_seen(board, seen);
    case TARN_EVENT_SESSION_START:
        board->session_started = true;
        return true;
    case TARN_EVENT_SESSION_END:
        board->session_ended = true;
        return true;
    default:
        return true;
    }
}

/* Learns what the file holds, and cuts off what a crash left behind the last whole record. */
static int load(tarn_tensorboard *board)
{
    int64_t offset = 0;
    const unsigned char *bytes;
    size_t count;
    int got;
    forget(board);
    if (tarn_event_tables_load(board)) return -1;
    while ((got = tarn_event_read(&board->file, &offset, &bytes, &count)) > 0) {
        tarn_event_seen seen;
        if (tarn_event_parse(bytes, count, &seen) && !enter(board, &seen)) {
            errno = ENOMEM;
            return -1;
        }
    }
    if (got < 0 && errno) return -1; /* a disk that fails is no reason to cut anything */
    if (got < 0 && tarn_board_file_cut(&board->file, offset, board->aside)) return -1;
    board->loaded = true;
    return 0;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* True when the file holds the point of this event already. */
static bool held(tarn_tensorboard *board, const tarn_track_event *event)
{
    if (!board->seen.used) return false;
    if (tarn_points_hold(&board->seen, tarn_points_hash(event->kind, event->key, strlen(event->key), event->step)))
        return true;
    /* Events come in one order: from here on all are new. */
    tarn_points_free(&board->seen);
    return false;
}

/* The parameters as they stand when the first point comes: TensorBoard looks at the first such record alone. */
static void start_session(tarn_tensorboard *board, double wall)
{
    if (board->session_started) return;
    tarn_event_session_start(&board->writer, wall, tarn_event_tables_parameters(board), board->group);
    board->session_started = true;
}

/* False: memory ran out. */
static bool take(tarn_tensorboard *board, const tarn_track_event *event, tarn_sink_report *report)
{
    double wall = (double)event->time_ms / 1000;
    switch (event->kind) {
    case TARN_TRACK_METRIC:
        if (held(board, event)) return true;
        start_session(board, wall);
        tarn_event_scalar(&board->writer, wall, event->step, event->key, (float)event->value);
        return true;
    case TARN_TRACK_HISTOGRAM: {
        /* One that is none is in no file: asked for, it would end the search for points that are. */
        tarn_board_histogram histogram;
        if (!tarn_board_histogram_parse(&histogram, event->text)) {
            report->lost++;
            if (!*report->problem)
                snprintf(report->problem, sizeof report->problem, "histogram %.200s of step %lld is none: left out",
                         event->key, (long long)event->step);
            return true;
        }
        if (!held(board, event)) {
            start_session(board, wall);
            tarn_event_histogram(&board->writer, wall, event->step, event->key, &histogram);
        }
        tarn_board_histogram_free(&histogram);
        return true;
    }
    case TARN_TRACK_PARAM:
    case TARN_TRACK_TAG:
    case TARN_TRACK_INPUT:
        return tarn_event_tables_take(board, event);
    case TARN_TRACK_END:
        /* The first such record counts for TensorBoard, so an end that a resumed run takes back is not written. */
        if (strcmp(event->text, "FINISHED") || board->session_ended) return true;
        start_session(board, wall);
        tarn_event_session_success(&board->writer, wall);
        board->session_ended = true;
        return true;
    default: /* artifacts and models: TensorBoard has no place for them */
        return true;
    }
}

static void write_events(tarn_sink *sink, const tarn_track_event *events, int64_t count, tarn_sink_report *report)
{
    tarn_tensorboard *board = (tarn_tensorboard *)sink;
    char *shown[TARN_EVENT_TABLES] = {0};
    *report = (tarn_sink_report){0};
    if (!count) return;
    if (!board->loaded && load(board)) {
        explain(report, board->file.path);
        return;
    }
    double wall = (double)events[0].time_ms / 1000;
    tarn_protobuf_clear(&board->writer.out);
    if (!board->file.length) tarn_event_version(&board->writer, wall);
    bool done = true;
    for (int64_t i = 0; i < count && done; i++) done = take(board, &events[i], report);
    done = done && tarn_event_tables_show(board, wall, shown) && !board->writer.out.failed;
    if (!done) errno = ENOMEM;
    if (!done || tarn_event_tables_save(board) ||
        (board->writer.out.used &&
         tarn_board_file_append(&board->file, board->writer.out.bytes, board->writer.out.used))) {
        *report->problem = '\0';
        explain(report, board->file.path);
        report->lost = 0;
        forget(board);
        for (int i = 0; i < TARN_EVENT_TABLES; i++) free(shown[i]);
        return;
    }
    for (int i = 0; i < TARN_EVENT_TABLES; i++)
        if (shown[i]) {
            free(board->table[i].shown);
            board->table[i].shown = shown[i];
            board->table[i].count++;
        }
    report->taken = count;
}

static void destroy(tarn_sink *sink)
{
    tarn_tensorboard *board = (tarn_tensorboard *)sink;
    forget(board);
    cJSON_Delete(board->tables);
    tarn_event_writer_free(&board->writer);
    tarn_board_file_close(&board->file);
    free(board);
}

tarn_status tarn_tensorboard_sink_open(tarn_sink **out, const tarn_track_options *options, const tarn_sink_run *run,
                                       char notice[TARN_SINK_PROBLEM], char problem[TARN_SINK_PROBLEM])
{
    *out = NULL;
    *notice = *problem = '\0';
    if (!options->tensorboard || !*options->tensorboard) return TARN_OK;
    tarn_tensorboard *board = calloc(1, sizeof *board);
    if (!board) {
        snprintf(problem, TARN_SINK_PROBLEM, "out of memory while opening TensorBoard's event file");
        return TARN_ERROR_MEMORY;
    }
    board->sink = (tarn_sink){.name = "tensorboard", .most = MOST, .write = write_events, .destroy = destroy};
    board->file = TARN_BOARD_FILE_CLOSED;
    snprintf(board->run_id, sizeof board->run_id, "%s", run->run_id);
    snprintf(board->group, sizeof board->group, "%s", run->name && *run->name ? run->name : run->run_id);
    tarn_status status = tarn_tensorboard_place(board, options->tensorboard, run, notice, problem);
    if (!status && load(board)) {
        tarn_board_explain(problem, board->file.path, "track.tensorboard");
        status = TARN_ERROR_IO;
    }
    if (status) {
        destroy(&board->sink);
        return status;
    }
    *out = &board->sink;
    return TARN_OK;
}
