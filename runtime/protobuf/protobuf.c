/* protobuf.c - see protobuf.h. */
#include "runtime/protobuf/protobuf.h"

#include <stdlib.h>
#include <string.h>

enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 }; /* wire types */

void tarn_protobuf_free(tarn_protobuf *message)
{
    free(message->bytes);
    *message = (tarn_protobuf){0};
}

void tarn_protobuf_clear(tarn_protobuf *message)
{
    message->used = 0;
    message->failed = false;
}

static void append(tarn_protobuf *message, const void *bytes, size_t count)
{
    if (message->failed || !count) return;
    if (count > message->room - message->used) {
        size_t room = message->used + count + message->room / 2 + 64;
        unsigned char *grown = realloc(message->bytes, room);
        if (!grown) {
            message->failed = true;
            return;
        }
        message->bytes = grown;
        message->room = room;
    }
    memcpy(message->bytes + message->used, bytes, count);
    message->used += count;
}

void tarn_protobuf_raw(tarn_protobuf *message, const void *bytes, size_t count)
{
    append(message, bytes, count);
}

static void varint(tarn_protobuf *message, uint64_t value)
{
    unsigned char bytes[10];
    size_t count = 0;
    for (; value >= 0x80; value >>= 7) bytes[count++] = (unsigned char)(value | 0x80);
    bytes[count++] = (unsigned char)value;
    append(message, bytes, count);
}

size_t tarn_protobuf_varint_size(uint64_t value)
{
    size_t size = 1;
    for (; value >= 0x80; value >>= 7) size++;
    return size;
}

static void tag(tarn_protobuf *message, int field, int type)
{
    varint(message, (uint64_t)field << 3 | (uint64_t)type);
}

/* Little-endian, whatever the machine is. */
static void fixed(tarn_protobuf *message, uint64_t bits, size_t count)
{
    unsigned char bytes[8];
    for (size_t i = 0; i < count; i++) bytes[i] = (unsigned char)(bits >> 8 * i);
    append(message, bytes, count);
}

void tarn_protobuf_integer(tarn_protobuf *message, int field, int64_t value)
{
    tag(message, field, VARINT);
    varint(message, (uint64_t)value);
}

void tarn_protobuf_float(tarn_protobuf *message, int field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    tag(message, field, FIXED32);
    fixed(message, bits, 4);
}

static void double_bits(tarn_protobuf *message, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    fixed(message, bits, 8);
}

void tarn_protobuf_double(tarn_protobuf *message, int field, double value)
{
    tag(message, field, FIXED64);
    double_bits(message, value);
}

void tarn_protobuf_head(tarn_protobuf *message, int field, uint64_t count)
{
    tag(message, field, LENGTH);
    varint(message, count);
}

void tarn_protobuf_bytes(tarn_protobuf *message, int field, const void *bytes, size_t count)
{
    tarn_protobuf_head(message, field, count);
    append(message, bytes, count);
}

void tarn_protobuf_string(tarn_protobuf *message, int field, const char *text)
{
    tarn_protobuf_bytes(message, field, text, strlen(text));
}

void tarn_protobuf_message(tarn_protobuf *message, int field, const tarn_protobuf *inner)
{
    if (inner->failed) message->failed = true;
    tarn_protobuf_bytes(message, field, inner->bytes, inner->used);
}

void tarn_protobuf_doubles(tarn_protobuf *message, int field, const double *values, size_t count)
{
    tarn_protobuf_head(message, field, 8 * (uint64_t)count);
    for (size_t i = 0; i < count; i++) double_bits(message, values[i]);
}
