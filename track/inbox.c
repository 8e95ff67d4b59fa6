/* inbox.c - what other ranks and processes of a run hand in. */
#include "track/inbox.h"
#include "track/tracker_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* TOGETHER: lines taken in under one hold of the lock. FULL: events in the queue; a disk that stalls costs the oldest
 * metrics of a queue that fills up, and those of the inbox are better off in their file. */
enum { CHUNK = 1 << 22, TOGETHER = 1024, FULL = TARN_QUEUE_MOST / 8 };

typedef struct inbox_file {
    char name[NAME_MAX + 1];
    int64_t taken; /* bytes */
    int64_t mark;  /* of the queue, behind what was taken in */
    int64_t end;   /* bytes that it had when closing began; -1: not closing */
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
    file->end = -1;
    pthread_mutex_lock(&tracker->lock);
    const tarn_record_key *key = tarn_record_find(tracker->record, (tarn_track_kind)TARN_SPOOL_INBOX, name);
    if (key && key->floor > 0) file->taken = key->floor;
    pthread_mutex_unlock(&tracker->lock);
    file->next = inbox->files;
    return inbox->files = file;
}

/* One line. Lock held. */
static void take_line(tarn_inbox *inbox, tarn_tracker *tracker, inbox_file *file, char *line, size_t size)
{
    tarn_track_event event;
    int64_t number;
    if (!tarn_spool_parse(line, size, &event, &number))
        inbox->corrupt++;
    else if (event.kind != TARN_TRACK_END)
        tarn_tracker_take_in(tracker, &event);
    else if (!file->ended) {
        file->ended = true;
        if (*tracker->token && strstr(file->name, tracker->token)) tracker->ranks_ended++;
    }
}

/* Takes in whole lines from byte `at` of the `length` in the buffer on, some of them, while the queue has room; `last`:
 * no more will come, what has no end is one bad line. Returns the bytes that are done. */
static size_t take_some(tarn_inbox *inbox, tarn_tracker *tracker, inbox_file *file, size_t at, size_t length, bool last)
{
    size_t done = 0;
    pthread_mutex_lock(&tracker->lock);
    for (int lines = 0; at + done < length && lines < TOGETHER && tracker->queue.count < FULL; lines++) {
        char *line = inbox->buffer + at + done, *newline = memchr(line, '\n', length - at - done);
        size_t size = newline ? (size_t)(newline - line) : length - at - done;
        /* A line longer than the buffer is damage, too. */
        if (!newline && !last && size < CHUNK) break;
        take_line(inbox, tracker, file, line, size);
        done += size + (newline != NULL);
    }
    if (done) {
        file->taken += (int64_t)done;
        tarn_queued_event taken = {
            .kind = (tarn_track_kind)TARN_SPOOL_INBOX, .own = strdup(file->name), .step = file->taken};
        taken.key = taken.own;
        if (taken.own) tarn_tracker_push(tracker, &taken);
        file->mark = tracker->queue.added;
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

static bool is_full(tarn_tracker *tracker)
{
    pthread_mutex_lock(&tracker->lock);
    bool full = tracker->queue.count >= FULL;
    pthread_mutex_unlock(&tracker->lock);
    return full;
}

static bool is_durable(tarn_tracker *tracker, const inbox_file *file)
{
    pthread_mutex_lock(&tracker->lock);
    bool durable = tracker->durable >= file->mark;
    pthread_mutex_unlock(&tracker->lock);
    return durable;
}

/* Takes in what an open file has, up to byte `end`; left: its maker has ended. *all: nothing is behind that. */
static tarn_inbox_looked take_file(tarn_inbox *inbox, tarn_tracker *tracker, inbox_file *file, int descriptor,
                                   int64_t end, bool left, bool *all)
{
    tarn_inbox_looked looked = TARN_INBOX_NOTHING;
    *all = false;
    for (;;) {
        if (is_full(tracker)) return TARN_INBOX_FULL; /* they wait better in their file */
        int64_t most = end - file->taken < CHUNK ? end - file->taken : CHUNK;
        if (most <= 0) return looked;
        ssize_t got = pread(descriptor, inbox->buffer, (size_t)most, file->taken);
        *all = !got;
        if (got <= 0) return looked;
        size_t at = 0, done;
        bool last = left && got < most;
        while ((done = take_some(inbox, tracker, file, at, (size_t)got, last))) at += done;
        if (at) looked = TARN_INBOX_TOOK;
        if (!at && !is_full(tracker)) return looked; /* what is there is the begin of a line */
    }
}

static tarn_inbox_looked look_at(tarn_inbox *inbox, tarn_tracker *tracker, const char *name, bool closing)
{
    tarn_path path;
    struct stat info;
    bool all;
    inbox_file *file = file_of(inbox, tracker, name);
    int descriptor =
        !file || tarn_path_make(path, "%s/%s", inbox->folder, name) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return TARN_INBOX_NOTHING;
    bool left = is_left(descriptor); /* before reading: all it wrote is there then */
    if (closing && file->end < 0 && !fstat(descriptor, &info)) file->end = info.st_size;
    int64_t end = left || file->end < 0 ? INT64_MAX : file->end;
    tarn_inbox_looked looked = take_file(inbox, tracker, file, descriptor, end, left, &all);
    /* Looked at again until it may go. */
    if (all && left && is_durable(tracker, file)) unlink(path);
    close(descriptor);
    return looked;
}

tarn_inbox_looked tarn_inbox_look(tarn_inbox *inbox, tarn_tracker *tracker, bool closing)
{
    tarn_inbox_looked most = TARN_INBOX_NOTHING;
    DIR *directory = opendir(inbox->folder);
    if (!directory) return most;
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (entry->d_name[0] == '.') continue;
        tarn_inbox_looked looked = look_at(inbox, tracker, entry->d_name, closing);
        if (looked > most) most = looked;
    }
    closedir(directory);
    return most;
}

/* The lines of a file behind byte `at`. */
static int64_t lines_behind(tarn_inbox *inbox, const char *name, int64_t at)
{
    tarn_path path;
    int64_t lines = 0;
    ssize_t got;
    int file = tarn_path_make(path, "%s/%s", inbox->folder, name) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    for (; (got = pread(file, inbox->buffer, CHUNK, at)) > 0; at += got)
        for (ssize_t i = 0; i < got; i++) lines += inbox->buffer[i] == '\n';
    close(file);
    return lines;
}

int64_t tarn_inbox_left(tarn_inbox *inbox)
{
    int64_t lines = 0;
    DIR *directory = opendir(inbox->folder);
    if (!directory) return 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        const inbox_file *file = inbox->files;
        while (file && strcmp(file->name, entry->d_name)) file = file->next;
        if (entry->d_name[0] != '.') lines += lines_behind(inbox, entry->d_name, file ? file->taken : 0);
    }
    closedir(directory);
    return lines;
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
