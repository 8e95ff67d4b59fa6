/* pool.c - see pool.h. */
#include "runtime/base/pool.h"

#include <stdlib.h>
#include <string.h>

struct tarn_pool {
    tarn_buffer *idle; /* ascending by size */
    size_t held, in_use, peak;
};

struct tarn_scratch {
    unsigned char *block;
    size_t size, used;
    struct overflow {
        struct overflow *next;
        size_t bytes;
    } * overflow; /* what did not fit into the block since the last reset */
    size_t overflow_bytes;
    size_t peak; /* most ever in use at once: the size of the next block */
    bool failed;
};

enum { ALIGNMENT = 64 };

static size_t round_up(size_t bytes)
{
    /* Steps of 1/8 of the size keep the number of distinct sizes small and the waste under 12.5 %. */
    size_t granule = ALIGNMENT;
    while (granule * 16 < bytes) granule *= 2;
    return bytes ? (bytes + granule - 1) / granule * granule : ALIGNMENT;
}

tarn_pool *tarn_pool_create(void)
{
    return calloc(1, sizeof(tarn_pool));
}

void tarn_pool_destroy(tarn_pool *pool)
{
    if (!pool) return;
    for (tarn_buffer *buffer = pool->idle, *next; buffer; buffer = next) {
        next = buffer->next;
        free(buffer->data);
        free(buffer);
    }
    free(pool);
}

static tarn_buffer *reuse(tarn_pool *pool, size_t bytes)
{
    for (tarn_buffer **at = &pool->idle; *at; at = &(*at)->next) {
        tarn_buffer *buffer = *at;
        if (buffer->bytes < bytes) continue;
        if (buffer->bytes > bytes + bytes / 2) return NULL; /* ascending: all others are too large as well */
        *at = buffer->next;
        return buffer;
    }
    return NULL;
}

tarn_buffer *tarn_pool_get(tarn_pool *pool, size_t bytes)
{
    if (bytes > SIZE_MAX / 4) return NULL;
    bytes = round_up(bytes);
    tarn_buffer *buffer = reuse(pool, bytes);
    if (!buffer) {
        buffer = calloc(1, sizeof *buffer);
        if (!buffer) return NULL;
        buffer->data = aligned_alloc(ALIGNMENT, bytes);
        if (!buffer->data) {
            free(buffer);
            return NULL;
        }
        buffer->bytes = bytes;
        buffer->pool = pool;
        pool->held += bytes;
    }
    buffer->references = 1;
    buffer->next = NULL;
    pool->in_use += buffer->bytes;
    if (pool->in_use > pool->peak) pool->peak = pool->in_use;
    return buffer;
}

void tarn_buffer_retain(tarn_buffer *buffer)
{
    if (buffer) buffer->references++;
}

void tarn_buffer_release(tarn_buffer *buffer)
{
    if (!buffer || --buffer->references > 0) return;
#ifndef NDEBUG
    memset(buffer->data, 0xff, buffer->bytes); /* NaN as f32: stale use shows */
#endif
    tarn_pool *pool = buffer->pool;
    pool->in_use -= buffer->bytes;
    tarn_buffer **at = &pool->idle;
    while (*at && (*at)->bytes < buffer->bytes) at = &(*at)->next;
    buffer->next = *at;
    *at = buffer;
}

size_t tarn_pool_bytes(const tarn_pool *pool)
{
    return pool->held;
}

size_t tarn_pool_peak_bytes(const tarn_pool *pool)
{
    return pool->peak;
}

/* ---- scratch ----------------------------------------------------------------------------------------------------- */

tarn_scratch *tarn_scratch_create(void)
{
    return calloc(1, sizeof(tarn_scratch));
}

static void free_overflow(tarn_scratch *scratch)
{
    for (struct overflow *part = scratch->overflow, *next; part; part = next) {
        next = part->next;
        free(part);
    }
    scratch->overflow = NULL;
    scratch->overflow_bytes = 0;
}

void tarn_scratch_destroy(tarn_scratch *scratch)
{
    if (!scratch) return;
    free_overflow(scratch);
    free(scratch->block);
    free(scratch);
}

void tarn_scratch_reset(tarn_scratch *scratch)
{
    free_overflow(scratch);
    if (scratch->peak > scratch->size) { /* one block for all of it next time */
        free(scratch->block);
        scratch->block = aligned_alloc(ALIGNMENT, scratch->peak);
        scratch->size = scratch->block ? scratch->peak : 0;
    }
    scratch->used = 0;
    scratch->failed = false;
}

static void note_peak(tarn_scratch *scratch)
{
    size_t bytes = scratch->used + scratch->overflow_bytes;
    if (bytes > scratch->peak) scratch->peak = bytes;
}

void *tarn_scratch_get(tarn_scratch *scratch, size_t bytes)
{
    if (bytes > SIZE_MAX / 4) {
        scratch->failed = true;
        return NULL;
    }
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (scratch->size - scratch->used >= bytes && scratch->block) {
        void *memory = scratch->block + scratch->used;
        scratch->used += bytes;
        note_peak(scratch);
        return memory;
    }
    struct overflow *part = aligned_alloc(ALIGNMENT, ALIGNMENT + bytes);
    if (!part) {
        scratch->failed = true;
        return NULL;
    }
    part->next = scratch->overflow;
    part->bytes = bytes;
    scratch->overflow = part;
    scratch->overflow_bytes += bytes;
    note_peak(scratch);
    return (unsigned char *)part + ALIGNMENT;
}

tarn_scratch_mark tarn_scratch_here(const tarn_scratch *scratch)
{
    return scratch ? (tarn_scratch_mark){scratch->used, scratch->overflow} : (tarn_scratch_mark){0, NULL};
}

void tarn_scratch_rewind(tarn_scratch *scratch, tarn_scratch_mark mark)
{
    if (!scratch) return;
    while (scratch->overflow != mark.overflow) {
        struct overflow *part = scratch->overflow;
        scratch->overflow = part->next;
        scratch->overflow_bytes -= part->bytes;
        free(part);
    }
    scratch->used = mark.used;
}

bool tarn_scratch_failed(const tarn_scratch *scratch)
{
    return scratch->failed;
}
