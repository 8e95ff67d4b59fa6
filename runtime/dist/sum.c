/* sum.c - see sum.h. Plain loops that compilers vectorise; elementwise additions and 16 explicit lanes leave them no
 * freedom that would show in the bits (the product of two floats is exact in double, so even a fused multiply-add
 * changes nothing). */
#include "runtime/dist/sum.h"

#include <stdbool.h>
#include <string.h>

#define TARN_SUM_LANES 16
/* Intermediate sums of the tree stay in the first-level cache. */
#define TARN_SUM_TILE 1024

static void add_to(float *restrict left, const float *restrict right, int64_t count)
{
    for (int64_t i = 0; i < count; i++) left[i] = left[i] + right[i];
}

static void add_before(float *restrict right, const float *restrict left, int64_t count)
{
    for (int64_t i = 0; i < count; i++) right[i] = left[i] + right[i];
}

static void add(float *restrict out, const float *restrict left, const float *restrict right, int64_t count)
{
    for (int64_t i = 0; i < count; i++) out[i] = left[i] + right[i];
}

static void sum_tile(const tarn_sum_tree *tree, float *const *operand, float *out, int64_t begin, int64_t count)
{
    float scratch[TARN_SUM_DEPTH][TARN_SUM_TILE];
    const float *stack[TARN_SUM_DEPTH];
    int top = 0;
    for (int i = 0; i < tree->length; i++) {
        if (tree->steps[i] >= 0) {
            stack[top++] = operand[tree->steps[i]] + begin;
            continue;
        }
        top--;
        float *to = i + 1 == tree->length ? out + begin : scratch[top - 1];
        if (stack[top - 1] == to)
            add_to(to, stack[top], count);
        else if (stack[top] == to)
            add_before(to, stack[top - 1], count);
        else
            add(to, stack[top - 1], stack[top], count);
        stack[top - 1] = to;
    }
    if (stack[0] != out + begin) memcpy(out + begin, stack[0], sizeof(float) * (size_t)count);
}

double tarn_sum_squares(const float *values, int64_t count)
{
    double lane[TARN_SUM_LANES] = {0};
    int64_t whole = count / TARN_SUM_LANES * TARN_SUM_LANES;
    for (int64_t i = 0; i < whole; i += TARN_SUM_LANES)
        for (int l = 0; l < TARN_SUM_LANES; l++) lane[l] += (double)values[i + l] * (double)values[i + l];
    for (int64_t i = whole; i < count; i++) lane[i - whole] += (double)values[i] * (double)values[i];
    for (int width = TARN_SUM_LANES / 2; width >= 1; width /= 2)
        for (int l = 0; l < width; l++) lane[l] += lane[l + width];
    return lane[0];
}

void tarn_sum_along(const tarn_sum_tree *tree, float *const *operand, float *out, int64_t begin, int64_t end,
                    double *squares)
{
    /* The common case, two operands in place, needs no tiles. */
    bool pair = tree->operands == 2 && operand[0] == out;
    bool pair_before = tree->operands == 2 && operand[1] == out;
    bool nothing = tree->operands == 1 && operand[0] == out;
    for (int64_t block = begin; block < end; block += TARN_SUM_BLOCK) {
        int64_t block_end = end - block < TARN_SUM_BLOCK ? end : block + TARN_SUM_BLOCK;
        if (pair)
            add_to(out + block, operand[1] + block, block_end - block);
        else if (pair_before)
            add_before(out + block, operand[0] + block, block_end - block);
        else if (!nothing)
            for (int64_t tile = block; tile < block_end; tile += TARN_SUM_TILE)
                sum_tile(tree, operand, out, tile, block_end - tile < TARN_SUM_TILE ? block_end - tile : TARN_SUM_TILE);
        if (squares) squares[block / TARN_SUM_BLOCK] = tarn_sum_squares(out + block, block_end - block);
    }
}
