/* supervisor.h - `tarn run`: starts a program on its ranks, watches it, starts it again whenever it ends too early.
 *
 * The parts: hub (what the ranks say), watch (who hangs), policy (what to do after an end), job (the processes), hosts
 * (where there is room), workspace (what must not be left), status (what is told to people and to the next
 * supervisor). docs/internals/supervisor.md has the invariants.
 */
#ifndef TARN_SUPERVISOR_H
#define TARN_SUPERVISOR_H

typedef struct tarn_run_request {
    int ranks;                /* 0: 1, or all slots where hosts are given */
    int max_restarts;         /* negative: no limit */
    int max_stalled;          /* 0: no limit */
    int min_ranks;            /* fewer are not started */
    double hang, start_limit; /* seconds, 0: no limit */
    double grace, backoff, regrow;
    const char *hostfile, *hosts;   /* at most one of the two; NULL */
    const char *agent;              /* remote shell, NULL: Open MPI's own choice */
    const char *status;             /* NULL: supervisor.json in the checkpoint directory */
    const char *mpirun;             /* command, "mpirun" */
    const char *const *mpi_options; /* more options of mpirun, NULL at the end */
    char *const *program;           /* program and arguments, NULL at the end */
} tarn_run_request;

/* Runs until the end; prints what happens on stderr. The exit code: 0 finished, 75 stopped and to be resumed, 2 what
 * the user wrote is wrong, 1 gave up. */
int tarn_supervise(const tarn_run_request *request);

#endif
