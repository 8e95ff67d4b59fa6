/* spool_thin.c - keeping a spool below its limit.
 *
 * Invariants
 *  1. Only points (metrics, histograms) go, and copies of an artifact of which every sink has a newer one; never
 *     parameters, tags, other files, data sets, models, begins and ends.
 *  2. First goes what every sink has; then, from the oldest segment on and round and round, every second point a key of
 *     one segment at a time, so that the whole curve stays, coarser.
 *  3. What goes leaves a line that says up to which step its key was here, in the same rename: a run that goes on does
 *     not record those steps again.
 *  4. A line that cannot be read stays as it is, byte for byte: a reader may still find good ones in it.
 *  5. A full disk makes room as the limit does, in what every sink has alone. That writes before it frees: the room for
 *     it was reserved.
 *  6. The segment that is being written is left alone. A reader that has an old segment open reads it as it was.
 */
#include "track/spool.h"
#include "runtime/config/document.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is known of a key of the segment at hand, in a record: room = points seen, count = id of the last line that
 * goes, floor = highest step of those. */
typedef struct thinning {
    const tarn_spool_writer *writer;
    tarn_record *keys;
    bool all; /* points go, not only every second one */
    int64_t acknowledged, dropped;
    int64_t file_bytes; /* of copies that went */
} thinning;

/* The lines of a segment. */
typedef struct segment {
    char *text;   /* as it is on the disk */
    char *parsed; /* a copy, into which the events point */
    tarn_track_event *events;
    int64_t *numbers;
    int64_t count;
} segment;

/* The kind of a line that cannot be read: `file` begins its bytes in the segment's text, `step` are so many. */
enum { UNREADABLE = TARN_SPOOL_KINDS };

static bool is_point(const tarn_track_event *event)
{
    return event->kind == TARN_TRACK_METRIC || event->kind == TARN_TRACK_HISTOGRAM;
}

/* What a line is about: a floor, a kind of points. */
static tarn_track_kind kind_of(const tarn_track_event *event)
{
    if (event->kind != (tarn_track_kind)TARN_SPOOL_FLOOR) return event->kind;
    return !strcmp(event->text, "histogram") ? TARN_TRACK_HISTOGRAM : TARN_TRACK_METRIC;
}

static tarn_record_key *key_of(thinning *state, const tarn_track_event *event)
{
    tarn_track_kind kind = kind_of(event);
    tarn_record_key *key = tarn_record_find(state->keys, kind, event->key);
    return key ? key : tarn_record_add(state->keys, kind, event->key);
}

/* Whether a line goes; it does at every second call for its key (the first point of a segment stays). */
static bool goes(const thinning *state, const tarn_track_event *event, tarn_record_key *key)
{
    return event->kind == (tarn_track_kind)TARN_SPOOL_FLOOR || state->all || key->room++ % 2;
}

/* Of what was taken in from a file of the inbox the last line says all; none when the file is gone. */
static bool inbox_line_goes(thinning *state, const tarn_track_event *event, int64_t number)
{
    tarn_path path;
    return number != (int64_t)key_of(state, event)->count ||
           tarn_path_make(path, "%s/inbox/%s", state->writer->folder, event->key) || access(path, F_OK);
}

/* A copy that every sink has, of an artifact of which it has a newer one. Its place is read from the disk: a name that
 * the spool does not give is left alone. */
static bool is_superseded(const thinning *state, const tarn_track_event *event, int64_t number)
{
    if (event->kind != TARN_TRACK_ARTIFACT || !state->writer->artifacts) return false;
    const tarn_record_key *newest = tarn_record_find(state->writer->artifacts, TARN_TRACK_ARTIFACT, event->key);
    const char *name = !strncmp(event->file, "files/", 6) ? event->file + 6 : NULL;
    return newest && number < newest->floor && newest->floor <= state->acknowledged && name && !strchr(name, '/') &&
           strcmp(name, "..");
}

/* The copies whose events a rewritten segment has no more. */
static void remove_superseded(thinning *state, const segment *segment)
{
    for (int64_t i = 0; i < segment->count; i++) {
        tarn_path path;
        if (!is_superseded(state, &segment->events[i], segment->numbers[i])) continue;
        int64_t bytes = tarn_spool_file_bytes(state->writer->folder, segment->events[i].file);
        if (!tarn_path_make(path, "%s/%s", state->writer->folder, segment->events[i].file) && !unlink(path))
            state->file_bytes += bytes;
    }
}

/* First pass: for each key the last line that goes, and the highest step. */
static bool find_floors(thinning *state, const segment *segment)
{
    for (int64_t i = 0; i < segment->count; i++) {
        const tarn_track_event *event = &segment->events[i];
        if (event->kind == (tarn_track_kind)TARN_SPOOL_INBOX) {
            tarn_record_key *file = key_of(state, event);
            if (!file) return false;
            file->count = (size_t)segment->numbers[i];
            continue;
        }
        if (!is_point(event) && event->kind != (tarn_track_kind)TARN_SPOOL_FLOOR) continue;
        tarn_record_key *key = key_of(state, event);
        if (!key) return false;
        if (!goes(state, event, key)) continue;
        key->count = (size_t)segment->numbers[i];
        tarn_record_set_floor(key, event->step);
    }
    return true;
}

static bool print_bytes(tarn_spool_text *out, const char *bytes, size_t count)
{
    if (out->used + count > out->room) {
        size_t room = out->used + count + out->room / 2;
        char *grown = realloc(out->data, room);
        if (!grown) return false;
        out->data = grown;
        out->room = room;
    }
    memcpy(out->data + out->used, bytes, count);
    out->used += count;
    return true;
}

/* Second pass: what stays, and a line of the floor where the last one that goes was. */
static bool print_rest(thinning *state, const segment *segment, tarn_spool_text *out)
{
    for (tarn_record_key *key = tarn_record_keys(state->keys); key; key = key->next) key->room = 0;
    for (int64_t i = 0; i < segment->count; i++) {
        tarn_track_event event = segment->events[i];
        int64_t number = segment->numbers[i];
        bool points = is_point(&event);
        if (event.kind == (tarn_track_kind)UNREADABLE) {
            if (!print_bytes(out, event.file, (size_t)event.step)) return false;
            continue;
        }
        if (is_superseded(state, &event, number)) continue;
        if (event.kind == (tarn_track_kind)TARN_SPOOL_INBOX && inbox_line_goes(state, &event, number)) continue;
        if (points || event.kind == (tarn_track_kind)TARN_SPOOL_FLOOR) {
            tarn_record_key *key = key_of(state, &event);
            if (goes(state, &event, key)) {
                state->dropped += points && number > state->acknowledged;
                if (number != (int64_t)key->count) continue;
                event = (tarn_track_event){.kind = (tarn_track_kind)TARN_SPOOL_FLOOR,
                                           .key = key->name,
                                           .step = key->floor,
                                           .text = tarn_spool_kind_names[key->kind],
                                           .time_ms = event.time_ms};
            }
        }
        if (!tarn_spool_print(out, &event, number)) return false;
    }
    return true;
}

static void free_segment(segment *segment)
{
    free(segment->text);
    free(segment->parsed);
    free(segment->events);
    free(segment->numbers);
}

/* False with errno; to be freed either way. */
static bool load_segment(const char *path, segment *segment)
{
    size_t length;
    int64_t lines = 1;
    *segment = (struct segment){0};
    if (!(segment->text = tarn_document_read_file(path, &length))) return false;
    for (size_t i = 0; i < length; i++) lines += segment->text[i] == '\n';
    segment->parsed = malloc(length + 1);
    segment->events = malloc((size_t)lines * sizeof *segment->events);
    segment->numbers = malloc((size_t)lines * sizeof *segment->numbers);
    if (!segment->parsed || !segment->events || !segment->numbers) return false;
    memcpy(segment->parsed, segment->text, length + 1);
    for (size_t at = 0; at < length;) {
        const char *line = segment->text + at, *end = memchr(line, '\n', length - at);
        size_t size = end ? (size_t)(end - line) : length - at, whole = size + (end != NULL);
        tarn_track_event *event = &segment->events[segment->count];
        int64_t *number = &segment->numbers[segment->count++];
        if (!tarn_spool_parse(segment->parsed + at, size, event, number)) {
            *event = (tarn_track_event){.kind = (tarn_track_kind)UNREADABLE, .file = line, .step = (int64_t)whole};
            *number = 0;
        }
        at += whole;
    }
    return true;
}

static int replace(const thinning *state, const char *path, const tarn_spool_text *text)
{
    tarn_path temporary;
    if (!text->used) return unlink(path);
    if (tarn_path_make(temporary, "%s/.thinning", state->writer->folder)) return -1;
    return tarn_file_put_synced(path, temporary, text->data, text->used);
}

/* Rewrites a segment; returns the bytes that became free, or -1 with errno. */
static int64_t thin_segment(thinning *state, int64_t first)
{
    tarn_path path;
    segment segment = {0};
    int64_t freed = -1;
    tarn_spool_text rest = {0};
    struct stat info;
    if (tarn_path_make(path, "%s/events-%016lld", state->writer->folder, (long long)first) || stat(path, &info))
        return -1;
    state->keys = tarn_record_create();
    int64_t dropped = state->dropped;
    errno = ENOMEM;
    if (state->keys && load_segment(path, &segment) && find_floors(state, &segment) &&
        print_rest(state, &segment, &rest)) {
        freed = info.st_size - (int64_t)rest.used;
        if (freed <= 0)
            freed = 0;
        else if (replace(state, path, &rest))
            freed = -1;
        else
            remove_superseded(state, &segment);
    }
    if (freed <= 0) state->dropped = dropped;
    int error = errno;
    tarn_record_destroy(state->keys);
    free_segment(&segment);
    free(rest.data);
    errno = error;
    return freed;
}

int64_t tarn_spool_bytes(const char *folder)
{
    int64_t *first, bytes = 0;
    int count = tarn_spool_segments(folder, &first);
    for (int i = 0; i < count; i++) {
        tarn_path path;
        struct stat info;
        if (!tarn_path_make(path, "%s/events-%016lld", folder, (long long)first[i]) && !stat(path, &info))
            bytes += info.st_size;
    }
    free(first);
    return bytes + tarn_spool_file_bytes(folder, "files");
}

/* What a segment and its files gave back. */
static void give_back(tarn_spool_writer *writer, thinning *state, int64_t freed)
{
    writer->bytes -= freed + state->file_bytes;
    writer->file_bytes -= state->file_bytes;
    state->file_bytes = 0;
}

/* The segments but for the one that is being written. */
static int ended_segments(const tarn_spool_writer *writer, int64_t **first)
{
    int count = tarn_spool_segments(writer->folder, first);
    while (count > 0 && (*first)[count - 1] >= writer->segment && writer->segment) count--;
    return count;
}

/* Takes the points that every sink has out of the oldest segments, until they are `least` bytes. Returns the bytes that
 * became free. */
static int64_t empty_segments(tarn_spool_writer *writer, const int64_t *first, int count, int64_t least,
                              int64_t acknowledged)
{
    thinning state = {.writer = writer, .acknowledged = acknowledged, .all = true};
    int64_t sum = 0;
    for (int i = 0; i < count && writer->bytes > least; i++) {
        int64_t last = i + 1 < count     ? first[i + 1] - 1
                       : writer->segment ? writer->segment - 1
                                         : tarn_spool_written(writer);
        if (first[i] < writer->emptied || last > acknowledged) continue;
        int64_t freed = thin_segment(&state, first[i]);
        if (freed < 0) break;
        sum += freed + state.file_bytes;
        give_back(writer, &state, freed);
        writer->emptied = first[i] + 1;
    }
    return sum;
}

int64_t tarn_spool_release(tarn_spool_writer *writer, int64_t acknowledged)
{
    int64_t *first, freed = 0;
    tarn_spool_end_segment(writer, acknowledged);
    int count = ended_segments(writer, &first);
    if (count > 0 && first[0] <= acknowledged && first[count - 1] >= writer->emptied) {
        tarn_spool_use_reserve(writer);
        freed = empty_segments(writer, first, count, 0, acknowledged);
    }
    free(first);
    return freed;
}

int64_t tarn_spool_thin(tarn_spool_writer *writer, int64_t limit, int64_t acknowledged)
{
    int64_t *first, least = limit - limit / 8;
    if (writer->bytes <= limit) return 0;
    int count = ended_segments(writer, &first);
    thinning state = {.writer = writer, .acknowledged = acknowledged};
    empty_segments(writer, first, count, least, acknowledged);
    /* A round that frees nothing ends it: one point a key and segment is the least. Points do not give way to files
     * that are larger than all of them: half the limit is theirs. */
    for (int tried = 0; tried < count && writer->bytes > least && writer->bytes - writer->file_bytes > limit / 2;) {
        int at = 0;
        while (at < count && first[at] <= writer->thinned) at++;
        if (at == count) at = 0;
        writer->thinned = first[at];
        int64_t freed = thin_segment(&state, first[at]);
        if (freed > 0) give_back(writer, &state, freed);
        tried = freed > 0 ? 0 : tried + 1;
    }
    free(first);
    return state.dropped;
}
