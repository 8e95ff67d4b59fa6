/* process.c - the process that writes, as W&B's metadata has it. */
#include "track/wandb/wandb.h"
#include "track/json.h"
#include "runtime/config/document.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { OURS_MS = 120000 };

/* A record with a text that is no UTF-8 cannot be read as a whole. */
static void keep_utf8(char *text)
{
    size_t length = strlen(text);
    for (int cut = 0; cut < 4 && length && !tarn_document_is_utf8(text); cut++) text[--length] = '\0';
    if (!tarn_document_is_utf8(text)) *text = '\0';
}

static void text_of(const cJSON *object, const char *key, char *out, size_t size)
{
    snprintf(out, size, "%s", tarn_json_text(object, key));
    keep_utf8(out);
}

static void processor(char *out, size_t size)
{
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        snprintf(out, size, "%s", colon + 1 + strspn(colon + 1, " "));
        out[strcspn(out, "\n")] = '\0';
        break;
    }
    if (file) fclose(file);
}

static void machine(tarn_wandb_process *process)
{
    struct utsname system;
    if (!uname(&system)) {
        snprintf(process->system, sizeof process->system, "%s-%s-%s", system.sysname, system.release, system.machine);
        snprintf(process->host, sizeof process->host, "%s", system.nodename);
    }
    if (!getcwd(process->folder, sizeof process->folder)) *process->folder = '\0';
    keep_utf8(process->folder);
    keep_utf8(process->host);
    long cores = sysconf(_SC_NPROCESSORS_ONLN), pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    process->threads = process->cores = cores > 0 ? cores : 0;
    if (pages > 0 && page > 0) process->memory = (int64_t)pages * page;
    processor(process->processor, sizeof process->processor);
    keep_utf8(process->processor);
}

void tarn_wandb_describe_process(tarn_wandb *board, const tarn_track_event *event)
{
    tarn_wandb_process *process = &board->process;
    *process = (tarn_wandb_process){.time_ms = event->time_ms};
    snprintf(process->writer, sizeof process->writer, "%s-%lld", board->run_id, (long long)event->time_ms);
    cJSON *object = event->text ? cJSON_Parse(event->text) : NULL;
    text_of(object, "user", process->user, sizeof process->user);
    text_of(object, "source", process->source, sizeof process->source);
    text_of(object, "commit", process->commit, sizeof process->commit);
    cJSON_Delete(object);
    /* A spool may be replayed on another machine, or long after. */
    int64_t age = board->opened_ms - event->time_ms;
    if (age > -OURS_MS && age < OURS_MS) machine(process);
}
