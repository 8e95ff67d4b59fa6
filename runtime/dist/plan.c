/* plan.c - everything about a reduction that does not change from step to step.
 *
 * A leader's buffers follow from its range of shards alone: it keeps a stack of finished subtrees, and a shard that
 * closes one or several of them is merged at once. The stack is played through here, so that a step allocates and
 * decides nothing.
 */
#include "runtime/dist/reducer_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Is [a, m) + [m, b) a node of the canonical tree, split at m? */
static bool are_siblings(int shards, tarn_shard_range left, tarn_shard_range right)
{
    int begin = 0, end = shards;
    while (end - begin >= 2) {
        int split = tarn_shards_split(begin, end);
        if (begin == left.begin && end == right.end) return split == left.end && split == right.begin;
        if (right.end <= split)
            end = split;
        else if (split <= left.begin)
            begin = split;
        else
            return false;
    }
    return false;
}

static float *buffer_create(int64_t count)
{
    const size_t huge = (size_t)2 << 20;
    size_t bytes = sizeof(float) * (size_t)(count ? count : 1);
    size_t align = bytes >= 4 * huge ? huge : 64;
    bytes = (bytes + align - 1) / align * align;
    float *buffer = aligned_alloc(align, bytes);
#ifdef MADV_HUGEPAGE
    if (buffer && align == huge) madvise(buffer, bytes, MADV_HUGEPAGE);
#endif
    return buffer;
}

/* Takes a buffer from the leader's free ones, or makes one. */
static float *buffer_take(tarn_reducer *reducer, float **free_buffers, int *free_count)
{
    if (*free_count) return free_buffers[--*free_count];
    float **grown = realloc(reducer->buffers, sizeof *grown * (size_t)(reducer->buffer_count + 1));
    if (!grown) return NULL;
    reducer->buffers = grown;
    float *buffer = buffer_create(reducer->count);
    if (buffer) reducer->buffers[reducer->buffer_count++] = buffer;
    return buffer;
}

/* Plays a leader's shards through; its pieces are appended. */
static bool plan_leader(tarn_reducer *reducer, int index, reducer_piece *pieces, int *piece_count)
{
    reducer_leader *leader = &reducer->leader[index];
    float *free_buffers[2 * TARN_REDUCER_MAX_MERGES];
    int free_count = 0;
    reducer_piece *stack = pieces + *piece_count;
    int top = 0;
    for (int s = leader->range.begin; s < leader->range.end; s++) {
        reducer_shard *shard = &reducer->shard[s - reducer->range.begin];
        shard->leader = index;
        shard->last = s + 1 == leader->range.end;
        shard->buffer = buffer_take(reducer, free_buffers, &free_count);
        if (!shard->buffer) return false;
        reducer_piece whole = {{s, s + 1}, shard->buffer};
        int merges = 0;
        while (merges < top && are_siblings(reducer->shards, stack[top - 1 - merges].range, whole.range)) {
            if (merges) free_buffers[free_count++] = whole.buffer;
            whole.buffer = stack[top - 1 - merges].buffer;
            whole.range.begin = stack[top - 1 - merges].range.begin;
            merges++;
        }
        if (merges) free_buffers[free_count++] = shard->buffer;
        shard->operands = merges + 1;
        for (int k = 0; k < merges; k++) shard->operand[k] = stack[top - merges + k].buffer;
        shard->operand[merges] = shard->buffer;
        top -= merges;
        stack[top++] = whole;
    }
    *piece_count += top;
    return true;
}

static bool tree_create(tarn_sum_tree *tree, int operands)
{
    *tree = (tarn_sum_tree){.operands = operands, .steps = malloc(sizeof(int) * (size_t)(2 * operands))};
    return tree->steps;
}

static void tree_grow(tarn_sum_tree *tree, tarn_shard_range node, const tarn_shard_range *leaves, int *next)
{
    if (leaves[*next].begin == node.begin && leaves[*next].end == node.end) {
        tree->steps[tree->length++] = (*next)++;
        return;
    }
    int split = tarn_shards_split(node.begin, node.end);
    tree_grow(tree, (tarn_shard_range){node.begin, split}, leaves, next);
    tree_grow(tree, (tarn_shard_range){split, node.end}, leaves, next);
    tree->steps[tree->length++] = TARN_SUM_ADD;
}

static bool plan_chains(tarn_reducer *reducer)
{
    for (int operands = 1; operands <= TARN_REDUCER_MAX_MERGES; operands++) {
        tarn_sum_tree *tree = &reducer->chain[operands];
        if (!tree_create(tree, operands)) return false;
        for (int k = 0; k < operands; k++) tree->steps[tree->length++] = k;
        for (int k = 1; k < operands; k++) tree->steps[tree->length++] = TARN_SUM_ADD;
    }
    return true;
}

/* All ranks' items, and the tree over them. */
static bool plan_items(tarn_reducer *reducer)
{
    reducer->item = calloc((size_t)reducer->ranks * 64, sizeof *reducer->item);
    tarn_shard_range *leaves = malloc(sizeof *leaves * (size_t)reducer->ranks * 64);
    if (!reducer->item || !leaves) {
        free(leaves);
        return false;
    }
    for (int rank = 0; rank < reducer->ranks; rank++) {
        tarn_shard_range subtrees[64];
        int found =
            tarn_shards_subtrees(reducer->shards, tarn_shards_of_rank(reducer->shards, reducer->ranks, rank), subtrees);
        if (rank == reducer->rank) {
            reducer->first_item = reducer->items;
            reducer->own_items = found;
        }
        for (int i = 0; i < found; i++) {
            leaves[reducer->items] = subtrees[i];
            reducer->item[reducer->items++] = (reducer_item){.range = subtrees[i], .rank = rank};
        }
    }
    int next = 0;
    bool made = tree_create(&reducer->tree, reducer->items);
    if (made) tree_grow(&reducer->tree, (tarn_shard_range){0, reducer->shards}, leaves, &next);
    free(leaves);
    return made;
}

/* How each item of this rank comes out of the leaders' pieces. */
static bool plan_own_items(tarn_reducer *reducer, const reducer_piece *pieces, int piece_count)
{
    int next = 0;
    for (int i = 0; i < reducer->own_items; i++) {
        reducer_item *item = &reducer->item[reducer->first_item + i];
        int count = 0;
        while (next + count < piece_count && pieces[next + count].range.end <= item->range.end) count++;
        tarn_shard_range *leaves = malloc(sizeof *leaves * (size_t)count);
        item->operand = malloc(sizeof *item->operand * (size_t)count);
        if (!leaves || !item->operand || !tree_create(&item->tree, count)) {
            free(leaves);
            return false;
        }
        for (int k = 0; k < count; k++) {
            leaves[k] = pieces[next + k].range;
            item->operand[k] = pieces[next + k].buffer;
        }
        item->buffer = item->operand[0];
        int leaf = 0;
        tree_grow(&item->tree, item->range, leaves, &leaf);
        free(leaves);
        next += count;
    }
    return true;
}

bool tarn_reducer_plan_build(tarn_reducer *reducer)
{
    int local = reducer->range.end - reducer->range.begin;
    reducer->shard = calloc((size_t)local, sizeof *reducer->shard);
    reducer->leader = aligned_alloc(64, sizeof *reducer->leader * (size_t)reducer->leaders);
    reducer_piece *pieces = malloc(sizeof *pieces * (size_t)(reducer->leaders * 64 + TARN_REDUCER_MAX_MERGES));
    bool made = reducer->shard && reducer->leader && pieces && plan_chains(reducer) && plan_items(reducer);
    if (reducer->leader) memset(reducer->leader, 0, sizeof *reducer->leader * (size_t)reducer->leaders);
    int piece_count = 0;
    for (int l = 0; made && l < reducer->leaders; l++) {
        tarn_shard_range part = tarn_shards_of_rank(local, reducer->leaders, l);
        reducer_leader *leader = &reducer->leader[l];
        leader->range = (tarn_shard_range){reducer->range.begin + part.begin, reducer->range.begin + part.end};
        leader->left = malloc(sizeof *leader->left * (size_t)(reducer->buckets + 1));
        made = leader->left && plan_leader(reducer, l, pieces, &piece_count);
    }
    made = made && plan_own_items(reducer, pieces, piece_count);
    free(pieces);
    return made;
}

void tarn_reducer_plan_free(tarn_reducer *reducer)
{
    for (int i = 0; i < reducer->buffer_count; i++) free(reducer->buffers[i]);
    free(reducer->buffers);
    for (int l = 0; reducer->leader && l < reducer->leaders; l++) free(reducer->leader[l].left);
    free(reducer->leader);
    free(reducer->shard);
    for (int k = 0; k <= TARN_REDUCER_MAX_MERGES; k++) free(reducer->chain[k].steps);
    for (int i = 0; i < reducer->items; i++) {
        free(reducer->item[i].tree.steps);
        free(reducer->item[i].operand);
    }
    free(reducer->item);
    free(reducer->tree.steps);
}
