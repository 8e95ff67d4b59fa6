/* reduce_reference.h - sums along a dimension, the definition. Along the last dimension (inner = 1): real_lane_sum of
 * the row. Along any other: element after element in order, in blocks of 4096 whose sums are added in order. */
#ifndef TARN_OPS_REDUCE_REFERENCE_H
#define TARN_OPS_REDUCE_REFERENCE_H

#include "ops/reference.h"
#include "ops/shape.h"

/* Sum of x[0], x[stride], ... (n of them), n in blocks. */
static inline real real_column_sum(const real *x, int64_t n, int64_t stride)
{
    real total = 0;
    for (int64_t block = 0; block < n; block += TARN_SUM_BLOCK) {
        int64_t end = block + TARN_SUM_BLOCK < n ? block + TARN_SUM_BLOCK : n;
        real sum = 0;
        for (int64_t k = block; k < end; k++) sum = sum + x[k * stride];
        total = total + sum;
    }
    return total;
}

/* out (outer, inner) = sums over n of x (outer, n, inner). */
static inline void real_reduce_sum(const real *x, real *out, tarn_cut cut)
{
    for (int64_t o = 0; o < cut.outer; o++)
        for (int64_t i = 0; i < cut.inner; i++) {
            const real *first = x + o * cut.n * cut.inner + i;
            out[o * cut.inner + i] =
                cut.inner == 1 ? real_lane_sum(first, cut.n) : real_column_sum(first, cut.n, cut.inner);
        }
}

#endif
