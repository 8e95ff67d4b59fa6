/* log_file.c - see log_file.h. */
#include "track/wandb/log_file.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

enum { BLOCK = 32768, CHUNK_HEAD = 7, FILE_HEAD = 7 };
enum { WHOLE = 1, FIRST = 2, MIDDLE = 3, LAST = 4 };
static const unsigned char file_head[FILE_HEAD] = {':', 'W', '&', 'B', 0xe1, 0xbe, 0}; /* 0xBEE1, version 0 */

static uint32_t checksum(unsigned char type, const unsigned char *bytes, size_t count)
{
    return (uint32_t)crc32(crc32(crc32(0, NULL, 0), &type, 1), bytes, (uInt)count);
}

void tarn_wandb_log_append(tarn_protobuf *out, int64_t position, const tarn_protobuf *record)
{
    static const unsigned char zeros[CHUNK_HEAD];
    if (position + (int64_t)out->used == 0) tarn_protobuf_raw(out, file_head, sizeof file_head);
    if (record->failed) out->failed = true;
    size_t done = 0;
    do {
        if (out->failed) return;
        size_t room = BLOCK - (size_t)((position + (int64_t)out->used) % BLOCK);
        if (room < CHUNK_HEAD) {
            tarn_protobuf_raw(out, zeros, room);
            continue;
        }
        size_t left = record->used - done, count = left < room - CHUNK_HEAD ? left : room - CHUNK_HEAD;
        unsigned char type = (unsigned char)(count == left ? (done ? LAST : WHOLE) : (done ? MIDDLE : FIRST));
        /* A first chunk of no bytes at the end of a block is LevelDB's way; the next one must not be a first, too. */
        if (!done && !count && left) {
            tarn_protobuf_raw(out, zeros, room);
            continue;
        }
        uint32_t crc = checksum(type, record->bytes + done, count);
        const unsigned char head[CHUNK_HEAD] = {
            (unsigned char)crc,
            (unsigned char)(crc >> 8),
            (unsigned char)(crc >> 16),
            (unsigned char)(crc >> 24),
            (unsigned char)count,
            (unsigned char)(count >> 8),
            type,
        };
        tarn_protobuf_raw(out, head, sizeof head);
        tarn_protobuf_raw(out, record->bytes + done, count);
        done += count;
    } while (done < record->used);
}

static uint32_t load32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* Behind the rest of a block that holds no chunk: too short for one, or all zero. */
static int64_t skip_padding(tarn_wandb_log *log, int64_t at)
{
    size_t room = BLOCK - (size_t)(at % BLOCK);
    if (room > CHUNK_HEAD) return at;
    const unsigned char *bytes = tarn_board_file_peek(log->file, at, room);
    if (!bytes) return at;
    for (size_t i = 0; i < room; i++)
        if (bytes[i]) return at;
    return at + (int64_t)room;
}

int tarn_wandb_log_read(tarn_wandb_log *log, const unsigned char **bytes, size_t *count)
{
    int64_t at = log->next;
    errno = 0;
    if (at == log->file->length) return 0;
    if (at == 0) {
        const unsigned char *head = tarn_board_file_peek(log->file, 0, FILE_HEAD);
        if (!head || memcmp(head, file_head, FILE_HEAD) != 0) return -1;
        log->next = at = FILE_HEAD;
        if (at == log->file->length) return 0;
    }
    tarn_protobuf_clear(&log->pieces);
    for (bool first = true;; first = false) {
        at = skip_padding(log, at);
        const unsigned char *chunk = tarn_board_file_peek(log->file, at, CHUNK_HEAD);
        if (!chunk) return -1;
        size_t length = (size_t)chunk[4] | (size_t)chunk[5] << 8;
        unsigned char type = chunk[6];
        bool fits = first ? type == WHOLE || type == FIRST : type == MIDDLE || type == LAST;
        if (!fits || (size_t)(at % BLOCK) + CHUNK_HEAD + length > BLOCK) return -1;
        chunk = tarn_board_file_peek(log->file, at, CHUNK_HEAD + length);
        if (!chunk || load32(chunk) != checksum(type, chunk + CHUNK_HEAD, length)) return -1;
        at += (int64_t)(CHUNK_HEAD + length);
        if (type == WHOLE) {
            *bytes = chunk + CHUNK_HEAD;
            *count = length;
            break;
        }
        tarn_protobuf_raw(&log->pieces, chunk + CHUNK_HEAD, length);
        if (log->pieces.failed) {
            errno = ENOMEM;
            return -1;
        }
        if (type == LAST) {
            *bytes = log->pieces.bytes;
            *count = log->pieces.used;
            break;
        }
    }
    log->next = at;
    return 1;
}
