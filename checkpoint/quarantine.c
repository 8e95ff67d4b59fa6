/* quarantine.c - see quarantine.h. */
#include "checkpoint/quarantine.h"
#include "checkpoint/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Whether the directory has a valid checkpoint of another step. */
static bool another_is_valid(const char *directory, int64_t step, bool *valid, tarn_problem *problem)
{
    int64_t *steps;
    int count;
    *valid = false;
    if (!tarn_checkpoint_scan(&steps, &count, directory, problem)) return false;
    tarn_checkpoint_found *found = malloc(sizeof *found);
    tarn_problem broken;
    for (int i = 0; found && i < count && !*valid; i++)
        *valid = steps[i] != step && tarn_checkpoint_find(found->path, directory, steps[i]) &&
                 tarn_checkpoint_verify(found, true, &broken) && found->header.step == steps[i];
    free(steps);
    bool done = found != NULL;
    free(found);
    return done ? true : tarn_problem_set(problem, ENOMEM, "out of memory");
}

bool tarn_checkpoint_quarantine(const char *directory, int64_t step, tarn_problem *problem)
{
    char path[TARN_CHECKPOINT_PATH], aside[TARN_CHECKPOINT_PATH];
    bool valid;
    if (!tarn_checkpoint_find(path, directory, step))
        return tarn_problem_set(problem, ENAMETOOLONG, "%s: too long a name", directory);
    if (access(path, F_OK))
        return tarn_problem_set(problem, errno, "%s cannot be set aside: %s", path, strerror(errno));
    if (!another_is_valid(directory, step, &valid, problem)) return false;
    if (!valid)
        return tarn_problem_set(problem, 0,
                                "%s is not set aside: no other checkpoint of %s is valid, and the run would have to "
                                "start over",
                                path, directory);
    if (!tarn_checkpoint_name_aside(aside, directory, "quarantined", step, tarn_checkpoint_is_folder(path)))
        return tarn_problem_set(problem, EEXIST, "%s: no name is left to set it aside under", path);
    if (rename(path, aside))
        return tarn_problem_set(problem, errno, "renaming %s to %s: %s", path, aside, strerror(errno));
    return tarn_checkpoint_sync_directory(directory, problem);
}
