/* checkpoint.h - HDF5 checkpoints: written under a temporary name, synced, renamed; verified before they are believed.
 */
#ifndef TARN_CHECKPOINT_H
#define TARN_CHECKPOINT_H

#include <tarn/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_checkpoint_info {
    char path[4096];
    int64_t step;
    int64_t bytes;
    bool valid;        /* header and contents match their SHA-256 */
    char problem[512]; /* what is wrong, when not valid */
    char digest[65];   /* SHA-256 of the training state: parameters, moments, step; empty when not valid, and of a
                          checkpoint in parts that was not verified */
    bool newer;        /* not valid because it is of a format that only a later Tarn reads: nothing is broken */
} tarn_checkpoint_info;

/* The checkpoints of a directory, newest first, the best one (by metric) not among them. verify reads them whole.
 * *infos is freed with free(). */
TARN_API tarn_status tarn_checkpoint_list(tarn_context *context, const char *directory, bool verify,
                                          tarn_checkpoint_info **infos, int *count);
/* Initialises parameters of the same names and shapes from the newest valid checkpoint of a directory, or from a file
 * (best.h5). strict: every parameter must be found; otherwise *loaded (may be NULL) says how many were. The module must
 * be built. Collective: rank 0 reads, the other ranks receive the values. */
TARN_API tarn_status tarn_module_init_from(tarn_module *module, const char *path, bool strict, int *loaded);

#ifdef __cplusplus
}
#endif
#endif
