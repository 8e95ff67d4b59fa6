/* arena.c - see arena.h. */
#include "runtime/base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 64 * 1024 };

struct tarn_arena_block {
    struct tarn_arena_block *next;
    size_t used, size;
    _Alignas(16) unsigned char data[];
};

void *tarn_arena_get(tarn_arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 2) return NULL;
    bytes = (bytes + 15) & ~(size_t)15;
    struct tarn_arena_block *block = arena->blocks;
    if (!block || block->size - block->used < bytes) {
        /* Blocks grow with the arena, so that a long tape needs few of them. */
        size_t size = block ? block->size * 2 : BLOCK_BYTES;
        if (size < bytes) size = bytes;
        block = malloc(sizeof *block + size);
        if (!block) return NULL;
        block->size = size;
        block->used = 0;
        block->next = arena->blocks;
        arena->blocks = block;
    }
    void *memory = block->data + block->used;
    block->used += bytes;
    return memset(memory, 0, bytes);
}

void tarn_arena_free(tarn_arena *arena)
{
    for (struct tarn_arena_block *block = arena->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    arena->blocks = NULL;
}
