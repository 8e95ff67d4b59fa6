/* wandb.c - see wandb.h: taking events. */
#include "track/wandb/wandb.h"
#include "track/boards/places.h"
#include "track/environment.h"
#include "runtime/config/document.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 4096 }; /* events of one call: their records stand in memory until all are written */
static const char system_prefix[] = "system/";

/* True when the files hold what this event brings. They hold no prefix of the events: a process that dies between
 * writing the file and keeping the row under way leaves measurements that were logged after points which are lost, so
 * the set stays for as long as the process goes on. */
static bool held(const tarn_wandb *board, uint64_t hash)
{
    return tarn_points_hold(&board->seen, hash);
}

static void flush_stats(tarn_wandb *board)
{
    if (board->stats_ms < 0) return;
    board->stats_ms = -1;
    tarn_wandb_prepare(board);
    tarn_wandb_put(board, TARN_WANDB_STATS, &board->stats);
}

/* Measurements have W&B's own place, by time and not by step. */
static void take_stat(tarn_wandb *board, const tarn_track_event *event)
{
    const char *key = event->key + sizeof system_prefix - 1;
    if (held(board, tarn_wandb_stat_hash(key, strlen(key), event->time_ms))) return;
    if (board->stats_ms != event->time_ms) {
        flush_stats(board);
        tarn_wandb_stats_begin(&board->stats, event->time_ms);
        board->stats_ms = event->time_ms;
    }
    tarn_wandb_stats_add(&board->stats, key, event->value);
}

static void take_metric(tarn_wandb *board, const tarn_track_event *event)
{
    if (!strncmp(event->key, system_prefix, sizeof system_prefix - 1)) {
        take_stat(board, event);
        return;
    }
    if (held(board, tarn_points_hash(event->kind, event->key, strlen(event->key), event->step))) return;
    tarn_wandb_item_number(&tarn_wandb_row_of(board, event)->items, event->key, event->value);
}

static void take_histogram(tarn_wandb *board, const tarn_track_event *event, tarn_sink_report *report)
{
    if (held(board, tarn_points_hash(event->kind, event->key, strlen(event->key), event->step))) return;
    tarn_board_histogram histogram;
    if (!tarn_board_histogram_parse(&histogram, event->text)) {
        report->lost++;
        if (!*report->problem)
            snprintf(report->problem, sizeof report->problem, "histogram %.200s of step %lld is none: left out",
                     event->key, (long long)event->step);
        return;
    }
    if (!tarn_wandb_item_histogram(&tarn_wandb_row_of(board, event)->items, event->key, &histogram))
        board->error = ENOMEM;
    tarn_board_histogram_free(&histogram);
}

static void take_config(tarn_wandb *board, const char *prefix, const char *key, char *json)
{
    char name[512];
    snprintf(name, sizeof name, "%s%s", prefix, key);
    int set = json ? tarn_wandb_set_config(board, name, json) : -1;
    if (set < 0) board->error = ENOMEM;
    if (set > 0) {
        /* The head of a new file has it already. */
        if (!tarn_wandb_prepare(board)) {
            tarn_wandb_config(&board->message, name, json);
            tarn_wandb_put(board, TARN_WANDB_CONFIG, &board->message);
        }
    }
    free(json);
}

static void take_notes(tarn_wandb *board, const char *text)
{
    if (board->notes && !strcmp(board->notes, text)) return;
    free(board->notes);
    board->notes = strdup(text);
    if (!board->notes) {
        board->error = ENOMEM;
        return;
    }
    if (tarn_wandb_prepare(board)) return;
    const tarn_wandb_run run = {.id = board->run_id,
                                .project = board->project,
                                .name = board->name,
                                .notes = board->notes,
                                .start_ms = board->start_ms};
    tarn_wandb_make_run(&board->message, &run, &board->process);
    tarn_wandb_put(board, TARN_WANDB_RUN, &board->message);
}

static void take_tag(tarn_wandb *board, const tarn_track_event *event)
{
    if (!strcmp(event->key, "mlflow.note.content"))
        take_notes(board, event->text);
    else
        take_config(board, "tag/", event->key, tarn_board_json_string(event->text));
}

static void take_input(tarn_wandb *board, const tarn_track_event *event)
{
    cJSON *object = event->text ? cJSON_Parse(event->text) : NULL;
    char *json = object ? cJSON_PrintUnformatted(object) : tarn_board_json_string(event->text ? event->text : "");
    cJSON_Delete(object);
    take_config(board, "dataset/", event->key, json);
}

static void take_begin(tarn_wandb *board, const tarn_track_event *event)
{
    bool known = held(board, tarn_points_hash(TARN_TRACK_BEGIN, "", 0, event->time_ms));
    tarn_wandb_describe_process(board, event);
    if (known || tarn_wandb_prepare(board)) return;
    tarn_wandb_environment(&board->message, &board->process);
    tarn_wandb_put(board, TARN_WANDB_ENVIRONMENT, &board->message);
    tarn_wandb_write_metadata(board);
}

/* 0, or -1 with errno. */
static int copy_artifact(const tarn_wandb *board, const tarn_track_event *event, const char *name)
{
    tarn_path path, temporary;
    int from = open(event->file, O_RDONLY | O_CLOEXEC);
    if (from < 0) return -1;
    int result = tarn_path_make(path, "%s/files/%s", board->folder, name) ||
                         tarn_path_make(temporary, "%s/files/.new", board->folder) || tarn_path_make_parents(path) ||
                         tarn_file_put_copy(path, temporary, from)
                     ? -1
                     : 0;
    int error = errno;
    close(from);
    errno = error;
    return result;
}

/* Under files/artifacts/, where no name is one of W&B's own. */
static void take_artifact(tarn_wandb *board, const tarn_track_event *event, tarn_sink_report *report)
{
    tarn_path name;
    tarn_wandb_prepare(board);
    if (board->error) return;
    if (!tarn_path_make(name, "artifacts/%s", event->key) && !copy_artifact(board, event, name)) {
        tarn_wandb_files(&board->message, name);
        tarn_wandb_put(board, TARN_WANDB_FILES, &board->message);
        return;
    }
    int error = errno ? errno : EIO;
    if (!tarn_file_error_is_final(error)) {
        board->error = error;
        return;
    }
    report->lost++;
    if (!*report->problem)
        snprintf(report->problem, sizeof report->problem, "artifact %.150s: %.200s: %s", event->key, event->file,
                 strerror(error));
}

static void take(tarn_wandb *board, const tarn_track_event *event, tarn_sink_report *report)
{
    board->end = -1;
    switch (event->kind) {
    case TARN_TRACK_METRIC:
        take_metric(board, event);
        break;
    case TARN_TRACK_HISTOGRAM:
        take_histogram(board, event, report);
        break;
    case TARN_TRACK_PARAM:
        take_config(board, "", event->key, tarn_board_json_value(event->text));
        break;
    case TARN_TRACK_TAG:
        take_tag(board, event);
        break;
    case TARN_TRACK_INPUT:
        take_input(board, event);
        break;
    case TARN_TRACK_BEGIN:
        take_begin(board, event);
        break;
    case TARN_TRACK_ARTIFACT:
        take_artifact(board, event, report);
        break;
    case TARN_TRACK_END:
        board->end = !strcmp(event->text, "FINISHED") ? 0 : !strcmp(event->text, "KILLED") ? 255 : 1;
        break;
    default: /* models: W&B's registry takes them through its server alone */
        break;
    }
}

/* The last event of the call ended the run. An end that others follow, as when a finished run is continued, is none. */
static void end_run(tarn_wandb *board, const tarn_track_event *event)
{
    char text[32];
    if (board->end < 0 || (board->exit_at >= 0 && !board->row.open && !board->ready)) return;
    tarn_wandb_close_row(board);
    tarn_wandb_prepare(board);
    int64_t seconds = (event->time_ms - board->start_ms) / 1000;
    snprintf(text, sizeof text, "%lld", (long long)seconds);
    tarn_protobuf items = {0};
    tarn_wandb_item(&items, "_wandb", "runtime", text);
    tarn_wandb_put(board, TARN_WANDB_SUMMARY, &items);
    tarn_protobuf_free(&items);
    tarn_wandb_exit(&board->message, board->end, seconds);
    tarn_wandb_put(board, TARN_WANDB_EXIT, &board->message);
}

static void write_events(tarn_sink *sink, const tarn_track_event *events, int64_t count, tarn_sink_report *report)
{
    tarn_wandb *board = (tarn_wandb *)sink;
    *report = (tarn_sink_report){0};
    if (!count) return;
    board->error = 0;
    if (!board->loaded && tarn_wandb_load(board)) {
        tarn_board_explain(report->problem, board->directory, "track.wandb");
        return;
    }
    tarn_protobuf_clear(&board->out);
    board->ready = false;
    board->end = -1;
    board->stats_ms = -1;
    board->time_ms = events[0].time_ms;
    for (int64_t i = 0; i < count && !board->error; i++) take(board, &events[i], report);
    flush_stats(board);
    if (!board->error) end_run(board, &events[count - 1]);
    if (board->row.items.failed || board->stats.failed) board->error = ENOMEM;
    if (!board->error && board->out.used && tarn_board_file_append(&board->file, board->out.bytes, board->out.used))
        board->error = errno;
    if (!board->error && tarn_wandb_keep_row(board)) board->error = errno;
    if (board->error) {
        *report = (tarn_sink_report){0};
        errno = board->error;
        tarn_board_explain(report->problem, board->file.file >= 0 ? board->file.path : board->directory, "track.wandb");
        tarn_wandb_forget(board);
        return;
    }
    if (board->config_changed && board->file.file >= 0) tarn_wandb_write_config(board);
    report->taken = count;
}

/* The row under way, so that what a process leaves behind in order has all its points. Where that fails, the row is
 * kept for the next one. */
static void write_last_row(tarn_wandb *board)
{
    if (!board->loaded || !board->row.open) return;
    tarn_protobuf_clear(&board->out);
    board->ready = false;
    board->error = 0;
    board->time_ms = board->row.time_ms;
    tarn_wandb_close_row(board);
    if (!board->error) (void)tarn_board_file_append(&board->file, board->out.bytes, board->out.used);
}

static void destroy(tarn_sink *sink)
{
    tarn_wandb *board = (tarn_wandb *)sink;
    write_last_row(board);
    tarn_wandb_forget(board);
    tarn_board_file_close(&board->rows);
    tarn_protobuf_free(&board->row.items);
    tarn_protobuf_free(&board->out);
    tarn_protobuf_free(&board->message);
    tarn_protobuf_free(&board->record);
    tarn_protobuf_free(&board->stats);
    free(board);
}

static int find_places(tarn_wandb *board, const char *directory, const char *state)
{
    tarn_path path;
    return tarn_path_make(path, "%s/", directory) || tarn_path_make_parents(path) ||
                   !realpath(path, board->directory) || access(board->directory, R_OK | W_OK | X_OK) ||
                   tarn_path_make(board->state, "%s", state) || tarn_path_make(board->rows_path, "%s/rows", state) ||
                   tarn_path_make(board->rows_new, "%s/rows.new", state) ||
                   tarn_path_make(board->aside, "%s/cut-off", state)
               ? -1
               : 0;
}

tarn_status tarn_wandb_sink_open(tarn_sink **out, const tarn_track_options *options, const tarn_sink_run *run,
                                 char notice[TARN_SINK_PROBLEM], char problem[TARN_SINK_PROBLEM])
{
    *out = NULL;
    *notice = *problem = '\0';
    if (!options->wandb || !*options->wandb) return TARN_OK;
    tarn_wandb *board = calloc(1, sizeof *board);
    if (!board) {
        snprintf(problem, TARN_SINK_PROBLEM, "out of memory while opening the W&B run");
        return TARN_ERROR_MEMORY;
    }
    board->sink = (tarn_sink){.name = "wandb", .most = MOST, .write = write_events, .destroy = destroy};
    board->file = board->rows = TARN_BOARD_FILE_CLOSED;
    board->opened_ms = tarn_environment_time_ms();
    snprintf(board->run_id, sizeof board->run_id, "%s", run->run_id);
    tarn_board_folder_name(board->project, sizeof board->project, run->experiment);
    for (char *at = board->project; (at = strpbrk(at, "/\\#?%:"));) *at = '-'; /* what W&B takes in no project */
    if (run->name && *run->name)
        snprintf(board->name, sizeof board->name, "%s", run->name);
    else
        snprintf(board->name, sizeof board->name, "tarn-%.8s", run->run_id);
    /* Cut within a character it would be no text. */
    while (*board->name && !tarn_document_is_utf8(board->name)) board->name[strlen(board->name) - 1] = '\0';
    tarn_status status = TARN_OK;
    if (find_places(board, options->wandb, run->state)) {
        tarn_board_explain(problem, options->wandb, "track.wandb");
        status = TARN_ERROR_CONFIG;
    } else if (tarn_wandb_load(board)) {
        tarn_board_explain(problem, board->file.file >= 0 ? board->file.path : board->directory, "track.wandb");
        status = TARN_ERROR_IO;
    }
    if (status) {
        destroy(&board->sink);
        return status;
    }
    *out = &board->sink;
    return TARN_OK;
}
