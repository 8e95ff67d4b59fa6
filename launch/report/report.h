/* report.h - `tarn report`: one page that shows runs, complete in itself.
 *
 * Views of runs (track/reader.h) are sorted into panels; the page is written from both: what a person reads as HTML,
 * the charts as SVG that stands without scripts, and the same curves as JSON, from which page.js draws charts that
 * answer to pointer and keys. page.html, page.css and the scripts are files of their own, part of the program.
 *
 * Invariants
 *  1. Nothing in the page asks for anything outside it: no address, font, script or picture (a Content-Security-Policy
 *     in the page says so to the browser, too, and admits no script but the page's own, by its hash).
 *  2. Text of runs reaches the page only through tarn_report_text (HTML) or cJSON with < > & as \u escapes (JSON).
 *  3. The page grows with the number of curves, never with that of points.
 *  4. A chart shows the mean of the points that share a place on it, and between which bounds they lie.
 */
#ifndef TARN_LAUNCH_REPORT_H
#define TARN_LAUNCH_REPORT_H

#include "track/reader.h"

#include <stdio.h>

enum { TARN_REPORT_COLOURS = 8, TARN_REPORT_LEGEND = 12 /* lines that a legend names */, TARN_REPORT_MOST_RUNS = 64 };

/* A curve of a panel, of every run that has it. */
typedef struct tarn_report_line {
    char *key;   /* of the metric */
    char *label; /* in the legend */
} tarn_report_line;

typedef enum tarn_report_kind {
    TARN_REPORT_LINES,
    TARN_REPORT_STACK /* parts of a whole, of one run */
} tarn_report_kind;

/* A chart. */
typedef struct tarn_report_panel {
    tarn_report_kind kind;
    char *title;
    char *note;          /* a few words beside the title; "" */
    const char *section; /* heading it stands under */
    bool wide;
    bool from_zero; /* the axis of values begins at 0 */
    bool dots;      /* a number that stands for something, such as a rank: no line leads from one to the next */
    bool over_time; /* steps of these are numbers of samples: time is their only axis */
    bool seconds;   /* values are seconds: shown as milliseconds when they are short */
    double scale;   /* what is shown = value x scale, in `unit` */
    const char *unit;
    tarn_report_line *lines;
    int line_count, line_room;
} tarn_report_panel;

typedef struct tarn_report {
    tarn_run_view **runs; /* borrowed */
    int run_count;
    int64_t now_ms; /* when the page was made */
    tarn_report_panel *panels;
    int panel_count, panel_room;
} tarn_report;

/* ---- panels.c ---- */

/* Sorts the curves of all runs into panels, derives the throughput of runs that did not log one, and joins groups so
 * that the page stays small. False: memory ran out. Freed by tarn_report_close. */
bool tarn_report_arrange(tarn_report *report, tarn_run_view **runs, int run_count, int64_t now_ms);
void tarn_report_close(tarn_report *report);
/* Parts of a step, in the order they are stacked: "data", "compute", ... */
extern const char *const tarn_report_parts[];
extern const int tarn_report_part_count;
/* The place of a part in that order; 0 for another word. */
int tarn_report_part_of(const char *word);
/* Mean seconds a step of a part on a rank: system/rank_<r>/<part>_seconds; for rank 0 system/<part>_seconds, too. The
 * last part, "rest", is what the others leave of the whole step. False when the run has none. */
bool tarn_report_part_mean(const tarn_run_view *view, int rank, const char *part, double *seconds);
/* 1 + the highest rank with a part; 0: none. */
int tarn_report_part_ranks(const tarn_run_view *view);

/* ---- page.c ---- */

/* The whole page as text, to be freed; NULL: memory ran out. */
char *tarn_report_page(const tarn_report *report, size_t *length);

/* ---- the parts of the page, each written to a stream ---- */

void tarn_report_write_text(FILE *out, const char *text); /* escaped, for content and attributes in double quotes */
void tarn_report_write_key(FILE *out, const char *key);   /* the same; lines may break behind . / and _ */
void tarn_report_write_number(FILE *out, double value);   /* short, for a person */
void tarn_report_write_count(FILE *out, int64_t value);   /* 12 345 */
void tarn_report_write_date(FILE *out, int64_t ms);
void tarn_report_write_duration(FILE *out, int64_t ms);
/* How long a run took or is taking, in milliseconds, by the end it gave or its newest point. */
int64_t tarn_report_duration(const tarn_run_view *view);
int64_t tarn_report_begin(const tarn_run_view *view);
const char *tarn_report_name(const tarn_run_view *view);

void tarn_report_write_heading(FILE *out, const tarn_report *report);  /* heading.c: names, status, tiles */
void tarn_report_write_timeline(FILE *out, const tarn_report *report); /* timeline.c */
void tarn_report_write_split(FILE *out, const tarn_report *report);    /* timeline.c: where the time of a step goes */
void tarn_report_write_panels(FILE *out, const tarn_report *report);   /* charts.c */
void tarn_report_write_tables(FILE *out, const tarn_report *report);   /* tables.c: configuration, metrics, tags */
char *tarn_report_data(const tarn_report *report);                     /* data.c: JSON, to be freed */

#endif
