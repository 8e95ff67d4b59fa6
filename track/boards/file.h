/* file.h - a file of whole records that one process appends to and, after a crash, reads back and goes on with.
 *
 * Invariants
 *  1. An append is there whole and synced to the disk, or not at all.
 *  2. Two processes never have the same file open (flock).
 *  3. What a crash left at the end, and is no record, is kept aside before it is cut off.
 */
#ifndef TARN_TRACK_BOARDS_FILE_H
#define TARN_TRACK_BOARDS_FILE_H

#include "track/files.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct tarn_board_file {
    int file; /* -1: not open */
    int64_t length;
    tarn_path path;
    unsigned char *buffer; /* of peek */
    size_t room, held;
    int64_t start;
} tarn_board_file;

#define TARN_BOARD_FILE_CLOSED ((tarn_board_file){.file = -1})

/* Opens path, making it unless it is there. 0, or -1 with errno: EWOULDBLOCK when another process has it open. */
int tarn_board_file_open(tarn_board_file *file, const char *path);
void tarn_board_file_close(tarn_board_file *file);
/* Appends and syncs; on failure (-1 with errno) the file is as it was. */
int tarn_board_file_append(tarn_board_file *file, const void *bytes, size_t count);
/* The bytes [offset, offset + count), good until the next call; NULL when the file has not that many, or with errno
 * when it cannot be read. */
const unsigned char *tarn_board_file_peek(tarn_board_file *file, int64_t offset, size_t count);
/* Cuts the file at `length`; the bytes from there on go to the file `aside` first, unless it is NULL. */
int tarn_board_file_cut(tarn_board_file *file, int64_t length, const char *aside);
/* Into `problem` (unless it says something already): the path, the reason in errno, and what to do. Fits
 * TARN_SINK_PROBLEM. */
void tarn_board_explain(char *problem, const char *path, const char *key);

#endif
