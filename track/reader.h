/* reader.h - a run's record read back, from a file store or a spool, for programs that show it (tarn report, tarn
 * track ls and show). Reading changes nothing and takes no lock: the run may be going on meanwhile.
 *
 * Invariants
 *  1. Either source gives the same view of the same run: heads, texts, starts and curves.
 *  2. Memory is bounded by the number of keys, never by that of points: a curve keeps at most `most` groups. Where it
 *     has more points, neighbours share a group, of which count, mean, smallest and largest value are exact.
 *  3. What cannot be read (a torn line, a value that is not finite) is left out and counted; it is no error.
 */
#ifndef TARN_TRACK_READER_H
#define TARN_TRACK_READER_H

#include "track/sink.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum tarn_run_source { TARN_RUN_IN_STORE, TARN_RUN_IN_SPOOL } tarn_run_source;

/* What a run is, without its curves: what a list shows. Texts are never NULL ("" = unknown); bytes that were no UTF-8
 * are ? in them. */
typedef struct tarn_run_head {
    tarn_run_source source;
    char *folder; /* of the run in the store, or of its spool */
    char *run_id;
    char *name;
    char *experiment;
    char *user;
    const char *status; /* RUNNING, FINISHED, FAILED, KILLED, SCHEDULED, or UNKNOWN; a literal */
    int64_t start_ms;   /* since 1970; 0 = unknown */
    int64_t end_ms;     /* 0 = it has not ended, or not said so */
} tarn_run_head;

/* Neighbouring points of a curve, one or several. */
typedef struct tarn_run_group {
    int64_t first_step, last_step;
    int64_t time_ms; /* of the last point */
    int64_t count;
    double sum; /* of the values; mean = sum / count */
    double least, greatest;
} tarn_run_group;

/* A metric. The numbers beside the groups are over all its points. */
typedef struct tarn_run_curve {
    char *key;
    int64_t count;
    double first, last; /* by step */
    double least, greatest;
    int64_t first_step, last_step, least_step, greatest_step;
    int64_t last_ms; /* when the newest point was logged */
    tarn_run_group *groups;
    int group_count, group_room;
    /* for building */
    int64_t stride; /* points of a group that is full */
    bool ordered;
} tarn_run_curve;

typedef struct tarn_run_text {
    char *key, *value;
} tarn_run_text;

/* A process that began to write: the first is the run's beginning, later ones are restarts. */
typedef struct tarn_run_start {
    int64_t time_ms;
    int64_t step; /* it went on from */
    int ranks;    /* 0 = unknown */
} tarn_run_start;

typedef struct tarn_run_input {
    char *name, *digest, *context, *source;
} tarn_run_input;

typedef struct tarn_run_view {
    tarn_run_head head;
    tarn_run_curve *curves; /* by key */
    int curve_count, curve_room;
    tarn_run_text *params, *tags; /* by key */
    int param_count, param_room, tag_count, tag_room;
    tarn_run_start *starts; /* by time */
    int start_count, start_room;
    tarn_run_input *inputs;
    int input_count, input_room;
    int64_t points;     /* of all curves */
    int64_t left_out;   /* lines that could not be read */
    int64_t thinned;    /* metrics of which the spool no longer holds all points */
    int64_t not_finite; /* values that are no numbers */
    int64_t last_ms;    /* when the newest point was logged; 0 = there is none */
} tarn_run_view;

/* ---- finding ---- */

/* The runs of a file store (NULL = mlruns), deleted ones left out: newest first. A store that does not exist is an
 * error. Returns 0, or -1 with problem. Freed by tarn_run_heads_free. */
int tarn_run_list(tarn_run_head **heads, int *count, const char *store, char problem[TARN_SINK_PROBLEM]);
void tarn_run_heads_free(tarn_run_head *heads, int count);
/* The run that `text` means: the path of a run's folder in a file store, the path of a spool folder, or, in the file
 * store `store` (NULL = mlruns), a run's id, its name (of several runs with it the newest), or the beginning of the id
 * or name of one run. Returns 0; or -1 with problem, which says what is there and what may have been meant. */
int tarn_run_find(tarn_run_head *head, const char *store, const char *text, char problem[TARN_SINK_PROBLEM]);
void tarn_run_head_free(tarn_run_head *head);

/* ---- reading ---- */

enum { TARN_RUN_GROUPS = 2048 }; /* a good `most` */

/* Reads a run, with at most `most` groups a curve (from 2 on; 0 = TARN_RUN_GROUPS). Returns 0, or -1 with problem. */
int tarn_run_read(tarn_run_view **view, const tarn_run_head *head, int most, char problem[TARN_SINK_PROBLEM]);
void tarn_run_view_free(tarn_run_view *view);
/* NULL when there is none of that key. */
const tarn_run_curve *tarn_run_curve_of(const tarn_run_view *view, const char *key);
const char *tarn_run_param(const tarn_run_view *view, const char *key);
const char *tarn_run_tag(const tarn_run_view *view, const char *key);
/* Of all its points; a curve without points has none. */
double tarn_run_curve_mean(const tarn_run_curve *curve);
/* Joins neighbouring groups until there are at most `most` (from 1 on). */
void tarn_run_curve_thin(tarn_run_curve *curve, int most);

#endif
