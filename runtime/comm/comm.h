/* comm.h - choosing and making a comm. */
#ifndef TARN_RUNTIME_COMM_H
#define TARN_RUNTIME_COMM_H

#include <tarn/sys/comm.h>

/* MPI when the process was launched by mpirun, srun or another PMI launcher (environment), else self. MPI_Init is
 * called in the first case only. Fails with a remedy when a SLURM job step of several tasks has no PMI. */
tarn_status tarn_comm_open(tarn_comm **comm, tarn_context *context, int *argc, char ***argv);
tarn_status tarn_comm_self_create(tarn_comm **comm, tarn_context *context);
tarn_status tarn_comm_mpi_create(tarn_comm **comm, tarn_context *context, int *argc, char ***argv);

/* A wait for peers, which knows its limit and tells the monitor of itself. */
typedef struct tarn_comm_patience {
    tarn_context *context;
    double begin, last; /* monotonic seconds; begin 0: the wait is not long enough to look at the clock */
    double limit;       /* seconds */
    bool fixed;         /* TARN_COMM_TIMEOUT gave it */
} tarn_comm_patience;

/* Seconds after which a wait for a peer is given up: TARN_COMM_TIMEOUT, else health.timeout (default 60), of which a
 * rank that hangs takes only 0.8 to name itself; under a supervisor, which is to name it, 1.5 times the seconds without
 * progress after which that judges. *fixed: TARN_COMM_TIMEOUT says so. */
double tarn_comm_timeout(const tarn_context *context, bool *fixed);
/* For calls that cannot be given up from inside, while ranks start and end: TARN_COMM_TIMEOUT, else 300; 0 (none) under
 * a supervisor, which has limits of its own for them. */
double tarn_comm_start_timeout(const tarn_context *context);
/* Now and then during a wait: true when it has lasted too long; *seconds is how long. Time in which this process did
 * not run does not count, nor does that in which the supervisor sees the others at work. label: for whom and at what.
 */
bool tarn_comm_too_long(tarn_comm_patience *patience, const char *label, double *seconds);
/* The wait is over, for a while or for good: the next too_long begins anew. */
void tarn_comm_waited(tarn_comm_patience *patience);
/* Between two polls that found nothing: spins for a moment, later yields the core, later sleeps for a moment. `waited`
 * counts the polls of this wait and starts at 0. */
void tarn_comm_pause(const tarn_comm *comm, unsigned *waited);
/* Logs a warning with the remedy when mpirun bound this rank to fewer cores than the threads asked for (0 = the
 * default, cores of the host / ranks of the host). */
void tarn_comm_check_binding(tarn_context *context, int threads);

#endif
