/* shared.c - see shared.h. Rank 0 makes a file, the first rank of every other host looks for it. */
#include "checkpoint/shared.h"
#include "checkpoint/files.h"
#include "runtime/base/context.h"
#include "runtime/base/host.h"
#include "runtime/dist/control.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { HOST_BYTES = 64 };

/* Network file systems show a new file to other hosts after a moment: their caches of a directory are trusted for some
 * seconds. Opening the directory asks the server again, so this is mostly over at the first look. */
#define LOOK_SECONDS  5.0
#define PAUSE_SECONDS 0.1

/* What every rank learns from rank 0. */
typedef struct announcement {
    uint64_t nonce; /* 0: the file could not be made */
    char host[HOST_BYTES];
} announcement;

static bool probe_path(char path[TARN_CHECKPOINT_PATH], const char *directory, uint64_t nonce)
{
    /* swept away by the next run that opens the directory, should this one die before it removes it */
    return tarn_checkpoint_path(path, directory, ".tmp-shared-%016" PRIx64, nonce);
}

static tarn_status make_file(tarn_context *context, const char *directory, uint64_t *nonce)
{
    char path[TARN_CHECKPOINT_PATH];
    uint64_t drawn = 0;
    while (!drawn)
        if (getrandom(&drawn, sizeof drawn, 0) != sizeof drawn && errno != EINTR) break;
    int file =
        drawn && probe_path(path, directory, drawn) ? open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644) : -1;
    if (file < 0)
        return tarn_fail(context, TARN_ERROR_IO, TARN_HERE,
                         "checkpoint.dir %s: a file for the other hosts to look for cannot be made: %s", directory,
                         strerror(errno));
    close(file);
    *nonce = drawn;
    return TARN_OK;
}

static bool sees(const char *directory, uint64_t nonce)
{
    char path[TARN_CHECKPOINT_PATH];
    if (!probe_path(path, directory, nonce)) return false;
    double begin = tarn_seconds();
    for (;;) {
        DIR *folder = opendir(directory);
        bool found = folder && !access(path, F_OK);
        if (folder) closedir(folder);
        if (found) return true;
        if (tarn_seconds() - begin > LOOK_SECONDS) return false;
        tarn_sleep(PAUSE_SECONDS);
    }
}

/* Every rank gets the names of the hosts that see nothing, one a rank, "" for those that do. */
static tarn_status gather_blind(tarn_context *context, char *names, bool blind)
{
    tarn_comm *comm = tarn_get_comm(context);
    int64_t *offsets = malloc(((size_t)comm->ranks + 1) * sizeof *offsets);
    tarn_status status = offsets ? TARN_OK : tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "checkpoint: no memory");
    status = tarn_agree(context, status, "comparing the hosts' checkpoint directories");
    if (!status) {
        for (int rank = 0; rank <= comm->ranks; rank++) offsets[rank] = (int64_t)rank * HOST_BYTES;
        if (blind) tarn_host_name(names + (size_t)comm->rank * HOST_BYTES, HOST_BYTES);
        tarn_request request = 0;
        status = comm->gather_all(comm, names, offsets, &request);
        if (!status) status = tarn_comm_wait(comm, &request, "comparing the hosts' checkpoint directories");
    }
    free(offsets);
    return status;
}

/* The same words on every rank. */
static tarn_status name_blind(tarn_context *context, const char *directory, const announcement *announced,
                              const char *names)
{
    char list[512] = "";
    size_t used = 0;
    int blind = 0, shown = 0, ranks = tarn_ranks(context);
    for (int rank = 0; rank < ranks; rank++) {
        const char *name = names + (size_t)rank * HOST_BYTES;
        if (!*name) continue;
        blind++;
        if (used + 2 * HOST_BYTES > sizeof list) continue;
        shown++;
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s (rank %d)", used ? ", " : "", name, rank);
    }
    if (!blind) return TARN_OK;
    if (blind > shown) snprintf(list + used, sizeof list - used, " and %d more", blind - shown);
    tarn_fail(
        context, TARN_ERROR_CONFIG, TARN_HERE,
        "checkpoint.dir %s is not shared: the files that host %s (rank 0) writes there are not seen on host%s %s. "
        "A restart with rank 0 on another host would not find the checkpoints and would begin anew. Choose a "
        "directory on a file system that all hosts mount under this name, or, when rank 0 always runs on the same "
        "host, say checkpoint.shared=false (checkpoint_unshared in C)",
        directory, announced->host, blind == 1 ? "" : "s", list);
    tarn_error_agree(context);
    return TARN_ERROR_CONFIG;
}

tarn_status tarn_checkpoint_check_shared(tarn_context *context, const char *directory)
{
    tarn_comm *comm = tarn_get_comm(context);
    if (comm->local_ranks == comm->ranks) return TARN_OK; /* on every rank alike */
    announcement announced = {0};
    tarn_status status = TARN_OK;
    char *names = calloc((size_t)comm->ranks, HOST_BYTES);
    if (!names) status = tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "checkpoint: no memory");
    if (!status && comm->rank == 0) {
        tarn_host_name(announced.host, sizeof announced.host);
        status = make_file(context, directory, &announced.nonce);
    }
    status = tarn_agree(context, status, "making a file for the other hosts to look for");
    if (!status)
        status = tarn_comm_broadcast(comm, &announced, sizeof announced, 0, "telling the hosts which file to look for");
    /* Rank 0 is the first of its own host. */
    bool blind = !status && comm->rank != 0 && comm->local_rank == 0 && !sees(directory, announced.nonce);
    if (!status) status = gather_blind(context, names, blind);
    /* All have looked: the gathering was a barrier. */
    char path[TARN_CHECKPOINT_PATH];
    if (comm->rank == 0 && announced.nonce && probe_path(path, directory, announced.nonce)) unlink(path);
    if (!status) status = name_blind(context, directory, &announced, names);
    free(names);
    return status;
}
