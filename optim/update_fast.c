/* update_fast.c - the updates compiled once per ISA (TARN_ISA_NAME); equal to update_scalar.c bit for bit. */
#include "optim/update_loops.h"

#define PASTE_(a, b) a##b
#define PASTE(a, b)  PASTE_(a, b)

const tarn_update_kernels PASTE(tarn_update_, TARN_ISA_NAME) = {adamw_loop, sgd_loop, hash_values};
