/* header.c - see header.h. */
#include "checkpoint/header.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    AT_VERSION = 8,
    AT_BLOCK = 12,
    AT_STEP = 16,
    AT_IMAGE_BYTES = 24,
    AT_IMAGE_DIGEST = 32,
    AT_STATE_DIGEST = 64,
    AT_SUM = TARN_CHECKPOINT_BLOCK - TARN_SHA256_BYTES
};

static const char magic[8] = {'T', 'A', 'R', 'N', 'C', 'K', 'P', 'T'};

bool tarn_problem_set(tarn_problem *problem, int error_number, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    problem->error_number = error_number;
    problem->newer = false;
    vsnprintf(problem->text, sizeof problem->text, format, arguments);
    va_end(arguments);
    return false;
}

static void put(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)at[i] << 8 * i;
    return value;
}

static bool sum_of(const uint8_t *block, uint8_t sum[TARN_SHA256_BYTES])
{
    tarn_sha256 *sha = tarn_sha256_create();
    if (sha) tarn_sha256_update(sha, block, AT_SUM);
    return tarn_sha256_finish(sha, sum);
}

bool tarn_checkpoint_header_encode(const tarn_checkpoint_header *header, uint8_t block[TARN_CHECKPOINT_BLOCK])
{
    memset(block, 0, TARN_CHECKPOINT_BLOCK);
    memcpy(block, magic, sizeof magic);
    put(block + AT_VERSION, TARN_CHECKPOINT_VERSION, 4);
    put(block + AT_BLOCK, TARN_CHECKPOINT_BLOCK, 4);
    put(block + AT_STEP, (uint64_t)header->step, 8);
    put(block + AT_IMAGE_BYTES, (uint64_t)header->image_bytes, 8);
    memcpy(block + AT_IMAGE_DIGEST, header->image_digest, TARN_SHA256_BYTES);
    memcpy(block + AT_STATE_DIGEST, header->state_digest, TARN_SHA256_BYTES);
    return sum_of(block, block + AT_SUM);
}

bool tarn_checkpoint_header_decode(tarn_checkpoint_header *header, const uint8_t block[TARN_CHECKPOINT_BLOCK],
                                   tarn_problem *problem)
{
    uint8_t sum[TARN_SHA256_BYTES];
    if (memcmp(block, magic, sizeof magic))
        return tarn_problem_set(problem, 0, "it is not a Tarn checkpoint: it does not begin with TARNCKPT");
    if (!sum_of(block, sum)) return tarn_problem_set(problem, 0, "OpenSSL could not compute a SHA-256");
    bool intact = !memcmp(sum, block + AT_SUM, sizeof sum);
    uint64_t version = get(block + AT_VERSION, 4);
    /* A later version may lay out its block in another way, sum included: the version is told before the sum is judged.
     */
    if (version > TARN_CHECKPOINT_VERSION) {
        tarn_problem_set(problem, 0,
                         "it says it is of format version %" PRIu64 ", and this Tarn (%s) reads up to version %d%s",
                         version, TARN_VERSION_STRING, TARN_CHECKPOINT_VERSION,
                         intact ? ": read it with a newer Tarn" : "; its header may be damaged too");
        problem->newer = intact;
        return false;
    }
    if (!intact) return tarn_problem_set(problem, 0, "its header is damaged (SHA-256 of the header differs)");
    header->step = (int64_t)get(block + AT_STEP, 8);
    header->image_bytes = (int64_t)get(block + AT_IMAGE_BYTES, 8);
    if (version < 1 || get(block + AT_BLOCK, 4) != TARN_CHECKPOINT_BLOCK || header->step < 0 || header->image_bytes < 0)
        return tarn_problem_set(problem, 0, "its header holds impossible values");
    memcpy(header->image_digest, block + AT_IMAGE_DIGEST, TARN_SHA256_BYTES);
    memcpy(header->state_digest, block + AT_STATE_DIGEST, TARN_SHA256_BYTES);
    memcpy(header->block_digest, sum, TARN_SHA256_BYTES);
    return true;
}
