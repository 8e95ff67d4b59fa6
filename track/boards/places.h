/* places.h - names of runs as names of folders. */
#ifndef TARN_TRACK_BOARDS_PLACES_H
#define TARN_TRACK_BOARDS_PLACES_H

#include <stddef.h>

/* A name that can be a folder's: slashes and control characters become '-', a first '.' becomes '_', and what is longer
 * than 120 bytes is cut (not within a character of UTF-8). */
void tarn_board_folder_name(char *out, size_t size, const char *name);
/* True when folder has a file or folder whose name holds both texts; the first in order of names, as `found` (of 256
 * bytes, or NULL). */
int tarn_board_find(const char *folder, const char *one, const char *two, char *found);

#endif
