/* pool.h - a caching pool of buffers for one worker, and its scratch memory.
 *
 * Buffers of equal size class are reused, so that a step touches the pages the last one touched. Not thread-safe: one
 * pool a worker. In debug builds freed buffers are poisoned with NaN patterns.
 */
#ifndef TARN_RUNTIME_POOL_H
#define TARN_RUNTIME_POOL_H

#include <tarn/sys/op.h>

typedef struct tarn_pool tarn_pool;
typedef struct tarn_buffer {
    void *data; /* 64-byte aligned */
    size_t bytes;
    int references;
    tarn_pool *pool;
    struct tarn_buffer *next;
} tarn_buffer;

tarn_pool *tarn_pool_create(void);
void tarn_pool_destroy(tarn_pool *pool);
/* A buffer with one reference, uninitialised, or NULL when memory is out. */
tarn_buffer *tarn_pool_get(tarn_pool *pool, size_t bytes);
void tarn_buffer_retain(tarn_buffer *buffer);
/* Drops a reference (NULL is fine); the last one gives the memory back to the pool. */
void tarn_buffer_release(tarn_buffer *buffer);
size_t tarn_pool_bytes(const tarn_pool *pool);      /* held from the system */
size_t tarn_pool_peak_bytes(const tarn_pool *pool); /* most ever in use */

tarn_scratch *tarn_scratch_create(void);
void tarn_scratch_destroy(tarn_scratch *scratch);
void tarn_scratch_reset(tarn_scratch *scratch); /* forgets what kernels took */
bool tarn_scratch_failed(const tarn_scratch *scratch);
/* For kernels that run many matrix products: a mark, and giving back what was taken since (last in, first out). A NULL
 * scratch is allowed and does nothing. */
typedef struct tarn_scratch_mark {
    size_t used;
    void *overflow;
} tarn_scratch_mark;
tarn_scratch_mark tarn_scratch_here(const tarn_scratch *scratch);
void tarn_scratch_rewind(tarn_scratch *scratch, tarn_scratch_mark mark);

#endif
