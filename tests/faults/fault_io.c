/* fault_io.c - see fault_io.h: plans, counting and the trace; the calls are in fault_calls.c. Thread-safe: one mutex is
 * held over each call that counts, so that the order of the trace is the order in which things happened.
 *
 * In a program that does not link it, LD_PRELOAD and the environment do:
 *   TARN_FAULT_DIRECTORY  absolute path; without it nothing is counted
 *   TARN_FAULT_AT         the call to hit, from 1
 *   TARN_FAULT_MODE       kill, torn, eio, enospc, short
 *   TARN_FAULT_PERSIST    1: all calls from there on
 *   TARN_FAULT_READS      1: reads count, too
 *   TARN_FAULT_RANK       only the process whose OMPI_COMM_WORLD_RANK (0 without) is this number counts
 *   TARN_FAULT_TRACE      file that receives the records (several processes may share it)
 *   TARN_FAULT_COUNT      file that receives the number of calls when the process exits
 *   TARN_FAULT_NO_SYNC    file, directory or all: weakens the writer
 */
#include "fault_layer.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
tarn_fault_plan fault_plan;
static char directory[PATH_MAX];
static size_t directory_bytes; /* 0: off */
static int64_t count;
static int trace = -1;
char *fault_names[FAULT_DESCRIPTORS];
bool fault_folders[FAULT_DESCRIPTORS];

static int real_open(const char *path, int flags, mode_t mode)
{
    FAULT_REAL("open", int, const char *, int, ...);
    return real(path, flags, mode);
}

ssize_t fault_real_write(int fd, const void *data, size_t bytes)
{
    FAULT_REAL("write", ssize_t, int, const void *, size_t);
    return real(fd, data, bytes);
}

ssize_t fault_real_pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    FAULT_REAL("pwrite", ssize_t, int, const void *, size_t, off_t);
    return real(fd, data, bytes, at);
}

int fault_real_close(int fd)
{
    FAULT_REAL("close", int, int);
    return real(fd);
}

/* ---- which calls count ------------------------------------------------------------------------------------------- */

char *fault_inside(int at, const char *path)
{
    if (!directory_bytes || !path) return NULL;
    char full[2 * PATH_MAX];
    if (path[0] == '/') {
        snprintf(full, sizeof full, "%s", path);
    } else {
        char base[PATH_MAX] = "", link[64];
        if (at == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return NULL;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            ssize_t length = readlink(link, base, sizeof base - 1);
            if (length <= 0) return NULL;
            base[length] = '\0';
        }
        snprintf(full, sizeof full, "%s/%s", base, path);
    }
    if (strncmp(full, directory, directory_bytes)) return NULL;
    if (!full[directory_bytes]) return strdup(".");
    if (full[directory_bytes] != '/') return NULL;
    return strdup(full + directory_bytes + 1);
}

bool fault_tracked(int fd)
{
    return directory_bytes && fd >= 0 && fd < FAULT_DESCRIPTORS && fault_names[fd];
}

const char *tarn_fault_kind_name(tarn_fault_kind kind)
{
    static const char *const texts[] = {"open", "allocate", "write", "truncate", "fsync", "close", "rename",
                                        "link", "unlink",   "mkdir", "rmdir",    "read",  "note"};
    return (unsigned)kind < sizeof texts / sizeof *texts ? texts[kind] : "?";
}

void fault_lock(void)
{
    pthread_mutex_lock(&mutex);
    if (trace >= 0) flock(trace, LOCK_EX);
}

void fault_unlock(void)
{
    int error = errno;
    if (trace >= 0) flock(trace, LOCK_UN);
    pthread_mutex_unlock(&mutex);
    errno = error;
}

_Noreturn void fault_die(void)
{
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

fault_outcome fault_meet(tarn_fault_kind kind, const char *path, int64_t length)
{
    if (kind == TARN_FAULT_READ && !fault_plan.reads) return FAULT_THROUGH;
    count++;
    if (!fault_plan.at || count < fault_plan.at || (count > fault_plan.at && !fault_plan.persistent))
        return FAULT_THROUGH;
    if (fault_plan.hit && count == fault_plan.at)
        snprintf(fault_plan.hit, 128, "%s %s %lld", tarn_fault_kind_name(kind), path, (long long)length);
    switch (fault_plan.mode) {
    case TARN_FAULT_KILL:
        fault_die();
    case TARN_FAULT_TORN_KILL:
        if (kind != TARN_FAULT_WRITE) fault_die();
        return FAULT_HALF_THEN_DIE;
    case TARN_FAULT_ERROR:
        errno = fault_plan.error;
        return FAULT_FAILS;
    case TARN_FAULT_SHORT:
        return kind == TARN_FAULT_WRITE && length > 1 ? FAULT_HALF : FAULT_THROUGH;
    default:
        return FAULT_THROUGH;
    }
}

/* ---- the trace --------------------------------------------------------------------------------------------------- */

void fault_record(tarn_fault_kind kind, uint32_t flags, int fd, int64_t offset, int64_t length, const char *path,
                  const char *other, const void *data, int64_t data_bytes)
{
    if (trace < 0) return;
    int error = errno;
    tarn_fault_record head = {kind,
                              flags,
                              getpid(),
                              fd,
                              count,
                              offset,
                              length,
                              path ? (uint32_t)strlen(path) : 0,
                              other ? (uint32_t)strlen(other) : 0,
                              data_bytes};
    fault_real_write(trace, &head, sizeof head);
    if (head.path_bytes) fault_real_write(trace, path, head.path_bytes);
    if (head.other_bytes) fault_real_write(trace, other, head.other_bytes);
    for (int64_t done = 0; done < data_bytes;) {
        ssize_t part = fault_real_write(trace, (const char *)data + done, (size_t)(data_bytes - done));
        if (part <= 0) break;
        done += part;
    }
    errno = error;
}

uint32_t fault_no_effect(int failed)
{
    return failed ? TARN_FAULT_NO_EFFECT : 0;
}

void tarn_fault_note(const char *text)
{
    fault_lock();
    fault_record(TARN_FAULT_NOTE, 0, -1, 0, 0, text, NULL, NULL, 0);
    fault_unlock();
}

void tarn_fault_begin(const tarn_fault_plan *wanted)
{
    tarn_fault_end();
    fault_plan = *wanted;
    count = 0;
    snprintf(directory, sizeof directory, "%s", wanted->directory);
    directory_bytes = strlen(directory);
    if (fault_plan.trace) trace = real_open(fault_plan.trace, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
}

void tarn_fault_end(void)
{
    directory_bytes = 0;
    if (trace >= 0) fault_real_close(trace);
    trace = -1;
    for (int i = 0; i < FAULT_DESCRIPTORS; i++) {
        free(fault_names[i]);
        fault_names[i] = NULL;
    }
}

int64_t tarn_fault_count(void)
{
    fault_lock();
    int64_t now = count;
    fault_unlock();
    return now;
}

__attribute__((constructor)) static void begin_by_environment(void)
{
    const char *root = getenv("TARN_FAULT_DIRECTORY"), *rank = getenv("TARN_FAULT_RANK"),
               *own = getenv("OMPI_COMM_WORLD_RANK"), *mode = getenv("TARN_FAULT_MODE"), *at = getenv("TARN_FAULT_AT"),
               *weak = getenv("TARN_FAULT_NO_SYNC");
    if (!root || (rank && atoi(rank) != (own ? atoi(own) : 0))) return;
    tarn_fault_plan wanted = {.directory = root, .at = at ? atoll(at) : 0, .trace = getenv("TARN_FAULT_TRACE")};
    wanted.persistent = getenv("TARN_FAULT_PERSIST") != NULL;
    wanted.reads = getenv("TARN_FAULT_READS") != NULL;
    wanted.no_file_sync = weak && (!strcmp(weak, "file") || !strcmp(weak, "all"));
    wanted.no_directory_sync = weak && (!strcmp(weak, "directory") || !strcmp(weak, "all"));
    if (mode && !strcmp(mode, "kill")) wanted.mode = TARN_FAULT_KILL;
    if (mode && !strcmp(mode, "torn")) wanted.mode = TARN_FAULT_TORN_KILL;
    if (mode && !strcmp(mode, "short")) wanted.mode = TARN_FAULT_SHORT;
    if (mode && mode[0] == 'e') {
        wanted.mode = TARN_FAULT_ERROR;
        wanted.error = strcmp(mode, "enospc") ? EIO : ENOSPC;
    }
    tarn_fault_begin(&wanted);
}

__attribute__((destructor)) static void tell_count(void)
{
    const char *path = getenv("TARN_FAULT_COUNT");
    if (!path || !directory_bytes) return;
    char text[32];
    int file = real_open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
    int length = snprintf(text, sizeof text, "%lld\n", (long long)count);
    if (file < 0) return;
    fault_real_write(file, text, (size_t)length);
    fault_real_close(file);
}
