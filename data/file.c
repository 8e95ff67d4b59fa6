/* file.c - whole files into memory, and the digest of what was read.
 */
#include "data/dataset.h"
#include "runtime/base/sha256.h"
#include "runtime/monitor/monitor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tarn_status tarn_file_read_all(tarn_context *context, const char *path, uint8_t **bytes, int64_t *size)
{
    FILE *file = fopen(path, "rbe");
    if (file == NULL)
        return tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "%s: cannot open it: %s: check the path", path,
                         strerror(errno));
    enum { PIECE = 16 << 20 }; /* whoever watches this rank sees that a long file is being read */
    size_t capacity = (size_t)1 << 16, used = 0;
    uint8_t *buffer = malloc(capacity);
    while (buffer != NULL) {
        errno = 0;
        size_t room = capacity - used < PIECE ? capacity - used : PIECE;
        size_t got = fread(buffer + used, 1, room, file);
        used += got;
        tarn_monitor_progress(context);
        if (ferror(file)) {
            int reason = errno;
            fclose(file);
            free(buffer);
            return tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "%s: reading failed after %zu bytes: %s", path, used,
                             strerror(reason));
        }
        if (got == 0) break;
        if (used == capacity) {
            uint8_t *grown = realloc(buffer, capacity * 2);
            if (grown == NULL) free(buffer);
            buffer = grown;
            capacity *= 2;
        }
    }
    fclose(file);
    if (buffer == NULL)
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "%s: no memory for more than %zu bytes of it", path,
                         used);
    *bytes = buffer;
    *size = (int64_t)used;
    return TARN_OK;
}

tarn_status tarn_data_digest(tarn_context *context, const void *first, size_t first_bytes, const void *second,
                             size_t second_bytes, char out[TARN_DIGEST_TEXT_BYTES])
{
    uint8_t digest[TARN_SHA256_BYTES];
    tarn_sha256 *sha = tarn_sha256_create();
    if (!sha) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for SHA-256 of the data");
    tarn_sha256_update(sha, first, first_bytes);
    tarn_sha256_update(sha, second, second_bytes);
    if (!tarn_sha256_finish(sha, digest))
        return tarn_fail(context, TARN_ERROR_INTERNAL, TARN_HERE, "OpenSSL could not compute SHA-256 of the data");
    memcpy(out, "sha256:", 7);
    tarn_sha256_hex(digest, out + 7);
    return TARN_OK;
}
