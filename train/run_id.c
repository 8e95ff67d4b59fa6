/* run_id.c - which tracking run a run goes on with that was killed before its first checkpoint.
 *
 * A checkpoint holds the id of its run. Before there is one, the id is chosen and written down, durably, before the
 * record itself is made: `tracking-run` in the checkpoint directory, with the digest of the fingerprint it belongs to.
 * A start that finds no checkpoint goes on with it, so that the steps it computes again are those of the same record.
 *
 * Invariants
 *  1. Rank 0 alone, under the lock of the directory.
 *  2. The file is written before the run is made in the store, and goes when a checkpoint is durable.
 *  3. A run with another fingerprint, or from scratch, never takes it.
 */
#include "runtime/base/sha256.h"
#include "track/address.h"
#include "track/environment.h"
#include "track/files.h"
#include "train/trainer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ID_DIGITS = 32, LINES = ID_DIGITS + 1 + 2 * TARN_SHA256_BYTES + 1 };

static bool path_of(const tarn_trainer *trainer, const char *name, char out[PATH_MAX])
{
    return snprintf(out, PATH_MAX, "%s/%s", trainer->options.checkpoint_directory, name) < PATH_MAX;
}

static bool digest_of(const tarn_trainer *trainer, char out[65])
{
    uint8_t digest[TARN_SHA256_BYTES];
    tarn_sha256 *sha = tarn_sha256_create();
    if (!sha) return false;
    tarn_sha256_update(sha, trainer->fingerprint, strlen(trainer->fingerprint));
    if (!tarn_sha256_finish(sha, digest)) return false;
    tarn_sha256_hex(digest, out);
    return true;
}

/* The id in the file, when it is whole and of this run. */
static bool read_id(const char *path, const char *digest, char id[ID_DIGITS + 1])
{
    char text[LINES + 1] = "";
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = file >= 0 ? read(file, text, LINES) : -1;
    if (file >= 0) close(file);
    if (got != LINES || text[ID_DIGITS] != '\n' || text[LINES - 1] != '\n') return false;
    memcpy(id, text, ID_DIGITS);
    id[ID_DIGITS] = '\0';
    return tarn_track_is_run_id(id) && !memcmp(text + ID_DIGITS + 1, digest, 64);
}

static bool write_id(const tarn_trainer *trainer, const char *path, const char *digest, const char *id)
{
    char temporary[PATH_MAX], text[LINES + 1];
    if (!path_of(trainer, ".tmp-tracking-run", temporary)) return false;
    snprintf(text, sizeof text, "%s\n%s\n", id, digest);
    if (tarn_file_put_synced(path, temporary, text, LINES)) return false;
    /* Where that is not possible the name is as durable as it gets. */
    (void)tarn_folder_sync(trainer->options.checkpoint_directory);
    return true;
}

void tarn_trainer_plan_run_id(tarn_trainer *trainer)
{
    char path[PATH_MAX], digest[65], id[ID_DIGITS + 1];
    if (!trainer->store || tarn_rank(trainer->context) != 0 || trainer->run_id[0]) return;
    if (!path_of(trainer, "tracking-run", path) || !digest_of(trainer, digest)) return;
    if (trainer->options.from_scratch || !read_id(path, digest, id)) {
        if (tarn_environment_new_id(id)) return;
        if (!write_id(trainer, path, digest, id)) {
            tarn_log(trainer->context, TARN_LOG_WARN,
                     "%s: %s: if the run is killed before its first checkpoint, its next start begins another record",
                     path, strerror(errno));
            return;
        }
    }
    snprintf(trainer->run_id, sizeof trainer->run_id, "%s", id);
}

void tarn_trainer_forget_planned_run_id(const tarn_trainer *trainer)
{
    char path[PATH_MAX];
    if (tarn_rank(trainer->context) == 0 && path_of(trainer, "tracking-run", path)) unlink(path);
}
