/* verify.c - see verify.h. */
#include "checkpoint/verify.h"
#include "checkpoint/image.h"
#include "checkpoint/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES ((size_t)1 << 20)

static bool read_fully(int file, uint8_t *data, size_t bytes, tarn_problem *problem)
{
    while (bytes) {
        ssize_t got = read(file, data, bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tarn_problem_set(problem, errno, "reading it: %s", strerror(errno));
        if (got == 0) return tarn_problem_set(problem, 0, "it ends early");
        data += got;
        bytes -= (size_t)got;
    }
    return true;
}

static bool verify_header(tarn_checkpoint_found *found, int file, tarn_problem *problem)
{
    uint8_t block[TARN_CHECKPOINT_BLOCK];
    if (found->bytes < TARN_CHECKPOINT_BLOCK)
        return tarn_problem_set(problem, 0, "it is %" PRId64 " bytes long: cut off within its header", found->bytes);
    if (!read_fully(file, block, sizeof block, problem)) return false;
    if (!tarn_checkpoint_header_decode(&found->header, block, problem)) return false;
    if (found->bytes - TARN_CHECKPOINT_BLOCK != found->header.image_bytes)
        return tarn_problem_set(problem, 0, "it is %" PRId64 " bytes long and its header promises %" PRId64 ": %s",
                                found->bytes, found->header.image_bytes + TARN_CHECKPOINT_BLOCK,
                                found->bytes - TARN_CHECKPOINT_BLOCK < found->header.image_bytes
                                    ? "it was cut off"
                                    : "something was added to it");
    return true;
}

static bool verify_image(const tarn_checkpoint_found *found, int file, tarn_problem *problem)
{
    uint8_t *buffer = malloc(READ_BYTES), digest[TARN_SHA256_BYTES];
    tarn_sha256 *sha = tarn_sha256_create();
    bool done = buffer && sha ? true : tarn_problem_set(problem, ENOMEM, "no memory to verify it");
    int64_t left = found->header.image_bytes;
    while (done && left) {
        size_t part = left < (int64_t)READ_BYTES ? (size_t)left : READ_BYTES;
        done = read_fully(file, buffer, part, problem);
        if (done) tarn_sha256_update(sha, buffer, part);
        left -= (int64_t)part;
    }
    bool finished = tarn_sha256_finish(sha, digest);
    free(buffer);
    if (!done) return false;
    if (!finished) return tarn_problem_set(problem, 0, "OpenSSL could not compute a SHA-256");
    return !memcmp(digest, found->header.image_digest, sizeof digest)
               ? true
               : tarn_problem_set(problem, 0, "its contents are damaged (SHA-256 of the image differs)");
}

static bool verify_file(tarn_checkpoint_found *found, bool contents, tarn_problem *problem)
{
    int file = open(found->path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    bool done = file >= 0 && !fstat(file, &info);
    if (!done)
        tarn_problem_set(problem, errno, "%s", strerror(errno));
    else if (!S_ISREG(info.st_mode))
        done = tarn_problem_set(problem, 0, "it is not a regular file");
    if (done) found->bytes = info.st_size;
    done = done && verify_header(found, file, problem) && (!contents || verify_image(found, file, problem));
    if (file >= 0) close(file);
    return done;
}

static bool verify_part(const tarn_checkpoint_manifest *manifest, int index, const char *folder, bool contents,
                        tarn_checkpoint_found *part, tarn_problem *problem)
{
    tarn_problem wrong;
    if (!tarn_checkpoint_part_path(part->path, folder, index))
        return tarn_problem_set(problem, ENAMETOOLONG, "too long a name");
    if (!verify_file(part, contents, &wrong)) {
        tarn_problem_set(problem, wrong.error_number, "part-%03d.h5: %.400s", index, wrong.text);
        problem->newer = wrong.newer;
        return false;
    }
    if (part->bytes != manifest->bytes[index] || part->header.step != manifest->step ||
        memcmp(part->header.block_digest, manifest->blocks[index], TARN_SHA256_BYTES))
        return tarn_problem_set(problem, 0, "part-%03d.h5 is not the one its MANIFEST was written for", index);
    return true;
}

static bool verify_folder(tarn_checkpoint_found *found, bool contents, int rank, int ranks, tarn_problem *problem)
{
    tarn_checkpoint_manifest manifest;
    if (!tarn_checkpoint_manifest_read(&manifest, found->path, problem)) return false;
    tarn_checkpoint_found *part = calloc(1, sizeof *part);
    bool done = part ? true : tarn_problem_set(problem, ENOMEM, "no memory to verify it");
    for (int i = 0; done && i < manifest.parts; i++) {
        done = verify_part(&manifest, i, found->path, contents && i % ranks == rank, part, problem);
        found->bytes += part->bytes;
    }
    found->parts = manifest.parts;
    found->header.step = manifest.step;
    free(part);
    tarn_checkpoint_manifest_free(&manifest);
    return done;
}

bool tarn_checkpoint_verify_share(tarn_checkpoint_found *found, bool contents, int rank, int ranks,
                                  tarn_problem *problem)
{
    found->bytes = 0;
    found->parts = 0;
    memset(&found->header, 0, sizeof found->header);
    if (tarn_checkpoint_is_folder(found->path)) return verify_folder(found, contents, rank, ranks, problem);
    return verify_file(found, contents, problem);
}

bool tarn_checkpoint_verify(tarn_checkpoint_found *found, bool contents, tarn_problem *problem)
{
    return tarn_checkpoint_verify_share(found, contents, 0, 1, problem);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static bool add_to_digest(tarn_sha256 *sha, tarn_checkpoint_reader *reader, const tarn_hdf5_dataset *dataset,
                          tarn_problem *problem)
{
    const tarn_checkpoint_stretch *stretches;
    int count = tarn_checkpoint_reader_stretches(reader, dataset, &stretches);
    tarn_checkpoint_digest_head(sha, dataset->name, dataset->dtype, dataset->ndim, dataset->shape);
    for (int i = 0; i < count; i++) {
        void *data = malloc((size_t)stretches[i].dataset->bytes + 1);
        bool done = data ? tarn_checkpoint_reader_read_stretch(reader, &stretches[i], data, problem)
                         : tarn_problem_set(problem, ENOMEM, "no memory to verify its dataset %s", dataset->name);
        if (done) tarn_sha256_update(sha, data, (size_t)stretches[i].dataset->bytes);
        free(data);
        if (!done) return false;
    }
    return true;
}

bool tarn_checkpoint_compute_digest(tarn_checkpoint_reader *reader, uint8_t digest[TARN_SHA256_BYTES],
                                    tarn_problem *problem)
{
    tarn_sha256 *sha = tarn_sha256_create();
    if (!sha) return tarn_problem_set(problem, ENOMEM, "no memory to verify it");
    bool done = true;
    for (int i = 0; done && i < tarn_checkpoint_reader_count(reader); i++) {
        const tarn_hdf5_dataset *dataset = tarn_checkpoint_reader_at(reader, i);
        if (dataset->in_digest) done = add_to_digest(sha, reader, dataset, problem);
    }
    bool finished = tarn_sha256_finish(sha, digest);
    if (!done || finished) return done;
    return tarn_problem_set(problem, 0, "OpenSSL could not compute a SHA-256");
}

static bool verify_state(tarn_checkpoint_reader *reader, tarn_checkpoint_found *found, tarn_problem *problem)
{
    uint8_t digest[TARN_SHA256_BYTES];
    if (!tarn_checkpoint_compute_digest(reader, digest, problem)) return false;
    if (!found->parts && memcmp(digest, found->header.state_digest, sizeof digest))
        return tarn_problem_set(problem, 0, "the digest of its training state is not the one its header holds");
    memcpy(found->header.state_digest, digest, sizeof digest);
    return true;
}

bool tarn_checkpoint_open_verified(tarn_checkpoint_reader **reader, tarn_checkpoint_found *found, bool state,
                                   tarn_problem *problem)
{
    *reader = NULL;
    if (!tarn_checkpoint_verify(found, true, problem) ||
        !tarn_checkpoint_reader_open(reader, found->path, found->parts, problem))
        return false;
    if (!state || verify_state(*reader, found, problem)) return true;
    tarn_checkpoint_reader_close(*reader);
    *reader = NULL;
    return false;
}

/* Adds "name: problem" to a list that ends with "..." when it is full. */
static void add_to_list(char *list, size_t size, const char *path, const tarn_problem *problem)
{
    size_t used = strlen(list);
    const char *slash = strrchr(path, '/');
    int more = snprintf(list + used, size - used, "\n  %s: %s", slash ? slash + 1 : path, problem->text);
    if (more >= 0 && (size_t)more < size - used) return;
    list[used] = '\0';
    if (used + 6 < size) strcpy(list + used, "\n  ...");
}

/* What to do when none of `count` can be used, `newer` of which nothing but the age of this Tarn is wrong with. */
static const char *remedy(int count, int newer)
{
    if (newer == count)
        return "Use a newer Tarn, or another directory; a training leaves them unused with --from-scratch "
               "(from_scratch in C).";
    if (newer)
        return "Use a newer Tarn, put back a good copy, or, to train without them, start over with --from-scratch "
               "(from_scratch in C).";
    return "Put back a good copy, or, to train without them, start over with --from-scratch (from_scratch in C).";
}

static bool verify_alone(void *user, tarn_checkpoint_found *found, int64_t step, tarn_problem *problem)
{
    (void)user, (void)step;
    return tarn_checkpoint_verify(found, true, problem);
}

tarn_status tarn_checkpoint_open_newest(tarn_checkpoint_reader **reader, tarn_checkpoint_found *found,
                                        tarn_context *context, const char *directory)
{
    return tarn_checkpoint_open_newest_by(reader, found, context, directory, verify_alone, NULL);
}

tarn_status tarn_checkpoint_open_newest_by(tarn_checkpoint_reader **reader, tarn_checkpoint_found *found,
                                           tarn_context *context, const char *directory,
                                           tarn_checkpoint_verifier *verifier, void *user)
{
    *reader = NULL;
    int64_t *steps;
    int count, newer = 0;
    tarn_problem problem;
    if (!tarn_checkpoint_scan(&steps, &count, directory, &problem))
        return tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "checkpoint: %s", problem.text);
    char broken[1400] = "";
    for (int i = 0; i < count; i++) {
        if (!tarn_checkpoint_find(found->path, directory, steps[i])) continue;
        bool opened = verifier(user, found, steps[i], &problem) &&
                      tarn_checkpoint_reader_open(reader, found->path, found->parts, &problem);
        if (opened && found->header.step != steps[i]) {
            tarn_problem_set(&problem, 0, "it is the checkpoint of step %" PRId64 " under another name",
                             found->header.step);
            tarn_checkpoint_reader_close(*reader);
            *reader = NULL;
            opened = false;
        }
        if (opened) {
            free(steps);
            return TARN_OK;
        }
        tarn_log(context, TARN_LOG_WARN, "checkpoint: %s is not used: %s", found->path, problem.text);
        add_to_list(broken, sizeof broken, found->path, &problem);
        newer += problem.newer;
    }
    free(steps);
    if (!count) return TARN_OK;
    return tarn_fail(context, TARN_ERROR_FORMAT, TARN_HERE,
                     "checkpoint: none of the %d checkpoint%s in %s can be used:%s\n%s", count, count == 1 ? "" : "s",
                     directory, broken, remedy(count, newer));
}

tarn_status tarn_checkpoint_open_path(tarn_checkpoint_reader **reader, tarn_checkpoint_found *found,
                                      tarn_context *context, const char *path)
{
    *reader = NULL;
    struct stat info;
    if (stat(path, &info))
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "checkpoint: %s: %s; name a directory of checkpoints or one of its files", path,
                         strerror(errno));
    char manifest[TARN_CHECKPOINT_PATH];
    bool parts = tarn_checkpoint_path(manifest, path, "MANIFEST") && !access(manifest, F_OK);
    if (S_ISDIR(info.st_mode) && !parts) {
        tarn_status status = tarn_checkpoint_open_newest(reader, found, context, path);
        if (status || *reader) return status;
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "checkpoint: %s holds no checkpoint (files named ckpt-<step>.h5, or folders ckpt-<step>)",
                         path);
    }
    tarn_problem problem;
    if (strlen(path) >= sizeof found->path)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "checkpoint: the path is too long");
    strcpy(found->path, path);
    if (tarn_checkpoint_open_verified(reader, found, false, &problem)) return TARN_OK;
    return tarn_fail(context, TARN_ERROR_FORMAT, TARN_HERE, "checkpoint: %s cannot be used: %s", path, problem.text);
}
