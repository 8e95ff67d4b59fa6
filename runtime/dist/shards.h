/* shards.h - V shards over P ranks, and the canonical tree that sums them.
 *
 * Rank r runs the contiguous shards [r*V/P, (r+1)*V/P). The tree on [a, b) splits at a + the largest power of two below
 * b - a; every sum of gradients follows it, whatever P and the number of threads.
 */
#ifndef TARN_RUNTIME_SHARDS_H
#define TARN_RUNTIME_SHARDS_H

#include <tarn/base.h>

typedef struct tarn_shard_range {
    int begin, end;
} tarn_shard_range;

tarn_shard_range tarn_shards_of_rank(int shards, int ranks, int rank);
/* Where the canonical tree splits [begin, end), end - begin >= 2. */
int tarn_shards_split(int begin, int end);
/* The maximal subtrees that make up `range`, in order; at most 64. Returns their number. */
int tarn_shards_subtrees(int shards, tarn_shard_range range, tarn_shard_range subtrees[64]);

#endif
