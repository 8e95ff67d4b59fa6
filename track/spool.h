/* spool.h - the spool of a run: the folder SPOOL/<run id>/ in which all that is logged is kept until, and after, it has
 * been published.
 *
 *   events-<first number>   segments: lines of events, see below
 *   files/                  copies of artifacts, folders of models
 *   .reserve                room on the disk for making room on it, while a process writes
 *   inbox/                  what other ranks, and other processes, hand to the one that holds the spool
 *   sinks/<name>-<hash>/    one folder a destination: `acknowledged` (number of the last event it has), `destination`
 *                           (its address), and the sink's own state
 *   lock                    held (flock) by the process that writes the spool
 *
 * A line: CRC32 (8 hex digits, of what follows its tab), number, time in ms, kind, then the fields of the kind, all
 * separated by tabs; in texts, tab, newline, return and backslash are written \t \n \r \\.
 *
 *   5d2f8a01  17  1795412345678  metric  train.loss  12  0.3333333333333333
 *
 * Invariants
 *  1. Events are numbered from 1 on; numbers rise and are never used again, also after a loss of power: a new process
 *     begins above all that any sink has acknowledged. Gaps are what was thinned.
 *  2. A process appends to segments of its own making only: a torn end stays where it is, and is one bad line.
 *  3. A line whose checksum is wrong is skipped and counted; what lies before and behind it is read, also when the
 *     damage is the newline between two lines.
 *  4. What a number's text says reads back to the same bits, its time included: sending an event twice changes nothing.
 */
#ifndef TARN_TRACK_SPOOL_H
#define TARN_TRACK_SPOOL_H

#include "track/files.h"
#include "track/queue.h"
#include "track/record.h"
#include "track/sink.h"

#include <stdbool.h>
#include <stdint.h>

/* Lines that are no events, for the spool itself. */
enum {
    TARN_SPOOL_FLOOR = TARN_TRACK_KINDS, /* key, step, text "metric" or "histogram": points up to that step were here,
                                            and were thinned or published */
    TARN_SPOOL_INBOX,                    /* key: a file of the inbox; step: the bytes of it taken in so far */
    TARN_SPOOL_KINDS
};

extern const char *const tarn_spool_kind_names[TARN_SPOOL_KINDS];

/* ---- reading ---------------------------------------------------------------------------------------------------- */

typedef struct tarn_spool_reader tarn_spool_reader;

/* Reads a spool from its first event on, while another process or thread may be writing it. NULL: problem says why. */
tarn_spool_reader *tarn_spool_open_reader(const char *folder, char problem[TARN_SINK_PROBLEM]);
/* The next events, at most `most`; 0: no more at the moment. What they point at lives until the next call. */
int64_t tarn_spool_read(tarn_spool_reader *reader, tarn_track_event *events, int64_t most);
/* Whether the last read stopped because the operating system refused: there may be more. */
bool tarn_spool_failed(const tarn_spool_reader *reader);
/* The number of event `index` of the last read. */
int64_t tarn_spool_number(const tarn_spool_reader *reader, int64_t index);
/* The number of the last line passed by, events or not. */
int64_t tarn_spool_position(const tarn_spool_reader *reader);
/* Goes on behind event `number` (0: from the first one). */
void tarn_spool_seek(tarn_spool_reader *reader, int64_t number);
/* Events above `number` are not read yet (they are not durable). */
void tarn_spool_limit(tarn_spool_reader *reader, int64_t number);
/* Lines, borrowed, to be read behind the last segment, of which there will be no more. What they name with this in
 * front of its number is an open file of this process. */
#define TARN_SPOOL_OPEN_FILE "files/.open/"
void tarn_spool_set_rest(tarn_spool_reader *reader, const char *lines, size_t length);
/* Lets the lines of the spool itself through as well (kinds from TARN_TRACK_KINDS on). */
void tarn_spool_read_all(tarn_spool_reader *reader);
/* Nobody writes any more: a last line without its end is read, or bad, and not waited for. */
void tarn_spool_read_whole(tarn_spool_reader *reader);
/* Bad lines met so far. */
int64_t tarn_spool_corrupt(const tarn_spool_reader *reader);
void tarn_spool_close_reader(tarn_spool_reader *reader);

/* The first numbers of the segments in a folder, ascending, to be freed; -1 with errno. */
int tarn_spool_segments(const char *folder, int64_t **first);
/* Whether the checksum of a line (without its newline) is right, and its number; the line stays as it is. */
bool tarn_spool_peek(const char *line, size_t length, int64_t *number);
/* Reads one line (without its newline, which is made a zero end; texts are unescaped in place). False: damaged, or it
 * names a place outside of where a run's things belong (it may come from anybody). */
bool tarn_spool_parse(char *line, size_t length, tarn_track_event *event, int64_t *number);
/* Appends the line of an event to a growing text; false: out of memory. file: relative to the spool. */
typedef struct tarn_spool_text {
    char *data;
    size_t used, room;
} tarn_spool_text;
bool tarn_spool_print(tarn_spool_text *text, const tarn_track_event *event, int64_t number);

/* ---- writing ---------------------------------------------------------------------------------------------------- */

typedef struct tarn_spool_writer {
    tarn_path folder;
    int lock, file;       /* -1: none */
    int64_t segment;      /* first number of the segment that is open; 0: none */
    int64_t size, synced; /* bytes of it: written, and known to be on the disk */
    int64_t next;         /* number of the next event */
    int64_t segment_bytes;
    int64_t bytes;          /* of all segments, and of files/ */
    int64_t file_bytes;     /* of these, of files/ */
    int64_t emptied;        /* segments below it hold no points that every sink has */
    int64_t thinned;        /* the segment that was thinned last */
    char inbox[80];         /* "", or the file of the inbox that takes the place of segments */
    char prefix[84];        /* of the names in files/: "" but for an inbox */
    tarn_spool_text text;   /* printed, not yet written */
    tarn_record *artifacts; /* those this process added; floor: number of the newest event of the key */
} tarn_spool_writer;

typedef enum tarn_spool_opened { TARN_SPOOL_OPENED, TARN_SPOOL_HELD, TARN_SPOOL_FAILED } tarn_spool_opened;

/* Makes the folder and takes its lock. HELD: another process has it. FAILED: errno. limit: bytes of all segments. */
tarn_spool_opened tarn_spool_open_writer(tarn_spool_writer *writer, const char *folder, int64_t limit);
/* Makes room when the spool is beyond the limit; acknowledged: number of the last event that every sink has (0 when
 * there is no sink). Returns how many points went that some sink has not. */
int64_t tarn_spool_thin(tarn_spool_writer *writer, int64_t limit, int64_t acknowledged);
/* The disk is full: takes the points that every sink has out of all segments, whatever the limit. Returns the bytes
 * that became free. */
int64_t tarn_spool_release(tarn_spool_writer *writer, int64_t acknowledged);
/* Keeps some room on the disk for that, which has to write a little before it can free much. */
void tarn_spool_reserve(const tarn_spool_writer *writer);
void tarn_spool_use_reserve(const tarn_spool_writer *writer);
/* The number of the last event that was written, in this process or before it. */
int64_t tarn_spool_written(const tarn_spool_writer *writer);
/* Ends the segment that is being written when no line of it is above `acknowledged`. */
void tarn_spool_end_segment(tarn_spool_writer *writer, int64_t acknowledged);
/* The bytes of all segments, and of files/. */
int64_t tarn_spool_bytes(const char *folder);
/* The bytes of a file, or of all files below a folder, of a spool; `relative`: its place there. */
int64_t tarn_spool_file_bytes(const char *folder, const char *relative);
/* Prints an event behind those that wait; its number, or -1: out of memory. */
int64_t tarn_spool_add(tarn_spool_writer *writer, const tarn_track_event *event);
/* Writes what waits; -1 with errno: all of it still waits, and a part that was written is taken back. */
int tarn_spool_flush(tarn_spool_writer *writer);
/* Makes what was written survive a loss of power. */
int tarn_spool_sync(tarn_spool_writer *writer);
typedef enum tarn_spool_copied { TARN_SPOOL_COPIED, TARN_SPOOL_SOURCE_GONE, TARN_SPOOL_NO_ROOM } tarn_spool_copied;
/* Copies the files of an event that will have the next number into files/, durably; `relative` becomes the place of the
 * file, or of the folder of a model. SOURCE_GONE, NO_ROOM: errno says why, and nothing is left there. */
tarn_spool_copied tarn_spool_copy(const tarn_spool_writer *writer, const tarn_queued_files *files, const char *name,
                                  bool folder, tarn_path relative);
/* Removes what processes that were killed left half made, when it is old enough to be nobody's. Under the lock. */
void tarn_spool_sweep(const char *folder);
void tarn_spool_close_writer(tarn_spool_writer *writer);

/* ---- replaying -------------------------------------------------------------------------------------------------- */

typedef struct tarn_spool_pushed {
    int64_t events;  /* that sinks took, all sinks together */
    int64_t behind;  /* events that the sink furthest behind has not taken, and those still in the inbox */
    int64_t lost;    /* refused for good, or not taken in from the inbox */
    int64_t corrupt; /* damaged lines, of the spool and of its inbox */
    int sinks;       /* that the options name */
    char problem[TARN_SINK_PROBLEM];
} tarn_spool_pushed;

/* Hands the events of a spool (the folder of one run) to the sinks that the options name and that have not got them
 * yet; experiment and name come from the spool unless the options have them. Waits for each sink as long as it makes
 * progress, and options->flush_timeout seconds more. TARN_ERROR_STATE: a process is writing that spool; TARN_ERROR_IO:
 * a sink is behind still (report->behind), or the spool cannot be read; TARN_ERROR_ARGUMENT: it is none.
 * report->problem says more. */
tarn_status tarn_spool_push(const char *folder, const tarn_track_options *options, tarn_spool_pushed *report);

#endif
