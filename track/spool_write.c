/* spool_write.c - the writer's side of a spool: one process at a time, appending to segments of its own.
 *
 * Invariants
 *  1. A segment ends with a whole line after every flush, successful or not.
 *  2. What could not be written waits in memory and is tried again as it is, numbers included.
 *  3. The folder that a segment lies in is synced when it is new, so that after a loss of power it is there with its
 *     content.
 *  4. A file of the inbox is locked before it has its name: who sees it unlocked knows that its maker has ended.
 */
#include "track/spool.h"
#include "runtime/base/write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { SEGMENT_LEAST = 1 << 14, SEGMENT_MOST = 1 << 23, RESERVE_MOST = 1 << 18 };

/* The highest number that any sink has acknowledged: the spool may have lost its end with the power. */
static int visit_acknowledged(void *user, const char *name)
{
    struct {
        const char *folder;
        int64_t most;
    } *state = user;
    const char *slash = strrchr(name, '/');
    tarn_path path;
    if (!slash || strcmp(slash, "/acknowledged") || tarn_path_make(path, "%s/sinks/%s", state->folder, name)) return 0;
    FILE *file = fopen(path, "re");
    long long number = 0;
    if (file && fscanf(file, "%lld", &number) == 1 && number > state->most) state->most = number;
    if (file) fclose(file);
    return 0;
}

/* The number above all that were used. */
static int64_t first_number(const char *folder)
{
    struct {
        const char *folder;
        int64_t most;
    } state = {folder, 0};
    tarn_path sinks;
    char problem[TARN_SINK_PROBLEM];
    tarn_track_event event;
    if (!tarn_path_make(sinks, "%s/sinks", folder)) tarn_files_walk(sinks, visit_acknowledged, &state);
    int64_t *first;
    int count = tarn_spool_segments(folder, &first);
    tarn_spool_reader *reader = count > 0 ? tarn_spool_open_reader(folder, problem) : NULL;
    if (reader) {
        if (first[count - 1] > state.most) state.most = first[count - 1];
        tarn_spool_seek(reader, first[count - 1] - 1);
        tarn_spool_read_all(reader);
        tarn_spool_read_whole(reader);
        while (tarn_spool_read(reader, &event, 1)) {
        }
        if (tarn_spool_position(reader) > state.most) state.most = tarn_spool_position(reader);
        tarn_spool_close_reader(reader);
    }
    free(first);
    return state.most + 1;
}

static int make_folders(const char *folder)
{
    static const char *const names[] = {"files", "inbox", "sinks"};
    tarn_path path;
    for (int i = 0; i < 3; i++)
        if (tarn_path_make(path, "%s/%s/", folder, names[i]) || tarn_path_make_parents(path)) return -1;
    return 0;
}

tarn_spool_opened tarn_spool_open_writer(tarn_spool_writer *writer, const char *folder, int64_t limit)
{
    tarn_path path;
    *writer = (tarn_spool_writer){.lock = -1, .file = -1};
    if (tarn_path_make(path, "%s/", folder) || tarn_path_make_parents(path) || !realpath(folder, writer->folder) ||
        make_folders(writer->folder) || tarn_path_make(path, "%s/lock", writer->folder))
        return TARN_SPOOL_FAILED;
    writer->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (writer->lock < 0) return TARN_SPOOL_FAILED;
    if (flock(writer->lock, LOCK_EX | LOCK_NB)) {
        int error = errno;
        close(writer->lock);
        writer->lock = -1;
        errno = error;
        return error == EWOULDBLOCK ? TARN_SPOOL_HELD : TARN_SPOOL_FAILED;
    }
    writer->segment_bytes = limit / 16;
    if (writer->segment_bytes < SEGMENT_LEAST) writer->segment_bytes = SEGMENT_LEAST;
    if (writer->segment_bytes > SEGMENT_MOST) writer->segment_bytes = SEGMENT_MOST;
    tarn_spool_sweep(writer->folder);
    writer->next = first_number(writer->folder);
    writer->bytes = tarn_spool_bytes(writer->folder);
    writer->file_bytes = tarn_spool_file_bytes(writer->folder, "files");
    tarn_spool_reserve(writer);
    return TARN_SPOOL_OPENED;
}

void tarn_spool_reserve(const tarn_spool_writer *writer)
{
    tarn_path path;
    int64_t bytes = writer->segment_bytes < RESERVE_MOST ? writer->segment_bytes : RESERVE_MOST;
    if (*writer->inbox || writer->lock < 0 || tarn_path_make(path, "%s/.reserve", writer->folder)) return;
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0) return;
    /* Not posix_fallocate: where the file system cannot do it, writing zeros would be no room of its own either. */
    if (fallocate(file, 0, 0, bytes)) unlink(path);
    close(file);
}

void tarn_spool_use_reserve(const tarn_spool_writer *writer)
{
    tarn_path path;
    if (!*writer->inbox && writer->lock >= 0 && !tarn_path_make(path, "%s/.reserve", writer->folder)) unlink(path);
}

/* Remembers which event of an artifact is the newest. Out of memory the older copies stay, which is no harm. */
static void note_artifact(tarn_spool_writer *writer, const tarn_track_event *event)
{
    if (!writer->artifacts) writer->artifacts = tarn_record_create();
    if (!writer->artifacts) return;
    tarn_record_key *key = tarn_record_find(writer->artifacts, TARN_TRACK_ARTIFACT, event->key);
    if (!key) key = tarn_record_add(writer->artifacts, TARN_TRACK_ARTIFACT, event->key);
    if (!key) return;
    key->floor = writer->next;
    writer->emptied = 0; /* segments without points may have an older copy */
}

int64_t tarn_spool_add(tarn_spool_writer *writer, const tarn_track_event *event)
{
    if (!tarn_spool_print(&writer->text, event, writer->next)) return -1;
    if (event->kind == TARN_TRACK_ARTIFACT) note_artifact(writer, event);
    if (event->file) {
        int64_t bytes = tarn_spool_file_bytes(writer->folder, event->file);
        writer->bytes += bytes;
        writer->file_bytes += bytes;
    }
    return writer->next++;
}

/* Makes a file of the inbox, locked until this process ends, however it does. -1 with errno. */
static int make_inbox_file(const tarn_path path, const tarn_path folder, const char *name)
{
    tarn_path new;
    if (tarn_path_make(new, "%s/.new-%s", folder, name)) return -1;
    int file = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), result;
    if (file < 0) return -1;
    do result = flock(file, LOCK_EX);
    while (result && errno == EINTR);
    if (!result && !rename(new, path)) return file;
    int error = errno;
    close(file);
    unlink(new);
    errno = error;
    return -1;
}

/* Begins a segment whose first line has that number. */
static int begin_segment(tarn_spool_writer *writer, int64_t number)
{
    tarn_path path, folder;
    if (tarn_path_make(folder, "%s%s", writer->folder, *writer->inbox ? "/inbox" : "") ||
        (*writer->inbox ? tarn_path_make(path, "%s/%s", folder, writer->inbox)
                        : tarn_path_make(path, "%s/events-%016lld", folder, (long long)number)))
        return -1;
    int file = *writer->inbox ? make_inbox_file(path, folder, writer->inbox)
                              : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0) return -1;
    if (tarn_folder_sync(folder)) {
        int error = errno;
        unlink(path);
        close(file);
        errno = error;
        return -1;
    }
    writer->file = file;
    writer->segment = number;
    writer->size = writer->synced = 0;
    return 0;
}

static int end_segment(tarn_spool_writer *writer)
{
    if (writer->file < 0) return 0;
    if (tarn_spool_sync(writer)) return -1;
    close(writer->file);
    writer->file = -1;
    writer->segment = 0;
    return 0;
}

int64_t tarn_spool_written(const tarn_spool_writer *writer)
{
    int64_t next = writer->next;
    const char *end = writer->text.used ? memchr(writer->text.data, '\n', writer->text.used) : NULL;
    if (end) tarn_spool_peek(writer->text.data, (size_t)(end - writer->text.data), &next);
    return next - 1;
}

void tarn_spool_end_segment(tarn_spool_writer *writer, int64_t acknowledged)
{
    if (writer->size && tarn_spool_written(writer) <= acknowledged) end_segment(writer);
}

int tarn_spool_flush(tarn_spool_writer *writer)
{
    if (!writer->text.used) return 0;
    if (writer->size >= writer->segment_bytes && end_segment(writer)) return -1;
    int64_t number;
    const char *end = memchr(writer->text.data, '\n', writer->text.used);
    if (writer->file < 0 && (!tarn_spool_peek(writer->text.data, (size_t)(end - writer->text.data), &number) ||
                             begin_segment(writer, number)))
        return -1;
    if (!tarn_write_all(writer->file, writer->text.data, writer->text.used)) {
        int error = errno;
        if (ftruncate(writer->file, writer->size) || lseek(writer->file, writer->size, SEEK_SET) < 0) {
            /* What lies there now is a torn line for good: the next segment begins with what waits. */
            if (*writer->inbox)
                snprintf(writer->inbox, sizeof writer->inbox, "%.55s%lld", writer->prefix, (long long)writer->next);
            close(writer->file);
            writer->file = -1;
            writer->segment = 0;
        }
        errno = error;
        return -1;
    }
    writer->size += (int64_t)writer->text.used;
    writer->bytes += (int64_t)writer->text.used;
    writer->text.used = 0;
    return 0;
}

int tarn_spool_sync(tarn_spool_writer *writer)
{
    if (writer->file < 0 || writer->synced == writer->size) return 0;
    if (fdatasync(writer->file)) return -1;
    writer->synced = writer->size;
    return 0;
}

void tarn_spool_close_writer(tarn_spool_writer *writer)
{
    tarn_spool_use_reserve(writer);
    if (writer->file >= 0) close(writer->file);
    if (writer->lock >= 0) close(writer->lock);
    free(writer->text.data);
    tarn_record_destroy(writer->artifacts);
    *writer = (tarn_spool_writer){.lock = -1, .file = -1};
}
