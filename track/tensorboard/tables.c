/* tables.c - what is said of a run as a whole, as markdown for the TEXT page: parameters, tags, datasets, notes.
 *
 * A table is written anew, with the next step, whenever it has changed. The state file holds what the tables say and is
 * written before the event file: after a crash between the two, the tables that the event file lacks are made of it.
 */
#include "track/tensorboard/tensorboard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PARAMETERS, TAGS, DATASETS, NOTES };
static const char *const names[TARN_EVENT_TABLES] = {"run/parameters", "run/tags", "run/datasets", "run/notes"};
static const char *const heads[TARN_EVENT_TABLES] = {"parameter", "tag", "dataset", ""};

int tarn_event_tables_load(tarn_tensorboard *board)
{
    cJSON *tables = NULL;
    int file = open(board->state, O_RDONLY | O_CLOEXEC);
    if (file < 0 && errno != ENOENT) return -1;
    if (file >= 0) {
        struct stat info;
        char *text = fstat(file, &info) ? NULL : malloc((size_t)info.st_size + 1);
        ssize_t got = text ? read(file, text, (size_t)info.st_size) : -1;
        int error = errno;
        if (got >= 0) tables = cJSON_ParseWithLength(text, (size_t)got);
        free(text);
        close(file);
        errno = error;
        if (got < 0) return -1;
    }
    if (!cJSON_IsObject(tables)) {
        cJSON_Delete(tables);
        tables = cJSON_CreateObject();
    }
    for (int i = 0; tables && i < TARN_EVENT_TABLES; i++)
        if (!cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(tables, names[i]))) {
            cJSON_DeleteItemFromObjectCaseSensitive(tables, names[i]);
            if (!cJSON_AddObjectToObject(tables, names[i])) {
                cJSON_Delete(tables);
                tables = NULL;
            }
        }
    cJSON_Delete(board->tables);
    board->tables = tables;
    board->tables_changed = false;
    errno = ENOMEM;
    return tables ? 0 : -1;
}

int tarn_event_tables_save(tarn_tensorboard *board)
{
    if (!board->tables_changed) return 0;
    char *text = cJSON_Print(board->tables);
    errno = ENOMEM;
    int result = text ? tarn_file_put(board->state, board->state_new, text, strlen(text)) : -1;
    int error = errno;
    cJSON_free(text);
    errno = error;
    if (!result) board->tables_changed = false;
    return result;
}

static cJSON *table(const tarn_tensorboard *board, int index)
{
    return cJSON_GetObjectItemCaseSensitive(board->tables, names[index]);
}

const cJSON *tarn_event_tables_parameters(const tarn_tensorboard *board)
{
    return table(board, PARAMETERS);
}

bool tarn_event_tables_take(tarn_tensorboard *board, const tarn_track_event *event)
{
    int index = event->kind == TARN_TRACK_PARAM              ? PARAMETERS
                : event->kind == TARN_TRACK_INPUT            ? DATASETS
                : !strcmp(event->key, "mlflow.note.content") ? NOTES
                                                             : TAGS;
    const char *text = event->text ? event->text : "";
    cJSON *rows = table(board, index), *there = cJSON_GetObjectItemCaseSensitive(rows, event->key);
    if (cJSON_IsString(there)) {
        if (!strcmp(there->valuestring, text)) return true;
        board->tables_changed = true;
        return cJSON_SetValuestring(there, text) != NULL;
    }
    board->tables_changed = true;
    return cJSON_AddStringToObject(rows, event->key, text) != NULL;
}

typedef struct text {
    char *bytes;
    size_t used, room;
    bool failed;
} text;

static void add(text *out, const char *bytes, size_t count)
{
    if (out->used + count + 1 > out->room && !out->failed) {
        size_t room = 2 * (out->used + count) + 256;
        char *grown = realloc(out->bytes, room);
        if (!grown)
            out->failed = true;
        else
            out->bytes = grown, out->room = room;
    }
    if (out->failed) return;
    memcpy(out->bytes + out->used, bytes, count);
    out->used += count;
    out->bytes[out->used] = '\0';
}

static void add_text(text *out, const char *bytes)
{
    add(out, bytes, strlen(bytes));
}

/* A cell shows its text as it is, whatever markdown makes of the characters. */
static void add_cell(text *out, const char *cell)
{
    for (; *cell; cell++) {
        if (strchr("\\`*[]|", *cell))
            add_text(out, "\\");
        else if (*cell == '<' || *cell == '&') {
            add_text(out, *cell == '<' ? "&lt;" : "&amp;");
            continue;
        }
        if (*cell == '\n')
            add_text(out, "<br>");
        else
            add(out, cell, 1);
    }
}

static void make(text *out, const cJSON *rows, int index)
{
    if (index == NOTES) {
        for (const cJSON *row = rows->child; row; row = row->next) add_text(out, row->valuestring);
        return;
    }
    add_text(out, "| ");
    add_text(out, heads[index]);
    add_text(out, " | value |\n|---|---|\n");
    for (const cJSON *row = rows->child; row; row = row->next) {
        add_text(out, "| ");
        add_cell(out, row->string);
        add_text(out, " | ");
        add_cell(out, cJSON_IsString(row) ? row->valuestring : "");
        add_text(out, " |\n");
    }
}

bool tarn_event_tables_show(tarn_tensorboard *board, double wall, char *shown[TARN_EVENT_TABLES])
{
    for (int i = 0; i < TARN_EVENT_TABLES; i++) {
        const cJSON *rows = table(board, i);
        if (!rows->child) continue;
        text made = {0};
        make(&made, rows, i);
        if (made.failed) {
            free(made.bytes);
            return false;
        }
        struct tarn_event_table *now = &board->table[i];
        if (!made.bytes || (now->shown && !strcmp(now->shown, made.bytes))) {
            free(made.bytes);
            continue;
        }
        tarn_event_text(&board->writer, wall, now->count, names[i], made.bytes);
        shown[i] = made.bytes;
    }
    return true;
}

bool tarn_event_tables_seen(tarn_tensorboard *board, const tarn_event_seen *seen)
{
    for (int i = 0; i < TARN_EVENT_TABLES; i++) {
        if (seen->tag_length != strlen(names[i]) || memcmp(seen->tag, names[i], seen->tag_length)) continue;
        char *copy = strndup(seen->text, seen->text_length);
        if (!copy) return false;
        free(board->table[i].shown);
        board->table[i].shown = copy;
        board->table[i].count++;
    }
    return true;
}
