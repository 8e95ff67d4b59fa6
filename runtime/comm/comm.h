/* comm.h - choosing and making a comm. */
#ifndef TARN_RUNTIME_COMM_H
#define TARN_RUNTIME_COMM_H

#include <tarn/sys/comm.h>

/* MPI when the process was launched by mpirun, srun or another PMI launcher (environment), else self. MPI_Init is
 * called in the first case only. Fails with a remedy when a SLURM job step of several tasks has no PMI. */
tarn_status tarn_comm_open(tarn_comm **comm, tarn_context *context, int *argc, char ***argv);
tarn_status tarn_comm_self_create(tarn_comm **comm, tarn_context *context);
tarn_status tarn_comm_mpi_create(tarn_comm **comm, tarn_context *context, int *argc, char ***argv);

/* Seconds after which a wait for a peer is given up: TARN_COMM_TIMEOUT, default 300. */
double tarn_comm_timeout(void);
/* Between two polls that found nothing: spins for a moment, later yields the core, later sleeps for a moment. `waited`
 * counts the polls of this wait and starts at 0. */
void tarn_comm_pause(const tarn_comm *comm, unsigned *waited);
/* Logs a warning with the remedy when mpirun bound this rank to fewer cores than the threads asked for (0 = the
 * default, cores of the host / ranks of the host). */
void tarn_comm_check_binding(tarn_context *context, int threads);

#endif
