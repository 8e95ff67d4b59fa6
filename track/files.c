/* files.c - whole files or none, whole lines or none. */
#include "track/files.h"
#include "runtime/base/write.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int tarn_path_make(tarn_path out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(out, PATH_MAX, format, arguments);
    va_end(arguments);
    if (length >= 0 && length < PATH_MAX) return 0;
    errno = ENAMETOOLONG;
    return -1;
}

bool tarn_file_error_is_final(int error)
{
    return error == ENOTDIR || error == EISDIR || error == ENAMETOOLONG || error == EILSEQ || error == ENOENT;
}

int tarn_path_make_parents(const char *path)
{
    tarn_path copy;
    if (tarn_path_make(copy, "%s", path)) return -1;
    for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, 0777) && errno != EEXIST) {
            /* A read-only parent of a folder that exists says so too (EROFS, EACCES). */
            int error = errno;
            struct stat info;
            if (stat(copy, &info) || !S_ISDIR(info.st_mode)) {
                errno = error;
                return -1;
            }
        }
        *slash = '/';
    }
    return 0;
}

/* Ends the making of a temporary file: renames it into place when all went well, else removes it. */
static int settle(int file, int result, const char *temporary, const char *path)
{
    int error = errno;
    if (close(file) && !result) result = -1, error = errno;
    if (!result && rename(temporary, path)) result = -1, error = errno;
    if (result) unlink(temporary);
    errno = error;
    return result;
}

static int put(const char *path, const char *temporary, const char *data, size_t length, bool synced)
{
    int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0) return -1;
    bool written = tarn_write_all(file, data, length) && (!synced || !fsync(file));
    return settle(file, written ? 0 : -1, temporary, path);
}

int tarn_file_put(const char *path, const char *temporary, const char *data, size_t length)
{
    return put(path, temporary, data, length, false);
}

int tarn_file_put_synced(const char *path, const char *temporary, const char *data, size_t length)
{
    return put(path, temporary, data, length, true);
}

int tarn_folder_sync(const char *folder)
{
    int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0) return -1;
    int result = fsync(file), error = errno;
    close(file);
    errno = error;
    return result;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info, (void)kind, (void)place;
    remove(path);
    return 0;
}

void tarn_folder_remove(const char *folder)
{
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int tarn_file_append(const char *path, const char *data, size_t length)
{
    int file = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (file < 0) return -1;
    struct stat before;
    int result = fstat(file, &before), error = errno;
    if (!result) {
        ssize_t done;
        do done = write(file, data, length);
        while (done < 0 && errno == EINTR);
        error = errno;
        if (done != (ssize_t)length) {
            result = -1;
            if (done >= 0) {
                error = ENOSPC; /* what a short write to a file means */
                if (write(file, data + done, length - (size_t)done) < 0) error = errno; /* it knows better */
            }
            /* A torn line would make the whole experiment unreadable. */
            if (ftruncate(file, before.st_size)) error = errno;
        }
    }
    if (close(file) && !result) result = -1, error = errno;
    errno = error;
    return result;
}

int tarn_file_put_copy(const char *path, const char *temporary, int from)
{
    char *buffer = malloc(1 << 18);
    if (!buffer) return -1;
    int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0) {
        free(buffer);
        return -1;
    }
    int result = 0;
    for (off_t at = 0; !result;) {
        ssize_t got = pread(from, buffer, 1 << 18, at);
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) break;
        result = got < 0 || !tarn_write_all(file, buffer, (size_t)got) ? -1 : 0;
        at += got;
    }
    result = settle(file, result, temporary, path);
    int error = errno;
    free(buffer);
    errno = error;
    return result;
}

static int walk(const char *root, const char *under, int (*visit)(void *, const char *), void *user)
{
    tarn_path path;
    if (tarn_path_make(path, "%s/%s", root, under)) return -1;
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0) return errno == ENOENT ? 0 : -1;
    int result = 0;
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        tarn_path inside;
        struct stat info;
        if (!result && strcmp(name, ".") && strcmp(name, "..")) {
            result = tarn_path_make(inside, "%s%s%s", under, *under ? "/" : "", name);
            if (!result) result = tarn_path_make(path, "%s/%s", root, inside);
            if (!result && !stat(path, &info)) {
                if (S_ISDIR(info.st_mode))
                    result = walk(root, inside, visit, user);
                else if (S_ISREG(info.st_mode))
                    result = visit(user, inside);
            }
        }
        free(entries[i]);
    }
    free(entries);
    return result;
}

int tarn_files_walk(const char *root, int (*visit)(void *user, const char *name), void *user)
{
    return walk(root, "", visit, user);
}
