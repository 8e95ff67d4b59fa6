/* reference.c - causal_attention, see causal_attention.c. */
#include "ops/causal_attention/heads.h"
#include "ops/reference.h"
#include "runtime/backend/cpu/gemm.h"

typedef REAL(tarn_gemm) product;

static void multiply(product p)
{
    REAL(tarn_gemm_reference)(&p, NULL, NULL);
}

/* s (count, keys) = a b^T over the head's width. */
static void scores(const attention_shape *shape, int64_t count, int64_t keys, const real *a, int64_t lda, const real *b,
                   real *s)
{
    multiply((product){.m = count,
                       .n = keys,
                       .k = shape->depth,
                       .a = a,
                       .lda = lda,
                       .b = b,
                       .ldb = shape->ld,
                       .transpose_b = true,
                       .c = s,
                       .ldc = shape->time});
}

static void forward_head(const tarn_call *call, const attention_shape *shape, int64_t index, real *s)
{
    const real *q = (const real *)call->in[0].data + attention_qkv_offset(shape, index);
    real *y = (real *)call->out[0].data + attention_out_offset(shape, index);
    real *lse = (real *)call->out[1].data + index * shape->time, scale = (real)1 / real_sqrt((real)shape->depth);
    int64_t time = shape->time;
    for (int64_t q0 = 0; q0 < time; q0 += TARN_QUERY_BLOCK) {
        int64_t q1 = q0 + TARN_QUERY_BLOCK < time ? q0 + TARN_QUERY_BLOCK : time;
        real inverse[TARN_QUERY_BLOCK];
        scores(shape, q1 - q0, q1, q + q0 * shape->ld, shape->ld, q + shape->width, s);
        for (int64_t i = q0; i < q1; i++) {
            real *p = s + (i - q0) * time, largest = real_lane_max(p, i + 1) * scale;
            for (int64_t j = 0; j < q1; j++) p[j] = j <= i ? real_exp(real_fma(p[j], scale, -largest)) : (real)0;
            real sum = real_lane_sum(p, i + 1);
            inverse[i - q0] = (real)1 / sum;
            lse[i] = largest + real_log(sum);
        }
        multiply((product){.m = q1 - q0,
                           .n = shape->depth,
                           .k = q1,
                           .a = s,
                           .lda = time,
                           .b = q + 2 * shape->width,
                           .ldb = shape->ld,
                           .c = y + q0 * shape->width,
                           .ldc = shape->width});
        for (int64_t i = q0; i < q1; i++)
            for (int64_t d = 0; d < shape->depth; d++)
                y[i * shape->width + d] = y[i * shape->width + d] * inverse[i - q0];
    }
}

static void forward(const tarn_call *call)
{
    attention_shape shape = attention_shape_of(call);
    real *s = tarn_scratch_get(call->scratch, (size_t)(TARN_QUERY_BLOCK * shape.time) * sizeof(real));
    if (!s) return;
    for (int64_t index = 0; index < shape.batch * shape.heads; index++) forward_head(call, &shape, index, s);
}

/* gradient (T, 3 depth): dq, dk, dv of the head. */
static void backward_head(const tarn_call *call, const attention_shape *shape, int64_t index, real *p, real *ds,
                          real *gradient)
{
    const real *q = (const real *)call->in[0].data + attention_qkv_offset(shape, index);
    const real *y = (const real *)call->out[0].data + attention_out_offset(shape, index);
    const real *dy = (const real *)call->grad_out.data + attention_out_offset(shape, index);
    const real *lse = (const real *)call->out[1].data + index * shape->time;
    real scale = (real)1 / real_sqrt((real)shape->depth);
    int64_t time = shape->time, depth = shape->depth, width = shape->width;
    for (int64_t q0 = 0; q0 < time; q0 += TARN_QUERY_BLOCK) {
        int64_t q1 = q0 + TARN_QUERY_BLOCK < time ? q0 + TARN_QUERY_BLOCK : time;
        scores(shape, q1 - q0, q1, q + q0 * shape->ld, shape->ld, q + width, p);
        scores(shape, q1 - q0, q1, dy + q0 * width, width, q + 2 * width, ds);
        for (int64_t i = q0; i < q1; i++) {
            real *pi = p + (i - q0) * time, *di = ds + (i - q0) * time;
            real dot = real_lane_dot(dy + i * width, y + i * width, depth);
            for (int64_t j = 0; j < q1; j++) {
                pi[j] = j <= i ? real_exp(real_fma(pi[j], scale, -lse[i])) : (real)0;
                di[j] = j <= i ? (pi[j] * scale) * (di[j] - dot) : (real)0;
            }
        }
        multiply((product){.m = q1 - q0,
                           .n = depth,
                           .k = q1,
                           .a = ds,
                           .lda = time,
                           .b = q + width,
                           .ldb = shape->ld,
                           .c = gradient + q0 * 3 * depth,
                           .ldc = 3 * depth});
        for (int part = 0; part < 2; part++) { /* keys of earlier blocks add, the block's own store */
            int64_t first = part ? q0 : 0, end = part ? q1 : q0;
            product dk = {.m = end - first,
                          .n = depth,
                          .k = q1 - q0,
                          .a = ds + first,
                          .lda = time,
                          .transpose_a = true,
                          .b = q + q0 * shape->ld,
                          .ldb = shape->ld,
                          .c = gradient + first * 3 * depth + depth,
                          .ldc = 3 * depth,
                          .add = part == 0};
            product dv = dk;
            dv.a = p + first;
            dv.b = dy + q0 * width;
            dv.ldb = width;
            dv.c = dk.c + depth;
            multiply(dk);
            multiply(dv);
        }
    }
}

static void backward(const tarn_call *call)
{
    attention_shape shape = attention_shape_of(call);
    if (!call->grad_in[0].data) return;
    int64_t time = shape.time, depth = shape.depth;
    real *p = tarn_scratch_get(call->scratch, (size_t)(TARN_QUERY_BLOCK * time) * sizeof(real));
    real *ds = tarn_scratch_get(call->scratch, (size_t)(TARN_QUERY_BLOCK * time) * sizeof(real));
    real *gradient = tarn_scratch_get(call->scratch, (size_t)(time * 3 * depth) * sizeof(real));
    if (!p || !ds || !gradient) return;
    for (int64_t index = 0; index < shape.batch * shape.heads; index++) {
        backward_head(call, &shape, index, p, ds, gradient);
        real *to = (real *)call->grad_in[0].data + attention_qkv_offset(&shape, index);
        for (int64_t t = 0; t < time; t++)
            for (int64_t part = 0; part < 3; part++)
                for (int64_t d = 0; d < depth; d++) {
                    real *at = to + t * shape.ld + part * shape.width + d;
                    real value = gradient[(t * 3 + part) * depth + d];
                    *at = call->add[0] ? *at + value : value;
                }
    }
}

TARN_REFERENCE(causal_attention, forward, backward)
