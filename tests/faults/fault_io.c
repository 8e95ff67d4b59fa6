/* fault_io.c - see fault_io.h. Thread-safe: one mutex is held over each call that counts, so that the order of the
 * trace is the order in which things happened.
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
#include "fault_io.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define DESCRIPTORS 4096

static pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static tarn_fault_plan plan;
static char directory[PATH_MAX];
static size_t directory_bytes; /* 0: off */
static int64_t count;
static int trace = -1;
/* Paths of open descriptors below the directory, relative to it. */
static char *names[DESCRIPTORS];
static bool folders[DESCRIPTORS];

/* The next definition of a name: libc's, or that of a sanitizer before it. */
#define REAL(name, type, ...)                                                                                          \
    static type (*real)(__VA_ARGS__);                                                                                  \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)

static int real_open(const char *path, int flags, mode_t mode)
{
    REAL("open", int, const char *, int, ...);
    return real(path, flags, mode);
}

static ssize_t real_write(int fd, const void *data, size_t bytes)
{
    REAL("write", ssize_t, int, const void *, size_t);
    return real(fd, data, bytes);
}

static ssize_t real_pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    REAL("pwrite", ssize_t, int, const void *, size_t, off_t);
    return real(fd, data, bytes, at);
}

static int real_close(int fd)
{
    REAL("close", int, int);
    return real(fd);
}

/* ---- which calls count ------------------------------------------------------------------------------------------- */

/* The path relative to the directory, or NULL when it is elsewhere. Freed by the caller. */
static char *inside(int at, const char *path)
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

static bool tracked(int fd)
{
    return directory_bytes && fd >= 0 && fd < DESCRIPTORS && names[fd];
}

const char *tarn_fault_kind_name(tarn_fault_kind kind)
{
    static const char *const texts[] = {"open", "allocate", "write", "truncate", "fsync", "close", "rename",
                                        "link", "unlink",   "mkdir", "rmdir",    "read",  "note"};
    return (unsigned)kind < sizeof texts / sizeof *texts ? texts[kind] : "?";
}

static void lock(void)
{
    pthread_mutex_lock(&mutex);
    if (trace >= 0) flock(trace, LOCK_EX);
}

static void unlock(void)
{
    int error = errno;
    if (trace >= 0) flock(trace, LOCK_UN);
    pthread_mutex_unlock(&mutex);
    errno = error;
}

static _Noreturn void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

typedef enum outcome { THROUGH, FAILS, HALF, HALF_THEN_DIE } outcome;

/* Counts a call; what is to become of it. FAILS has set errno. */
static outcome meet(tarn_fault_kind kind, const char *path, int64_t length)
{
    if (kind == TARN_FAULT_READ && !plan.reads) return THROUGH;
    count++;
    if (!plan.at || count < plan.at || (count > plan.at && !plan.persistent)) return THROUGH;
    if (plan.hit && count == plan.at)
        snprintf(plan.hit, 128, "%s %s %lld", tarn_fault_kind_name(kind), path, (long long)length);
    switch (plan.mode) {
    case TARN_FAULT_KILL:
        die();
    case TARN_FAULT_TORN_KILL:
        if (kind != TARN_FAULT_WRITE) die();
        return HALF_THEN_DIE;
    case TARN_FAULT_ERROR:
        errno = plan.error;
        return FAILS;
    case TARN_FAULT_SHORT:
        return kind == TARN_FAULT_WRITE && length > 1 ? HALF : THROUGH;
    default:
        return THROUGH;
    }
}

/* ---- the trace --------------------------------------------------------------------------------------------------- */

static void record(tarn_fault_kind kind, uint32_t flags, int fd, int64_t offset, int64_t length, const char *path,
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
    real_write(trace, &head, sizeof head);
    if (head.path_bytes) real_write(trace, path, head.path_bytes);
    if (head.other_bytes) real_write(trace, other, head.other_bytes);
    for (int64_t done = 0; done < data_bytes;) {
        ssize_t part = real_write(trace, (const char *)data + done, (size_t)(data_bytes - done));
        if (part <= 0) break;
        done += part;
    }
    errno = error;
}

static uint32_t no_effect(int failed)
{
    return failed ? TARN_FAULT_NO_EFFECT : 0;
}

void tarn_fault_note(const char *text)
{
    lock();
    record(TARN_FAULT_NOTE, 0, -1, 0, 0, text, NULL, NULL, 0);
    unlock();
}

void tarn_fault_begin(const tarn_fault_plan *wanted)
{
    tarn_fault_end();
    plan = *wanted;
    count = 0;
    snprintf(directory, sizeof directory, "%s", wanted->directory);
    directory_bytes = strlen(directory);
    if (plan.trace) trace = real_open(plan.trace, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
}

void tarn_fault_end(void)
{
    directory_bytes = 0;
    if (trace >= 0) real_close(trace);
    trace = -1;
    for (int i = 0; i < DESCRIPTORS; i++) {
        free(names[i]);
        names[i] = NULL;
    }
}

int64_t tarn_fault_count(void)
{
    lock();
    int64_t now = count;
    unlock();
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
    real_write(file, text, (size_t)length);
    real_close(file);
}

/* ---- the calls --------------------------------------------------------------------------------------------------- */

static int open_at(int at, const char *path, int flags, mode_t mode)
{
    REAL("openat", int, int, const char *, int, ...);
    char *name = inside(at, path);
    if (!name) return real(at, path, flags, mode);
    struct stat info;
    bool there = !fstatat(at, path, &info, 0);
    bool folder = there && S_ISDIR(info.st_mode);
    bool reads = (flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT) && !(folder && (flags & O_DIRECTORY));
    lock();
    tarn_fault_kind kind = reads ? TARN_FAULT_READ : TARN_FAULT_OPEN;
    int file = meet(kind, name, 0) == FAILS ? -1 : real(at, path, flags, mode);
    if (file >= 0 && file < DESCRIPTORS) {
        free(names[file]);
        names[file] = name;
        folders[file] = folder;
        uint32_t made = there ? 0 : TARN_FAULT_CREATED;
        if (there && (flags & O_TRUNC)) made |= TARN_FAULT_TRUNCATED;
        if (!reads) record(kind, made, file, 0, 0, name, NULL, NULL, 0);
    } else {
        if (!reads) record(kind, TARN_FAULT_NO_EFFECT, -1, 0, 0, name, NULL, NULL, 0);
        free(name);
    }
    unlock();
    return file;
}

#define WITH_MODE(last)                                                                                                \
    mode_t mode = 0;                                                                                                   \
    if (last & (O_CREAT | __O_TMPFILE)) {                                                                              \
        va_list arguments;                                                                                             \
        va_start(arguments, last);                                                                                     \
        mode = va_arg(arguments, mode_t);                                                                              \
        va_end(arguments);                                                                                             \
    }

TARN_FAULT_EXPORT int open(const char *path, int flags, ...)
{
    WITH_MODE(flags)
    return open_at(AT_FDCWD, path, flags, mode);
}

TARN_FAULT_EXPORT int open64(const char *path, int flags, ...)
{
    WITH_MODE(flags)
    return open_at(AT_FDCWD, path, flags, mode);
}

TARN_FAULT_EXPORT int openat(int at, const char *path, int flags, ...)
{
    WITH_MODE(flags)
    return open_at(at, path, flags, mode);
}

TARN_FAULT_EXPORT int openat64(int at, const char *path, int flags, ...)
{
    WITH_MODE(flags)
    return open_at(at, path, flags, mode);
}

/* What _FORTIFY_SOURCE makes of open. */
TARN_FAULT_EXPORT int __open_2(const char *path, int flags);
TARN_FAULT_EXPORT int __open64_2(const char *path, int flags);

int __open_2(const char *path, int flags)
{
    return open_at(AT_FDCWD, path, flags, 0);
}

int __open64_2(const char *path, int flags)
{
    return open_at(AT_FDCWD, path, flags, 0);
}

TARN_FAULT_EXPORT int creat(const char *path, mode_t mode)
{
    return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* at < 0: at the file's own position. */
static ssize_t write_somewhere(int fd, const void *data, size_t bytes, off_t at)
{
    if (!tracked(fd)) return at < 0 ? real_write(fd, data, bytes) : real_pwrite(fd, data, bytes, at);
    lock();
    outcome fate = meet(TARN_FAULT_WRITE, names[fd], (int64_t)bytes);
    ssize_t done = -1;
    if (fate != FAILS) {
        off_t where = at < 0 ? lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR) : at;
        size_t part = fate == THROUGH ? bytes : bytes / 2;
        done = at < 0 ? real_write(fd, data, part) : real_pwrite(fd, data, part, at);
        if (fate == HALF_THEN_DIE) die();
        if (done >= 0) record(TARN_FAULT_WRITE, 0, fd, where, done, names[fd], NULL, data, done);
    }
    if (done < 0) record(TARN_FAULT_WRITE, TARN_FAULT_NO_EFFECT, fd, 0, (int64_t)bytes, names[fd], NULL, NULL, 0);
    unlock();
    return done;
}

TARN_FAULT_EXPORT ssize_t write(int fd, const void *data, size_t bytes)
{
    return write_somewhere(fd, data, bytes, -1);
}

TARN_FAULT_EXPORT ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    return write_somewhere(fd, data, bytes, at);
}

TARN_FAULT_EXPORT ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t at)
{
    return write_somewhere(fd, data, bytes, at);
}

/* As one write each: a caller has to go on after a short one anyway. */
TARN_FAULT_EXPORT ssize_t writev(int fd, const struct iovec *parts, int many)
{
    REAL("writev", ssize_t, int, const struct iovec *, int);
    if (!tracked(fd) || many < 1) return real(fd, parts, many);
    return write_somewhere(fd, parts[0].iov_base, parts[0].iov_len, -1);
}

TARN_FAULT_EXPORT ssize_t read(int fd, void *data, size_t bytes)
{
    REAL("read", ssize_t, int, void *, size_t);
    if (!tracked(fd)) return real(fd, data, bytes);
    lock();
    ssize_t done = meet(TARN_FAULT_READ, names[fd], (int64_t)bytes) == FAILS ? -1 : real(fd, data, bytes);
    unlock();
    return done;
}

static ssize_t read_somewhere(int fd, void *data, size_t bytes, off_t at)
{
    REAL("pread", ssize_t, int, void *, size_t, off_t);
    if (!tracked(fd)) return real(fd, data, bytes, at);
    lock();
    ssize_t done = meet(TARN_FAULT_READ, names[fd], (int64_t)bytes) == FAILS ? -1 : real(fd, data, bytes, at);
    unlock();
    return done;
}

TARN_FAULT_EXPORT ssize_t pread(int fd, void *data, size_t bytes, off_t at)
{
    return read_somewhere(fd, data, bytes, at);
}

TARN_FAULT_EXPORT ssize_t pread64(int fd, void *data, size_t bytes, off_t at)
{
    return read_somewhere(fd, data, bytes, at);
}

static int sync_file(const char *name, int fd)
{
    int (*real)(int) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, name);
    if (!tracked(fd)) return real(fd);
    lock();
    int done = -1;
    bool skipped = folders[fd] ? plan.no_directory_sync : plan.no_file_sync;
    if (meet(TARN_FAULT_SYNC, names[fd], 0) != FAILS) done = skipped ? 0 : real(fd);
    record(TARN_FAULT_SYNC, no_effect(done || skipped), fd, 0, 0, names[fd], NULL, NULL, 0);
    unlock();
    return done;
}

TARN_FAULT_EXPORT int fsync(int fd)
{
    return sync_file("fsync", fd);
}

TARN_FAULT_EXPORT int fdatasync(int fd)
{
    return sync_file("fdatasync", fd);
}

static int allocate(int fd, off_t at, off_t bytes)
{
    REAL("posix_fallocate", int, int, off_t, off_t);
    if (!tracked(fd)) return real(fd, at, bytes);
    lock();
    int error = errno;
    int failed = meet(TARN_FAULT_ALLOCATE, names[fd], bytes) == FAILS ? errno : real(fd, at, bytes);
    record(TARN_FAULT_ALLOCATE, no_effect(failed), fd, at, bytes, names[fd], NULL, NULL, 0);
    errno = error;
    unlock();
    return failed;
}

TARN_FAULT_EXPORT int posix_fallocate(int fd, off_t at, off_t bytes)
{
    return allocate(fd, at, bytes);
}

TARN_FAULT_EXPORT int posix_fallocate64(int fd, off_t at, off_t bytes)
{
    return allocate(fd, at, bytes);
}

TARN_FAULT_EXPORT int fallocate(int fd, int mode, off_t at, off_t bytes)
{
    REAL("fallocate", int, int, int, off_t, off_t);
    if (!tracked(fd)) return real(fd, mode, at, bytes);
    lock();
    int failed = meet(TARN_FAULT_ALLOCATE, names[fd], bytes) == FAILS ? -1 : real(fd, mode, at, bytes);
    record(TARN_FAULT_ALLOCATE, no_effect(failed) | (uint32_t)mode << 8, fd, at, bytes, names[fd], NULL, NULL, 0);
    unlock();
    return failed;
}

static int truncate_file(int fd, off_t bytes)
{
    REAL("ftruncate", int, int, off_t);
    if (!tracked(fd)) return real(fd, bytes);
    lock();
    int failed = meet(TARN_FAULT_TRUNCATE, names[fd], bytes) == FAILS ? -1 : real(fd, bytes);
    record(TARN_FAULT_TRUNCATE, no_effect(failed), fd, 0, bytes, names[fd], NULL, NULL, 0);
    unlock();
    return failed;
}

TARN_FAULT_EXPORT int ftruncate(int fd, off_t bytes)
{
    return truncate_file(fd, bytes);
}

TARN_FAULT_EXPORT int ftruncate64(int fd, off_t bytes)
{
    return truncate_file(fd, bytes);
}

TARN_FAULT_EXPORT int close(int fd)
{
    if (!tracked(fd)) return real_close(fd);
    lock();
    /* The descriptor is gone after an error, too, as on Linux. */
    bool fails = meet(TARN_FAULT_CLOSE, names[fd], 0) == FAILS;
    int error = errno, done = real_close(fd);
    record(TARN_FAULT_CLOSE, 0, fd, 0, 0, names[fd], NULL, NULL, 0);
    free(names[fd]);
    names[fd] = NULL;
    unlock();
    if (!fails) return done;
    errno = error;
    return -1;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

TARN_FAULT_EXPORT int renameat(int from_at, const char *from, int to_at, const char *to)
{
    REAL("renameat", int, int, const char *, int, const char *);
    char *name = inside(from_at, from), *other = inside(to_at, to);
    if (!name || !other) {
        free(name);
        free(other);
        return real(from_at, from, to_at, to);
    }
    lock();
    int failed = meet(TARN_FAULT_RENAME, name, 0) == FAILS ? -1 : real(from_at, from, to_at, to);
    record(TARN_FAULT_RENAME, no_effect(failed), -1, 0, 0, name, other, NULL, 0);
    unlock();
    free(name);
    free(other);
    return failed;
}

TARN_FAULT_EXPORT int rename(const char *from, const char *to)
{
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

TARN_FAULT_EXPORT int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags)
{
    REAL("renameat2", int, int, const char *, int, const char *, unsigned);
    char *name = inside(from_at, from), *other = inside(to_at, to);
    lock();
    int failed =
        name && other && meet(TARN_FAULT_RENAME, name, 0) == FAILS ? -1 : real(from_at, from, to_at, to, flags);
    if (name && other) record(TARN_FAULT_RENAME, no_effect(failed) | flags << 8, -1, 0, 0, name, other, NULL, 0);
    unlock();
    free(name);
    free(other);
    return failed;
}

TARN_FAULT_EXPORT int linkat(int from_at, const char *from, int to_at, const char *to, int flags)
{
    REAL("linkat", int, int, const char *, int, const char *, int);
    char *name = inside(from_at, from), *other = inside(to_at, to);
    lock();
    int failed = name && other && meet(TARN_FAULT_LINK, name, 0) == FAILS ? -1 : real(from_at, from, to_at, to, flags);
    if (name && other) record(TARN_FAULT_LINK, no_effect(failed), -1, 0, 0, name, other, NULL, 0);
    unlock();
    free(name);
    free(other);
    return failed;
}

TARN_FAULT_EXPORT int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

TARN_FAULT_EXPORT int unlinkat(int at, const char *path, int flags)
{
    REAL("unlinkat", int, int, const char *, int);
    char *name = inside(at, path);
    if (!name) return real(at, path, flags);
    tarn_fault_kind kind = flags & AT_REMOVEDIR ? TARN_FAULT_RMDIR : TARN_FAULT_UNLINK;
    lock();
    int failed = meet(kind, name, 0) == FAILS ? -1 : real(at, path, flags);
    record(kind, no_effect(failed), -1, 0, 0, name, NULL, NULL, 0);
    unlock();
    free(name);
    return failed;
}

TARN_FAULT_EXPORT int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

TARN_FAULT_EXPORT int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

TARN_FAULT_EXPORT int mkdirat(int at, const char *path, mode_t mode)
{
    REAL("mkdirat", int, int, const char *, mode_t);
    char *name = inside(at, path);
    if (!name) return real(at, path, mode);
    lock();
    int failed = meet(TARN_FAULT_MKDIR, name, 0) == FAILS ? -1 : real(at, path, mode);
    record(TARN_FAULT_MKDIR, no_effect(failed), -1, 0, 0, name, NULL, NULL, 0);
    unlock();
    free(name);
    return failed;
}

TARN_FAULT_EXPORT int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}
