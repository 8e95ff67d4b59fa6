/* log_file.h - the framing of a .wandb file: LevelDB's log format behind a header of seven bytes.
 *
 * Blocks of 32 KiB (the first one holds the header, too), filled with chunks that do not cross their borders: u32
 * CRC-32 of type and bytes, u16 count of bytes, u8 type (1 whole, 2 first, 3 middle, 4 last), little-endian. LevelDB
 * masks a CRC-32C there; W&B does neither.
 */
#ifndef TARN_TRACK_WANDB_LOG_FILE_H
#define TARN_TRACK_WANDB_LOG_FILE_H

#include "runtime/protobuf/protobuf.h"
#include "track/boards/file.h"

/* Appends the record to `out`, whose first byte will stand at `position` of the file; at position 0 the header comes
 * first. */
void tarn_wandb_log_append(tarn_protobuf *out, int64_t position, const tarn_protobuf *record);

typedef struct tarn_wandb_log {
    tarn_board_file *file;
    int64_t next;         /* where the next record begins: all before it is whole */
    tarn_protobuf pieces; /* of a record in several chunks; free it */
} tarn_wandb_log;

/* The next record, good until the next call. 1; 0 at the end of the file; -1: there is no whole record (or, with errno,
 * the disk failed). Begin with {.file = ...}. */
int tarn_wandb_log_read(tarn_wandb_log *log, const unsigned char **bytes, size_t *count);

#endif
