/* fault_calls.c - the calls that stand before libc's: each meets the plan, goes through to the next definition, fails
 * or does half, and is recorded.
 */
#include "fault_layer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- files ------------------------------------------------------------------------------------------------------- */

static int open_at(int at, const char *path, int flags, mode_t mode)
{
    FAULT_REAL("openat", int, int, const char *, int, ...);
    char *name = fault_inside(at, path);
    if (!name) return real(at, path, flags, mode);
    struct stat info;
    bool there = !fstatat(at, path, &info, 0);
    bool folder = there && S_ISDIR(info.st_mode);
    bool reads = (flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT) && !(folder && (flags & O_DIRECTORY));
    fault_lock();
    tarn_fault_kind kind = reads ? TARN_FAULT_READ : TARN_FAULT_OPEN;
    int file = fault_meet(kind, name, 0) == FAULT_FAILS ? -1 : real(at, path, flags, mode);
    if (file >= 0 && file < FAULT_DESCRIPTORS) {
        free(fault_names[file]);
        fault_names[file] = name;
        fault_folders[file] = folder;
        uint32_t made = there ? 0 : TARN_FAULT_CREATED;
        if (there && (flags & O_TRUNC)) made |= TARN_FAULT_TRUNCATED;
        if (!reads) fault_record(kind, made, file, 0, 0, name, NULL, NULL, 0);
    } else {
        if (!reads) fault_record(kind, TARN_FAULT_NO_EFFECT, -1, 0, 0, name, NULL, NULL, 0);
        free(name);
    }
    fault_unlock();
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
    if (!fault_tracked(fd)) return at < 0 ? fault_real_write(fd, data, bytes) : fault_real_pwrite(fd, data, bytes, at);
    fault_lock();
    fault_outcome fate = fault_meet(TARN_FAULT_WRITE, fault_names[fd], (int64_t)bytes);
    ssize_t done = -1;
    if (fate != FAULT_FAILS) {
        off_t where = at < 0 ? lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR) : at;
        size_t part = fate == FAULT_THROUGH ? bytes : bytes / 2;
        done = at < 0 ? fault_real_write(fd, data, part) : fault_real_pwrite(fd, data, part, at);
        if (fate == FAULT_HALF_THEN_DIE) fault_die();
        if (done >= 0) fault_record(TARN_FAULT_WRITE, 0, fd, where, done, fault_names[fd], NULL, data, done);
    }
    if (done < 0)
        fault_record(TARN_FAULT_WRITE, TARN_FAULT_NO_EFFECT, fd, 0, (int64_t)bytes, fault_names[fd], NULL, NULL, 0);
    fault_unlock();
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
    FAULT_REAL("writev", ssize_t, int, const struct iovec *, int);
    if (!fault_tracked(fd) || many < 1) return real(fd, parts, many);
    return write_somewhere(fd, parts[0].iov_base, parts[0].iov_len, -1);
}

TARN_FAULT_EXPORT ssize_t read(int fd, void *data, size_t bytes)
{
    FAULT_REAL("read", ssize_t, int, void *, size_t);
    if (!fault_tracked(fd)) return real(fd, data, bytes);
    fault_lock();
    ssize_t done =
        fault_meet(TARN_FAULT_READ, fault_names[fd], (int64_t)bytes) == FAULT_FAILS ? -1 : real(fd, data, bytes);
    fault_unlock();
    return done;
}

static ssize_t read_somewhere(int fd, void *data, size_t bytes, off_t at)
{
    FAULT_REAL("pread", ssize_t, int, void *, size_t, off_t);
    if (!fault_tracked(fd)) return real(fd, data, bytes, at);
    fault_lock();
    ssize_t done =
        fault_meet(TARN_FAULT_READ, fault_names[fd], (int64_t)bytes) == FAULT_FAILS ? -1 : real(fd, data, bytes, at);
    fault_unlock();
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
    if (!fault_tracked(fd)) return real(fd);
    fault_lock();
    int done = -1;
    bool skipped = fault_folders[fd] ? fault_plan.no_directory_sync : fault_plan.no_file_sync;
    if (fault_meet(TARN_FAULT_SYNC, fault_names[fd], 0) != FAULT_FAILS) done = skipped ? 0 : real(fd);
    fault_record(TARN_FAULT_SYNC, fault_no_effect(done || skipped), fd, 0, 0, fault_names[fd], NULL, NULL, 0);
    fault_unlock();
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
    FAULT_REAL("posix_fallocate", int, int, off_t, off_t);
    if (!fault_tracked(fd)) return real(fd, at, bytes);
    fault_lock();
    int error = errno;
    int failed = fault_meet(TARN_FAULT_ALLOCATE, fault_names[fd], bytes) == FAULT_FAILS ? errno : real(fd, at, bytes);
    fault_record(TARN_FAULT_ALLOCATE, fault_no_effect(failed), fd, at, bytes, fault_names[fd], NULL, NULL, 0);
    errno = error;
    fault_unlock();
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
    FAULT_REAL("fallocate", int, int, int, off_t, off_t);
    if (!fault_tracked(fd)) return real(fd, mode, at, bytes);
    fault_lock();
    int failed =
        fault_meet(TARN_FAULT_ALLOCATE, fault_names[fd], bytes) == FAULT_FAILS ? -1 : real(fd, mode, at, bytes);
    fault_record(TARN_FAULT_ALLOCATE, fault_no_effect(failed) | (uint32_t)mode << 8, fd, at, bytes, fault_names[fd],
                 NULL, NULL, 0);
    fault_unlock();
    return failed;
}

static int truncate_file(int fd, off_t bytes)
{
    FAULT_REAL("ftruncate", int, int, off_t);
    if (!fault_tracked(fd)) return real(fd, bytes);
    fault_lock();
    int failed = fault_meet(TARN_FAULT_TRUNCATE, fault_names[fd], bytes) == FAULT_FAILS ? -1 : real(fd, bytes);
    fault_record(TARN_FAULT_TRUNCATE, fault_no_effect(failed), fd, 0, bytes, fault_names[fd], NULL, NULL, 0);
    fault_unlock();
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
    if (!fault_tracked(fd)) return fault_real_close(fd);
    fault_lock();
    /* The descriptor is gone after an error, too, as on Linux. */
    bool fails = fault_meet(TARN_FAULT_CLOSE, fault_names[fd], 0) == FAULT_FAILS;
    int error = errno, done = fault_real_close(fd);
    fault_record(TARN_FAULT_CLOSE, 0, fd, 0, 0, fault_names[fd], NULL, NULL, 0);
    free(fault_names[fd]);
    fault_names[fd] = NULL;
    fault_unlock();
    if (!fails) return done;
    errno = error;
    return -1;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

TARN_FAULT_EXPORT int renameat(int from_at, const char *from, int to_at, const char *to)
{
    FAULT_REAL("renameat", int, int, const char *, int, const char *);
    char *name = fault_inside(from_at, from), *other = fault_inside(to_at, to);
    if (!name || !other) {
        free(name);
        free(other);
        return real(from_at, from, to_at, to);
    }
    fault_lock();
    int failed = fault_meet(TARN_FAULT_RENAME, name, 0) == FAULT_FAILS ? -1 : real(from_at, from, to_at, to);
    fault_record(TARN_FAULT_RENAME, fault_no_effect(failed), -1, 0, 0, name, other, NULL, 0);
    fault_unlock();
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
    FAULT_REAL("renameat2", int, int, const char *, int, const char *, unsigned);
    char *name = fault_inside(from_at, from), *other = fault_inside(to_at, to);
    fault_lock();
    int failed = name && other && fault_meet(TARN_FAULT_RENAME, name, 0) == FAULT_FAILS
                     ? -1
                     : real(from_at, from, to_at, to, flags);
    if (name && other)
        fault_record(TARN_FAULT_RENAME, fault_no_effect(failed) | flags << 8, -1, 0, 0, name, other, NULL, 0);
    fault_unlock();
    free(name);
    free(other);
    return failed;
}

TARN_FAULT_EXPORT int linkat(int from_at, const char *from, int to_at, const char *to, int flags)
{
    FAULT_REAL("linkat", int, int, const char *, int, const char *, int);
    char *name = fault_inside(from_at, from), *other = fault_inside(to_at, to);
    fault_lock();
    int failed = name && other && fault_meet(TARN_FAULT_LINK, name, 0) == FAULT_FAILS
                     ? -1
                     : real(from_at, from, to_at, to, flags);
    if (name && other) fault_record(TARN_FAULT_LINK, fault_no_effect(failed), -1, 0, 0, name, other, NULL, 0);
    fault_unlock();
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
    FAULT_REAL("unlinkat", int, int, const char *, int);
    char *name = fault_inside(at, path);
    if (!name) return real(at, path, flags);
    tarn_fault_kind kind = flags & AT_REMOVEDIR ? TARN_FAULT_RMDIR : TARN_FAULT_UNLINK;
    fault_lock();
    int failed = fault_meet(kind, name, 0) == FAULT_FAILS ? -1 : real(at, path, flags);
    fault_record(kind, fault_no_effect(failed), -1, 0, 0, name, NULL, NULL, 0);
    fault_unlock();
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
    FAULT_REAL("mkdirat", int, int, const char *, mode_t);
    char *name = fault_inside(at, path);
    if (!name) return real(at, path, mode);
    fault_lock();
    int failed = fault_meet(TARN_FAULT_MKDIR, name, 0) == FAULT_FAILS ? -1 : real(at, path, mode);
    fault_record(TARN_FAULT_MKDIR, fault_no_effect(failed), -1, 0, 0, name, NULL, NULL, 0);
    fault_unlock();
    free(name);
    return failed;
}

TARN_FAULT_EXPORT int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}
