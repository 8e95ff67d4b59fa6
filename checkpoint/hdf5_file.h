/* hdf5_file.h - the only door to HDF5: makes the empty file whose bytes serve as a template, and reads verified files.
 *
 * Invariants
 *  1. Nothing here writes data: HDF5 is the format, not the write path.
 *  2. Every call leaves HDF5's error printing as it found it and closes what it opened.
 *  3. One thread at a time.
 */
#ifndef TARN_CHECKPOINT_HDF5_FILE_H
#define TARN_CHECKPOINT_HDF5_FILE_H

#include "checkpoint/hdf5_memory.h"
#include "checkpoint/problem.h"

/* A stretch of an array that is split over several files: elements from `begin` on, of an array of that shape, counted
 * along its flat elements. Kept as the attributes slice_begin and slice_of of a dataset of one dimension. */
typedef struct tarn_hdf5_slice {
    bool is_slice; /* false: a whole array, and the rest means nothing */
    int64_t begin;
    int ndim;
    int64_t shape[TARN_MAX_DIMS];
} tarn_hdf5_slice;

typedef struct tarn_hdf5_dataset {
    const char *name; /* path without a leading slash */
    bool is_text;     /* one fixed-length string; dtype, ndim and shape mean nothing */
    bool in_digest;   /* kept as the dataset's attribute of that name */
    tarn_dtype dtype;
    int ndim;
    int64_t shape[TARN_MAX_DIMS];
    tarn_hdf5_slice slice;
    int64_t bytes;  /* of raw data: a text's capacity, the ending zero included */
    int64_t offset; /* of the raw data, from the beginning of the file; -1 when bytes is 0 */
} tarn_hdf5_dataset;

/* Elements x size; -1 when that overflows or a dimension is negative. */
int64_t tarn_hdf5_array_bytes(tarn_dtype dtype, int ndim, const int64_t *shape);

bool tarn_hdf5_same_slice(const tarn_hdf5_slice *a, const tarn_hdf5_slice *b);

/* Makes a file in memory with these datasets behind a user block, contiguous and allocated but not written, and sets
 * each dataset's offset. The same datasets give the same bytes. The disk is not touched. */
bool tarn_hdf5_make(tarn_hdf5_memory *memory, int64_t user_block, tarn_hdf5_dataset *datasets, int count,
                    tarn_problem *problem);

typedef struct tarn_hdf5_file tarn_hdf5_file;
/* Opens for reading and lists the datasets in order of name (bytes as by strcmp). */
bool tarn_hdf5_open(tarn_hdf5_file **file, const char *path, tarn_problem *problem);
void tarn_hdf5_close(tarn_hdf5_file *file);
int tarn_hdf5_count(const tarn_hdf5_file *file);
const tarn_hdf5_dataset *tarn_hdf5_at(const tarn_hdf5_file *file, int index);
/* Reads the whole dataset into `data` (dataset->bytes bytes; a text gets one zero more behind them). */
bool tarn_hdf5_read(tarn_hdf5_file *file, const tarn_hdf5_dataset *dataset, void *data, tarn_problem *problem);

#endif
