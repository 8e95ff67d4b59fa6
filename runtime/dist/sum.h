/* sum.h - the arithmetic of the reduction: sums along a fixed tree, and sums of squares.
 *
 * Invariants
 *  1. out[i] depends on the tree and the operands' [i] alone, so any cutting of a range into pieces, threads or vectors
 *     gives the same bits.
 *  2. Every addition is left + right, the left operand holding the lower shards.
 */
#ifndef TARN_RUNTIME_DIST_SUM_H
#define TARN_RUNTIME_DIST_SUM_H

#include <stddef.h>
#include <stdint.h>

/* Values of one block of the sum of squares, and the unit of all cutting. */
#define TARN_SUM_BLOCK 4096
/* A tree over 2^31 shards is no deeper. */
#define TARN_SUM_DEPTH 40

/* A tree in postfix order: step >= 0 takes that operand, TARN_SUM_ADD adds the two on top. */
enum { TARN_SUM_ADD = -1 };
typedef struct tarn_sum_tree {
    int operands;
    int length; /* 2 * operands - 1 */
    int *steps;
} tarn_sum_tree;

/* out[begin, end) = the tree's sum of operand[k][begin, end). out may be one of the operands. squares, unless NULL,
 * receives the sum of out[i]^2 of each block: squares[i / TARN_SUM_BLOCK]; begin is then a multiple of the block. */
void tarn_sum_along(const tarn_sum_tree *tree, float *const *operand, float *out, int64_t begin, int64_t end,
                    double *squares);
/* Sum of squares of up to TARN_SUM_BLOCK values: 16 strided lanes of double, then lane l + lane l + 8, 4, 2, 1. */
double tarn_sum_squares(const float *values, int64_t count);

#endif
