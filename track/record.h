/* record.h - what a run holds already: keys, values of params and tags, points of metrics. In memory, for the answer to
 * "is this new?". 16 bytes a point.
 *
 * Invariants
 *  1. Points of a key are ordered by step, one a step.
 *  2. No key is a folder of another key of its kind.
 *  3. A key remembers at most TARN_RECORD_POINTS points, the newest by step; steps up to its floor count as known.
 */
#ifndef TARN_TRACK_RECORD_H
#define TARN_TRACK_RECORD_H

#include "track/event.h"

#include <stdbool.h>
#include <stddef.h>

enum { TARN_RECORD_POINTS = 65536 };

typedef struct tarn_record tarn_record;

typedef struct tarn_record_key {
    tarn_track_kind kind;
    int id; /* of metrics: 0, 1, ... in the order of their making */
    char *name;
    char *value; /* of params and tags */
    struct tarn_record_point {
        int64_t step;
        double value;
    } * points;
    size_t first, count, room;    /* points[first], ... */
    int64_t floor;                /* INT64_MIN: none */
    struct tarn_record_key *next; /* all keys, newest first */
} tarn_record_key;

typedef enum tarn_record_answer {
    TARN_RECORD_NEW,
    TARN_RECORD_SAME,
    TARN_RECORD_DIFFERENT,
    TARN_RECORD_NO_MEMORY
} tarn_record_answer;

tarn_record *tarn_record_create(void);
void tarn_record_destroy(tarn_record *record);
tarn_record_key *tarn_record_find(tarn_record *record, tarn_track_kind kind, const char *name);
/* Adds a key that is not there; NULL when memory ran out. */
tarn_record_key *tarn_record_add(tarn_record *record, tarn_track_kind kind, const char *name);
/* All keys, through their `next`; NULL when there is none. */
tarn_record_key *tarn_record_keys(tarn_record *record);
/* The key that would have to be a file and a folder at once if `name` were added, or NULL. */
const tarn_record_key *tarn_record_conflict(tarn_record *record, tarn_track_kind kind, const char *name);
/* Enters a point unless its step is there already; *before is the value that stands there. Bits decide what is the
 * same. A step at or below the floor, whose value is forgotten, is the same. */
tarn_record_answer tarn_record_point(tarn_record_key *key, int64_t step, double value, double *before);
/* Whether a step is known. */
bool tarn_record_holds(const tarn_record_key *key, int64_t step);
/* Takes a point back out (its event could not be queued). */
void tarn_record_forget(tarn_record_key *key, int64_t step);
/* Steps up to `step` count as known from now on, unless their points are there. */
void tarn_record_set_floor(tarn_record_key *key, int64_t step);
/* A step above all that are known. */
int64_t tarn_record_next_step(const tarn_record_key *key);
/* Sets the value of a param or tag; false: out of memory. */
bool tarn_record_set_value(tarn_record_key *key, const char *value);

/* What is wrong with a key by MLflow's rules, or NULL: at most 250 of letters, digits, _ - . / : and blanks; a path
 * that is relative and in its normal form. */
const char *tarn_track_key_problem(const char *name);

#endif
