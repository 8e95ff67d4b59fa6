/* spool_files.c - files of a run in its spool: a copy of each artifact and of each model's folder, so that what is
 * published later is what was there when it was logged. */
#include "track/spool.h"
#include "runtime/base/text.h"
#include "runtime/base/write.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The bytes of an open file from its beginning. -1: reading failed; -2: writing did. */
static int copy_bytes(int from, int to)
{
    off_t at = 0;
    ssize_t got;
    /* Where the file system can share blocks this costs nothing. */
    while ((got = copy_file_range(from, &at, to, NULL, 1 << 30, 0)) > 0) {
    }
    if (!got && at) return 0;
    if (got < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) return -2;
    if (ftruncate(to, 0) || lseek(to, 0, SEEK_SET) < 0) return -2;
    char *buffer = malloc(1 << 18);
    if (!buffer) return -2;
    int result = 0;
    for (at = 0; !result;) {
        got = pread(from, buffer, 1 << 18, at);
        if (got < 0 && errno == EINTR) continue;
        if (!got) break;
        if (got < 0)
            result = -1;
        else if (!tarn_write_all(to, buffer, (size_t)got))
            result = -2;
        at += got;
    }
    int error = errno;
    free(buffer);
    errno = error;
    return result;
}

/* Opens the file to be copied, which may have become another one since it was logged: a pipe would hold up the writer.
 * -1 with errno. */
static int open_source(const char *path)
{
    struct stat info;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) return -1;
    int error = fstat(file, &info) ? errno : S_ISREG(info.st_mode) ? 0 : S_ISDIR(info.st_mode) ? EISDIR : EINVAL;
    if (!error) return file;
    close(file);
    errno = error;
    return -1;
}

static tarn_spool_copied copy_file(const struct tarn_queued_file *file, const char *path)
{
    int from = file->file >= 0 ? file->file : open_source(file->path);
    if (from < 0) return TARN_SPOOL_SOURCE_GONE;
    tarn_spool_copied result = TARN_SPOOL_NO_ROOM;
    int error = 0, to = tarn_path_make_parents(path) ? -1 : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (to >= 0) {
        int copied = copy_bytes(from, to);
        result = !copied && !fsync(to) ? TARN_SPOOL_COPIED : copied == -1 ? TARN_SPOOL_SOURCE_GONE : TARN_SPOOL_NO_ROOM;
        error = errno;
        if (close(to) && result == TARN_SPOOL_COPIED) result = TARN_SPOOL_NO_ROOM, error = errno;
    } else
        error = errno;
    if (file->file < 0) close(from);
    errno = error;
    return result;
}

struct counting {
    tarn_path root;
    int64_t bytes;
};

static int count_one(void *user, const char *name)
{
    struct counting *counting = user;
    struct stat info;
    tarn_path path;
    if (!tarn_path_make(path, "%s/%s", counting->root, name) && !stat(path, &info)) counting->bytes += info.st_size;
    return 0;
}

int64_t tarn_spool_file_bytes(const char *folder, const char *relative)
{
    struct counting counting = {0};
    struct stat info;
    if (tarn_path_make(counting.root, "%s/%s", folder, relative) || stat(counting.root, &info)) return 0;
    if (!S_ISDIR(info.st_mode)) return info.st_size;
    tarn_files_walk(counting.root, count_one, &counting);
    return counting.bytes;
}

tarn_spool_copied tarn_spool_copy(const tarn_spool_writer *writer, const tarn_queued_files *files, const char *name,
                                  bool folder, tarn_path relative)
{
    tarn_path path;
    const char *base = strrchr(name, '/');
    base = base ? base + 1 : name;
    tarn_spool_copied result = TARN_SPOOL_NO_ROOM;
    if (tarn_path_make(relative, "files/%s%lld-%.200s", writer->prefix, (long long)writer->next, base)) return result;
    for (int i = 0; i < files->count; i++) {
        const struct tarn_queued_file *file = &files->list[i];
        result = TARN_SPOOL_NO_ROOM;
        if (!tarn_path_make(path, "%s/%s%s%s", writer->folder, relative, folder ? "/" : "", folder ? file->name : ""))
            result = copy_file(file, path);
        if (result == TARN_SPOOL_COPIED) continue;
        int error = errno;
        if (!tarn_path_make(path, "%s/%s", writer->folder, relative)) tarn_folder_remove(path);
        errno = error;
        return result;
    }
    return files->count ? TARN_SPOOL_COPIED : TARN_SPOOL_SOURCE_GONE;
}

/* Seconds since its last change after which what is half made is nobody's any more. */
#define LEFTOVER_SECONDS 3600

static void sweep(const char *folder, const char *prefix)
{
    DIR *directory = opendir(folder);
    if (!directory) return;
    for (struct dirent *entry; (entry = readdir(directory));) {
        tarn_path path;
        struct stat info;
        if (!tarn_text_begins(entry->d_name, prefix) || tarn_path_make(path, "%s/%s", folder, entry->d_name) ||
            lstat(path, &info) || info.st_mtime > time(NULL) - LEFTOVER_SECONDS)
            continue;
        tarn_folder_remove(path);
    }
    closedir(directory);
}

void tarn_spool_sweep(const char *folder)
{
    tarn_path inbox;
    sweep(folder, "model-"); /* a model on its way into files/ */
    if (tarn_path_make(inbox, "%s/inbox", folder)) return;
    sweep(inbox, ".new-");
    sweep(inbox, ".launch-");
}
