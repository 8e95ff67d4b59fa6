/* subject.h - what the fault suite is run against: a made-up training that saves through a store of checkpoints, and
 * two careless ways of saving that serve as negative controls.
 *
 * The training is a chain: the state of step n + 1 is a function of all bytes of the state of step n, so that a wrong
 * byte that was loaded once shows in every later state. A life is a chain from its own beginning; golden states are
 * known for each life and step.
 */
#ifndef TARN_TESTS_FAULTS_SUBJECT_H
#define TARN_TESTS_FAULTS_SUBJECT_H

#include "checkpoint/store.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum fault_subject_kind {
    SUBJECT_STORE,       /* tarn_checkpoint_store */
    SUBJECT_IN_PLACE,    /* control: one file, overwritten, synced; whatever is found there is believed */
    SUBJECT_RENAME_FIRST /* control: temporary file, rename, then fsync; believed when its length is right */
} fault_subject_kind;

/* What the process under test does. */
typedef enum fault_scenario {
    /* Life 1 from nothing to FAULT_LAST_STEP: one checkpoint per step, 2 are kept, best at steps 2 and 4. */
    SCENARIO_SERIES,
    /* Life 2 begins anew where life 1 went to its end, among a broken checkpoint of a later step and a temporary file.
     */
    SCENARIO_BACK,
    /* The last checkpoint of life 1 is set aside by the supervisor. */
    SCENARIO_QUARANTINE
} fault_scenario;

#define FAULT_LIVES     2
#define FAULT_LAST_STEP 5

typedef struct fault_state {
    float weight[1100], moment[1100];
    int64_t step, life;
    uint8_t bytes[777];
    char config[6007]; /* no padding behind it; a text, longer than 4 KiB from step 3 on */
} fault_state;

/* Shared between the process under test and the one that judges; survives a SIGKILL of the first. */
typedef struct fault_progress {
    int64_t life, step;           /* acknowledged last; 0: nothing */
    int64_t best_life, best_step; /* acknowledged as the best */
    int64_t failed;               /* saves that failed */
    bool finished;
    int64_t calls;
    char hit[128];
    char message[256]; /* of the first save that failed */
} fault_progress;

/* How tarn_checkpoint_save is used. */
typedef struct fault_options {
    fault_subject_kind kind;
    fault_scenario scenario;
    bool in_background; /* the writer thread works under the next step; only the store knows that */
    int parts;          /* of each checkpoint; 0: as the store chooses, which is one file */
    bool loud;          /* prints "acknowledged STEP" */
} fault_options;

/* What a loader found in a directory. */
typedef struct fault_verdict {
    int signal;          /* that ended the loader (SIGALRM: it hung); 0 */
    bool done;           /* the loader came to its end */
    bool found, refused; /* neither: it would begin anew */
    bool wrong;          /* the state is none of the golden ones of its step */
    bool wrong_end;      /* going on from there led to another end */
    bool best_broken;    /* best.h5 is there and not what it should be */
    int64_t best_life, best_step;
    int leftovers; /* temporary files after the store was opened */
    int64_t life, step;
    fault_progress progress; /* of the process under test, where there was one */
    bool moved;              /* the call that was hit is not the one of that number in the list */
    int bad_exit;            /* how the process under test ended, when that is wrong: signal, or 256 + exit code */
    char message[200];
} fault_verdict;

/* Trains by the scenario in `directory`, which need not exist. Returns 0, or 1 when the store could not be opened.
 * Saves that fail are passed over, as training does. */
int fault_train(const fault_options *options, const char *directory, fault_progress *progress);
/* Loads what is there, compares, and when `go_on` trains from there to the end, with checkpoints, and loads again. */
void fault_judge(const fault_options *options, const char *directory, bool go_on, fault_verdict *verdict);
/* SHA-256 of the golden state, for people. */
void fault_golden_digest(int64_t life, int64_t step, char out[65]);
const fault_state *fault_golden(int64_t life, int64_t step);

#endif
