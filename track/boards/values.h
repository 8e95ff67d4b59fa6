/* values.h - what the text of an event means: numbers among the parameters, histograms. */
#ifndef TARN_TRACK_BOARDS_VALUES_H
#define TARN_TRACK_BOARDS_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The text of a parameter as a JSON value: a number, true, false or null as it stands, anything else a string. The
 * caller frees; NULL when memory ran out. */
char *tarn_board_json_value(const char *text);
/* A string as JSON, with quotes. */
char *tarn_board_json_string(const char *text);

typedef struct tarn_board_histogram {
    double min, max, count, sum, sum_squares;
    int buckets;
    double *limits; /* [buckets] upper limits */
    double *counts; /* [buckets] */
} tarn_board_histogram;

/* Reads the text of a TARN_TRACK_HISTOGRAM event. False: it is none, or memory ran out. Free it afterwards. */
bool tarn_board_histogram_parse(tarn_board_histogram *histogram, const char *text);
void tarn_board_histogram_free(tarn_board_histogram *histogram);

#endif
