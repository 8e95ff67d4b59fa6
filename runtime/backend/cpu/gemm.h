/* gemm.h - the one matrix product of Tarn: C = op(A) op(B) with fused epilogues. Every op that multiplies matrices uses
 * it.
 *
 * The definition of every output element, whatever the ISA, tile, packing or number of threads:
 *
 *     block = ceil_to_16(ceil(K / ceil(K / 512)))          (a function of K alone)
 *     c = 0;  for each block of K, in order:  a = 0;  for k in block: a = fma(A[i][k], B[k][j], a);
 *                                             c = first block ? a : c + a
 *     v = c (+ bias[j])                                    one rounding each, in this order
 *     pre[i][j] = v, when pre is wanted
 *     v = activation(v)
 *     v = v + residual[i][j], when there is one
 *     C[i][j] = add ? C[i][j] + v : v
 *
 * tarn_gemm_reference_f32 is this definition in scalar code; tarn_gemm_avx2 and tarn_gemm_avx512 equal it with memcmp.
 */
#ifndef TARN_GEMM_H
#define TARN_GEMM_H

#include <tarn/ops.h>
#include <tarn/sys/op.h>

/* Length of the blocks K is cut into: an even split into pieces of at most 512, rounded up to 16. */
static inline int64_t tarn_gemm_block(int64_t k)
{
    int64_t blocks = (k + 511) / 512, even = blocks ? (k + blocks - 1) / blocks : 1;
    return (even + 15) / 16 * 16;
}

/* One product. Matrices are row-major with a leading dimension in elements. T is float or double. */
#define TARN_GEMM_FIELDS(T)                                                                                            \
    int64_t m, n, k;                                                                                                   \
    const T *a; /* transpose_a ? (k, m) : (m, k) */                                                                    \
    int64_t lda;                                                                                                       \
    bool transpose_a;                                                                                                  \
    const T *b; /* transpose_b ? (n, k) : (k, n) */                                                                    \
    int64_t ldb;                                                                                                       \
    bool transpose_b;                                                                                                  \
    const T *packed_b; /* NULL, or all of B packed by tarn_gemm_pack_b_<isa>, below */                                 \
    T *c;              /* (m, n) */                                                                                    \
    int64_t ldc;                                                                                                       \
    bool add;      /* C = C + result instead of C = result */                                                          \
    const T *bias; /* (n) or NULL */                                                                                   \
    tarn_activation activation;                                                                                        \
    T *pre; /* (m, n) or NULL: receives the value before the activation */                                             \
    int64_t ld_pre;                                                                                                    \
    const T *residual; /* (m, n) or NULL */                                                                            \
    int64_t ld_residual;                                                                                               \
    /* Backward through an activation: when `gate` is set, C = result * activation'(gate[i][j]) instead of             \
     * activation(result), and, when `activated` is set, activated[i][j] = activation(gate[i][j]) is recomputed.       \
     * bias, pre, residual must then be NULL. */                                                                       \
    const T *gate;                                                                                                     \
    int64_t ld_gate;                                                                                                   \
    T *activated;                                                                                                      \
    int64_t ld_activated;                                                                                              \
    /* (m) or NULL: sum over k of op(A)[i][k], under the definition above with B = 1 (fma(a, 1, s) = s + a): the bias  \
     * gradient, for free while dY^T is packed for dW = dY^T X. add_row_sum: row_sum[i] = row_sum[i] + sum. */         \
    T *row_sum;                                                                                                        \
    bool add_row_sum;

typedef struct tarn_gemm_f32 {
    TARN_GEMM_FIELDS(float)
} tarn_gemm_f32;
typedef struct tarn_gemm_f64 {
    TARN_GEMM_FIELDS(double)
} tarn_gemm_f64;

/* team and scratch may be NULL (scratch NULL: memory is allocated for the call). */
typedef void tarn_gemm_function(const tarn_gemm_f32 *gemm, tarn_team *team, tarn_scratch *scratch);

void tarn_gemm_reference_f32(const tarn_gemm_f32 *gemm, tarn_team *team, tarn_scratch *scratch);
void tarn_gemm_reference_f64(const tarn_gemm_f64 *gemm, tarn_team *team, tarn_scratch *scratch);
void tarn_gemm_avx2(const tarn_gemm_f32 *gemm, tarn_team *team, tarn_scratch *scratch);
void tarn_gemm_avx512(const tarn_gemm_f32 *gemm, tarn_team *team, tarn_scratch *scratch);

/* Packs B of (n, k) once, for products that share it (`packed_b`): as many floats as the first function says, 64-byte
 * aligned. The layout belongs to the ISA: use it with the same ISA's product only. */
size_t tarn_gemm_packed_b_floats_avx2(int64_t n, int64_t k);
size_t tarn_gemm_packed_b_floats_avx512(int64_t n, int64_t k);
void tarn_gemm_pack_b_avx2(float *packed, const float *b, int64_t ldb, bool transpose_b, int64_t n, int64_t k);
void tarn_gemm_pack_b_avx512(float *packed, const float *b, int64_t ldb, bool transpose_b, int64_t n, int64_t k);

/* Products of small matrices without packing or epilogue, for attention: C (m, n) = op(A) B, B row-major, one thread.
 * Same definition; `add` chains: see the definition. */
typedef struct tarn_small_gemm {
    int64_t m, n, k;
    const float *a;
    int64_t lda;
    bool transpose_a;
    const float *b;
    int64_t ldb;
    float *c;
    int64_t ldc;
    bool add;
} tarn_small_gemm;
void tarn_small_gemm_reference(const tarn_small_gemm *gemm);
void tarn_small_gemm_avx2(const tarn_small_gemm *gemm);
void tarn_small_gemm_avx512(const tarn_small_gemm *gemm);

#endif
