/* reader.h - the arrays and texts of a checkpoint that has been verified, whether it is one file or a folder of parts:
 * every array appears whole, in its own shape.
 */
#ifndef TARN_CHECKPOINT_READER_H
#define TARN_CHECKPOINT_READER_H

#include "checkpoint/hdf5_file.h"

typedef struct tarn_checkpoint_reader tarn_checkpoint_reader;

/* A piece of an array in one of the files. */
typedef struct tarn_checkpoint_stretch {
    int file; /* number of the part */
    int64_t begin, count;
    const tarn_hdf5_dataset *dataset;
} tarn_checkpoint_stretch;

/* `path` is a file, or a folder with `parts` parts (0: a file). False unless every array is there from its first
 * element to its last, once. */
bool tarn_checkpoint_reader_open(tarn_checkpoint_reader **reader, const char *path, int parts, tarn_problem *problem);
void tarn_checkpoint_reader_close(tarn_checkpoint_reader *reader);
/* In order of name; slice is that of the array, which is whole. */
int tarn_checkpoint_reader_count(const tarn_checkpoint_reader *reader);
const tarn_hdf5_dataset *tarn_checkpoint_reader_at(const tarn_checkpoint_reader *reader, int index);
const tarn_hdf5_dataset *tarn_checkpoint_reader_find(const tarn_checkpoint_reader *reader, const char *name);
/* Reads a whole dataset into data (dataset->bytes; a text gets one zero more behind them). */
bool tarn_checkpoint_reader_read(tarn_checkpoint_reader *reader, const tarn_hdf5_dataset *dataset, void *data,
                                 tarn_problem *problem);
/* The stretches of a dataset, in order; together they are all of it. */
int tarn_checkpoint_reader_stretches(const tarn_checkpoint_reader *reader, const tarn_hdf5_dataset *dataset,
                                     const tarn_checkpoint_stretch **stretches);
bool tarn_checkpoint_reader_read_stretch(tarn_checkpoint_reader *reader, const tarn_checkpoint_stretch *stretch,
                                         void *data, tarn_problem *problem);

#endif
