/* hdf5_memory.h - a sparse file in memory for HDF5 to write to, as a driver of HDF5's virtual file layer.
 *
 * HDF5 does not survive a write that fails: the process crashes when it exits. Here none can, and a file of gigabytes
 * costs the few pages that HDF5 writes. The bytes are those its default driver would have put on a disk.
 */
#ifndef TARN_CHECKPOINT_HDF5_MEMORY_H
#define TARN_CHECKPOINT_HDF5_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

typedef struct tarn_hdf5_memory tarn_hdf5_memory;

tarn_hdf5_memory *tarn_hdf5_memory_create(void); /* NULL: no memory */
void tarn_hdf5_memory_destroy(tarn_hdf5_memory *memory);
/* Registers the driver and sets it in a file access property list (hid_t): a file created with that list lies in
 * `memory`, which outlives it; one file at a time. False when HDF5 refuses. */
bool tarn_hdf5_memory_use(tarn_hdf5_memory *memory, int64_t access_list);
/* Length of the file that was created last, and its bytes; zeros where nothing was written. */
int64_t tarn_hdf5_memory_bytes(const tarn_hdf5_memory *memory);
void tarn_hdf5_memory_read(const tarn_hdf5_memory *memory, int64_t offset, void *data, int64_t bytes);

#endif
