/* shards.c - the arithmetic of shards and of the canonical tree. */
#include "runtime/dist/shards.h"

tarn_shard_range tarn_shards_of_rank(int shards, int ranks, int rank)
{
    return (tarn_shard_range){(int)((int64_t)rank * shards / ranks), (int)((int64_t)(rank + 1) * shards / ranks)};
}

int tarn_shards_split(int begin, int end)
{
    int length = end - begin, left = 1;
    while (left < length - left) left *= 2;
    return begin + left;
}

static int collect(tarn_shard_range node, tarn_shard_range range, tarn_shard_range *subtrees, int found)
{
    if (node.end <= range.begin || range.end <= node.begin) return found;
    if (range.begin <= node.begin && node.end <= range.end) {
        subtrees[found] = node;
        return found + 1;
    }
    int split = tarn_shards_split(node.begin, node.end);
    found = collect((tarn_shard_range){node.begin, split}, range, subtrees, found);
    return collect((tarn_shard_range){split, node.end}, range, subtrees, found);
}

int tarn_shards_subtrees(int shards, tarn_shard_range range, tarn_shard_range subtrees[64])
{
    return collect((tarn_shard_range){0, shards}, range, subtrees, 0);
}
