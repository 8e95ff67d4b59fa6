/* job.h - the processes of one launch: mpirun with the program's ranks, or the program alone, and their end.
 *
 * Invariants
 *  1. The launcher is a child in a process group of its own, which the supervisor's death kills (PR_SET_PDEATHSIG);
 *     signals are unblocked and as a new process finds them; stdin is empty, since a restart could not read it again.
 *  2. Every process of the launch on this host has the launch's token in its environment: that is how it is found and
 *     killed, whatever became of its parents.
 *  3. tarn_job_kill returns only when no process of the launch is left on this host, or after it said which are.
 *  4. Nothing between fork and exec allocates or locks.
 */
#ifndef TARN_SUPERVISOR_JOB_H
#define TARN_SUPERVISOR_JOB_H

#include "launch/supervisor/hub.h"
#include "launch/supervisor/supervisor.h"
#include "launch/supervisor/workspace.h"

typedef struct tarn_job {
    pid_t pid;   /* of mpirun or the program; 0 when none runs */
    bool direct; /* the program itself */
    bool remote; /* ranks on other hosts */
    bool ended;  /* status is the launcher's wait status */
    int status;
    double stopped_since; /* tarn_seconds since the launcher is stopped, 0 when it is not */
} tarn_job;

/* What a launch needs to know beyond the request. */
typedef struct tarn_job_setup {
    int ranks;
    const char *hosts;   /* mpirun's --host argument, NULL: this host, or what the batch system gives */
    const char *address; /* TARN_SUPERVISOR */
    int launch;          /* number of the launch, from 1 */
    bool remote;
    char *const *instead; /* of the program, NULL at the end; its output goes nowhere. NULL: the program */
    bool restarted;       /* a launch of this run has begun to train before */
    const char *reason;   /* how the launch before ended, for the record of the run; NULL: there was none */
} tarn_job_setup;

/* Starts it. 0, or the errno of what could not be started. */
int tarn_job_start(tarn_job *job, const tarn_run_request *request, const tarn_job_setup *setup,
                   const tarn_workspace *workspace);
/* Kills every process of the launch on this host and waits for their end. Processes on other hosts end with their
 * daemons, which lose their mpirun, and with their channel. */
void tarn_job_kill(tarn_job *job, const char *token);
/* Takes one ended or stopped child: its pid, 0 when there is none. Updates the job when it is its launcher. */
pid_t tarn_job_reap(tarn_job *job, int *status);
/* Starts AGENT HOST COMMAND with everything to /dev/null, in a process group of its own; NULL: ssh. Its pid, or -1. */
pid_t tarn_agent_start(const char *agent, const char *host, const char *command);
/* Whether a program can be found: a path, or a name in PATH. */
bool tarn_program_exists(const char *name);

#endif
