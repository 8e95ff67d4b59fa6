/* supervisor_internal.h - what the parts of the supervisor's loop share. */
#ifndef TARN_SUPERVISOR_INTERNAL_H
#define TARN_SUPERVISOR_INTERNAL_H

#include "launch/supervisor/hosts.h"
#include "launch/supervisor/hub.h"
#include "launch/supervisor/job.h"
#include "launch/supervisor/policy.h"
#include "launch/supervisor/status.h"
#include "launch/supervisor/supervisor.h"
#include "launch/supervisor/workspace.h"

typedef struct tarn_supervisor {
    const tarn_run_request *request;
    tarn_hub hub;
    tarn_policy policy;
    tarn_run_status status;
    tarn_hosts hosts;
    tarn_workspace workspace;
    tarn_job job;
    int signals; /* signalfd */
    int wanted, ranks;
    bool use_hosts;
    int left_out;                /* hosts tried without, when ranks did not reach each other */
    bool begun;                  /* a launch has begun to train: restarts are resumes */
    bool stop_asked, kill_asked; /* by signals to the supervisor */
    double stop_asked_at;
    char stop_signal[32];
    char place[8192];                    /* mpirun's --host argument */
    char why[TARN_HUB_MESSAGE + 1024];   /* how the last launch ended, a sentence without a full stop */
    char last_failure[TARN_HUB_MESSAGE]; /* an i/o error of the last launch before it opened a checkpoint, "" */
    int blamed;                          /* the rank `why` is about, -1 */
    bool spoken, told_unwatched;         /* a rank has joined in some launch; none did, which is told once */
    bool held;                           /* another supervisor has the status file: why says who */
} tarn_supervisor;

/* "tarn run: ..." on stderr. */
void tarn_supervisor_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Serves the channel, signals and children for at most `milliseconds`. */
void tarn_supervisor_serve(tarn_supervisor *supervisor, int milliseconds);
/* Brings the status file up to date and writes it. */
void tarn_supervisor_tell(tarn_supervisor *supervisor, const char *state);
/* Takes over what a supervisor before left in the status file just claimed. */
void tarn_supervisor_inherit(tarn_supervisor *supervisor);
/* Reads the hosts anew and starts their probes; false (and says why) when the file cannot be read. */
bool tarn_supervisor_look_for_hosts(tarn_supervisor *supervisor);
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
