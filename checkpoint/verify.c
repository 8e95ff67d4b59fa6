/* verify.c - see verify.h. */
#include "checkpoint/verify.h"
#include "checkpoint/image.h"

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

bool tarn_checkpoint_verify(tarn_checkpoint_found *found, bool contents, tarn_problem *problem)
{
    found->bytes = 0;
    memset(&found->header, 0, sizeof found->header);
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

static bool verify_state(tarn_hdf5_file *file, const tarn_checkpoint_found *found, tarn_problem *problem)
{
    uint8_t digest[TARN_SHA256_BYTES];
    tarn_sha256 *sha = tarn_sha256_create();
    if (!sha) return tarn_problem_set(problem, ENOMEM, "no memory to verify it");
    bool done = true;
    for (int i = 0; done && i < tarn_hdf5_count(file); i++) {
        const tarn_hdf5_dataset *dataset = tarn_hdf5_at(file, i);
        if (!dataset->in_digest) continue;
        void *data = malloc((size_t)dataset->bytes + 1);
        done = data ? tarn_hdf5_read(file, dataset, data, problem)
                    : tarn_problem_set(problem, ENOMEM, "no memory to verify its dataset %s", dataset->name);
        if (done)
            tarn_checkpoint_digest_entry(sha, dataset->name, dataset->dtype, dataset->ndim, dataset->shape, data,
                                         dataset->bytes);
        free(data);
    }
    if (!tarn_sha256_finish(sha, digest) && done)
        done = tarn_problem_set(problem, 0, "OpenSSL could not compute a SHA-256");
    if (done && memcmp(digest, found->header.state_digest, sizeof digest))
        done = tarn_problem_set(problem, 0, "the digest of its training state is not the one its header holds");
    return done;
}

bool tarn_checkpoint_open_verified(tarn_hdf5_file **file, tarn_checkpoint_found *found, bool state,
                                   tarn_problem *problem)
{
    *file = NULL;
    if (!tarn_checkpoint_verify(found, true, problem) || !tarn_hdf5_open(file, found->path, problem)) return false;
    if (!state || verify_state(*file, found, problem)) return true;
    tarn_hdf5_close(*file);
    *file = NULL;
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

tarn_status tarn_checkpoint_open_newest(tarn_hdf5_file **file, tarn_checkpoint_found *found, tarn_context *context,
                                        const char *directory)
{
    *file = NULL;
    int64_t *steps;
    int count;
    tarn_problem problem;
    if (!tarn_checkpoint_scan(&steps, &count, directory, &problem))
        return tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "checkpoint: %s", problem.text);
    char broken[1400] = "";
    for (int i = 0; i < count; i++) {
        if (!tarn_checkpoint_file(found->path, directory, steps[i])) continue;
        bool opened = tarn_checkpoint_open_verified(file, found, false, &problem);
        if (opened && found->header.step != steps[i]) {
            tarn_problem_set(&problem, 0, "it is the checkpoint of step %" PRId64 " under another name",
                             found->header.step);
            tarn_hdf5_close(*file);
            *file = NULL;
            opened = false;
        }
        if (opened) {
            free(steps);
            return TARN_OK;
        }
        tarn_log(context, TARN_LOG_WARN, "checkpoint: %s is not used: %s", found->path, problem.text);
        add_to_list(broken, sizeof broken, found->path, &problem);
    }
    free(steps);
    if (!count) return TARN_OK;
    return tarn_fail(context, TARN_ERROR_FORMAT, TARN_HERE,
                     "checkpoint: none of the %d checkpoint%s in %s can be used:%s\nPut back a good copy, or move them "
                     "away to start over.",
                     count, count == 1 ? "" : "s", directory, broken);
}

tarn_status tarn_checkpoint_open_path(tarn_hdf5_file **file, tarn_checkpoint_found *found, tarn_context *context,
                                      const char *path)
{
    *file = NULL;
    struct stat info;
    if (stat(path, &info))
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "checkpoint: %s: %s; name a directory of checkpoints or one of its files", path,
                         strerror(errno));
    if (S_ISDIR(info.st_mode)) {
        tarn_status status = tarn_checkpoint_open_newest(file, found, context, path);
        if (status || *file) return status;
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "checkpoint: %s holds no checkpoint (files named ckpt-<step>.h5)", path);
    }
    tarn_problem problem;
    if (strlen(path) >= sizeof found->path)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "checkpoint: the path is too long");
    strcpy(found->path, path);
    if (tarn_checkpoint_open_verified(file, found, false, &problem)) return TARN_OK;
    return tarn_fail(context, TARN_ERROR_FORMAT, TARN_HERE, "checkpoint: %s cannot be used: %s", path, problem.text);
}
