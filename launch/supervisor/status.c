/* status.c - see status.h. */
#include "launch/supervisor/status.h"
#include "runtime/base/host.h"
#include "runtime/base/write.h"
#include "track/files.h"
#include "track/json.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FORMAT = 1, MOST_BYTES = 4 << 20 };

static void now_text(char out[32])
{
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

void tarn_run_status_start(tarn_run_status *status, char *const *program)
{
    *status = (tarn_run_status){
        .step = -1, .highest = -1, .saved = -1, .exit_code = -1, .program = program, .state = "starting"};
    now_text(status->started);
}

void tarn_run_status_event(tarn_run_status *status, const char *what, int rank, int64_t step, const char *message)
{
    tarn_status_event *event = &status->event[status->events++ % TARN_STATUS_EVENTS];
    now_text(event->time);
    snprintf(event->what, sizeof event->what, "%s", what);
    snprintf(event->message, sizeof event->message, "%s", message ? message : "");
    event->rank = rank;
    event->step = step;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

/* The file at the path, locked; -1 when another holds it (errno EWOULDBLOCK) or it cannot be opened. Its holder
 * replaces the file before it lets go of the old one: a lock counts only on the file that still has the name. */
static int lock_file(const char *path)
{
    for (int tries = 0; tries < 100; tries++) {
        int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (file < 0) return -1;
        struct stat opened, named;
        if (flock(file, LOCK_EX | LOCK_NB)) {
            int error = errno;
            close(file);
            errno = error;
            return -1;
        }
        if (!fstat(file, &opened) && !stat(path, &named) && opened.st_ino == named.st_ino &&
            opened.st_dev == named.st_dev)
            return file;
        close(file);
    }
    errno = EWOULDBLOCK;
    return -1;
}

static char *read_text(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = file ? malloc(MOST_BYTES + 1) : NULL;
    if (text) text[fread(text, 1, MOST_BYTES, file)] = 0;
    if (file) fclose(file);
    return text;
}

tarn_status_claim tarn_status_file_claim(tarn_status_file *file, const char *path, char **text, int *error)
{
    *text = NULL;
    *error = ENAMETOOLONG;
    if (strlen(path) + 8 > sizeof file->path) return TARN_STATUS_BROKEN;
    int lock = lock_file(path);
    *error = errno;
    if (lock < 0 && *error != EWOULDBLOCK) return TARN_STATUS_BROKEN;
    *text = read_text(path);
    if (lock < 0) return TARN_STATUS_HELD;
    tarn_status_file_close(file);
    file->lock = lock;
    snprintf(file->path, sizeof file->path, "%s", path);
    return TARN_STATUS_CLAIMED;
}

void tarn_run_status_inherit(tarn_run_status *status, const char *text)
{
    cJSON *json = text ? cJSON_Parse(text) : NULL;
    if (!json) return;
    const char *state = tarn_json_text(json, "state");
    bool ended = !strcmp(state, "finished") || !strcmp(state, "stopped") || !strcmp(state, "failed");
    int64_t highest = tarn_json_integer(json, "highest_step", -1), saved = tarn_json_integer(json, "saved_step", -1);
    if (highest > status->highest) status->highest = highest;
    if (saved > status->saved) status->saved = saved;
    status->inherited = true;
    status->inherited_killed = !ended;
    snprintf(status->earlier_workspace, sizeof status->earlier_workspace, "%s", tarn_json_text(json, "workspace"));
    if (!ended) {
        /* Killed: this one goes on where that one was. */
        status->inherited_begun = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "begun"));
        status->inherited_stalled = (int)tarn_json_integer(json, "stalled", 0);
        status->inherited_restarts = (int)tarn_json_integer(json, "restarts", 0);
        status->launches += (int)tarn_json_integer(json, "launches", 0);
    }
    /* The earlier events come first. */
    tarn_status_event mine[TARN_STATUS_EVENTS];
    int count = status->events < TARN_STATUS_EVENTS ? status->events : TARN_STATUS_EVENTS;
    for (int i = 0; i < count; i++) mine[i] = status->event[(status->events - count + i) % TARN_STATUS_EVENTS];
    status->events = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(json, "events"))
    {
        tarn_run_status_event(status, tarn_json_text(item, "what"), (int)tarn_json_integer(item, "rank", -1),
                              tarn_json_integer(item, "step", -1), tarn_json_text(item, "message"));
        tarn_status_event *event = &status->event[(status->events - 1) % TARN_STATUS_EVENTS];
        snprintf(event->time, sizeof event->time, "%s", tarn_json_text(item, "time"));
    }
    for (int i = 0; i < count; i++) status->event[status->events++ % TARN_STATUS_EVENTS] = mine[i];
    cJSON_Delete(json);
}

void tarn_run_status_name_holder(const char *path, const char *text, char *problem, size_t size)
{
    cJSON *json = text ? cJSON_Parse(text) : NULL;
    snprintf(problem, size,
             "%s: another tarn run supervises this run: process %d on %s, since %s; stop that one first, or give "
             "this run another checkpoint directory",
             path, (int)tarn_json_integer(json, "pid", 0), tarn_json_text(json, "host"),
             tarn_json_text(json, "started"));
    cJSON_Delete(json);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static cJSON *to_json(const tarn_run_status *status)
{
    cJSON *json = cJSON_CreateObject();
    char host[256], now[32];
    tarn_host_name(host, sizeof host);
    now_text(now);
    cJSON_AddNumberToObject(json, "format", FORMAT);
    cJSON_AddStringToObject(json, "state", status->state);
    cJSON_AddStringToObject(json, "reason", status->reason);
    if (status->exit_code >= 0)
        cJSON_AddNumberToObject(json, "exit_code", status->exit_code);
    else
        cJSON_AddNullToObject(json, "exit_code");
    cJSON_AddNumberToObject(json, "pid", getpid());
    cJSON_AddStringToObject(json, "host", host);
    cJSON_AddStringToObject(json, "started", status->started);
    cJSON_AddStringToObject(json, "updated", now);
    cJSON *program = cJSON_AddArrayToObject(json, "program");
    for (char *const *word = status->program; word && *word; word++)
        cJSON_AddItemToArray(program, cJSON_CreateString(*word));
    cJSON_AddNumberToObject(json, "ranks", status->ranks);
    cJSON_AddNumberToObject(json, "wanted_ranks", status->wanted_ranks);
    cJSON_AddStringToObject(json, "hosts", status->hosts);
    cJSON_AddNumberToObject(json, "step", (double)status->step);
    cJSON_AddNumberToObject(json, "highest_step", (double)status->highest);
    cJSON_AddNumberToObject(json, "saved_step", (double)status->saved);
    cJSON_AddBoolToObject(json, "begun", status->begun);
    cJSON_AddNumberToObject(json, "launches", status->launches);
    cJSON_AddNumberToObject(json, "restarts", status->restarts);
    cJSON_AddNumberToObject(json, "stalled", status->stalled);
    cJSON_AddStringToObject(json, "workspace", status->workspace);
    cJSON *events = cJSON_AddArrayToObject(json, "events");
    int count = status->events < TARN_STATUS_EVENTS ? status->events : TARN_STATUS_EVENTS;
    for (int i = status->events - count; i < status->events; i++) {
        const tarn_status_event *event = &status->event[i % TARN_STATUS_EVENTS];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "time", event->time);
        cJSON_AddStringToObject(item, "what", event->what);
        if (event->rank >= 0) cJSON_AddNumberToObject(item, "rank", event->rank);
        if (event->step >= 0) cJSON_AddNumberToObject(item, "step", (double)event->step);
        cJSON_AddStringToObject(item, "message", event->message);
        cJSON_AddItemToArray(events, item);
    }
    return json;
}

char *tarn_run_status_print(const tarn_run_status *status)
{
    cJSON *json = to_json(status);
    char *text = json ? cJSON_Print(json) : NULL;
    cJSON_Delete(json);
    return text;
}

static void sync_directory_of(const char *path)
{
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", path);
    (void)tarn_folder_sync(dirname(copy));
}

bool tarn_status_file_replace(tarn_status_file *file, const char *text, bool durable, int *error)
{
    char temporary[sizeof file->path + 8];
    snprintf(temporary, sizeof temporary, "%s.tmp", file->path);
    unlink(temporary);
    int new = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    bool written = new >= 0 && !flock(new, LOCK_EX | LOCK_NB) && tarn_write_all(new, text, strlen(text)) &&
                   tarn_write_all(new, "\n", 1) && (!durable || !fsync(new)) && !rename(temporary, file->path);
    *error = errno;
    if (!written) {
        if (new >= 0) close(new);
        unlink(temporary);
        return false;
    }
    if (durable) sync_directory_of(file->path);
    if (file->lock >= 0) close(file->lock);
    file->lock = new;
    return true;
}

void tarn_status_file_close(tarn_status_file *file)
{
    if (file->lock >= 0) close(file->lock);
    file->lock = -1;
}
