/* digest.c - the digest of training state: what two runs are compared by.
 *
 * SHA-256 over the in_digest entries in order of name (bytes, as by strcmp); of each: name and a zero, name of its type
 * and a zero, number of dimensions and each dimension as 64-bit little-endian integers, then the raw little-endian
 * values. Texts and entries outside the digest (history, fingerprints, tracking) do not enter.
 */
#include "checkpoint/image.h"
#include "checkpoint/hdf5_file.h"

#include <stdlib.h>
#include <string.h>

void tarn_checkpoint_digest_head(tarn_sha256 *sha, const char *name, tarn_dtype dtype, int ndim, const int64_t *shape)
{
    const char *type = tarn_dtype_name(dtype);
    int64_t dimensions = ndim;
    tarn_sha256_update(sha, name, strlen(name) + 1);
    tarn_sha256_update(sha, type, strlen(type) + 1);
    tarn_sha256_update(sha, &dimensions, sizeof dimensions);
    if (ndim) tarn_sha256_update(sha, shape, (size_t)ndim * sizeof *shape);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const tarn_checkpoint_entry *const *)a)->name, (*(const tarn_checkpoint_entry *const *)b)->name);
}

bool tarn_checkpoint_digest_bytes(const tarn_checkpoint_entry *entries, int entry_count,
                                  uint8_t digest[TARN_SHA256_BYTES])
{
    const tarn_checkpoint_entry **order = malloc((size_t)(entry_count + 1) * sizeof *order);
    tarn_sha256 *sha = tarn_sha256_create();
    int count = 0;
    for (int i = 0; order && i < entry_count; i++)
        if (entries[i].in_digest) order[count++] = &entries[i];
    if (count) qsort(order, (size_t)count, sizeof *order, by_name);
    for (int i = 0; sha && i < count; i++) {
        const tarn_checkpoint_entry *entry = order[i];
        int64_t bytes = tarn_hdf5_array_bytes(entry->dtype, entry->ndim, entry->shape);
        tarn_checkpoint_digest_head(sha, entry->name, entry->dtype, entry->ndim, entry->shape);
        tarn_sha256_update(sha, entry->data, (size_t)bytes);
    }
    bool done = tarn_sha256_finish(sha, digest) && order;
    free(order);
    return done;
}

tarn_status tarn_checkpoint_digest(const tarn_checkpoint_entry *entries, int entry_count, char out[65])
{
    uint8_t digest[TARN_SHA256_BYTES];
    out[0] = '\0';
    for (int i = 0; i < entry_count; i++)
        if (tarn_hdf5_array_bytes(entries[i].dtype, entries[i].ndim, entries[i].shape) < 0) return TARN_ERROR_SHAPE;
    if (!tarn_checkpoint_digest_bytes(entries, entry_count, digest)) return TARN_ERROR_MEMORY;
    tarn_sha256_hex(digest, out);
    return TARN_OK;
}
