/* reader.h - reads protocol buffer messages field by field: what protobuf.h writes, and files of other programs.
 *
 * Invariant: nothing is read outside of the bytes given, whatever they are; what is no message ends the reading with
 * `bad` set.
 */
#ifndef TARN_PROTOBUF_READER_H
#define TARN_PROTOBUF_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tarn_protobuf_reader {
    const unsigned char *at, *end;
    bool bad; /* the bytes are no message */
} tarn_protobuf_reader;

typedef struct tarn_protobuf_field {
    int number;
    uint64_t integer;           /* of a varint; the bits of a float or a double */
    const unsigned char *bytes; /* of a string, bytes, a message or packed values; NULL for the others */
    size_t count;
} tarn_protobuf_field;

/* The next field; false at the end, or where the bytes are no message. */
bool tarn_protobuf_next(tarn_protobuf_reader *reader, tarn_protobuf_field *field);
/* A reader of the message in a field. */
tarn_protobuf_reader tarn_protobuf_inner(const tarn_protobuf_field *field);
double tarn_protobuf_field_double(const tarn_protobuf_field *field);
/* The text of a field into `out`, with its end mark; a longer one is cut. */
void tarn_protobuf_field_text(const tarn_protobuf_field *field, char *out, size_t size);

#endif
