/* gemm_epilogue_fast.c - what follows the sums of a matrix product, on a tile that lies in the first-level cache. */
#include "runtime/backend/cpu/gemm_tile.h"

/* One vector of the result; n: how many of its lanes exist, whole: all sixteen do (no masks: slow to store on AVX2). */
TARN_INLINE vf load(const bool whole, const float *p, int64_t n)
{
    return whole ? vf_load(p) : vf_load_partial(p, n);
}

TARN_INLINE void store(const bool whole, float *p, vf x, int64_t n)
{
    if (whole)
        vf_store(p, x);
    else
        vf_store_partial(p, x, n);
}

TARN_INLINE void finish(const tarn_gemm_f32 *g, const tarn_activation activation, const bool whole, const float *from,
                        int64_t row, int64_t column, int64_t n)
{
    vf v = load(whole, from, n);
    if (g->gate) {
        vf activated, gate = load(whole, g->gate + row * g->ld_gate + column, n);
        v = vf_mul(v, vf_activation_both(activation, gate, &activated));
        if (g->activated) store(whole, g->activated + row * g->ld_activated + column, activated, n);
    } else {
        if (g->bias) v = vf_add(v, load(whole, g->bias + column, n));
        if (g->pre) store(whole, g->pre + row * g->ld_pre + column, v, n);
        v = vf_activation(activation, v);
        if (g->residual) v = vf_add(v, load(whole, g->residual + row * g->ld_residual + column, n));
    }
    float *c = g->c + row * g->ldc + column;
    store(whole, c, g->add ? vf_add(load(whole, c, n), v) : v, n);
}

TARN_INLINE void finish_all(const tarn_gemm_f32 *g, const tarn_activation activation, const float *from, int64_t ld,
                            int64_t i0, int64_t j0, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows; i++) {
        int64_t j = 0;
        for (; j + VF_LANES <= columns; j += VF_LANES)
            finish(g, activation, true, from + i * ld + j, i0 + i, j0 + j, VF_LANES);
        if (j < columns) finish(g, activation, false, from + i * ld + j, i0 + i, j0 + j, columns - j);
    }
}

void gemm_epilogue(const tarn_gemm_f32 *g, const float *from, int64_t ld, int64_t i0, int64_t j0, int64_t rows,
                   int64_t columns)
{
    switch (g->activation) {
    case TARN_NO_ACTIVATION:
        finish_all(g, TARN_NO_ACTIVATION, from, ld, i0, j0, rows, columns);
        break;
    case TARN_RELU:
        finish_all(g, TARN_RELU, from, ld, i0, j0, rows, columns);
        break;
    case TARN_GELU:
        finish_all(g, TARN_GELU, from, ld, i0, j0, rows, columns);
        break;
    case TARN_GELU_TANH:
        finish_all(g, TARN_GELU_TANH, from, ld, i0, j0, rows, columns);
        break;
    case TARN_SILU:
        finish_all(g, TARN_SILU, from, ld, i0, j0, rows, columns);
        break;
    case TARN_TANH:
        finish_all(g, TARN_TANH, from, ld, i0, j0, rows, columns);
        break;
    case TARN_SIGMOID:
        finish_all(g, TARN_SIGMOID, from, ld, i0, j0, rows, columns);
        break;
    }
}
