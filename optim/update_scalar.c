/* update_scalar.c - the definition of the updates' bits, for processors without AVX2. */
#include "optim/update_loops.h"

const tarn_update_kernels tarn_update_scalar = {adamw_loop, sgd_loop, hash_values};
