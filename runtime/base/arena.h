/* arena.h - memory that is freed all at once: the headers of a step. Grows in blocks; zeroed; 16-byte aligned. */
#ifndef TARN_RUNTIME_ARENA_H
#define TARN_RUNTIME_ARENA_H

#include <stddef.h>

typedef struct tarn_arena {
    struct tarn_arena_block *blocks;
} tarn_arena;

/* Zeroed memory, or NULL when the machine has none. */
void *tarn_arena_get(tarn_arena *arena, size_t bytes);
void tarn_arena_free(tarn_arena *arena);

#endif
