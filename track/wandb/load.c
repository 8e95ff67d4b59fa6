/* load.c - reading back what earlier processes wrote of a run. */
#include "track/wandb/wandb.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char prefix[] = "offline-run-";

uint64_t tarn_wandb_stat_hash(const char *key, size_t length, int64_t time_ms)
{
    return tarn_points_hash(TARN_TRACK_KINDS, key, length, time_ms);
}

int tarn_wandb_set_config(tarn_wandb *board, const char *key, const char *json)
{
    cJSON *there = cJSON_GetObjectItemCaseSensitive(board->config, key);
    if (there && !strcmp(there->valuestring, json)) return 0;
    if (there ? !cJSON_SetValuestring(there, json) : !cJSON_AddStringToObject(board->config, key, json)) return -1;
    board->config_changed = true;
    return 1;
}

void tarn_wandb_forget(tarn_wandb *board)
{
    tarn_points_free(&board->seen);
    tarn_points_free(&board->defined);
    tarn_board_file_close(&board->file);
    cJSON_Delete(board->config);
    free(board->notes);
    board->config = NULL;
    board->notes = NULL;
    board->loaded = board->config_changed = false;
    board->start_ms = board->number = 0;
    board->last_step = board->exit_at = -1;
    board->row.open = false;
    board->process = (tarn_wandb_process){0};
}

/* ---- records ----------------------------------------------------------------------------------------------------- */

static bool read_config(tarn_wandb *board, tarn_protobuf_reader config)
{
    for (tarn_protobuf_field item; tarn_protobuf_next(&config, &item);) {
        char *key = NULL, *json = NULL;
        tarn_protobuf_reader reader = tarn_protobuf_inner(&item);
        for (tarn_protobuf_field part; item.number == 1 && tarn_protobuf_next(&reader, &part);) {
            char **to = part.number == 1 ? &key : part.number == 16 ? &json : NULL;
            if (!to || !part.bytes) continue;
            free(*to);
            *to = strndup((const char *)part.bytes, part.count);
        }
        int set = key && json && *key != '_' ? tarn_wandb_set_config(board, key, json) : 0;
        free(key);
        free(json);
        if (set < 0) return false;
    }
    return true;
}

static bool read_run(tarn_wandb *board, tarn_protobuf_reader run)
{
    for (tarn_protobuf_field field; tarn_protobuf_next(&run, &field);) {
        if (field.number == 4 && !read_config(board, tarn_protobuf_inner(&field))) return false;
        if (field.number == 9 && field.bytes) {
            free(board->notes);
            board->notes = strndup((const char *)field.bytes, field.count);
            if (!board->notes) return false;
        }
        if (field.number == 17 && !board->start_ms) board->start_ms = tarn_wandb_timestamp(&field);
    }
    return true;
}

/* The value of an item {nested_key, value_json} as an integer. */
static bool integer_item(const tarn_protobuf_field *item, const char *name, int64_t *value)
{
    char key[64] = "", text[32] = "";
    tarn_protobuf_reader reader = tarn_protobuf_inner(item);
    for (tarn_protobuf_field part; tarn_protobuf_next(&reader, &part);) {
        if (part.number == 2) tarn_protobuf_field_text(&part, key, sizeof key);
        if (part.number == 16) tarn_protobuf_field_text(&part, text, sizeof text);
    }
    if (strcmp(key, name) != 0) return false;
    *value = strtoll(text, NULL, 10);
    return true;
}

static bool read_history(tarn_wandb *board, const tarn_protobuf_field *history)
{
    int64_t step = 0, own = -1;
    tarn_protobuf_reader reader = tarn_protobuf_inner(history);
    for (tarn_protobuf_field item; tarn_protobuf_next(&reader, &item);) {
        if (item.number != 1) continue;
        integer_item(&item, TARN_WANDB_STEP, &step);
        integer_item(&item, "_step", &own);
    }
    if (own > board->last_step) board->last_step = own;
    return tarn_wandb_enter_items(&board->seen, history->bytes, history->count, step);
}

static bool read_stats(tarn_wandb *board, tarn_protobuf_reader stats)
{
    int64_t time_ms = 0;
    for (tarn_protobuf_field field; tarn_protobuf_next(&stats, &field);) {
        if (field.number == 2) time_ms = tarn_wandb_timestamp(&field);
        if (field.number != 3) continue;
        tarn_protobuf_reader item = tarn_protobuf_inner(&field);
        for (tarn_protobuf_field part; tarn_protobuf_next(&item, &part);)
            if (part.number == 1 && part.bytes &&
                tarn_points_add(&board->seen, tarn_wandb_stat_hash((const char *)part.bytes, part.count, time_ms)) < 0)
                return false;
    }
    return true;
}

static bool read_metric(tarn_wandb *board, tarn_protobuf_reader metric)
{
    for (tarn_protobuf_field field; tarn_protobuf_next(&metric, &field);)
        if (field.number == 1 && field.bytes &&
            tarn_points_add(&board->defined,
                            tarn_points_hash(TARN_TRACK_KINDS, (const char *)field.bytes, field.count, 0)) < 0)
            return false;
    return true;
}

static bool read_environment(tarn_wandb *board, tarn_protobuf_reader environment)
{
    for (tarn_protobuf_field field; tarn_protobuf_next(&environment, &field);)
        if (field.number == 3 &&
            tarn_points_add(&board->seen, tarn_points_hash(TARN_TRACK_BEGIN, "", 0, tarn_wandb_timestamp(&field))) < 0)
            return false;
    return true;
}

static bool read_record(tarn_wandb *board, const unsigned char *bytes, size_t count, int64_t at)
{
    tarn_protobuf_reader reader = {.at = bytes, .end = bytes + count};
    board->exit_at = -1;
    board->number++;
    for (tarn_protobuf_field field; tarn_protobuf_next(&reader, &field);) {
        bool done = true;
        switch (field.number) {
        case TARN_WANDB_RUN:
            done = read_run(board, tarn_protobuf_inner(&field));
            break;
        case TARN_WANDB_CONFIG:
            done = read_config(board, tarn_protobuf_inner(&field));
            break;
        case TARN_WANDB_HISTORY:
            done = read_history(board, &field);
            break;
        case TARN_WANDB_STATS:
            done = read_stats(board, tarn_protobuf_inner(&field));
            break;
        case TARN_WANDB_METRIC:
            done = read_metric(board, tarn_protobuf_inner(&field));
            break;
        case TARN_WANDB_ENVIRONMENT:
            done = read_environment(board, tarn_protobuf_inner(&field));
            break;
        case TARN_WANDB_EXIT:
            board->exit_at = at;
            break;
        default:
            break;
        }
        if (!done) return false;
    }
    return true;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* One folder's file, which becomes the current one. What a crash left at its end is cut off. */
static int read_file(tarn_wandb *board, const char *name)
{
    tarn_path path;
    tarn_board_file_close(&board->file);
    tarn_points_free(&board->defined);
    board->number = 0;
    board->exit_at = -1;
    if (tarn_path_make(board->folder, "%s/%s", board->directory, name) ||
        tarn_path_make(path, "%s/files/", board->folder) || tarn_path_make_parents(path) ||
        tarn_path_make(path, "%s/run-%s.wandb", board->folder, board->run_id) ||
        tarn_board_file_open(&board->file, path))
        return -1;
    tarn_wandb_log log = {.file = &board->file};
    const unsigned char *bytes;
    size_t count;
    int got;
    for (int64_t at = 0; (got = tarn_wandb_log_read(&log, &bytes, &count)) > 0; at = log.next)
        if (!read_record(board, bytes, count, at)) {
            tarn_protobuf_free(&log.pieces);
            errno = ENOMEM;
            return -1;
        }
    int error = errno;
    tarn_protobuf_free(&log.pieces);
    errno = error;
    if (got < 0 && error) return -1; /* a disk that fails is no reason to cut anything */
    return got < 0 ? tarn_board_file_cut(&board->file, log.next, board->aside) : 0;
}

static int read_files(tarn_wandb *board)
{
    struct dirent **entries;
    int count = scandir(board->directory, &entries, NULL, alphasort), result = count < 0 ? -1 : 0;
    size_t id = strlen(board->run_id);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        size_t length = strlen(name);
        if (!result && !strncmp(name, prefix, sizeof prefix - 1) && length > id + sizeof prefix &&
            name[length - id - 1] == '-' && !strcmp(name + length - id, board->run_id))
            result = read_file(board, name);
        int error = errno;
        free(entries[i]);
        errno = error;
    }
    if (count >= 0) free(entries);
    return result;
}

int tarn_wandb_load(tarn_wandb *board)
{
    tarn_wandb_forget(board);
    board->config = cJSON_CreateObject();
    errno = ENOMEM;
    if (!board->config || read_files(board) || tarn_wandb_load_row(board)) return -1;
    board->config_changed = false;
    board->loaded = true;
    return 0;
}
