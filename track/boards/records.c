/* records.c - see records.h. */
#include "track/boards/records.h"

#include <pthread.h>

enum { HEAD = 12, FRAME = 16 };

static uint32_t table[8][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
        table[0][i] = crc;
    }
    for (int slice = 1; slice < 8; slice++)
        for (int i = 0; i < 256; i++) table[slice][i] = table[slice - 1][i] >> 8 ^ table[0][table[slice - 1][i] & 0xff];
}

static uint64_t load(const unsigned char *bytes, int count)
{
    uint64_t value = 0;
    for (int i = 0; i < count; i++) value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static void store(unsigned char *bytes, uint64_t value, int count)
{
    for (int i = 0; i < count; i++) bytes[i] = (unsigned char)(value >> (8 * i));
}

uint32_t tarn_crc32c(const void *bytes, size_t count)
{
    const unsigned char *at = bytes;
    uint32_t crc = 0xffffffffu;
    pthread_once(&once, make_table);
    for (; count >= 8; at += 8, count -= 8) {
        uint64_t word = load(at, 8) ^ crc;
        crc = 0;
        for (int i = 0; i < 8; i++) crc ^= table[7 - i][word >> (8 * i) & 0xff];
    }
    for (; count; at++, count--) crc = crc >> 8 ^ table[0][(crc ^ *at) & 0xff];
    return ~crc;
}

uint32_t tarn_crc32c_masked(const void *bytes, size_t count)
{
    uint32_t crc = tarn_crc32c(bytes, count);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

void tarn_event_record(tarn_protobuf *out, const tarn_protobuf *message)
{
    unsigned char head[HEAD], foot[4];
    store(head, message->used, 8);
    store(head + 8, tarn_crc32c_masked(head, 8), 4);
    store(foot, tarn_crc32c_masked(message->bytes, message->used), 4);
    if (message->failed) out->failed = true;
    tarn_protobuf_raw(out, head, sizeof head);
    tarn_protobuf_raw(out, message->bytes, message->used);
    tarn_protobuf_raw(out, foot, sizeof foot);
}

int tarn_event_read(tarn_board_file *file, int64_t *offset, const unsigned char **bytes, size_t *count)
{
    if (*offset == file->length) return 0;
    const unsigned char *record = tarn_board_file_peek(file, *offset, HEAD);
    if (!record || load(record + 8, 4) != tarn_crc32c_masked(record, 8)) return -1;
    uint64_t length = load(record, 8);
    if (length > (uint64_t)(file->length - *offset)) return -1;
    record = tarn_board_file_peek(file, *offset, (size_t)length + FRAME);
    if (!record || load(record + HEAD + length, 4) != tarn_crc32c_masked(record + HEAD, (size_t)length)) return -1;
    *bytes = record + HEAD;
    *count = (size_t)length;
    *offset += (int64_t)length + FRAME;
    return 1;
}
