/* inbox.c - what other ranks and processes of a run hand in. */
#include "track/inbox.h"
#include "track/tracker_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 22 };

typedef struct inbox_file {
    char name[NAME_MAX + 1];
    int64_t taken; /* bytes */
    int64_t mark;  /* of the queue, behind what was taken in */
    bool ended;    /* its maker said so */
    struct inbox_file *next;
} inbox_file;

struct tarn_inbox {
    tarn_path folder; /* inbox/ */
    inbox_file *files;
    char *buffer;
    int64_t corrupt;
};

tarn_inbox *tarn_inbox_create(const char *folder)
{
    tarn_inbox *inbox = calloc(1, sizeof *inbox);
    if (!inbox) return NULL;
    inbox->buffer = malloc(CHUNK + 1);
    if (inbox->buffer && !tarn_path_make(inbox->folder, "%s/inbox", folder)) return inbox;
    tarn_inbox_destroy(inbox);
    return NULL;
}

void tarn_inbox_destroy(tarn_inbox *inbox)
{
    if (!inbox) return;
    for (inbox_file *file = inbox->files, *next; file; file = next) {
        next = file->next;
        free(file);
    }
    free(inbox->buffer);
    free(inbox);
}

int64_t tarn_inbox_corrupt(const tarn_inbox *inbox)
{
    return inbox ? inbox->corrupt : 0;
}

/* The state of the file of that name, made when it is new; NULL: out of memory. */
static inbox_file *file_of(tarn_inbox *inbox, tarn_tracker *tracker, const char *name)
{
    for (inbox_file *file = inbox->files; file; file = file->next)
        if (!strcmp(file->name, name)) return file;
    inbox_file *file = calloc(1, sizeof *file);
    if (!file) return NULL;
    snprintf(file->name, sizeof file->name, "%s", name);
    pthread_mutex_lock(&tracker->lock);
    const tarn_record_key *key = tarn_record_find(tracker->record, (tarn_track_kind)TARN_SPOOL_INBOX, name);
    if (key && key->floor > 0) file->taken = key->floor;
    pthread_mutex_unlock(&tracker->lock);
    file->next = inbox->files;
    return inbox->files = file;
}

/* Takes in the whole lines among `length` bytes; `last`: no more will come, what has no end is one bad line. Returns
 * the bytes that are done. */
static size_t take_lines(tarn_inbox *inbox, tarn_tracker *tracker, inbox_file *file, size_t length, bool last)
{
    size_t done = 0;
    bool ended = false;
    pthread_mutex_lock(&tracker->lock);
    while (done < length) {
        char *line = inbox->buffer + done, *newline = memchr(line, '\n', length - done);
        size_t size = newline ? (size_t)(newline - line) : length - done;
        tarn_track_event event;
        int64_t number;
        /* A line longer than the buffer is damage, too. */
        if (!newline && !last && !(done == 0 && length == CHUNK)) break;
        if (!tarn_spool_parse(line, size, &event, &number))
            inbox->corrupt++;
        else if (event.kind == TARN_TRACK_END)
            ended = true;
        else
            tarn_tracker_take_in(tracker, &event);
        done += size + (newline != NULL);
    }
    if (done) {
        file->taken += (int64_t)done;
        tarn_queued_event taken = {
            .kind = (tarn_track_kind)TARN_SPOOL_INBOX, .own = strdup(file->name), .step = file->taken};
        taken.key = taken.own;
        if (taken.own) tarn_tracker_push(tracker, &taken);
    }
    file->mark = tracker->queue.added;
    if (ended && !file->ended) {
        file->ended = true;
        if (*tracker->token && strstr(file->name, tracker->token)) tracker->ranks_ended++;
    }
    pthread_cond_broadcast(&tracker->moved);
    pthread_mutex_unlock(&tracker->lock);
    return done;
}

/* Whether the maker of an open file has ended: its lock is free. */
static bool is_left(int descriptor)
{
    return !flock(descriptor, LOCK_EX | LOCK_NB);
}

static void look_at(tarn_inbox *inbox, tarn_tracker *tracker, const char *name)
{
    tarn_path path;
    inbox_file *file = file_of(inbox, tracker, name);
    int descriptor =
        !file || tarn_path_make(path, "%s/%s", inbox->folder, name) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    bool left = is_left(descriptor); /* before reading: all it wrote is there then */
    for (;;) {
        ssize_t got = pread(descriptor, inbox->buffer, CHUNK, file->taken);
        if (got <= 0) {
            pthread_mutex_lock(&tracker->lock);
            bool durable = tracker->durable >= file->mark;
            pthread_mutex_unlock(&tracker->lock);
            /* Looked at again until it may go. */
            if (!got && left && durable) unlink(path);
            break;
        }
        bool more = got == CHUNK;
        if (!take_lines(inbox, tracker, file, (size_t)got, left && !more)) break;
        pthread_mutex_lock(&tracker->lock);
        bool full = tracker->queue.count > TARN_QUEUE_MOST / 2;
        pthread_mutex_unlock(&tracker->lock);
        if (full) break; /* they wait better in their file */
    }
    close(descriptor);
}

void tarn_inbox_look(tarn_inbox *inbox, tarn_tracker *tracker)
{
    DIR *directory = opendir(inbox->folder);
    if (!directory) return;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.') look_at(inbox, tracker, entry->d_name);
    closedir(directory);
}

int tarn_inbox_open_writer(tarn_spool_writer *writer, const char *folder, const char *name)
{
    tarn_path path;
    *writer = (tarn_spool_writer){.lock = -1, .file = -1, .next = 1, .segment_bytes = INT64_MAX};
    if (tarn_path_make(path, "%s/inbox/", folder) || tarn_path_make_parents(path)) return -1;
    if (tarn_path_make(path, "%s/files/", folder) || tarn_path_make_parents(path)) return -1;
    if (!realpath(folder, writer->folder)) return -1;
    snprintf(writer->inbox, sizeof writer->inbox, "%s", name);
    snprintf(writer->prefix, sizeof writer->prefix, "%s-", name);
    return 0;
}
