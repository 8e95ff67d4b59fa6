/* gemm_reference.c - the matrix product as gemm.h defines it, element by element, in float and in double. */
#include "runtime/backend/cpu/gemm.h"
#include "runtime/backend/cpu/reference_math.h"

/* Sum over k of a[k * step_a] * b[k * step_b], in blocks. b NULL stands for ones. */
static real product(const real *a, int64_t step_a, const real *b, int64_t step_b, int64_t k)
{
    int64_t block = tarn_gemm_block(k);
    real total = 0;
    for (int64_t begin = 0; begin < k; begin += block) {
        int64_t end = begin + block < k ? begin + block : k;
        real sum = 0;
        for (int64_t p = begin; p < end; p++) sum = real_fma(a[p * step_a], b ? b[p * step_b] : (real)1, sum);
        total = begin ? total + sum : sum;
    }
    return total;
}

static real finish(const REAL(tarn_gemm) * gemm, int64_t i, int64_t j, real v)
{
    if (gemm->gate) {
        real gate = gemm->gate[i * gemm->ld_gate + j];
        if (gemm->activated) gemm->activated[i * gemm->ld_activated + j] = real_activation(gemm->activation, gate);
        return v * real_activation_gradient(gemm->activation, gate);
    }
    if (gemm->bias) v = v + gemm->bias[j];
    if (gemm->pre) gemm->pre[i * gemm->ld_pre + j] = v;
    v = real_activation(gemm->activation, v);
    return gemm->residual ? v + gemm->residual[i * gemm->ld_residual + j] : v;
}

void REAL(tarn_gemm_reference)(const REAL(tarn_gemm) * gemm, tarn_team *team, tarn_scratch *scratch)
{
    (void)team;
    (void)scratch;
    int64_t step_a = gemm->transpose_a ? gemm->lda : 1, step_b = gemm->transpose_b ? 1 : gemm->ldb;
    for (int64_t i = 0; i < gemm->m; i++) {
        const real *a = gemm->transpose_a ? gemm->a + i : gemm->a + i * gemm->lda;
        for (int64_t j = 0; j < gemm->n; j++) {
            const real *b = gemm->transpose_b ? gemm->b + j * gemm->ldb : gemm->b + j;
            real v = finish(gemm, i, j, product(a, step_a, b, step_b, gemm->k)), *c = gemm->c + i * gemm->ldc + j;
            *c = gemm->add ? *c + v : v;
        }
        if (gemm->row_sum) {
            real sum = product(a, step_a, NULL, 0, gemm->k);
            gemm->row_sum[i] = gemm->add_row_sum ? gemm->row_sum[i] + sum : sum;
        }
    }
}

#if !TARN_REAL_IS_DOUBLE
void tarn_small_gemm_reference(const tarn_small_gemm *gemm)
{
    tarn_gemm_f32 full = {.m = gemm->m,
                          .n = gemm->n,
                          .k = gemm->k,
                          .a = gemm->a,
                          .lda = gemm->lda,
                          .transpose_a = gemm->transpose_a,
                          .b = gemm->b,
                          .ldb = gemm->ldb,
                          .c = gemm->c,
                          .ldc = gemm->ldc,
                          .add = gemm->add};
    tarn_gemm_reference_f32(&full, NULL, NULL);
}
#endif
