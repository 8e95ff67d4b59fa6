/* supervisor_internal.h - what the parts of the supervisor's loop share. */
#ifndef TARN_SUPERVISOR_INTERNAL_H
#define TARN_SUPERVISOR_INTERNAL_H

#include "launch/supervisor/errands.h"
#include "launch/supervisor/hosts.h"
#include "launch/supervisor/hub.h"
#include "launch/supervisor/job.h"
#include "launch/supervisor/policy.h"
#include "launch/supervisor/status.h"
#include "launch/supervisor/supervisor.h"
#include "launch/supervisor/voice.h"
#include "launch/supervisor/workspace.h"

typedef struct tarn_supervisor {
    const tarn_run_request *request;
    tarn_hub hub;
    tarn_policy policy;
    tarn_run_status status;
    tarn_hosts hosts;
    tarn_workspace workspace;
    tarn_job job;
    int signals;                          /* signalfd */
    int wakes;                            /* epoll: signals, and errands that are done */
    tarn_errands files;                   /* what may wait for a disk */
    tarn_status_file status_file;         /* the thread of errands' */
    bool writing, write_again;            /* a text of the status file is under way; and is no longer the latest */
    bool claiming, claim_known;           /* the claim is under way; in this launch it came back without the file */
    char claim_problem[TARN_HUB_MESSAGE]; /* of the last claim, "" */
    bool told_held;
    bool reading_hosts, hosts_are_read; /* the host file is being read; was read */
    int wanted, ranks;
    bool use_hosts;
    int left_out;                /* hosts tried without, when ranks did not reach each other */
    bool begun;                  /* a launch has begun to train: restarts are resumes */
    bool stop_asked, kill_asked; /* by signals to the supervisor */
    bool ending, end_asked;      /* only files are waited for; and a signal says not to */
    double stop_asked_at;
    char stop_signal[32];
    char place[8192];                  /* mpirun's --host argument */
    char why[TARN_HUB_MESSAGE + 1024]; /* how the last launch ended, a sentence without a full stop */
    char restarted_for[512]; /* the same of the launch before, for the record of the run; "": there was none */
    char last_failure[TARN_HUB_MESSAGE]; /* an i/o error of the last launch before it opened a checkpoint, "" */
    int blamed;                          /* the rank `why` is about, -1 */
    bool spoken, told_unwatched;         /* a rank has joined in some launch; none did, which is told once */
    bool held;                           /* another supervisor has the status file: why says who */
} tarn_supervisor;

/* Serves the channel, signals and children for at most `milliseconds`. */
void tarn_supervisor_serve(tarn_supervisor *supervisor, int milliseconds);
/* Starts probing the hosts that are known, making the folders of the workspace there. */
void tarn_supervisor_probe_hosts(tarn_supervisor *supervisor);

/* ---- record.c: files, without waiting for the disk ---- */
/* Brings the status file up to date and has it written. */
void tarn_supervisor_tell(tarn_supervisor *supervisor, const char *state);
/* Has it written as it is; durable: on the disk, when no rank lives and no text is under way. */
void tarn_supervisor_write_status(tarn_supervisor *supervisor, bool durable);
/* Begins to claim the status file: claimed when status.path is set, held or claim_problem say what is in the way. */
void tarn_supervisor_claim(tarn_supervisor *supervisor, const char *path);
/* Saves the stacks of a hang (path NULL: on stderr), and frees the text. */
void tarn_supervisor_keep_stacks(tarn_supervisor *supervisor, const char *path, char *text, size_t bytes);
/* Begins to read the host file anew: reading_hosts until that is done, then hosts_are_read, or it is said why not. */
void tarn_supervisor_read_hosts(tarn_supervisor *supervisor);

/* "step 17", or "before the first step". */
enum { TARN_STEP_TEXT = 48 };
const char *tarn_supervisor_step(int64_t step, char out[TARN_STEP_TEXT]);
/* The first rank that told of an error, and its number; NULL. */
const tarn_hub_rank *tarn_hub_first_failed(const tarn_hub *hub, int *number);
/* Fills in how the launch ended, and the supervisor's `why`. `hang`: what the watch said, NULL: nobody hung. Call it
 * once no process is left. */
void tarn_supervisor_judge(tarn_supervisor *supervisor, bool killed, const char *hang, int hung_rank,
                           tarn_outcome *out);
/* One launch: starts the processes, watches, and returns when none is left. */
tarn_outcome tarn_supervisor_launch(tarn_supervisor *supervisor);
/* After a launch of which no rank ever spoke, on this host: whether mpirun with the same options fails to start even a
 * program that does nothing, so that none of ours was started. */
bool tarn_supervisor_launcher_fails(tarn_supervisor *supervisor);

#endif
