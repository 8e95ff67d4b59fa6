/* row.c - history rows: all metrics and histograms of one step in one record.
 *
 * Events come metric by metric, and a call may end between two of them. The row under way is written to the state
 * folder (state/rows, records of its own) before the call returns; a row that stands there and in the run's file was
 * written after it was kept.
 */
#include "track/wandb/wandb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROW_STEP = 1, ROW_TIME = 2, ROW_ITEMS = 3 };
enum { ITEM = 1, ITEM_NESTED = 2 };
#define MOST_ROWS (1 << 20) /* bytes of the file of rows, after which it begins anew */

/* The name of an item's metric and what of it the item is ("" for a number); false: it is none. */
static bool item_name(const tarn_protobuf_field *item, char key[512], char below[32])
{
    int count = 0;
    tarn_protobuf_reader reader = tarn_protobuf_inner(item);
    *below = '\0';
    for (tarn_protobuf_field part; tarn_protobuf_next(&reader, &part);)
        if (part.number == ITEM_NESTED) {
            if (count++)
                tarn_protobuf_field_text(&part, below, 32);
            else
                tarn_protobuf_field_text(&part, key, 512);
        }
    return count && *key != '_' && strcmp(key, TARN_WANDB_STEP) != 0;
}

static uint64_t item_hash(const char *key, const char *below, int64_t step)
{
    return tarn_points_hash(*below ? TARN_TRACK_HISTOGRAM : TARN_TRACK_METRIC, key, strlen(key), step);
}

bool tarn_wandb_enter_items(tarn_points *points, const unsigned char *bytes, size_t count, int64_t step)
{
    char key[512], below[32];
    tarn_protobuf_reader reader = {.at = bytes, .end = bytes + count};
    for (tarn_protobuf_field item; tarn_protobuf_next(&reader, &item);)
        if (item.number == ITEM && item.bytes && item_name(&item, key, below) &&
            tarn_points_add(points, item_hash(key, below, step)) < 0)
            return false;
    return true;
}

/* Defines the metrics of the row that this file does not know. */
static void define(tarn_wandb *board)
{
    char key[512], below[32];
    tarn_protobuf_reader reader = {.at = board->row.items.bytes, .end = board->row.items.bytes + board->row.items.used};
    for (tarn_protobuf_field item; tarn_protobuf_next(&reader, &item);) {
        if (item.number != ITEM || !item_name(&item, key, below)) continue;
        int added = tarn_points_add(&board->defined, tarn_points_hash(TARN_TRACK_KINDS, key, strlen(key), 0));
        if (added < 0) board->error = ENOMEM;
        if (added <= 0) continue;
        tarn_wandb_metric(&board->message, key);
        tarn_wandb_put(board, TARN_WANDB_METRIC, &board->message);
    }
}

void tarn_wandb_close_row(tarn_wandb *board)
{
    tarn_wandb_row *row = &board->row;
    char text[32];
    if (!row->open) return;
    row->open = false;
    if (!row->items.used) return;
    tarn_wandb_prepare(board);
    define(board);
    int64_t step = row->step > board->last_step ? row->step : board->last_step + 1;
    snprintf(text, sizeof text, "%lld", (long long)row->step);
    tarn_wandb_item(&row->items, TARN_WANDB_STEP, NULL, text);
    tarn_wandb_item_number(&row->items, "_timestamp", (double)row->time_ms / 1000);
    tarn_wandb_item_number(&row->items, "_runtime", (double)(row->time_ms - board->start_ms) / 1000);
    snprintf(text, sizeof text, "%lld", (long long)step);
    tarn_wandb_item(&row->items, "_step", NULL, text);
    if (row->items.failed) board->error = ENOMEM;
    tarn_wandb_put(board, TARN_WANDB_SUMMARY, &row->items);
    tarn_wandb_history(&board->message, &row->items, step);
    tarn_wandb_put(board, TARN_WANDB_HISTORY, &board->message);
    board->last_step = step;
}

tarn_wandb_row *tarn_wandb_row_of(tarn_wandb *board, const tarn_track_event *event)
{
    tarn_wandb_row *row = &board->row;
    if (row->open && row->step != event->step) tarn_wandb_close_row(board);
    if (!row->open) {
        tarn_protobuf_clear(&row->items);
        row->open = true;
        row->step = event->step;
        row->time_ms = event->time_ms;
    }
    row->changed = true;
    return row;
}

/* ---- the row under way, on the disk ------------------------------------------------------------------------------ */

/* A new file of rows in the place of one that has grown long. */
static int begin_rows(tarn_wandb *board, const tarn_protobuf *record)
{
    tarn_board_file rows;
    if (unlink(board->rows_new) && errno != ENOENT) return -1;
    if (tarn_board_file_open(&rows, board->rows_new)) return -1;
    if (tarn_board_file_append(&rows, record->bytes, record->used) || rename(board->rows_new, board->rows_path) ||
        tarn_folder_sync(board->state)) {
        int error = errno;
        tarn_board_file_close(&rows);
        errno = error;
        return -1;
    }
    tarn_board_file_close(&board->rows);
    board->rows = rows;
    return 0;
}

int tarn_wandb_keep_row(tarn_wandb *board)
{
    tarn_wandb_row *row = &board->row;
    if (!row->open || !row->changed) return 0;
    tarn_protobuf *record = &board->record;
    tarn_protobuf_clear(&board->message);
    tarn_protobuf_integer(&board->message, ROW_STEP, row->step);
    tarn_protobuf_integer(&board->message, ROW_TIME, row->time_ms);
    tarn_protobuf_message(&board->message, ROW_ITEMS, &row->items);
    tarn_protobuf_clear(record);
    tarn_event_record(record, &board->message);
    if (record->failed) {
        errno = ENOMEM;
        return -1;
    }
    if (board->rows.length > MOST_ROWS ? begin_rows(board, record)
                                       : tarn_board_file_append(&board->rows, record->bytes, record->used))
        return -1;
    row->changed = false;
    return 0;
}

static bool parse_row(tarn_wandb_row *row, const unsigned char *bytes, size_t count)
{
    tarn_protobuf_reader reader = {.at = bytes, .end = bytes + count};
    tarn_protobuf_clear(&row->items);
    row->open = true;
    row->changed = false;
    for (tarn_protobuf_field field; tarn_protobuf_next(&reader, &field);) {
        if (field.number == ROW_STEP) row->step = (int64_t)field.integer;
        if (field.number == ROW_TIME) row->time_ms = (int64_t)field.integer;
        if (field.number == ROW_ITEMS) tarn_protobuf_raw(&row->items, field.bytes, field.count);
    }
    return !row->items.failed;
}

/* True when the run's files hold the row: rows are written whole, so its first point says it. */
static bool written(const tarn_wandb *board)
{
    char key[512], below[32];
    const tarn_wandb_row *row = &board->row;
    tarn_protobuf_reader reader = {.at = row->items.bytes, .end = row->items.bytes + row->items.used};
    for (tarn_protobuf_field item; tarn_protobuf_next(&reader, &item);)
        if (item.number == ITEM && item_name(&item, key, below))
            return tarn_points_hold(&board->seen, item_hash(key, below, row->step));
    return true;
}

int tarn_wandb_load_row(tarn_wandb *board)
{
    int64_t offset = 0;
    const unsigned char *bytes;
    size_t count;
    int got;
    board->row.open = false;
    if (board->rows.file < 0 && tarn_board_file_open(&board->rows, board->rows_path)) return -1;
    while ((got = tarn_event_read(&board->rows, &offset, &bytes, &count)) > 0)
        if (!parse_row(&board->row, bytes, count)) return -1;
    if (got < 0 && errno) return -1;
    if (got < 0 && tarn_board_file_cut(&board->rows, offset, NULL)) return -1;
    if (!board->row.open) return 0;
    if (written(board)) {
        board->row.open = false;
        return 0;
    }
    return tarn_wandb_enter_items(&board->seen, board->row.items.bytes, board->row.items.used, board->row.step) ? 0
                                                                                                                : -1;
}
