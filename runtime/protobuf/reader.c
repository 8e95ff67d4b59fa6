/* reader.c - see reader.h. */
#include "runtime/protobuf/reader.h"

#include <string.h>

enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 }; /* wire types */

static bool fail(tarn_protobuf_reader *reader)
{
    reader->bad = true;
    reader->at = reader->end;
    return false;
}

static bool varint(tarn_protobuf_reader *reader, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (reader->at == reader->end) return false;
        unsigned char byte = *reader->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

static bool fixed(tarn_protobuf_reader *reader, size_t count, uint64_t *value)
{
    if ((size_t)(reader->end - reader->at) < count) return false;
    *value = 0;
    for (size_t i = 0; i < count; i++) *value |= (uint64_t)reader->at[i] << (8 * i);
    reader->at += count;
    return true;
}

bool tarn_protobuf_next(tarn_protobuf_reader *reader, tarn_protobuf_field *field)
{
    uint64_t tag;
    if (reader->at == reader->end) return false;
    *field = (tarn_protobuf_field){0};
    if (!varint(reader, &tag) || !tag || tag >> 32) return fail(reader);
    field->number = (int)(tag >> 3);
    switch (tag & 7) {
    case VARINT:
        return varint(reader, &field->integer) || fail(reader);
    case FIXED64:
        return fixed(reader, 8, &field->integer) || fail(reader);
    case FIXED32:
        return fixed(reader, 4, &field->integer) || fail(reader);
    case LENGTH: {
        uint64_t count;
        if (!varint(reader, &count) || count > (uint64_t)(reader->end - reader->at)) return fail(reader);
        field->bytes = reader->at;
        field->count = (size_t)count;
        reader->at += count;
        return true;
    }
    default: /* groups, which nobody writes any more */
        return fail(reader);
    }
}

tarn_protobuf_reader tarn_protobuf_inner(const tarn_protobuf_field *field)
{
    return (tarn_protobuf_reader){.at = field->bytes, .end = field->bytes ? field->bytes + field->count : NULL};
}

double tarn_protobuf_field_double(const tarn_protobuf_field *field)
{
    double value;
    memcpy(&value, &field->integer, sizeof value);
    return value;
}

void tarn_protobuf_field_text(const tarn_protobuf_field *field, char *out, size_t size)
{
    size_t count = field->bytes ? field->count : 0;
    if (count >= size) count = size - 1;
    if (count) memcpy(out, field->bytes, count);
    out[count] = '\0';
}
