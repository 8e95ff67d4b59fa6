/* protobuf.h - writes protocol buffer messages field by field, for the few formats that are made of them: ONNX models,
 * TensorBoard events, W&B records.
 *
 * A message is a buffer that grows; a nested message is made in a buffer of its own and added whole. There is no
 * schema: callers name field numbers (https://protobuf.dev/programming-guides/encoding).
 *
 * Invariant: after a failed allocation the buffer is marked and later calls do nothing, so one check at the end will
 * do.
 */
#ifndef TARN_PROTOBUF_H
#define TARN_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tarn_protobuf {
    unsigned char *bytes; /* owned; {0} is an empty message */
    size_t used, room;
    bool failed; /* memory ran out */
} tarn_protobuf;

void tarn_protobuf_free(tarn_protobuf *message);
/* Empties the message and keeps its memory. */
void tarn_protobuf_clear(tarn_protobuf *message);

/* int32, int64, uint, bool and enum fields; negative numbers take ten bytes, as protobuf wants. */
void tarn_protobuf_integer(tarn_protobuf *message, int field, int64_t value);
void tarn_protobuf_float(tarn_protobuf *message, int field, float value);
void tarn_protobuf_double(tarn_protobuf *message, int field, double value);
void tarn_protobuf_bytes(tarn_protobuf *message, int field, const void *bytes, size_t count);
void tarn_protobuf_string(tarn_protobuf *message, int field, const char *text);
void tarn_protobuf_message(tarn_protobuf *message, int field, const tarn_protobuf *inner);
/* A packed repeated field. */
void tarn_protobuf_doubles(tarn_protobuf *message, int field, const double *values, size_t count);
/* The head of a field of `count` bytes which the caller writes elsewhere, after what the buffer holds: for data too
 * large to copy. */
void tarn_protobuf_head(tarn_protobuf *message, int field, uint64_t count);
/* Appends bytes as they are: fields made elsewhere, or what stands between the messages of a file. */
void tarn_protobuf_raw(tarn_protobuf *message, const void *bytes, size_t count);
/* Bytes that the value takes as a varint. */
size_t tarn_protobuf_varint_size(uint64_t value);

#endif
