/* track.h - the actions of `tarn track`. Each returns the exit code and has told what is wrong on stderr. */
#ifndef TARN_LAUNCH_TRACK_H
#define TARN_LAUNCH_TRACK_H

#include "track/address.h"

#include <stdbool.h>

enum { TARN_TRACK_FINE = 0, TARN_TRACK_FAILED = 1, TARN_TRACK_WRONG = 2 };

/* What the words after the action say. Borrowed from argv. */
typedef struct tarn_track_arguments {
    const char *word[4]; /* those that are no options */
    int words;
    const char *store; /* --store; NULL = MLFLOW_TRACKING_URI, else mlruns */
    const char *experiment, *name, *tensorboard, *wandb;
    double wait; /* --wait, seconds */
    bool json;
} tarn_track_arguments;

/* "tarn track ACTION: ..." on stderr. */
void tarn_track_say(const char *action, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The store that `text` (NULL: the environment, else mlruns) means; false after telling why not. */
bool tarn_track_where(const char *action, const char *text, tarn_track_place *place, tarn_path store);

int tarn_track_ls(const tarn_track_arguments *arguments);   /* list.c */
int tarn_track_show(const tarn_track_arguments *arguments); /* show.c */
int tarn_track_ui(const tarn_track_arguments *arguments);
int tarn_track_push(const tarn_track_arguments *arguments);
int tarn_track_alias(const tarn_track_arguments *arguments);

/* "2026-11-25 03:24:10" of this place; "-" for 0. */
void tarn_track_time_text(int64_t time_ms, char out[32]);
/* Prints text, with what would disturb a terminal as ?. */
void tarn_track_print(const char *text);

#endif
