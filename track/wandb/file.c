/* file.c - the folders of a run, and appending to the file of the newest. */
#include "track/wandb/wandb.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void fail(tarn_wandb *board)
{
    if (!board->error) board->error = errno ? errno : EIO;
}

/* DIR/offline-run-YYYYMMDD_HHMMSS-ID/run-ID.wandb, of a second that no folder of the run has. */
static int begin_file(tarn_wandb *board)
{
    tarn_path path;
    for (time_t second = (time_t)(board->time_ms / 1000);; second++) {
        struct tm when;
        char stamp[32];
        if (!localtime_r(&second, &when) || !strftime(stamp, sizeof stamp, "%Y%m%d_%H%M%S", &when)) return -1;
        if (tarn_path_make(board->folder, "%s/offline-run-%s-%s", board->directory, stamp, board->run_id)) return -1;
        if (!mkdir(board->folder, 0777)) break;
        if (errno != EEXIST) return -1;
    }
    if (tarn_path_make(path, "%s/files", board->folder) || mkdir(path, 0777)) return -1;
    if (tarn_path_make(path, "%s/run-%s.wandb", board->folder, board->run_id)) return -1;
    return tarn_board_file_open(&board->file, path);
}

static bool synced(const tarn_wandb *board)
{
    tarn_path marker;
    return !tarn_path_make(marker, "%s.synced", board->file.path) && !access(marker, F_OK);
}

/* The records that a file begins with. */
static void write_head(tarn_wandb *board, bool first)
{
    tarn_protobuf message = {0};
    const tarn_wandb_run run = {.id = board->run_id,
                                .project = board->project,
                                .name = board->name,
                                .notes = board->notes,
                                .config = board->config,
                                /* `wandb sync` takes the files of a run in the order of these. */
                                .start_ms = first ? board->start_ms : board->time_ms};
    tarn_wandb_header(&message);
    tarn_wandb_put(board, TARN_WANDB_HEADER, &message);
    tarn_wandb_make_run(&message, &run, &board->process);
    tarn_wandb_put(board, TARN_WANDB_RUN, &message);
    if (board->process.time_ms) {
        tarn_wandb_environment(&message, &board->process);
        tarn_wandb_put(board, TARN_WANDB_ENVIRONMENT, &message);
    }
    tarn_wandb_metric(&message, NULL);
    tarn_wandb_put(board, TARN_WANDB_METRIC, &message);
    tarn_protobuf_free(&message);
    tarn_wandb_write_metadata(board);
}

bool tarn_wandb_prepare(tarn_wandb *board)
{
    if (board->ready || board->error) return false;
    bool first = !board->start_ms;
    if (first) board->start_ms = board->time_ms;
    if (board->file.file >= 0 && synced(board)) tarn_board_file_close(&board->file);
    if (board->file.file < 0) {
        tarn_points_free(&board->defined);
        board->number = 0;
        board->exit_at = -1;
        if (begin_file(board)) {
            fail(board);
            return false;
        }
    }
    if (board->exit_at >= 0) {
        if (tarn_board_file_cut(&board->file, board->exit_at, NULL)) {
            fail(board);
            return false;
        }
        board->number--;
        board->exit_at = -1;
    }
    board->ready = true;
    if (board->file.length) return false;
    write_head(board, first);
    return true;
}

void tarn_wandb_put(tarn_wandb *board, int type, const tarn_protobuf *message)
{
    if (board->error) return;
    tarn_wandb_record(&board->record, type, message, ++board->number, board->run_id);
    if (type == TARN_WANDB_EXIT) board->exit_at = board->file.length + (int64_t)board->out.used;
    tarn_wandb_log_append(&board->out, board->file.length, &board->record);
    if (board->out.failed) board->error = ENOMEM;
}

static int put_file(const tarn_wandb *board, const char *name, const char *text)
{
    tarn_path path, temporary;
    if (tarn_path_make(path, "%s/files/%s", board->folder, name) ||
        tarn_path_make(temporary, "%s/files/.%s.new", board->folder, name))
        return -1;
    return tarn_file_put(path, temporary, text, strlen(text));
}

/* Both files are for people who look at the folder: W&B takes what they say from the records. So a failure is none of
 * the run's. */
void tarn_wandb_write_config(tarn_wandb *board)
{
    tarn_protobuf text = {0};
    for (const cJSON *item = board->config->child; item; item = item->next) {
        char *key = tarn_board_json_string(item->string);
        if (key) {
            tarn_protobuf_raw(&text, key, strlen(key));
            tarn_protobuf_raw(&text, ":\n    value: ", 13);
            tarn_protobuf_raw(&text, item->valuestring, strlen(item->valuestring));
            tarn_protobuf_raw(&text, "\n", 1);
        }
        free(key);
    }
    tarn_protobuf_raw(&text, "", 1);
    if (!text.failed && !put_file(board, "config.yaml", (const char *)text.bytes)) board->config_changed = false;
    tarn_protobuf_free(&text);
}

void tarn_wandb_write_metadata(tarn_wandb *board)
{
    char *text = board->process.time_ms ? tarn_wandb_metadata(&board->process) : NULL;
    if (text) (void)put_file(board, "wandb-metadata.json", text);
    free(text);
}
