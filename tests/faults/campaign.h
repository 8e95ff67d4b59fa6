/* campaign.h - the campaigns of the fault suite: each tries a kind of fault at every point, judges what is left, counts
 * violations of the invariants of docs/internals/faults.md.
 */
#ifndef TARN_TESTS_FAULTS_CAMPAIGN_H
#define TARN_TESTS_FAULTS_CAMPAIGN_H

#include "tests/faults/fault_io.h"
#include "tests/faults/pool.h"
#include "tests/faults/tree.h"

typedef struct fault_campaign {
    fault_options options;
    const char *base; /* a folder of its own for temporary files; a RAM disk where there is one */
    int workers;
    bool long_form;
    int64_t stride; /* only every so manieth point; 1: all */
    uint64_t seed;
    bool no_file_sync, no_directory_sync; /* the writer is weakened */
    bool verbose;                         /* every violation is printed, not the first few */
} fault_campaign;

/* Points tried, and of them those that violate an invariant, by its number. */
typedef struct fault_tally {
    int64_t points, violations;
    int64_t wrong;     /* I1: other bytes than the golden ones were believed */
    int64_t lost;      /* I2: an acknowledged step is not there */
    int64_t refused;   /* I3: nothing can be loaded although a valid state must be there */
    int64_t diverged;  /* I4: going on leads to another end, or saving fails */
    int64_t leftovers; /* I5: temporary files are left */
    int64_t crashed;   /* I6: the loader or the writer crashed or hung */
    int64_t best;      /* I7: best.h5 is damaged, or older than acknowledged */
    int64_t stuck;     /* I8: one fault cost more than one save, or a short write cost one */
    int64_t moved;     /* I9: the same number was another call */
} fault_tally;

/* Adds a verdict; what must hold is in verdict->progress. `what` names the point. */
void fault_count(const fault_campaign *campaign, fault_tally *tally, const fault_verdict *verdict, const char *what);
void fault_add(fault_tally *sum, const fault_tally *more);
/* "kill: 120 points, 0 violations" with what they are. */
void fault_print(const char *name, const fault_tally *tally);

/* What a directory holds before the scenario begins. */
fault_tree fault_prepare(const fault_campaign *campaign);
/* Forks a child that trains by the scenario in FOLDER/run under a plan whose directory is FOLDER; *progress is what it
 * did. Returns as waitpid's status. */
int fault_run_child(const fault_campaign *campaign, const fault_tree *before, const char *folder, tarn_fault_plan plan,
                    fault_progress *progress);

/* Kill, torn write, EIO, ENOSPC, short write at every call that changes the directory. */
fault_tally fault_campaign_io(const fault_campaign *campaign);
/* Truncation, zeroing, flips, swaps of what is on the medium. */
fault_tally fault_campaign_media(const fault_campaign *campaign);
/* Loss of power after every call. */
fault_tally fault_campaign_power(const fault_campaign *campaign);

#endif
