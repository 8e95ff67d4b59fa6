/* sha256.h - SHA-256 in pieces, over OpenSSL.
 *
 * A failure inside OpenSSL is remembered and reported by finish, so that update needs no checks.
 */
#ifndef TARN_RUNTIME_SHA256_H
#define TARN_RUNTIME_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TARN_SHA256_BYTES 32

typedef struct tarn_sha256 tarn_sha256;

/* NULL when memory is short. */
tarn_sha256 *tarn_sha256_create(void);
void tarn_sha256_update(tarn_sha256 *sha, const void *data, size_t bytes);
/* Ends the sum and frees sha (NULL: false). */
bool tarn_sha256_finish(tarn_sha256 *sha, uint8_t digest[TARN_SHA256_BYTES]);
/* 64 lower-case digits and a zero. */
void tarn_sha256_hex(const uint8_t digest[TARN_SHA256_BYTES], char out[65]);

#endif
