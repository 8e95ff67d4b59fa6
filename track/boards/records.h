/* records.h - records with checksums, as TensorFlow has them in its files: length, its checksum, bytes, their checksum.
 *
 * https://www.tensorflow.org/tutorials/load_data/tfrecord: u64 length, u32 masked crc32c of the length, the bytes, u32
 * masked crc32c of the bytes, all little-endian.
 */
#ifndef TARN_TRACK_BOARDS_RECORDS_H
#define TARN_TRACK_BOARDS_RECORDS_H

#include "runtime/protobuf/protobuf.h"
#include "track/boards/file.h"

/* Castagnoli's polynomial, as iSCSI has it (RFC 3720, B.4). */
uint32_t tarn_crc32c(const void *bytes, size_t count);
/* Rotated and shifted, so that the checksum of bytes which hold checksums says something. */
uint32_t tarn_crc32c_masked(const void *bytes, size_t count);

/* Appends the message as a record. */
void tarn_event_record(tarn_protobuf *out, const tarn_protobuf *message);
/* The record at *offset, good until the next call; *offset is the next one then. 1; 0 at the end of the file; -1: there
 * is no whole record here. */
int tarn_event_read(tarn_board_file *file, int64_t *offset, const unsigned char **bytes, size_t *count);

#endif
