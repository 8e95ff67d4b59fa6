/* system_metrics.c - see system_metrics.h. The same quantities as MLflow's sampler, which asks psutil:
 *
 *   cpu_utilization_percentage             busy time of all cores since the sample before
 *   system_memory_usage_megabytes, _percentage
 *   disk_usage_percentage, _megabytes, disk_available_megabytes     of the file system at /
 *   network_receive_megabytes, network_transmit_megabytes           since the sampling began
 * Megabytes are 10^6 bytes.
 */
#include "train/system_metrics.h"
#include "runtime/base/context.h"
#include "track/tracker.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct tarn_system_sampler {
    tarn_context *context;
    tarn_tracker *tracker;
    double every;
    char prefix[32];
    int64_t step;
    tarn_system_counters first, before;
    bool sampled;

    pthread_t thread;
    pthread_mutex_t lock; /* guards ending */
    pthread_cond_t wake;
    bool ending;
};

/* ---- the kernel's numbers ---------------------------------------------------------------------------------------- */

bool tarn_system_parse_stat(const char *text, tarn_system_counters *out)
{
    /* user nice system idle iowait irq softirq steal; guests are in user and nice already */
    double value[8] = {0};
    if (strncmp(text, "cpu ", 4)) return false;
    int count = sscanf(text + 4, "%lf %lf %lf %lf %lf %lf %lf %lf", &value[0], &value[1], &value[2], &value[3],
                       &value[4], &value[5], &value[6], &value[7]);
    if (count < 4) return false;
    out->total = 0;
    for (int i = 0; i < 8; i++) out->total += value[i];
    out->busy = out->total - value[3] - value[4];
    return true;
}

bool tarn_system_parse_network(const char *text, tarn_system_counters *out)
{
    bool found = false;
    out->received = out->transmitted = 0;
    for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        const char *colon = strchr(line, ':'), *end = strchr(line, '\n');
        double received, transmitted;
        if (!colon || (end && colon > end)) continue; /* the two lines of headings */
        if (sscanf(colon + 1, "%lf %*f %*f %*f %*f %*f %*f %*f %lf", &received, &transmitted) != 2) continue;
        out->received += received;
        out->transmitted += transmitted;
        found = true;
    }
    return found;
}

static bool kilobytes(const char *text, const char *name, double *bytes)
{
    const char *at = strstr(text, name);
    double value;
    if (!at || sscanf(at + strlen(name), " %lf kB", &value) != 1) return false;
    *bytes = value * 1024;
    return true;
}

bool tarn_system_parse_memory(const char *text, tarn_system_counters *out)
{
    double available;
    if (!kilobytes(text, "MemTotal:", &out->memory) || !kilobytes(text, "MemAvailable:", &available)) return false;
    out->memory_used = out->memory - available;
    return out->memory > 0;
}

/* Which of the counters could be read. */
enum { HAS_CPU = 1, HAS_MEMORY = 2, HAS_NETWORK = 4 };

static bool read_file(const char *path, char *text, size_t size)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    size_t used = 0;
    ssize_t got;
    while (used + 1 < size && (got = read(file, text + used, size - 1 - used)) > 0) used += (size_t)got;
    close(file);
    text[used] = '\0';
    return used > 0;
}

static int read_counters(tarn_system_counters *out)
{
    char text[16384];
    int has = 0;
    *out = (tarn_system_counters){0};
    if (read_file("/proc/stat", text, sizeof text) && tarn_system_parse_stat(text, out)) has |= HAS_CPU;
    if (read_file("/proc/meminfo", text, sizeof text) && tarn_system_parse_memory(text, out)) has |= HAS_MEMORY;
    if (read_file("/proc/net/dev", text, sizeof text) && tarn_system_parse_network(text, out)) has |= HAS_NETWORK;
    return has;
}

/* ---- samples ----------------------------------------------------------------------------------------------------- */

static void log_one(tarn_system_sampler *sampler, const char *name, double value)
{
    char key[96];
    snprintf(key, sizeof key, "%s%s", sampler->prefix, name);
    /* Tenths, as MLflow: more digits are noise. */
    tarn_log_metric(sampler->tracker, key, (double)(int64_t)(value * 10 + 0.5) / 10, sampler->step);
}

static void log_disk(tarn_system_sampler *sampler)
{
    struct statvfs disk;
    if (statvfs("/", &disk)) return;
    double unit = (double)disk.f_frsize, used = (double)(disk.f_blocks - disk.f_bfree) * unit,
           available = (double)disk.f_bavail * unit;
    if (used + available > 0) log_one(sampler, "disk_usage_percentage", used / (used + available) * 100);
    log_one(sampler, "disk_usage_megabytes", used / 1e6);
    log_one(sampler, "disk_available_megabytes", available / 1e6);
}

static void sample(tarn_system_sampler *sampler)
{
    tarn_system_counters now;
    const tarn_system_counters *before = &sampler->before, *first = &sampler->first;
    int has = read_counters(&now);
    if (has & HAS_CPU && now.total > before->total)
        log_one(sampler, "cpu_utilization_percentage", (now.busy - before->busy) / (now.total - before->total) * 100);
    if (has & HAS_MEMORY) {
        log_one(sampler, "system_memory_usage_megabytes", now.memory_used / 1e6);
        log_one(sampler, "system_memory_usage_percentage", now.memory_used / now.memory * 100);
    }
    log_disk(sampler);
    /* An interface that went away takes its bytes along. */
    if (has & HAS_NETWORK && now.received >= first->received && now.transmitted >= first->transmitted) {
        log_one(sampler, "network_receive_megabytes", (now.received - first->received) / 1e6);
        log_one(sampler, "network_transmit_megabytes", (now.transmitted - first->transmitted) / 1e6);
    }
    sampler->before = now;
    sampler->sampled = true;
    sampler->step++;
}

static void *run(void *user)
{
    tarn_system_sampler *sampler = user;
    tarn_track_quiet_thread();
    pthread_mutex_lock(&sampler->lock);
    for (;;) {
        /* From now on: samples that a busy machine missed are not made up for, one right behind the other. */
        double next = tarn_seconds() + sampler->every;
        while (!sampler->ending && tarn_condition_wait(&sampler->wake, &sampler->lock, next)) continue;
        if (sampler->ending) break;
        pthread_mutex_unlock(&sampler->lock);
        sample(sampler);
        pthread_mutex_lock(&sampler->lock);
    }
    pthread_mutex_unlock(&sampler->lock);
    return NULL;
}

tarn_status tarn_system_sampler_start(tarn_system_sampler **out, tarn_context *context, tarn_tracker *tracker,
                                      double every, const char *prefix, int64_t first_step)
{
    *out = NULL;
    tarn_system_sampler *sampler = calloc(1, sizeof *sampler);
    if (!sampler) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory to sample this host");
    sampler->context = context;
    sampler->tracker = tracker;
    sampler->every = every < 1e6 ? every : 1e6;
    sampler->step = first_step;
    snprintf(sampler->prefix, sizeof sampler->prefix, "%s", prefix);
    read_counters(&sampler->first);
    sampler->before = sampler->first;
    pthread_mutex_init(&sampler->lock, NULL);
    tarn_condition_init(&sampler->wake);
    sigset_t before;
    tarn_block_signals(&before);
    int error = pthread_create(&sampler->thread, NULL, run, sampler);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        /* A record without these metrics is no reason to stop a run. */
        tarn_log(context, TARN_LOG_WARN, "tracking: no samples of this host: cannot start a thread: %s",
                 strerror(error));
        pthread_cond_destroy(&sampler->wake);
        pthread_mutex_destroy(&sampler->lock);
        free(sampler);
        return TARN_OK;
    }
    *out = sampler;
    return TARN_OK;
}

void tarn_system_sampler_stop(tarn_system_sampler *sampler)
{
    if (!sampler) return;
    pthread_mutex_lock(&sampler->lock);
    sampler->ending = true;
    pthread_cond_signal(&sampler->wake);
    pthread_mutex_unlock(&sampler->lock);
    pthread_join(sampler->thread, NULL);
    if (!sampler->sampled) sample(sampler);
    pthread_cond_destroy(&sampler->wake);
    pthread_mutex_destroy(&sampler->lock);
    free(sampler);
}
