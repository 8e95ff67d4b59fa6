/* hosts.c - see hosts.h. */
#include "launch/supervisor/hosts.h"
#include "launch/supervisor/job.h"
#include "runtime/base/host.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { MOST_SLOTS = 100000 };

bool tarn_host_is_local(const char *name)
{
    char own[256];
    tarn_host_name(own, sizeof own);
    if (!strcmp(name, own) || !strcmp(name, "localhost") || !strncmp(name, "127.", 4)) return true;
    /* One of the two may be written with its domain. */
    size_t length = strcspn(name, "."), own_length = strcspn(own, ".");
    return length == own_length && !strncmp(name, own, length) && (!name[length] || !own[own_length]) &&
           strspn(name, "0123456789.") != strlen(name);
}

/* Adds slots to a host of the list, or the host. */
static bool add(tarn_hosts *hosts, const char *name, size_t length, int slots)
{
    if (!length || length >= sizeof hosts->host->name) return false;
    for (int i = 0; i < hosts->count; i++)
        if (strlen(hosts->host[i].name) == length && !strncmp(hosts->host[i].name, name, length)) {
            hosts->host[i].slots += slots;
            return true;
        }
    tarn_host *grown = realloc(hosts->host, ((size_t)hosts->count + 1) * sizeof *grown);
    if (!grown) return false;
    hosts->host = grown;
    tarn_host *host = &grown[hosts->count++];
    *host = (tarn_host){.slots = slots};
    memcpy(host->name, name, length);
    host->local = host->answers = tarn_host_is_local(host->name);
    return true;
}

/* The list just read takes the place of the old one, with what is known of its hosts. */
void tarn_hosts_replace(tarn_hosts *hosts, tarn_hosts *read)
{
    for (int i = 0; i < read->count; i++)
        for (int k = 0; k < hosts->count; k++)
            if (!strcmp(read->host[i].name, hosts->host[k].name)) {
                int slots = read->host[i].slots;
                read->host[i] = hosts->host[k];
                read->host[i].slots = slots;
                hosts->host[k].probe = 0;
            }
    /* Probes of hosts that are gone from the list end by themselves; nobody asks for them. */
    read->probe_started = hosts->probe_started;
    free(hosts->host);
    *hosts = *read;
    *read = (tarn_hosts){0};
}

static bool parse_slots(const char *text, size_t length, int *slots)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (!length || !isdigit((unsigned char)*text) || end != text + length || value < 0 || value > MOST_SLOTS)
        return false;
    *slots = (int)value;
    return true;
}

bool tarn_hosts_read_list(tarn_hosts *hosts, const char *list, char *problem, size_t size)
{
    tarn_hosts read = {0};
    for (const char *at = list; *at || at == list;) {
        size_t length = strcspn(at, ","), name = 0;
        while (name < length && at[name] != ':') name++;
        int slots = 1;
        if ((name < length && !parse_slots(at + name + 1, length - name - 1, &slots)) || !add(&read, at, name, slots)) {
            snprintf(problem, size, "--host %s: '%.*s' is no host: expected NAME or NAME:SLOTS", list, (int)length, at);
            tarn_hosts_free(&read);
            return false;
        }
        at += length;
        if (*at == ',') at++;
    }
    tarn_hosts_replace(hosts, &read);
    return true;
}

/* One line of a host file; *wrong is the word that cannot be understood. */
static bool read_line(tarn_hosts *read, char *line, const char **wrong)
{
    line[strcspn(line, "#\n")] = 0;
    char *rest = NULL, *name = strtok_r(line, " \t\r", &rest);
    if (!name) return true;
    int slots = 1, ignored;
    for (char *word = strtok_r(NULL, " \t\r", &rest); word; word = strtok_r(NULL, " \t\r", &rest)) {
        char *value = strchr(word, '=');
        size_t key = value ? (size_t)(value - word) : 0;
        *wrong = word;
        if (value && key == 5 && !strncmp(word, "slots", key)) {
            if (!parse_slots(value + 1, strlen(value + 1), &slots)) return false;
        } else if (value && key == 9 && (!strncmp(word, "max_slots", key) || !strncmp(word, "max-slots", key))) {
            if (!parse_slots(value + 1, strlen(value + 1), &ignored)) return false;
        } else {
            return false;
        }
    }
    *wrong = name;
    return add(read, name, strlen(name), slots);
}

bool tarn_hosts_read_file(tarn_hosts *hosts, const char *path, char *problem, size_t size)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        snprintf(problem, size, "-hostfile %s: %s: give a file you may read, with a line for each host: NAME slots=N",
                 path, strerror(errno));
        return false;
    }
    tarn_hosts read = {0};
    char *line = NULL;
    const char *wrong = NULL;
    size_t room = 0;
    bool good = true;
    for (int number = 1; good && getline(&line, &room, file) >= 0; number++) {
        good = read_line(&read, line, &wrong);
        if (!good)
            snprintf(problem, size, "%s:%d: '%s' is not understood: expected NAME [slots=N] [max_slots=N]", path,
                     number, wrong);
    }
    free(line);
    fclose(file);
    if (!good) {
        tarn_hosts_free(&read);
        return false;
    }
    tarn_hosts_replace(hosts, &read);
    return true;
}

/* ---- probing ----------------------------------------------------------------------------------------------------- */

void tarn_hosts_probe(tarn_hosts *hosts, const char *agent, const char *command, double now)
{
    hosts->probe_started = now;
    for (int i = 0; i < hosts->count; i++) {
        tarn_host *host = &hosts->host[i];
        if (host->local || host->probe || !host->slots || host->rests_until > now) continue;
        host->probe = tarn_agent_start(agent, host->name, command);
        if (host->probe <= 0) host->probe = 0, host->answers = false;
    }
}

bool tarn_hosts_reaped(tarn_hosts *hosts, pid_t pid, int status)
{
    for (int i = 0; i < hosts->count; i++) {
        if (hosts->host[i].probe != pid) continue;
        hosts->host[i].probe = 0;
        hosts->host[i].answers = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        return true;
    }
    return false;
}

bool tarn_hosts_probed(tarn_hosts *hosts, double now)
{
    bool late = now - hosts->probe_started > TARN_PROBE_SECONDS, at_work = false;
    for (int i = 0; i < hosts->count; i++) {
        tarn_host *host = &hosts->host[i];
        if (!host->probe) continue;
        if (late && kill(-host->probe, SIGKILL) && errno == ESRCH) { /* reaped by somebody else */
            host->probe = 0;
            host->answers = false;
        }
        at_work = at_work || host->probe;
    }
    return !at_work;
}

/* ---- places ------------------------------------------------------------------------------------------------------ */

static bool usable(const tarn_host *host, double now)
{
    return host->answers && host->slots > 0 && host->rests_until <= now;
}

int tarn_hosts_slots(const tarn_hosts *hosts, double now)
{
    int slots = 0;
    for (int i = 0; i < hosts->count; i++)
        if (usable(&hosts->host[i], now)) slots += hosts->host[i].slots;
    return slots;
}

tarn_host *tarn_hosts_leave_out(tarn_hosts *hosts, int *turn, int least, double seconds, double now)
{
    int candidates = 0;
    for (int i = 0; i < hosts->count; i++) {
        tarn_host *host = &hosts->host[i];
        if (host->left_out) {
            if (host->rests_until > now) ++*turn;
            host->left_out = false;
            host->rests_until = 0;
        }
        candidates += !host->local && usable(host, now);
    }
    int skip = candidates ? *turn % candidates : 0;
    for (int i = hosts->count - 1; i >= 0; i--) {
        tarn_host *host = &hosts->host[i];
        if (host->local || !usable(host, now) || skip--) continue;
        if (tarn_hosts_slots(hosts, now) - host->slots < least) return NULL;
        host->left_out = true;
        host->rests_until = now + seconds;
        return host;
    }
    return NULL;
}

int tarn_hosts_assign(tarn_hosts *hosts, int ranks, double now, char *out, size_t size)
{
    int given = 0;
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; i < hosts->count; i++) {
        tarn_host *host = &hosts->host[i];
        int take = usable(host, now) ? host->slots : 0;
        if (take > ranks - given) take = ranks - given;
        if (used + strlen(host->name) + 16 > size) take = 0;
        host->first_rank = given;
        host->ranks = take;
        given += take;
        if (take) used += (size_t)snprintf(out + used, size - used, "%s%s:%d", used ? "," : "", host->name, take);
    }
    return given;
}

tarn_host *tarn_hosts_of_rank(const tarn_hosts *hosts, int rank)
{
    for (int i = 0; i < hosts->count; i++)
        if (rank >= hosts->host[i].first_rank && rank < hosts->host[i].first_rank + hosts->host[i].ranks)
            return &hosts->host[i];
    return NULL;
}

bool tarn_hosts_all_local(const tarn_hosts *hosts)
{
    for (int i = 0; i < hosts->count; i++)
        if (!hosts->host[i].local) return false;
    return true;
}

void tarn_hosts_free(tarn_hosts *hosts)
{
    free(hosts->host);
    *hosts = (tarn_hosts){0};
}
