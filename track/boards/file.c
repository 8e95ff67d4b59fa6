/* file.c - see file.h. */
#include "track/boards/file.h"
#include "track/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 18 }; /* bytes read at once */

int tarn_board_file_open(tarn_board_file *file, const char *path)
{
    struct stat info;
    *file = TARN_BOARD_FILE_CLOSED;
    if (tarn_path_make(file->path, "%s", path)) return -1;
    file->file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file->file < 0) return -1;
    if (flock(file->file, LOCK_EX | LOCK_NB) || fstat(file->file, &info)) {
        int error = errno;
        tarn_board_file_close(file);
        errno = error;
        return -1;
    }
    file->length = info.st_size;
    return 0;
}

void tarn_board_file_close(tarn_board_file *file)
{
    if (file->file >= 0) close(file->file);
    free(file->buffer);
    file->buffer = NULL;
    file->room = file->held = 0;
    file->file = -1;
}

int tarn_board_file_append(tarn_board_file *file, const void *bytes, size_t count)
{
    size_t done = 0;
    int error = 0;
    while (done < count && !error) {
        ssize_t wrote =
            pwrite(file->file, (const char *)bytes + done, count - done, (off_t)(file->length + (int64_t)done));
        if (wrote < 0 && errno != EINTR) error = errno;
        if (wrote > 0) done += (size_t)wrote;
        if (wrote == 0) error = ENOSPC;
    }
    if (!error && fdatasync(file->file)) error = errno;
    if (!error) {
        file->length += (int64_t)count;
        return 0;
    }
    /* Readers follow the file while it grows: half a record must not stay. */
    if (ftruncate(file->file, (off_t)file->length)) error = errno;
    errno = error;
    return -1;
}

const unsigned char *tarn_board_file_peek(tarn_board_file *file, int64_t offset, size_t count)
{
    errno = 0;
    if (offset < 0 || offset > file->length || count > (uint64_t)(file->length - offset)) return NULL;
    if (offset >= file->start && (uint64_t)(offset - file->start) + count <= file->held)
        return file->buffer + (offset - file->start);
    size_t want = count > PIECE ? count : PIECE;
    if (want > file->room) {
        unsigned char *grown = realloc(file->buffer, want);
        if (!grown) return NULL;
        file->buffer = grown;
        file->room = want;
    }
    file->start = offset;
    file->held = 0;
    while (file->held < count) {
        ssize_t got =
            pread(file->file, file->buffer + file->held, want - file->held, (off_t)(offset + (int64_t)file->held));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return NULL;
        if (got == 0) break;
        file->held += (size_t)got;
    }
    errno = 0;
    return file->held < count ? NULL : file->buffer;
}

static int keep(tarn_board_file *file, int64_t from, const char *aside)
{
    int copy = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (copy < 0) return -1;
    int result = 0;
    for (int64_t at = from; at < file->length && !result;) {
        size_t count = file->length - at < PIECE ? (size_t)(file->length - at) : PIECE;
        const unsigned char *bytes = tarn_board_file_peek(file, at, count);
        if (!bytes || write(copy, bytes, count) != (ssize_t)count) result = -1;
        at += (int64_t)count;
    }
    return close(copy) ? -1 : result;
}

int tarn_board_file_cut(tarn_board_file *file, int64_t length, const char *aside)
{
    if (length >= file->length) return 0;
    /* A copy that fails (a full disk) is no reason to lose the run as well. */
    if (aside) (void)keep(file, length, aside);
    file->held = 0;
    if (ftruncate(file->file, (off_t)length)) return -1;
    file->length = length;
    return 0;
}

void tarn_board_explain(char *problem, const char *path, const char *key)
{
    int error = errno;
    if (*problem) return;
    snprintf(problem, TARN_SINK_PROBLEM, "%.300s: %s; %s %s", path, error ? strerror(error) : "it cannot be read",
             error == ENOSPC || error == EDQUOT || error == EFBIG
                 ? "points wait in the spool until there is space; or choose another directory with"
             : error == EWOULDBLOCK ? "another process writes this run; end it, or choose another directory with"
                                    : "see to its rights, or choose another directory with",
             key);
}
