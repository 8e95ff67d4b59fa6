/* reduce_fast.h - sums along a dimension on vectors: reduce_reference.h bit for bit. */
#ifndef TARN_OPS_REDUCE_FAST_H
#define TARN_OPS_REDUCE_FAST_H

#include "ops/fast.h"
#include "ops/shape.h"

enum { REDUCE_BLOCK = 4096 };

/* Sums of `columns` (at most 16) neighbouring columns of x (n, stride). */
TARN_INLINE vf vf_column_sums(const float *x, int64_t n, int64_t stride, int64_t columns)
{
    vf total = vf_zero();
    for (int64_t block = 0; block < n; block += REDUCE_BLOCK) {
        int64_t end = block + REDUCE_BLOCK < n ? block + REDUCE_BLOCK : n;
        vf sum = vf_zero();
        for (int64_t k = block; k < end; k++) {
            const float *row = x + k * stride;
            sum = vf_add(sum, columns == VF_LANES ? vf_load(row) : vf_load_partial(row, columns));
        }
        total = vf_add(total, sum);
    }
    return total;
}

/* Elements [begin, end) of out (outer, inner) = sums over n of x (outer, n, inner), divided by `divisor`. */
TARN_INLINE void vf_reduce_piece(const float *x, float *out, tarn_cut cut, float divisor, int64_t begin, int64_t end)
{
    if (cut.inner == 1) {
        for (int64_t o = begin; o < end; o++) out[o] = vf_lane_sum(x + o * cut.n, cut.n) / divisor;
        return;
    }
    while (begin < end) {
        int64_t o = begin / cut.inner, i = begin % cut.inner;
        int64_t columns = cut.inner - i < end - begin ? cut.inner - i : end - begin;
        if (columns > VF_LANES) columns = VF_LANES;
        vf sums = vf_column_sums(x + o * cut.n * cut.inner + i, cut.n, cut.inner, columns);
        vf_store_partial(out + begin, vf_div(sums, vf_set1(divisor)), columns);
        begin += columns;
    }
}

#endif
