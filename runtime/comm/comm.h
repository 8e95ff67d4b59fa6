/* comm.h - choosing and making a comm. */
#ifndef TARN_RUNTIME_COMM_H
#define TARN_RUNTIME_COMM_H

#include <tarn/sys/comm.h>

/* MPI when the process was launched by mpirun, srun or another PMI launcher (environment), else self. MPI_Init is called
 * in the first case only. Fails with a remedy when a SLURM job step of several tasks has no PMI. */
tarn_status tarn_comm_open(tarn_comm **comm, tarn_context *context, int *argc, char ***argv);
tarn_status tarn_comm_self_create(tarn_comm **comm, tarn_context *context);
tarn_status tarn_comm_mpi_create(tarn_comm **comm, tarn_context *context, int *argc, char ***argv);

#endif
