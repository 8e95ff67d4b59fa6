/* points.c - see points.h. */
#include "track/boards/points.h"

#include <stdlib.h>
#include <xxhash.h>

uint64_t tarn_points_hash(tarn_track_kind kind, const char *key, size_t length, int64_t step)
{
    uint64_t hash = XXH64(key, length, (uint64_t)kind);
    hash = XXH64(&step, sizeof step, hash);
    return hash ? hash : 1;
}

/* The slot that holds the hash, or the free one where it belongs. */
static size_t place(const tarn_points *points, uint64_t hash)
{
    size_t at = (size_t)hash & (points->room - 1);
    while (points->slots[at] && points->slots[at] != hash) at = (at + 1) & (points->room - 1);
    return at;
}

static int grow(tarn_points *points)
{
    tarn_points grown = {.used = points->used, .room = points->room ? 2 * points->room : 1024};
    grown.slots = calloc(grown.room, sizeof *grown.slots);
    if (!grown.slots) return -1;
    for (size_t i = 0; i < points->room; i++)
        if (points->slots[i]) grown.slots[place(&grown, points->slots[i])] = points->slots[i];
    free(points->slots);
    *points = grown;
    return 0;
}

int tarn_points_add(tarn_points *points, uint64_t hash)
{
    if (4 * (points->used + 1) > 3 * points->room && grow(points)) return -1;
    size_t at = place(points, hash);
    if (points->slots[at]) return 0;
    points->slots[at] = hash;
    points->used++;
    return 1;
}

bool tarn_points_hold(const tarn_points *points, uint64_t hash)
{
    return points->used && points->slots[place(points, hash)];
}

void tarn_points_free(tarn_points *points)
{
    free(points->slots);
    *points = (tarn_points){0};
}
