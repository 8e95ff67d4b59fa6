/* files.c - see files.h. */
#include "checkpoint/files.h"
#include "runtime/base/clock.h"
#include "runtime/base/host.h"
#include "runtime/base/write.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_ATTEMPTS      20
#define LOCK_PAUSE_SECONDS 0.05

static bool system_problem(tarn_problem *problem, const char *what, const char *path)
{
    int error = errno;
    return tarn_problem_set(problem, error, "%s%s: %s", what, path, strerror(error));
}

bool tarn_checkpoint_path(char out[TARN_CHECKPOINT_PATH], const char *directory, const char *format, ...)
{
    int used = snprintf(out, TARN_CHECKPOINT_PATH, "%s/", directory);
    if (used < 0 || used >= TARN_CHECKPOINT_PATH) return false;
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(out + used, (size_t)(TARN_CHECKPOINT_PATH - used), format, arguments);
    va_end(arguments);
    return more >= 0 && more < TARN_CHECKPOINT_PATH - used;
}

bool tarn_checkpoint_file(char out[TARN_CHECKPOINT_PATH], const char *directory, int64_t step)
{
    return tarn_checkpoint_path(out, directory, "ckpt-%012lld.h5", (long long)step);
}

bool tarn_checkpoint_folder(char out[TARN_CHECKPOINT_PATH], const char *directory, int64_t step)
{
    return tarn_checkpoint_path(out, directory, "ckpt-%012lld", (long long)step);
}

bool tarn_checkpoint_is_folder(const char *path)
{
    struct stat info;
    return !stat(path, &info) && S_ISDIR(info.st_mode);
}

bool tarn_checkpoint_find(char out[TARN_CHECKPOINT_PATH], const char *directory, int64_t step)
{
    if (!tarn_checkpoint_file(out, directory, step)) return false;
    if (!access(out, F_OK)) return true;
    char folder[TARN_CHECKPOINT_PATH];
    if (tarn_checkpoint_folder(folder, directory, step) && tarn_checkpoint_is_folder(folder)) strcpy(out, folder);
    return true;
}

bool tarn_checkpoint_name_aside(char out[TARN_CHECKPOINT_PATH], const char *directory, const char *prefix, int64_t step,
                                bool folder)
{
    char number[16] = "";
    for (int i = 2; i < 1000; i++) {
        if (!tarn_checkpoint_path(out, directory, "%s-%012lld%s%s", prefix, (long long)step, number,
                                  folder ? "" : ".h5"))
            return false;
        if (access(out, F_OK)) return true;
        snprintf(number, sizeof number, "-%d", i);
    }
    return false;
}

bool tarn_checkpoint_sync_directory(const char *directory, tarn_problem *problem)
{
    int file = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0) return system_problem(problem, "", directory);
    /* Some network file systems do not sync directories: their renames are as durable as they get. */
    bool done = !fsync(file) || errno == EINVAL || errno == EOPNOTSUPP;
    if (!done) system_problem(problem, "syncing the directory ", directory);
    close(file);
    return done;
}

/* path is cut at `length` for a moment. */
static bool make_one(char *path, size_t length, tarn_problem *problem)
{
    char next = path[length];
    path[length] = '\0';
    bool done = true;
    if (!mkdir(path, 0777)) {
        char *slash = strrchr(path, '/');
        char parent[TARN_CHECKPOINT_PATH] = ".";
        if (slash) snprintf(parent, sizeof parent, "%.*s", slash == path ? 1 : (int)(slash - path), path);
        done = tarn_checkpoint_sync_directory(parent, problem);
    } else if (errno != EEXIST) {
        done = system_problem(problem, "cannot create the directory ", path);
    }
    path[length] = next;
    return done;
}

bool tarn_checkpoint_make_directory(const char *directory, tarn_problem *problem)
{
    char path[TARN_CHECKPOINT_PATH];
    size_t length = strlen(directory);
    if (!length || length >= sizeof path - 64)
        return tarn_problem_set(problem, ENAMETOOLONG, "a directory's name of %zu bytes is empty or too long", length);
    struct stat info;
    if (!stat(directory, &info) && S_ISDIR(info.st_mode)) return true;
    memcpy(path, directory, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (path[i] && path[i] != '/') continue;
        if (path[i - 1] != '/' && !make_one(path, i, problem)) return false;
    }
    if (stat(directory, &info)) return system_problem(problem, "", directory);
    errno = ENOTDIR;
    return S_ISDIR(info.st_mode) ? true : system_problem(problem, "", directory);
}

bool tarn_checkpoint_lock(int *lock, tarn_context *context, const char *directory, tarn_problem *problem)
{
    char path[TARN_CHECKPOINT_PATH], probe[TARN_CHECKPOINT_PATH];
    *lock = -1;
    if (!tarn_checkpoint_path(path, directory, ".lock") ||
        !tarn_checkpoint_path(probe, directory, ".tmp-probe-%d", (int)getpid()))
        return tarn_problem_set(problem, ENAMETOOLONG, "%s: too long a name", directory);
    /* The lock file may be there already and writable although the directory is not. */
    int file = open(probe, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0) return system_problem(problem, "cannot create files in ", directory);
    close(file);
    unlink(probe);
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0) return system_problem(problem, "", path);
    int failed = flock(file, LOCK_EX | LOCK_NB);
    for (int i = 0; failed && errno == EWOULDBLOCK && i < LOCK_ATTEMPTS; i++) {
        tarn_sleep(LOCK_PAUSE_SECONDS);
        failed = flock(file, LOCK_EX | LOCK_NB);
    }
    if (failed && errno == EWOULDBLOCK) {
        char holder[256] = "";
        ssize_t got = pread(file, holder, sizeof holder - 1, 0);
        holder[got > 0 ? strcspn(holder, "\n") : 0] = '\0';
        close(file);
        return tarn_problem_set(problem, EWOULDBLOCK, "another run is writing to %s (%s)", directory,
                                holder[0] ? holder : "it did not say which");
    }
    if (failed)
        tarn_log(context, TARN_LOG_WARN,
                 "checkpoint: %s cannot be locked (%s): see to it that no second run writes here", directory,
                 strerror(errno));
    char host[128], text[256];
    tarn_host_name(host, sizeof host);
    int length = snprintf(text, sizeof text, "process %d on %s\n", (int)getpid(), host);
    /* A name cut short is no reason to refuse: it is for people. */
    if (ftruncate(file, 0) || pwrite(file, text, (size_t)length, 0) < 0) {
        system_problem(problem, "", path);
        close(file);
        return false;
    }
    *lock = file;
    return true;
}

int tarn_checkpoint_try_lock(const char *directory)
{
    char path[TARN_CHECKPOINT_PATH];
    errno = ENAMETOOLONG;
    int file = tarn_checkpoint_path(path, directory, ".lock") ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0 || !flock(file, LOCK_EX | LOCK_NB)) return file;
    int error = errno;
    close(file);
    errno = error;
    return -1;
}

void tarn_checkpoint_unlock(int lock)
{
    /* The file stays: removing it could take away the one a next run has just locked. */
    if (lock >= 0) close(lock);
}

/* ---- removing ---------------------------------------------------------------------------------------------------- */

/* A file, or a folder of files: checkpoints are no deeper. */
static bool remove_flat(const char *path)
{
    if (!unlink(path) || errno == ENOENT) return true;
    DIR *folder = opendir(path);
    if (!folder) return false;
    for (struct dirent *entry; (entry = readdir(folder));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
    return !rmdir(path);
}

/* ".tmp-<what>-<name>" beside path. */
static bool beside(char out[TARN_CHECKPOINT_PATH], const char *path, const char *what)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return false;
    int used = snprintf(out, TARN_CHECKPOINT_PATH, "%.*s/.tmp-%s-%s", (int)(slash - path), path, what, slash + 1);
    return used > 0 && used < TARN_CHECKPOINT_PATH;
}

bool tarn_checkpoint_remove(const char *path)
{
    char temporary[TARN_CHECKPOINT_PATH];
    if (!tarn_checkpoint_is_folder(path)) return !unlink(path);
    if (!beside(temporary, path, "removed")) return false;
    remove_flat(temporary);
    return !rename(path, temporary) && remove_flat(temporary);
}

/* What a name meant before goes only when its new meaning is durable: after a loss of power the name could else mean a
 * folder that was emptied. errno tells why not. */
static bool sync_folder_of(const char *path)
{
    char folder[TARN_CHECKPOINT_PATH];
    const char *slash = strrchr(path, '/');
    tarn_problem problem = {0};
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    bool done = tarn_checkpoint_sync_directory(slash == path ? "/" : folder, &problem);
    if (!done) errno = problem.error_number;
    return done;
}

bool tarn_checkpoint_put_in_place(const char *temporary, const char *path)
{
    if (!rename(temporary, path)) return true;
    if (errno != ENOTEMPTY && errno != EEXIST) return false;
    if (!renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_EXCHANGE))
        return sync_folder_of(path) && remove_flat(temporary);
    /* A file system that cannot exchange names: for a moment there is none. */
    char old[TARN_CHECKPOINT_PATH];
    if (!beside(old, path, "old")) return false;
    remove_flat(old);
    if (rename(path, old)) return false;
    bool done = !rename(temporary, path);
    int error = errno;
    if (done) {
        done = sync_folder_of(path) && remove_flat(old);
        error = errno;
    } else if (rename(old, path)) {
        done = false;
    }
    errno = error;
    return done;
}

void tarn_checkpoint_remove_temporaries(const char *directory)
{
    char path[TARN_CHECKPOINT_PATH];
    DIR *folder = opendir(directory);
    if (!folder) return;
    for (struct dirent *entry; (entry = readdir(folder));)
        if (!strncmp(entry->d_name, ".tmp-", 5) && tarn_checkpoint_path(path, directory, "%s", entry->d_name))
            remove_flat(path);
    closedir(folder);
}

/* The step of "ckpt-<12 digits or more>", with .h5 or without; -1 for any other name. */
static int64_t step_of(const char *name)
{
    if (strncmp(name, "ckpt-", 5)) return -1;
    const char *digits = name + 5;
    size_t count = strspn(digits, "0123456789");
    if (count < 12 || count > 18 || (digits[count] && strcmp(digits + count, ".h5"))) return -1;
    return strtoll(digits, NULL, 10);
}

static int greatest_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

bool tarn_checkpoint_scan(int64_t **steps, int *count, const char *directory, tarn_problem *problem)
{
    *steps = NULL;
    *count = 0;
    DIR *folder = opendir(directory);
    if (!folder) return system_problem(problem, "", directory);
    int capacity = 0;
    bool done = true;
    errno = 0;
    for (struct dirent *entry; done && (entry = readdir(folder));) {
        int64_t step = step_of(entry->d_name);
        if (step < 0) continue;
        if (*count == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            int64_t *grown = realloc(*steps, (size_t)capacity * sizeof *grown);
            if (!grown) {
                done = tarn_problem_set(problem, ENOMEM, "out of memory while listing %s", directory);
                break;
            }
            *steps = grown;
        }
        (*steps)[(*count)++] = step;
        errno = 0;
    }
    if (done && errno) done = system_problem(problem, "listing ", directory);
    closedir(folder);
    if (*count) qsort(*steps, (size_t)*count, sizeof **steps, greatest_first);
    int kept = 0; /* a file and a folder may be of one step */
    for (int i = 0; i < *count; i++)
        if (!kept || (*steps)[i] != (*steps)[kept - 1]) (*steps)[kept++] = (*steps)[i];
    *count = kept;
    if (!done) {
        free(*steps);
        *steps = NULL;
        *count = 0;
    }
    return done;
}

/* ---- best -------------------------------------------------------------------------------------------------------- */

static bool copy_file(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
    size_t size = (size_t)1 << 20;
    char *buffer = malloc(size);
    bool done = in >= 0 && buffer && (out = open(to, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644)) >= 0;
    while (done) {
        ssize_t got = read(in, buffer, size);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            done = got == 0;
            break;
        }
        done = tarn_write_all(out, buffer, (size_t)got);
    }
    done = done && !fsync(out);
    int error = errno;
    if (in >= 0) close(in);
    if (out >= 0 && close(out) && done) {
        error = errno;
        done = false;
    }
    free(buffer);
    errno = error;
    return done;
}

static bool link_or_copy(const char *path, const char *name)
{
    return !link(path, name) || copy_file(path, name);
}

/* Links of all files of a folder in a folder of its own. */
static bool link_folder(const char *path, const char *temporary, tarn_problem *problem)
{
    char from[TARN_CHECKPOINT_PATH], to[TARN_CHECKPOINT_PATH];
    remove_flat(temporary);
    DIR *folder = opendir(path);
    bool done = folder && !mkdir(temporary, 0777);
    for (struct dirent *entry; done && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        done = tarn_checkpoint_path(from, path, "%s", entry->d_name) &&
               tarn_checkpoint_path(to, temporary, "%s", entry->d_name) && link_or_copy(from, to);
    }
    int error = errno;
    if (folder) closedir(folder);
    errno = error;
    return done && tarn_checkpoint_sync_directory(temporary, problem);
}

bool tarn_checkpoint_link_best(const char *directory, const char *path, tarn_problem *problem)
{
    char temporary[TARN_CHECKPOINT_PATH], file[TARN_CHECKPOINT_PATH], folder[TARN_CHECKPOINT_PATH];
    if (!tarn_checkpoint_path(temporary, directory, ".tmp-best.h5") ||
        !tarn_checkpoint_path(file, directory, "best.h5") || !tarn_checkpoint_path(folder, directory, "best"))
        return tarn_problem_set(problem, ENAMETOOLONG, "%s: too long a name", directory);
    bool parts = tarn_checkpoint_is_folder(path), done;
    remove_flat(temporary);
    if (parts)
        done = link_folder(path, temporary, problem) && tarn_checkpoint_put_in_place(temporary, folder);
    else
        done = link_or_copy(path, temporary) && !rename(temporary, file);
    if (!done)
        system_problem(problem, "", parts ? folder : file);
    else if (parts)
        unlink(file); /* the best of before, of the other kind */
    else if (tarn_checkpoint_is_folder(folder))
        tarn_checkpoint_remove(folder);
    /* A rename between two names of one file does nothing and leaves both. */
    remove_flat(temporary);
    return done;
}
