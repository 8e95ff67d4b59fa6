/* budget.c - does a checkpoint fit into the grace of a spot notice?
 *
 * When the notice comes, a step is under way and the checkpoint before may still be being written; then the last one
 * follows: step + checkpoint + checkpoint. They should take no more than 0.6 of the grace, since the notice is seen up
 * to one poll late and machines are slow at their end.
 *
 * A checkpoint's time is measured at the start, before any was written: the state itself (zeros could be compressed or
 * left out by the file system) is hashed, written and synced once to a file in the checkpoint directory that is removed
 * at once. Of large states only the beginning is written, so that the start is not held up. Later the time of the last
 * real checkpoint takes its place.
 */
#include "checkpoint/parts.h"
#include "runtime/base/sha256.h"
#include "runtime/base/write.h"
#include "train/spot/spot_internal.h"
#include "train/trainer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SHARE_OF_GRACE 0.6
#define PROBE_BYTES    ((int64_t)256 << 20)
/* The first steps allocate, load code and read data for the first time. */
#define WARM_UP_STEPS 3

/* Hashes and writes the state up to PROBE_BYTES. */
static bool write_state(const tarn_trainer *trainer, int file, int64_t *written, int64_t *total)
{
    uint8_t digest[TARN_SHA256_BYTES];
    tarn_sha256 *sha = tarn_sha256_create();
    bool done = sha;
    *written = *total = 0;
    for (int i = 0; i < trainer->entry_count; i++) {
        const tarn_checkpoint_entry *entry = &trainer->entries[i];
        int64_t bytes = tarn_checkpoint_state_bytes(entry, 1);
        *total += bytes;
        if (bytes > PROBE_BYTES - *written) bytes = PROBE_BYTES - *written;
        if (!done || bytes <= 0) continue;
        tarn_sha256_update(sha, entry->data, (size_t)bytes);
        done = tarn_write_all(file, entry->data, (size_t)bytes);
        *written += bytes;
    }
    int error = errno;
    tarn_sha256_finish(sha, digest);
    errno = error;
    return done && !fsync(file);
}

double tarn_spot_probe(tarn_trainer *trainer)
{
    char path[PATH_MAX];
    int64_t written = 0, total = 0;
    /* a name that opening the directory sweeps away, should this process die now */
    snprintf(path, sizeof path, "%s/.tmp-spot-probe", trainer->options.checkpoint_directory);
    unlink(path);
    double begin = tarn_seconds();
    int file = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    bool done = file >= 0 && write_state(trainer, file, &written, &total);
    double seconds = tarn_seconds() - begin;
    int error = errno;
    if (file >= 0) {
        close(file);
        unlink(path);
    }
    if (!done) {
        tarn_log(trainer->context, TARN_LOG_WARN,
                 "spot: how long a checkpoint takes could not be measured in %s: %s. A checkpoint may fail there too: "
                 "see to that disk",
                 trainer->options.checkpoint_directory, strerror(error));
        return -1;
    }
    return written ? seconds * (double)total / (double)written : seconds;
}

static void warn_when_too_long(tarn_spot *spot)
{
    double needed = spot->step_seconds + 2 * spot->save_seconds;
    if (spot->warned || spot->save_seconds < 0 || needed <= SHARE_OF_GRACE * spot->grace) return;
    spot->warned = true;
    tarn_log(
        spot->context, TARN_LOG_WARN,
        "spot: a notice leaves %.3g s, of which %.3g s are counted on, but a step (%.3g s) and two checkpoints (%.3g "
        "s each: one may be under way) take %.3g s: the last checkpoint may not be finished in time, and the run "
        "then goes on from the one before. A faster disk for checkpoint.dir makes it shorter, and so do more "
        "writers (checkpoint.parts); a smaller checkpoint.every does not, but less is lost then. If this "
        "provider gives more time, say so with spot_grace",
        spot->grace, SHARE_OF_GRACE * spot->grace, spot->step_seconds, spot->save_seconds, needed);
}

void tarn_spot_budget_start(tarn_spot *spot, double save_seconds)
{
    spot->save_seconds = save_seconds;
    warn_when_too_long(spot);
}

void tarn_spot_step_done(tarn_spot *spot, double step_seconds, double persist_seconds)
{
    if (!spot->keeps_budget || spot->warned) return;
    if (spot->steps++ >= WARM_UP_STEPS && step_seconds > spot->step_seconds) spot->step_seconds = step_seconds;
    if (persist_seconds > 0) spot->save_seconds = persist_seconds;
    warn_when_too_long(spot);
}
