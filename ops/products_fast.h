/* products_fast.h - for kernel.c files of ops made of matrix products; see products_reference.h. */
#ifndef TARN_OPS_PRODUCTS_FAST_H
#define TARN_OPS_PRODUCTS_FAST_H

#include "ops/fast.h"
#include "ops/fused.h"
#include "runtime/backend/cpu/gemm.h"
#include "runtime/base/pool.h"

typedef float element;
typedef tarn_gemm_f32 product;

static inline void multiply(const tarn_call *call, const product *p)
{
    tarn_scratch_mark mark = tarn_scratch_here(call->scratch);
    TARN_ISA_FN(tarn_gemm)(p, call->team, call->scratch);
    tarn_scratch_rewind(call->scratch, mark);
}

typedef struct activation_job {
    tarn_activation kind;
    const float *dy, *pre;
    float *du;
} activation_job;

static inline void activation_piece(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    activation_job job = *(const activation_job *)argument;
    for (int64_t i = begin; i < end; i += VF_LANES) {
        int64_t n = end - i;
        vf slope = vf_activation_gradient(job.kind, vf_load_partial(job.pre + i, n));
        vf_store_partial(job.du + i, vf_mul(vf_load_partial(job.dy + i, n), slope), n);
    }
}

static inline void through_activation(const tarn_call *call, tarn_activation kind, int64_t n, const element *dy,
                                      const element *pre, element *du)
{
    activation_job job = {kind, dy, pre, du};
    tarn_team_for(call->team, n, 1024, activation_piece, &job);
}

#endif
