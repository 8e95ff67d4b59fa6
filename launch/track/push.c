/* push.c - `tarn track push`: publishes spools, of one run or of many. */
#include "launch/track/track.h"
#include "track/spool.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A folder that holds the events of a run. */
static bool is_spool(const char *folder)
{
    int64_t *first = NULL;
    int count = tarn_spool_segments(folder, &first);
    free(first);
    return count > 0;
}

/* False: not all of it is published. */
static bool push_one(const char *folder, const tarn_track_options *options)
{
    tarn_spool_pushed pushed;
    memset(&pushed, 0, sizeof pushed);
    const char *slash = strrchr(folder, '/'), *name = slash ? slash + 1 : folder;
    tarn_status status = tarn_spool_push(folder, options, &pushed);
    if (!status && !pushed.behind && !pushed.lost) {
        if (pushed.events)
            printf("%s: published, %" PRId64 " event%s\n", name, pushed.events, pushed.events == 1 ? "" : "s");
        else
            printf("%s: everything was published already\n", name);
        if (pushed.corrupt)
            printf("%s: %" PRId64 " damaged line%s left out\n", name, pushed.corrupt,
                   pushed.corrupt == 1 ? " was" : "s were");
        return true;
    }
    fflush(stdout);
    if (status)
        tarn_track_say("push", "%s: %s", name, *pushed.problem ? pushed.problem : tarn_status_name(status));
    else
        tarn_track_say("push", "%s: %" PRId64 " events published, %" PRId64 " wait, %" PRId64 " were refused: %s%s",
                       name, pushed.events, pushed.behind, pushed.lost, pushed.problem,
                       pushed.behind ? "; push again later: what is there is not sent twice" : "");
    return false;
}

/* Pushes the spools in a directory; returns how many there are, -1 where it cannot be read. */
static int push_all(const char *directory, const tarn_track_options *options, int *failed)
{
    struct dirent **entries;
    int count = scandir(directory, &entries, NULL, alphasort), found = 0;
    if (count < 0) return -1;
    for (int i = 0; i < count; i++) {
        tarn_path folder;
        if (tarn_track_is_run_id(entries[i]->d_name) &&
            !tarn_path_make(folder, "%s/%s", directory, entries[i]->d_name) && is_spool(folder)) {
            found++;
            *failed += !push_one(folder, options);
        }
        free(entries[i]);
    }
    free(entries);
    return found;
}

int tarn_track_push(const tarn_track_arguments *arguments)
{
    tarn_track_place place;
    tarn_path store;
    const char *directory = arguments->word[0];
    bool other = arguments->tensorboard || arguments->wandb;
    if (!(other && arguments->store && !strcmp(arguments->store, "none")) &&
        !tarn_track_where("push", arguments->store, &place, store))
        return TARN_TRACK_WRONG;
    tarn_track_options options = {.store = arguments->store,
                                  .experiment = arguments->experiment,
                                  .name = arguments->name,
                                  .tensorboard = arguments->tensorboard,
                                  .wandb = arguments->wandb,
                                  .flush_timeout = arguments->wait > 0 ? arguments->wait : -1};
    if (is_spool(directory)) return push_one(directory, &options) ? TARN_TRACK_FINE : TARN_TRACK_FAILED;
    tarn_path below; /* a directory of checkpoints has them in spool/ */
    int failed = 0, found = push_all(directory, &options, &failed);
    if (!found && !tarn_path_make(below, "%s/spool", directory)) found = push_all(below, &options, &failed);
    if (found > 0) return failed ? TARN_TRACK_FAILED : TARN_TRACK_FINE;
    if (access(directory, R_OK | X_OK)) {
        tarn_track_say("push", "%s: %s", directory, strerror(errno));
        return TARN_TRACK_WRONG;
    }
    tarn_track_say("push",
                   "%s is no spool and holds none: give the directory that the run wrote to (track.spool; the "
                   "directory of checkpoints, else tarn-spool)",
                   directory);
    return TARN_TRACK_WRONG;
}
