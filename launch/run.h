/* run.h - from a run file to the options of a trainer. */
#ifndef TARN_LAUNCH_RUN_H
#define TARN_LAUNCH_RUN_H

#include "runtime/config/config.h"
#include <tarn/tarn.h>

/* Everything a run file describes. Ended with tarn_run_close. */
typedef struct tarn_run {
    tarn_config *config;
    tarn_module *model;
    tarn_dataset *data;
    tarn_dataset *test; /* a validation set of its own (data.test_images), or NULL; may be the same as data */
    tarn_train_options options;
    tarn_track_options track;
    char directory[1024]; /* runs/NAME, when the file names no checkpoint.dir */
    char spool[1100];     /* the spool in the directory of checkpoints, when the file names none */
} tarn_run;

/* Opens data and model for a configuration that was loaded. vocabulary: that of a checkpoint, or NULL to take the
 * data's. test_only: a validation set of its own suffices, the training files may be gone. The run owns config from
 * then on, whatever the status. */
tarn_status tarn_run_open(tarn_run *run, tarn_context *context, tarn_config *config, const char *vocabulary,
                          bool test_only);
/* options and track from config alone, for a run whose data and model are not opened. */
void tarn_run_fill_options(tarn_run *run);
/* Fails at the place where `key` was given when the file it names cannot be read; a key without a value is fine. */
tarn_status tarn_run_check_file(tarn_context *context, const tarn_config *config, const char *key);
void tarn_run_close(tarn_run *run);
/* The model alone, with a given vocabulary (gpt). */
tarn_status tarn_run_model(tarn_module **model, tarn_context *context, const tarn_config *config, int64_t vocabulary);
/* The configuration and (into *vocabulary, freed with free()) the vocabulary kept in a checkpoint directory or file. */
tarn_status tarn_run_from_checkpoint(tarn_config **config, char **vocabulary, tarn_context *context, const char *path,
                                     int overrides, const char *const *override);

#endif
