/* points.h - the points that a file of ours holds already, so that those which come again after a crash stay out.
 *
 * Made when a file is opened that an earlier process wrote, of what it holds. 16 bytes a point at most: hashes of 64
 * bits; that two of a million points share one has a chance of 3 in 10^8.
 */
#ifndef TARN_TRACK_BOARDS_POINTS_H
#define TARN_TRACK_BOARDS_POINTS_H

#include "track/event.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct tarn_points {
    uint64_t *slots; /* 0: free */
    size_t used, room;
} tarn_points; /* {0} is the empty set */

uint64_t tarn_points_hash(tarn_track_kind kind, const char *key, size_t length, int64_t step);
/* 1: added, 0: it was there, -1: memory ran out. */
int tarn_points_add(tarn_points *points, uint64_t hash);
bool tarn_points_hold(const tarn_points *points, uint64_t hash);
void tarn_points_free(tarn_points *points);

#endif
