/* manifest.c - see manifest.h. */
#include "checkpoint/manifest.h"
#include "checkpoint/parts.h"
#include "runtime/base/write.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char first_line[] = "tarn checkpoint manifest ";

bool tarn_checkpoint_part_path(char out[TARN_CHECKPOINT_PATH], const char *directory, int part)
{
    return tarn_checkpoint_path(out, directory, "part-%03d.h5", part);
}

bool tarn_checkpoint_manifest_create(tarn_checkpoint_manifest *manifest, int64_t step, int parts, tarn_problem *problem)
{
    *manifest = (tarn_checkpoint_manifest){.step = step, .parts = parts};
    manifest->bytes = calloc((size_t)parts + 1, sizeof *manifest->bytes);
    manifest->blocks = calloc((size_t)parts + 1, sizeof *manifest->blocks);
    if (manifest->bytes && manifest->blocks) return true;
    tarn_checkpoint_manifest_free(manifest);
    return tarn_problem_set(problem, ENOMEM, "out of memory");
}

void tarn_checkpoint_manifest_free(tarn_checkpoint_manifest *manifest)
{
    free(manifest->bytes);
    free(manifest->blocks);
    *manifest = (tarn_checkpoint_manifest){0};
}

bool tarn_checkpoint_manifest_gather(tarn_checkpoint_manifest *manifest, const char *directory, tarn_problem *problem)
{
    for (int i = 0; i < manifest->parts; i++) {
        char path[TARN_CHECKPOINT_PATH];
        uint8_t block[TARN_CHECKPOINT_BLOCK];
        tarn_checkpoint_header header;
        struct stat info;
        if (!tarn_checkpoint_part_path(path, directory, i))
            return tarn_problem_set(problem, ENAMETOOLONG, "too long a name");
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0 && errno == ENOENT)
            return tarn_problem_set(problem, ENOENT,
                                    "part %d was written by another rank, but it is not there: the directory must be "
                                    "shared by all hosts",
                                    i);
        ssize_t got = file < 0 ? -1 : pread(file, block, sizeof block, 0);
        int error = errno;
        bool fine = got == (ssize_t)sizeof block && !fstat(file, &info);
        if (file >= 0) close(file);
        if (got < 0) return tarn_problem_set(problem, error, "part %d: %s", i, strerror(error));
        tarn_problem wrong = {0};
        fine = fine && tarn_checkpoint_header_decode(&header, block, &wrong) && header.step == manifest->step &&
               header.image_bytes == info.st_size - TARN_CHECKPOINT_BLOCK;
        if (!fine) return tarn_problem_set(problem, EIO, "part %d is not what was written: %.200s", i, wrong.text);
        manifest->bytes[i] = info.st_size;
        memcpy(manifest->blocks[i], header.block_digest, TARN_SHA256_BYTES);
    }
    return true;
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static bool sum_of(const char *text, size_t length, char hex[2 * TARN_SHA256_BYTES + 1])
{
    uint8_t digest[TARN_SHA256_BYTES];
    tarn_sha256 *sha = tarn_sha256_create();
    if (sha) tarn_sha256_update(sha, text, length);
    if (!tarn_sha256_finish(sha, digest)) return false;
    tarn_sha256_hex(digest, hex);
    return true;
}

/* Freed with free(); NULL when memory is short. */
static char *print(const tarn_checkpoint_manifest *manifest, size_t *length)
{
    char *text = NULL, hex[2 * TARN_SHA256_BYTES + 1];
    FILE *out = open_memstream(&text, length);
    if (!out) return NULL;
    fprintf(out, "%s%d\nstep %" PRId64 "\nparts %d\n", first_line, TARN_CHECKPOINT_MANIFEST_VERSION, manifest->step,
            manifest->parts);
    for (int i = 0; i < manifest->parts; i++) {
        tarn_sha256_hex(manifest->blocks[i], hex);
        fprintf(out, "part-%03d.h5 %" PRId64 " %s\n", i, manifest->bytes[i], hex);
    }
    bool done = !fflush(out) && sum_of(text, *length, hex) && fprintf(out, "sha256 %s\n", hex) > 0;
    if (fclose(out)) done = false;
    if (done) return text;
    free(text);
    return NULL;
}

bool tarn_checkpoint_manifest_write(const tarn_checkpoint_manifest *manifest, const char *directory,
                                    tarn_problem *problem)
{
    char path[TARN_CHECKPOINT_PATH];
    size_t length;
    if (!tarn_checkpoint_path(path, directory, "MANIFEST"))
        return tarn_problem_set(problem, ENAMETOOLONG, "too long a name");
    char *text = print(manifest, &length);
    if (!text) return tarn_problem_set(problem, ENOMEM, "out of memory");
    int error = 0, file = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (file < 0 || !tarn_write_all(file, text, length)) error = errno;
    if (!error && fsync(file)) error = errno;
    if (file >= 0 && close(file) && !error) error = errno;
    free(text);
    return error ? tarn_problem_set(problem, error, "its manifest: %s", strerror(error)) : true;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* The whole file as a string; NULL with the reason. */
static char *slurp(const char *path, size_t *length, tarn_problem *problem)
{
    enum { MOST = 64 * 1024 }; /* 256 parts take 22 KiB */
    char *text = malloc(MOST + 1);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    bool done = text && file >= 0;
    *length = 0;
    if (!done)
        tarn_problem_set(problem, text ? errno : ENOMEM, "its MANIFEST: %s", text ? strerror(errno) : "no memory");
    while (done) {
        ssize_t got = read(file, text + *length, MOST - *length);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) done = tarn_problem_set(problem, errno, "its MANIFEST: %s", strerror(errno));
        if (got <= 0) break;
        *length += (size_t)got;
    }
    if (file >= 0) close(file);
    if (done) {
        text[*length] = '\0';
        return text;
    }
    free(text);
    return NULL;
}

static bool damaged(tarn_problem *problem)
{
    return tarn_problem_set(problem, 0, "its MANIFEST is damaged");
}

/* Whether the last line is the sum of all lines before it, whatever these say. */
static bool ends_with_sum(const char *text, size_t length)
{
    enum { LINE = sizeof "sha256 \n" - 1 + 2 * TARN_SHA256_BYTES };
    char hex[2 * TARN_SHA256_BYTES + 1], line[LINE + 1];
    if (length < LINE || !sum_of(text, length - LINE, hex)) return false;
    snprintf(line, sizeof line, "sha256 %s\n", hex);
    return !memcmp(text + length - LINE, line, LINE);
}

/* Printing what was read must give the same bytes again: whatever this does not look at could be anything else. */
static bool parse(tarn_checkpoint_manifest *manifest, const char *text, size_t length, tarn_problem *problem)
{
    int version, parts, used = 0;
    int64_t step;
    if (strncmp(text, first_line, sizeof first_line - 1) ||
        sscanf(text + sizeof first_line - 1, "%d\nstep %" SCNd64 "\nparts %d\n%n", &version, &step, &parts, &used) < 3)
        return damaged(problem);
    if (version > TARN_CHECKPOINT_MANIFEST_VERSION) {
        bool intact = ends_with_sum(text, length);
        tarn_problem_set(problem, 0,
                         "its MANIFEST says it is of format version %d, and this Tarn (%s) reads up to version %d%s",
                         version, TARN_VERSION_STRING, TARN_CHECKPOINT_MANIFEST_VERSION,
                         intact ? ": read it with a newer Tarn" : "; it may be damaged too");
        problem->newer = intact;
        return false;
    }
    if (parts < 1 || parts > TARN_CHECKPOINT_MOST_PARTS || !used) return damaged(problem);
    if (!tarn_checkpoint_manifest_create(manifest, step, parts, problem)) return false;
    const char *at = text + sizeof first_line - 1 + used;
    bool fine = true;
    for (int i = 0; fine && i < parts; i++) {
        int number, more = 0;
        char hex[2 * TARN_SHA256_BYTES + 1];
        fine = sscanf(at, "part-%d.h5 %" SCNd64 " %64[0-9a-f]\n%n", &number, &manifest->bytes[i], hex, &more) == 3 &&
               more && number == i && strlen(hex) == 2 * TARN_SHA256_BYTES;
        for (int k = 0; fine && k < TARN_SHA256_BYTES; k++) {
            unsigned value;
            fine = sscanf(hex + 2 * k, "%2x", &value) == 1;
            manifest->blocks[i][k] = (uint8_t)value;
        }
        at += more;
    }
    size_t again_length = 0;
    char *again = fine ? print(manifest, &again_length) : NULL;
    fine = again && again_length == length && !memcmp(again, text, length);
    free(again);
    if (fine) return true;
    tarn_checkpoint_manifest_free(manifest);
    return damaged(problem);
}

bool tarn_checkpoint_manifest_read(tarn_checkpoint_manifest *manifest, const char *directory, tarn_problem *problem)
{
    char path[TARN_CHECKPOINT_PATH];
    size_t length;
    *manifest = (tarn_checkpoint_manifest){0};
    if (!tarn_checkpoint_path(path, directory, "MANIFEST"))
        return tarn_problem_set(problem, ENAMETOOLONG, "too long a name");
    char *text = slurp(path, &length, problem);
    if (!text) return false;
    bool done = parse(manifest, text, length, problem);
    free(text);
    return done;
}
