/* workspace.c - see workspace.h. */
#include "launch/supervisor/workspace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char PREFIX[] = "tarn-run-", LOCK[] = "lock", MEMORY[] = "/dev/shm";
enum { YOUNG_SECONDS = 60, MOST_TRIES = 8, PATH = 4096 };

/* ---- processes --------------------------------------------------------------------------------------------------- */

bool tarn_process_names(long pid, const char *text)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/environ", pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    /* In pieces that overlap by the length of the text: environments have no limit worth the name. */
    char piece[16384];
    size_t kept = 0, length = strlen(text);
    bool found = false;
    ssize_t got;
    while (!found && (got = read(file, piece + kept, sizeof piece - kept)) > 0) {
        size_t there = kept + (size_t)got;
        found = memmem(piece, there, text, length) != NULL;
        kept = there < length ? there : length;
        memmove(piece, piece + there - kept, kept);
    }
    close(file);
    return found;
}

int tarn_signal_named(const char *text, int signal)
{
    DIR *processes = opendir("/proc");
    int count = 0;
    for (struct dirent *entry; processes && (entry = readdir(processes));) {
        char *end;
        long pid = strtol(entry->d_name, &end, 10);
        if (*end || pid <= 1 || pid == (long)getpid() || !tarn_process_names(pid, text)) continue;
        count++;
        kill((pid_t)pid, signal);
    }
    if (processes) closedir(processes);
    return count;
}

int tarn_kill_named(const char *text)
{
    return tarn_signal_named(text, SIGKILL);
}

/* ---- folders ----------------------------------------------------------------------------------------------------- */

static bool join(char out[PATH], const char *folder, const char *name)
{
    return snprintf(out, PATH, "%s/%s", folder, name) < PATH;
}

/* Removes what is in a folder, but for `spared` (NULL: nothing) on the first level. Links are not followed. */
static void empty_folder(const char *folder, const char *spared)
{
    DIR *opened = opendir(folder);
    for (struct dirent *entry; opened && (entry = readdir(opened));) {
        char path[PATH];
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if ((spared && !strcmp(entry->d_name, spared)) || !join(path, folder, entry->d_name)) continue;
        if (!unlink(path) || (errno != EISDIR && errno != EPERM)) continue;
        empty_folder(path, NULL);
        rmdir(path);
    }
    if (opened) closedir(opened);
}

static void remove_folder(const char *folder)
{
    empty_folder(folder, NULL);
    rmdir(folder);
}

/* The lock that a folder has; -1: somebody holds it, or there is none. */
static int take_lock(const char *folder)
{
    char path[PATH];
    if (!join(path, folder, LOCK)) return -1;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file >= 0 && flock(file, LOCK_EX | LOCK_NB)) {
        close(file);
        file = -1;
    }
    return file;
}

/* Gives a folder its lock, held: the file is made and locked under another name and linked to its own, which only one
 * can do. So a lock that is there and not held is that of a dead supervisor, at any moment. -1: another one was faster,
 * or has removed the folder (EEXIST, ENOENT), or errno. */
static int new_lock(const char *folder)
{
    char path[PATH], making[PATH];
    if (!join(path, folder, LOCK) || !join(making, folder, "making-XXXXXX")) return -1;
    int file = mkostemp(making, O_CLOEXEC), error = errno;
    if (file < 0) return -1;
    bool locked = !flock(file, LOCK_EX | LOCK_NB) && !link(making, path);
    if (!locked) error = errno;
    unlink(making);
    if (locked) return file;
    close(file);
    errno = error;
    return -1;
}

/* Removes the folders of supervisors that are gone: whoever can take the lock of a folder, or give it one, may. A young
 * one without a lock is most likely just being made, and left alone. */
static void sweep_dead(const char *base)
{
    char mine[64];
    int length = snprintf(mine, sizeof mine, "%s%u-", PREFIX, (unsigned)getuid());
    DIR *opened = opendir(base);
    for (struct dirent *entry; opened && (entry = readdir(opened));) {
        char path[PATH], lock_path[PATH];
        struct stat info;
        if (strncmp(entry->d_name, mine, (size_t)length) || !join(path, base, entry->d_name) ||
            !join(lock_path, path, LOCK) || lstat(path, &info) || !S_ISDIR(info.st_mode) || info.st_uid != getuid())
            continue;
        bool has = !access(lock_path, F_OK);
        if (!has && time(NULL) - info.st_mtime < YOUNG_SECONDS) continue;
        int lock = has ? take_lock(path) : new_lock(path);
        if (lock < 0) continue;
        tarn_kill_named(entry->d_name);
        remove_folder(path);
        close(lock);
    }
    if (opened) closedir(opened);
}

static bool make(char *path, size_t size, const char *base, const char *name, int *lock)
{
    if (snprintf(path, size, "%s/%s", base, name) >= (int)size) {
        errno = ENAMETOOLONG;
        return false;
    }
    if (mkdir(path, 0700)) return false;
    *lock = new_lock(path);
    return *lock >= 0;
}

static bool make_both(tarn_workspace *workspace, const char *base, const char **what)
{
    uint64_t random;
    *what = "random numbers";
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) return false;
    snprintf(workspace->name, sizeof workspace->name, "%s%u-%012llx", PREFIX, (unsigned)getuid(),
             (unsigned long long)(random & 0xffffffffffffULL));
    *what = base;
    if (!make(workspace->sessions, sizeof workspace->sessions, base, workspace->name, &workspace->sessions_lock))
        return false;
    if (access(MEMORY, W_OK)) return true; /* Open MPI takes its session folder then */
    *what = MEMORY;
    return make(workspace->segments, sizeof workspace->segments, MEMORY, workspace->name, &workspace->segments_lock);
}

bool tarn_workspace_open(tarn_workspace *workspace, const char **what)
{
    const char *base = getenv("TMPDIR");
    if (!base || base[0] != '/') base = "/tmp";
    sweep_dead(base);
    sweep_dead(MEMORY);
    /* A folder that was made so slowly that another supervisor took it for a dead one's is made anew. */
    for (int tries = 0; tries < MOST_TRIES; tries++) {
        *workspace = (tarn_workspace){.sessions_lock = -1, .segments_lock = -1};
        if (make_both(workspace, base, what)) return true;
        int error = errno;
        tarn_workspace_close(workspace);
        errno = error;
        if (error != EEXIST && error != ENOENT) return false;
    }
    return false;
}

void tarn_workspace_sweep(tarn_workspace *workspace)
{
    empty_folder(workspace->sessions, LOCK);
    if (workspace->segments[0]) empty_folder(workspace->segments, LOCK);
}

void tarn_workspace_close(tarn_workspace *workspace)
{
    if (workspace->sessions_lock >= 0) remove_folder(workspace->sessions);
    if (workspace->segments_lock >= 0) remove_folder(workspace->segments);
    if (workspace->sessions_lock >= 0) close(workspace->sessions_lock);
    if (workspace->segments_lock >= 0) close(workspace->segments_lock);
    workspace->sessions_lock = workspace->segments_lock = -1;
}
