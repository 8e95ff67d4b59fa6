/* spool_read.c - reading a spool, also while it grows, is thinned, or is damaged.
 *
 * Invariants
 *  1. A batch lies in the buffer as it was read, and the buffer stays untouched until the next read.
 *  2. A line without its end is waited for as long as it is in the newest segment, and bad as soon as a newer one is
 *     there.
 *  3. Numbers rise: a line whose number is not above the last one is passed over.
 *  4. Lines in memory, which the disk did not take, come behind all segments.
 */
#include "track/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BUFFER = 1 << 18,
    LONGEST = 1 << 26, /* bytes of a line; more is damage */
    FILES = 64,        /* in one batch */
    SEARCHED = 1 << 16 /* bytes of a bad line that are looked through for good ones */
};

struct tarn_spool_reader {
    tarn_path folder;
    const char *rest; /* borrowed lines, and how many bytes of them are still to be read */
    size_t rest_left;
    bool in_rest;    /* they are what is read now, in place of a segment */
    int file;        /* -1: none is open */
    int64_t segment; /* its first number */
    int64_t last, limit;
    bool all, whole;
    char *buffer;
    size_t begin, end, room;
    tarn_record *keys; /* for the ids of metrics */
    int64_t *numbers;  /* of the last batch */
    int64_t number_room;
    tarn_path *paths; /* of the files of the last batch */
    int files;
    int64_t corrupt;
    bool stopped; /* at the limit */
    bool failed;  /* the operating system refused */
    bool at_end;  /* there was no more to read at the last look */
    bool torn;    /* what is in the buffer ends the segment without a newline */
};

/* ---- segments --------------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int tarn_spool_segments(const char *folder, int64_t **first)
{
    DIR *directory = opendir(folder);
    int count = 0, room = 0;
    *first = NULL;
    if (!directory) return -1;
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (strncmp(entry->d_name, "events-", 7) || strlen(entry->d_name) != 23 ||
            strspn(entry->d_name + 7, "0123456789") != 16)
            continue;
        if (count == room) {
            room = 2 * room + 16;
            int64_t *grown = realloc(*first, (size_t)room * sizeof *grown);
            if (!grown) {
                free(*first);
                *first = NULL;
                closedir(directory);
                errno = ENOMEM;
                return -1;
            }
            *first = grown;
        }
        (*first)[count++] = strtoll(entry->d_name + 7, NULL, 10);
    }
    closedir(directory);
    if (count) qsort(*first, (size_t)count, sizeof **first, ascending);
    return count;
}

static bool open_segment(tarn_spool_reader *reader, int64_t first)
{
    tarn_path path;
    if (tarn_path_make(path, "%s/events-%016lld", reader->folder, (long long)first)) return false;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) { /* or it went away: all of it was published */
        reader->failed = errno != ENOENT;
        return false;
    }
    if (reader->file >= 0) close(reader->file);
    reader->file = file;
    reader->segment = first;
    reader->begin = reader->end = 0;
    reader->torn = reader->at_end = false;
    return true;
}

/* The segment behind the one that is open. */
static int64_t next_segment(tarn_spool_reader *reader)
{
    int64_t *first, found = 0;
    int count = tarn_spool_segments(reader->folder, &first);
    if (count < 0) reader->failed = true;
    for (int i = 0; i < count && !found; i++)
        if (first[i] > reader->segment) found = first[i];
    free(first);
    return found;
}

/* ---- bytes ------------------------------------------------------------------------------------------------------ */

/* Reads more of the open segment behind what is in the buffer; false: there is no more, or no room for it. */
static bool read_more(tarn_spool_reader *reader)
{
    if (reader->end == reader->room) {
        if (reader->room >= LONGEST) return false;
        char *grown = realloc(reader->buffer, 2 * reader->room + 1);
        if (!grown) {
            reader->failed = true;
            return false;
        }
        reader->buffer = grown;
        reader->room *= 2;
    }
    if (reader->in_rest) {
        size_t room = reader->room - reader->end, count = reader->rest_left < room ? reader->rest_left : room;
        memcpy(reader->buffer + reader->end, reader->rest, count);
        reader->rest += count;
        reader->rest_left -= count;
        reader->end += count;
        return count > 0;
    }
    ssize_t got;
    do got = read(reader->file, reader->buffer + reader->end, reader->room - reader->end);
    while (got < 0 && errno == EINTR);
    if (got < 0) reader->failed = true;
    if (got <= 0) return false;
    reader->end += (size_t)got;
    return true;
}

/* Whether the buffer begins with a whole line and has enough behind it for a batch, or all there was. */
static bool has_enough(const tarn_spool_reader *reader)
{
    size_t left = reader->end - reader->begin;
    if (!left || !memchr(reader->buffer + reader->begin, '\n', left)) return false;
    return reader->at_end || left >= reader->room / 2;
}

/* There is no segment behind the one that is open: goes on with the lines in memory. */
static void enter_rest(tarn_spool_reader *reader)
{
    if (reader->file >= 0) close(reader->file);
    reader->file = -1;
    reader->begin = reader->end = 0;
    reader->torn = reader->at_end = false;
    reader->in_rest = true;
}

/* Makes the buffer begin with a whole line; false: there is none at the moment. */
static bool refill(tarn_spool_reader *reader)
{
    for (;;) {
        if (has_enough(reader)) return true;
        reader->at_end = false;
        if (reader->file >= 0 || reader->in_rest) {
            memmove(reader->buffer, reader->buffer + reader->begin, reader->end - reader->begin);
            reader->end -= reader->begin;
            reader->begin = 0;
            while (!memchr(reader->buffer, '\n', reader->end) && read_more(reader)) {
            }
            if (memchr(reader->buffer, '\n', reader->end)) {
                /* A batch should not end after the few lines that were left over. */
                while (reader->end < reader->room && read_more(reader)) {
                }
                reader->at_end = reader->end < reader->room;
                return true;
            }
        }
        if (reader->in_rest) return false;
        int64_t next = next_segment(reader);
        if (reader->failed || (!next && !reader->whole && !reader->rest)) return false;
        if (reader->file >= 0 && read_more(reader)) continue; /* it came between the read and the look */
        if (reader->file >= 0 && reader->end) {               /* torn: its maker died */
            reader->torn = true;
            return true;
        }
        if (!next && !reader->rest) return false;
        if (!next) {
            enter_rest(reader);
            continue;
        }
        if (!open_segment(reader, next)) {
            if (reader->failed) return false;
            if (reader->file >= 0) close(reader->file);
            reader->file = -1;
            reader->segment = next;
        }
    }
}

/* ---- lines ------------------------------------------------------------------------------------------------------ */

/* A bad line may be two good ones whose newline was damaged: where a good one begins that reaches to its end, or
 * `length`. */
static size_t good_end(const char *line, size_t length)
{
    int64_t number;
    if (length > SEARCHED) return length;
    for (size_t at = 1; at + 10 < length; at++)
        if (line[at + 8] == '\t' && tarn_spool_peek(line + at, length - at, &number)) return at;
    return length;
}

/* The length of the line at the begin of the buffer, and where the next one begins; -1: none. */
static ssize_t line_length(const tarn_spool_reader *reader, size_t *behind)
{
    const char *begin = reader->buffer + reader->begin;
    size_t left = reader->end - reader->begin;
    const char *newline = left ? memchr(begin, '\n', left) : NULL;
    if (!newline && !(reader->torn && left)) return -1;
    *behind = newline ? (size_t)(newline + 1 - reader->buffer) : reader->end;
    return newline ? newline - begin : (ssize_t)left;
}

/* Mends a bad line as far as it can be: where the two lines of a damaged newline meet, it becomes one again. */
static void mend(tarn_spool_reader *reader, size_t length, size_t behind)
{
    char *line = reader->buffer + reader->begin;
    int64_t number;
    /* The newline at the very end, damaged, is a byte too many. */
    if (behind == reader->end && length && tarn_spool_peek(line, length - 1, &number)) {
        line[length - 1] = '\n';
        return;
    }
    size_t rest = good_end(line, length);
    if (rest < length) line[rest - 1] = '\n';
    if (rest < length && tarn_spool_peek(line, rest - 1, &number)) return; /* both are good */
    /* The first half of the last line is no damage: its writer was killed, and nobody was told that it is here. */
    if (!(reader->torn && behind == reader->end && rest == length)) reader->corrupt++;
    reader->begin = rest < length ? reader->begin + rest : behind;
}

static bool wanted(const tarn_spool_reader *reader, const tarn_track_event *event)
{
    return reader->all || event->kind < TARN_TRACK_KINDS;
}

static int id_of(tarn_spool_reader *reader, const char *name)
{
    tarn_record_key *key = tarn_record_find(reader->keys, TARN_TRACK_METRIC, name);
    if (!key) key = tarn_record_add(reader->keys, TARN_TRACK_METRIC, name);
    return key ? key->id : -1;
}

/* Completes an event that goes out as number `index` of a batch; false: out of memory. */
static bool complete(tarn_spool_reader *reader, tarn_track_event *event, int64_t index, int64_t number)
{
    if (event->kind == TARN_TRACK_METRIC && (event->id = id_of(reader, event->key)) < 0) return false;
    if (event->file) {
        tarn_path *path = &reader->paths[reader->files++];
        size_t open = reader->in_rest && !strncmp(event->file, TARN_SPOOL_OPEN_FILE, strlen(TARN_SPOOL_OPEN_FILE))
                          ? strlen(TARN_SPOOL_OPEN_FILE)
                          : 0; /* it never came to the spool */
        if (tarn_path_make(*path, "%s/%s", open ? "/proc/self/fd" : reader->folder, event->file + open))
            (*path)[0] = '\0';
        event->file = *path;
    }
    reader->numbers[index] = number;
    return true;
}

static bool make_room(tarn_spool_reader *reader, int64_t most)
{
    if (most <= reader->number_room) return true;
    int64_t *grown = realloc(reader->numbers, (size_t)most * sizeof *grown);
    if (!grown) return false;
    reader->numbers = grown;
    reader->number_room = most;
    return true;
}

/* The events of the lines in the buffer. */
static int64_t read_lines(tarn_spool_reader *reader, tarn_track_event *events, int64_t most)
{
    int64_t count = 0;
    size_t behind;
    ssize_t length;
    while (count < most && reader->files < FILES && (length = line_length(reader, &behind)) >= 0) {
        int64_t number;
        tarn_track_event event;
        char *line = reader->buffer + reader->begin;
        if (!tarn_spool_peek(line, (size_t)length, &number)) {
            mend(reader, (size_t)length, behind);
            continue;
        }
        if (number > reader->limit) {
            reader->stopped = true;
            break;
        }
        reader->begin = behind;
        if (number <= reader->last) continue;
        reader->last = number;
        if (!tarn_spool_parse(line, (size_t)length, &event, &number))
            reader->corrupt++; /* of a newer version, perhaps */
        else if (wanted(reader, &event)) {
            if (complete(reader, &event, count, number))
                events[count++] = event;
            else
                reader->corrupt++;
        }
    }
    if (reader->torn && reader->begin == reader->end) reader->torn = false;
    return count;
}

int64_t tarn_spool_read(tarn_spool_reader *reader, tarn_track_event *events, int64_t most)
{
    int64_t count = 0;
    if (most <= 0) return 0;
    if (!make_room(reader, most)) {
        reader->failed = true;
        return 0;
    }
    reader->files = 0;
    reader->stopped = reader->failed = false;
    while (!count && !reader->stopped && refill(reader)) count = read_lines(reader, events, most);
    return count;
}

/* ---- the reader ------------------------------------------------------------------------------------------------- */

tarn_spool_reader *tarn_spool_open_reader(const char *folder, char problem[TARN_SINK_PROBLEM])
{
    tarn_spool_reader *reader = calloc(1, sizeof *reader);
    int64_t *first = NULL;
    int error = ENOMEM;
    *problem = '\0';
    if (reader) {
        reader->file = -1;
        reader->limit = INT64_MAX;
        reader->room = BUFFER;
        reader->buffer = malloc(BUFFER);
        reader->keys = tarn_record_create();
        reader->paths = calloc(FILES, sizeof *reader->paths);
        bool made = reader->buffer && reader->keys && reader->paths;
        if (made && !tarn_path_make(reader->folder, "%s", folder) && tarn_spool_segments(folder, &first) >= 0) {
            free(first);
            return reader;
        }
        if (made) error = errno;
        tarn_spool_close_reader(reader);
    }
    snprintf(problem, TARN_SINK_PROBLEM, "cannot read the spool %.300s: %s", folder, strerror(error));
    return NULL;
}

void tarn_spool_close_reader(tarn_spool_reader *reader)
{
    if (!reader) return;
    if (reader->file >= 0) close(reader->file);
    tarn_record_destroy(reader->keys);
    free(reader->buffer);
    free(reader->numbers);
    free(reader->paths);
    free(reader);
}

void tarn_spool_seek(tarn_spool_reader *reader, int64_t number)
{
    int64_t *first, found = 0;
    int count = tarn_spool_segments(reader->folder, &first);
    for (int i = 0; i < count; i++)
        if (first[i] <= number + 1 || !found) found = first[i];
    free(first);
    if (reader->file >= 0) close(reader->file);
    reader->file = -1;
    reader->segment = found ? found - 1 : 0; /* refill opens the one behind */
    reader->begin = reader->end = 0;
    reader->torn = reader->at_end = false;
    reader->last = number;
}

void tarn_spool_limit(tarn_spool_reader *reader, int64_t number)
{
    reader->limit = number;
}

void tarn_spool_read_all(tarn_spool_reader *reader)
{
    reader->all = true;
}

void tarn_spool_set_rest(tarn_spool_reader *reader, const char *lines, size_t length)
{
    reader->rest = lines;
    reader->rest_left = length;
}

bool tarn_spool_failed(const tarn_spool_reader *reader)
{
    return reader->failed;
}

void tarn_spool_read_whole(tarn_spool_reader *reader)
{
    reader->whole = true;
}

int64_t tarn_spool_position(const tarn_spool_reader *reader)
{
    return reader->last;
}

int64_t tarn_spool_number(const tarn_spool_reader *reader, int64_t index)
{
    return reader->numbers[index];
}

int64_t tarn_spool_corrupt(const tarn_spool_reader *reader)
{
    return reader->corrupt;
}
