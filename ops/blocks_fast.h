/* blocks_fast.h - one long sum split over a team: blocks of 4096 terms are summed apart and added in order, which is
 * what real_sum does, so the bits are those of one thread. */
#ifndef TARN_OPS_BLOCKS_FAST_H
#define TARN_OPS_BLOCKS_FAST_H

#include "ops/fast.h"

enum { SUM_BLOCK = 4096 };

typedef struct block_sums {
    const tarn_call *call;
    int64_t n; /* terms */
    float *sums;
} block_sums;

/* Runs piece over the blocks: it writes blocks->sums[b] for b in [begin, end). Returns their sum in order; 0 when
 * memory is out (the call is marked failed then). */
TARN_INLINE float tarn_sum_blocks(const tarn_call *call, int64_t n, tarn_team_function *piece)
{
    int64_t count = (n + SUM_BLOCK - 1) / SUM_BLOCK;
    block_sums blocks = {call, n, tarn_scratch_get(call->scratch, (size_t)(count ? count : 1) * sizeof(float))};
    if (!blocks.sums) return 0.0f;
    tarn_team_for(call->team, count, 1, piece, &blocks);
    float total = 0.0f;
    for (int64_t b = 0; b < count; b++) total = total + blocks.sums[b];
    return total;
}

/* Number of terms of block b. */
TARN_INLINE int64_t tarn_block_size(const block_sums *blocks, int64_t b)
{
    int64_t left = blocks->n - b * SUM_BLOCK;
    return left < SUM_BLOCK ? left : SUM_BLOCK;
}

#endif
