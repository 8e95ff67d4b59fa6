/* list.c - `tarn track ls`: a table of runs. */
#include "launch/track/track.h"
#include "track/reader.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ID_SHOWN = 8, TAIL = 512 };

typedef struct row {
    tarn_run_head head;
    int64_t steps; /* -1: no loss yet */
    double loss;
} row;

/* The last whole line of a metric's file says all that a table needs, however many points there are. */
static void read_tail(row *row)
{
    tarn_path path;
    char text[TAIL + 1];
    if (tarn_path_make(path, "%s/metrics/train.loss", row->head.folder)) return;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (file < 0) return;
    off_t from = !fstat(file, &info) && info.st_size > TAIL ? info.st_size - TAIL : 0;
    ssize_t got = pread(file, text, TAIL, from);
    close(file);
    while (got > 0 && text[got - 1] != '\n') got--; /* torn */
    if (got <= 0) return;
    text[got - 1] = '\0';
    char *line = strrchr(text, '\n');
    long long time_ms, step;
    double value;
    if (sscanf(line ? line + 1 : text, "%lld %lf %lld", &time_ms, &value, &step) != 3) return;
    row->steps = step;
    row->loss = value;
}

static void read_spool(row *row)
{
    char problem[TARN_SINK_PROBLEM];
    tarn_run_view *view = NULL;
    if (tarn_run_read(&view, &row->head, 2, problem)) return;
    const tarn_run_curve *loss = tarn_run_curve_of(view, "train.loss");
    if (loss && loss->count) {
        row->steps = loss->last_step;
        row->loss = loss->last;
    }
    tarn_run_view_free(view);
}

/* The spools in a directory: its folders with a name like a run's id. */
static int list_spools(const char *directory, tarn_run_head **heads, int *count)
{
    struct dirent **entries;
    int found = scandir(directory, &entries, NULL, alphasort);
    *count = 0;
    *heads = calloc(found > 0 ? (size_t)found : 1, sizeof **heads);
    for (int i = 0; i < found; i++) {
        tarn_path path;
        char problem[TARN_SINK_PROBLEM];
        const char *name = entries[i]->d_name;
        if (*heads && tarn_track_is_run_id(name) && !tarn_path_make(path, "%s/%s", directory, name) &&
            !tarn_run_find(&(*heads)[*count], NULL, path, problem))
            ++*count;
        free(entries[i]);
    }
    if (found >= 0) free(entries);
    return *heads ? 0 : -1;
}

static bool has_spools(const char *directory)
{
    tarn_run_head *heads;
    int count;
    if (list_spools(directory, &heads, &count)) return false;
    tarn_run_heads_free(heads, count);
    return count > 0;
}

/* The directory of spools that a person means: itself, or of a directory of checkpoints the one in it. */
static bool find_spools(tarn_path spools, const char *directory)
{
    if (strstr(directory, "://")) return false;
    if (!tarn_path_make(spools, "%s", directory) && has_spools(spools)) return true;
    return !tarn_path_make(spools, "%s/spool", directory) && has_spools(spools);
}

static void print_json(const row *rows, int count)
{
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < count; i++) {
        cJSON *run = cJSON_CreateObject();
        cJSON_AddStringToObject(run, "run_id", rows[i].head.run_id);
        cJSON_AddStringToObject(run, "name", rows[i].head.name);
        cJSON_AddStringToObject(run, "experiment", rows[i].head.experiment);
        cJSON_AddStringToObject(run, "status", rows[i].head.status);
        cJSON_AddStringToObject(run, "user", rows[i].head.user);
        cJSON_AddNumberToObject(run, "start_ms", (double)rows[i].head.start_ms);
        if (rows[i].head.end_ms)
            cJSON_AddNumberToObject(run, "end_ms", (double)rows[i].head.end_ms);
        else
            cJSON_AddNullToObject(run, "end_ms");
        if (rows[i].steps >= 0) {
            cJSON_AddNumberToObject(run, "step", (double)rows[i].steps);
            cJSON_AddNumberToObject(run, "loss", rows[i].loss);
        }
        cJSON_AddStringToObject(run, "folder", rows[i].head.folder);
        cJSON_AddItemToArray(list, run);
    }
    char *text = cJSON_Print(list);
    if (text) puts(text);
    free(text);
    cJSON_Delete(list);
}

/* Columns of text count characters, not bytes. */
static int width_of(const char *text)
{
    int width = 0;
    for (; *text; text++) width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void print_padded(const char *text, int width)
{
    tarn_track_print(text);
    printf("%*s  ", width - width_of(text) > 0 ? width - width_of(text) : 0, "");
}

static void print_table(const row *rows, int count)
{
    int name = 4, experiment = 10;
    for (int i = 0; i < count; i++) {
        if (width_of(rows[i].head.name) > name) name = width_of(rows[i].head.name);
        if (width_of(rows[i].head.experiment) > experiment) experiment = width_of(rows[i].head.experiment);
    }
    printf("%-*s  %-*s  %-*s  %-9s  %-19s  %8s  %s\n", ID_SHOWN, "run", name, "name", experiment, "experiment",
           "status", "start", "step", "loss");
    for (int i = 0; i < count; i++) {
        char start[32], step[24] = "-", loss[32] = "-";
        tarn_track_time_text(rows[i].head.start_ms, start);
        if (rows[i].steps >= 0) {
            snprintf(step, sizeof step, "%" PRId64, rows[i].steps);
            snprintf(loss, sizeof loss, "%.6g", rows[i].loss);
        }
        printf("%-*.*s  ", ID_SHOWN, ID_SHOWN, rows[i].head.run_id);
        print_padded(rows[i].head.name, name);
        print_padded(rows[i].head.experiment, experiment);
        printf("%-9s  %-19s  %8s  %s\n", rows[i].head.status, start, step, loss);
    }
}

int tarn_track_ls(const tarn_track_arguments *arguments)
{
    const char *where = arguments->word[0];
    tarn_track_place place = TARN_TRACK_FILES;
    tarn_path store, directory;
    char problem[TARN_SINK_PROBLEM];
    tarn_run_head *heads = NULL;
    int count = 0;
    bool spools = where && find_spools(directory, where);
    if (!spools && !tarn_track_where("ls", where, &place, store)) return TARN_TRACK_WRONG;
    if (place == TARN_TRACK_SERVER) {
        tarn_track_say("ls", "the runs are on the server %s: open it in a browser; ls lists file stores and spools",
                       store);
        return TARN_TRACK_WRONG;
    }
    if (spools ? list_spools(directory, &heads, &count) : tarn_run_list(&heads, &count, store, problem)) {
        tarn_track_say("ls", "%s", spools ? strerror(errno) : problem);
        return TARN_TRACK_WRONG;
    }
    row *rows = calloc(count ? (size_t)count : 1, sizeof *rows);
    for (int i = 0; rows && i < count; i++) {
        rows[i] = (row){.head = heads[i], .steps = -1};
        if (heads[i].source == TARN_RUN_IN_STORE)
            read_tail(&rows[i]);
        else
            read_spool(&rows[i]);
    }
    if (rows && arguments->json)
        print_json(rows, count);
    else if (rows && count)
        print_table(rows, count);
    else if (rows)
        printf("no runs in %s\n", store);
    else
        tarn_track_say("ls", "out of memory for %d runs", count);
    int code = rows ? TARN_TRACK_FINE : TARN_TRACK_FAILED;
    free(rows);
    tarn_run_heads_free(heads, count);
    return code;
}
