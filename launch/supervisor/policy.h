/* policy.h - what happens after a launch has ended: a pure function of how it ended and of what came before.
 *
 * Invariants
 *  1. Finished is finished: exit 0, whatever was asked meanwhile.
 *  2. Once a stop was asked, nothing is started again: exit 75, the run can be resumed.
 *  3. What the user wrote is wrong (exit 2 before the first step) is told once and not tried again.
 *     So are errors that the same files and options bring again (broken checkpoints, what is not supported), and an i/o
 *     error on opening things that comes twice in the same words, as long as no launch has made a step: 1. After a
 *     step anything may be the machine's fault, and is tried again.
 *  4. Progress is a step beyond the highest ever reached. It forgets stalled restarts and the back-off; without it
 *     every restart waits longer, up to a minute, and --max-stalled of them end the run.
 *  5. A checkpoint is put aside only after errors or crashes of the program itself, three in a row from it without a
 *     step, when there is an older one; and not again before the run got further than ever, unless it is an older one.
 *     So putting aside ends, and kills from outside never cost a checkpoint.
 *  6. A directory that another run holds is waited for, by the clock, for half a minute since it was first found held;
 *     then the run ends with 2: two runs on one directory are what the user wrote.
 */
#ifndef TARN_SUPERVISOR_POLICY_H
#define TARN_SUPERVISOR_POLICY_H

#include <stdbool.h>
#include <stdint.h>

typedef enum tarn_end {
    TARN_END_EXIT,   /* every process ended by itself; number = exit code */
    TARN_END_SIGNAL, /* a rank was ended by a signal; number = it */
    TARN_END_HUNG,   /* a rank hung and the launch was killed */
    TARN_END_LOST    /* a rank, the launcher or a host went away, nobody knows why */
} tarn_end;

typedef struct tarn_outcome {
    tarn_end end;
    int number;
    bool stop_asked;          /* by a signal to the supervisor */
    bool regrow_asked;        /* by the supervisor, to start with more ranks */
    bool own_host_leaves;     /* a spot notice names the supervisor's host */
    bool directory_busy;      /* another run still holds the checkpoint directory */
    bool permanent;           /* a rank told an error that the same files and options bring again */
    bool told_again;          /* an i/o error before any checkpoint was opened, word for word that of the last launch */
    bool apart;               /* the ranks waited for each other, or never all joined */
    bool older_checkpoint;    /* there is one before that of `resumed` */
    int64_t resumed, reached; /* steps, -1 when none was told */
    double ended;             /* tarn_seconds */
} tarn_outcome;

typedef struct tarn_policy {
    /* set once */
    int max_restarts;     /* after failures; negative: no limit */
    int max_stalled;      /* 0: no limit */
    double first_backoff; /* seconds */
    /* kept from launch to launch, and by the status file from supervisor to supervisor */
    int64_t highest; /* step ever reached, -1 before */
    int restarts, stalled;
    /* kept from launch to launch */
    bool worked;         /* some launch made a step */
    bool restarted;      /* the launch that ended was a restart */
    double backoff;      /* of the last failure, 0 after progress */
    double busy_since;   /* when another run's directory was first found held, in a row; negative: it was not */
    double busy_pause;   /* seconds before the last try of that row */
    int64_t failed_from; /* checkpoint the last failures resumed from, -1 none */
    int failures_from;
    int64_t put_aside, put_aside_highest; /* the last quarantine: its step and the highest step then; -1 none */
} tarn_policy;

typedef enum tarn_action { TARN_END_RUN, TARN_RESTART, TARN_QUARANTINE_AND_RESTART } tarn_action;

typedef struct tarn_decision {
    tarn_action action;
    int exit_code;    /* of TARN_END_RUN */
    double delay;     /* seconds before the restart */
    bool failure;     /* counted as one */
    bool progress;    /* the launch got further than any before */
    const char *word; /* "finished", "stopped", "refused", "permanent", "stalled", "restarts", "preempted", "busy",
                         "held", "regrow", "failed" */
} tarn_decision;

/* Seconds for which a directory that another run holds is waited for: a killed supervisor's ranks are gone by then. */
extern const double tarn_policy_busy_limit;

void tarn_policy_start(tarn_policy *policy, int max_restarts, int max_stalled, double first_backoff);
tarn_decision tarn_policy_decide(tarn_policy *policy, const tarn_outcome *outcome);

#endif
