/* elementwise_fast.h - the loops of elementwise fast kernels: an op's kernel.c gives the function of sixteen elements,
 * which the compiler inlines here. Elements are independent, so a team splits them anywhere. */
#ifndef TARN_OPS_ELEMENTWISE_FAST_H
#define TARN_OPS_ELEMENTWISE_FAST_H

#include "ops/fast.h"
#include "ops/shape.h"

enum { ELEMENTWISE_GRAIN = 8192 }; /* elements worth a thread's while */

typedef vf vf_unary(vf x, const void *attrs);
typedef vf vf_unary_gradient(vf x, vf dy, const void *attrs);
typedef vf vf_binary(vf a, vf b);

/* To be called from a tarn_team_function of the op: elements [begin, end). */
TARN_INLINE void vf_unary_piece(const tarn_call *call, int64_t begin, int64_t end, vf_unary *f)
{
    const float *x = call->in[0].data;
    float *y = call->out[0].data;
    int64_t i = begin;
    for (; i + VF_LANES <= end; i += VF_LANES) vf_store(y + i, f(vf_load(x + i), call->attrs));
    if (i < end) vf_store_partial(y + i, f(vf_load_partial(x + i, end - i), call->attrs), end - i);
}

TARN_INLINE void vf_unary_gradient_piece(const tarn_call *call, int64_t begin, int64_t end, vf_unary_gradient *f)
{
    const float *x = call->in[0].data, *dy = call->grad_out.data;
    float *dx = call->grad_in[0].data;
    bool add = call->add[0];
    int64_t i = begin;
    for (; i + VF_LANES <= end; i += VF_LANES) {
        vf value = f(vf_load(x + i), vf_load(dy + i), call->attrs);
        vf_store(dx + i, add ? vf_add(vf_load(dx + i), value) : value);
    }
    if (i < end) {
        int64_t left = end - i;
        vf value = f(vf_load_partial(x + i, left), vf_load_partial(dy + i, left), call->attrs);
        vf_store_partial(dx + i, add ? vf_add(vf_load_partial(dx + i, left), value) : value, left);
    }
}

/* A row of a binary op. Strides other than 0 and 1 go element by element through small buffers. */
TARN_INLINE void vf_binary_row(const float *a, int64_t stride_a, const float *b, int64_t stride_b, float *y, int64_t n,
                               vf_binary *f)
{
    vf all_a = vf_set1(stride_a == 0 ? a[0] : 0.0f), all_b = vf_set1(stride_b == 0 ? b[0] : 0.0f);
    for (int64_t i = 0; i < n; i += VF_LANES) {
        int64_t left = n - i < VF_LANES ? n - i : VF_LANES;
        vf va = all_a, vb = all_b;
        float gathered[VF_LANES];
        if (stride_a == 1)
            va = left == VF_LANES ? vf_load(a + i) : vf_load_partial(a + i, left);
        else if (stride_a != 0) {
            for (int64_t l = 0; l < VF_LANES; l++) gathered[l] = l < left ? a[(i + l) * stride_a] : 0.0f;
            va = vf_load(gathered);
        }
        if (stride_b == 1)
            vb = left == VF_LANES ? vf_load(b + i) : vf_load_partial(b + i, left);
        else if (stride_b != 0) {
            for (int64_t l = 0; l < VF_LANES; l++) gathered[l] = l < left ? b[(i + l) * stride_b] : 0.0f;
            vb = vf_load(gathered);
        }
        if (left == VF_LANES)
            vf_store(y + i, f(va, vb));
        else
            vf_store_partial(y + i, f(va, vb), left);
    }
}

/* Elements [begin, end) of the result of a binary op: whole rows and parts of rows. */
TARN_INLINE void vf_binary_piece(const tarn_call *call, int64_t begin, int64_t end, vf_binary *f)
{
    tarn_broadcast plan;
    tarn_broadcast_plan(&plan, call);
    const float *a = call->in[0].data, *b = call->in[1].data;
    float *y = call->out[0].data;
    while (begin < end) {
        int64_t row = begin / plan.n, first = begin % plan.n;
        int64_t n = plan.n - first < end - begin ? plan.n - first : end - begin;
        vf_binary_row(a + tarn_broadcast_offset(&plan, 0, row) + first * plan.stride[0], plan.stride[0],
                      b + tarn_broadcast_offset(&plan, 1, row) + first * plan.stride[1], plan.stride[1], y + begin, n,
                      f);
        begin += n;
    }
}

/* The whole kernel.c of an activation. A template and not a function of `activation`, which has to be a constant where
 * the loops are compiled: the branches of vf_activation would stand inside them otherwise. Expands to
 *   y = activation(x)                in forward,
 *   dx (+)= dy * activation'(x)      in backward, nothing when nobody asks for dx,
 * in static functions named activation_..., and the table that TARN_FAST makes. */
#define TARN_FAST_ACTIVATION(op, activation)                                                                           \
    TARN_INLINE vf activation_element(vf x, const void *attrs)                                                         \
    {                                                                                                                  \
        (void)attrs;                                                                                                   \
        return vf_activation(activation, x);                                                                           \
    }                                                                                                                  \
                                                                                                                       \
    TARN_INLINE vf activation_element_gradient(vf x, vf dy, const void *attrs)                                         \
    {                                                                                                                  \
        (void)attrs;                                                                                                   \
        return vf_mul(dy, vf_activation_gradient(activation, x));                                                      \
    }                                                                                                                  \
                                                                                                                       \
    static void activation_forward_piece(void *call, int64_t begin, int64_t end, int member)                           \
    {                                                                                                                  \
        (void)member;                                                                                                  \
        vf_unary_piece(call, begin, end, activation_element);                                                          \
    }                                                                                                                  \
                                                                                                                       \
    static void activation_forward(const tarn_call *call)                                                              \
    {                                                                                                                  \
        tarn_team_for(call->team, tarn_view_numel(&call->out[0]), ELEMENTWISE_GRAIN, activation_forward_piece,         \
                      (void *)call);                                                                                   \
    }                                                                                                                  \
                                                                                                                       \
    static void activation_backward_piece(void *call, int64_t begin, int64_t end, int member)                          \
    {                                                                                                                  \
        (void)member;                                                                                                  \
        vf_unary_gradient_piece(call, begin, end, activation_element_gradient);                                        \
    }                                                                                                                  \
                                                                                                                       \
    static void activation_backward(const tarn_call *call)                                                             \
    {                                                                                                                  \
        if (!call->grad_in[0].data) return;                                                                            \
        tarn_team_for(call->team, tarn_view_numel(&call->grad_out), ELEMENTWISE_GRAIN, activation_backward_piece,      \
                      (void *)call);                                                                                   \
    }                                                                                                                  \
                                                                                                                       \
    TARN_FAST(op, activation_forward, activation_backward)

#endif
