/* fused.h - what the fused ops share: rows of a tensor, checks of infer, optional operands.
 *
 * The fused ops treat every leading dimension of x as rows: (B, T, C) is B * T rows of C elements, without a copy.
 */
#ifndef TARN_OPS_FUSED_H
#define TARN_OPS_FUSED_H

#include <tarn/ops.h>
#include "ops/shape.h"

/* linear, mlp_block */
typedef struct tarn_activation_attrs {
    tarn_activation activation;
} tarn_activation_attrs;

/* layer_norm, rms_norm */
typedef struct tarn_norm_attrs {
    float epsilon;
} tarn_norm_attrs;

typedef struct tarn_attention_attrs {
    int heads;
} tarn_attention_attrs;

static inline bool tarn_is_present(const tarn_call *call, int i)
{
    return i < call->inputs && call->in[i].data != NULL;
}

/* Size of the last dimension. */
static inline int64_t tarn_width(const tarn_view *x)
{
    return x->ndim ? x->shape[x->ndim - 1] : 1;
}

/* Product of all other dimensions. */
static inline int64_t tarn_rows(const tarn_view *x)
{
    int64_t rows = 1;
    for (int d = 0; d + 1 < x->ndim; d++) rows *= x->shape[d];
    return rows;
}

/* Input i, when present, must be a matrix (rows, columns) or, with rows = 0, a vector (columns), of in[0]'s type. */
tarn_status tarn_infer_operand(tarn_call *call, int i, const char *name, int64_t rows, int64_t columns);
/* in[0] must be f32 or f64, not a scalar, and no present input may be empty. */
tarn_status tarn_infer_fused(tarn_call *call);
/* Input i, when present, must have the leading dimensions of in[0] and `width` last, and in[0]'s type. */
tarn_status tarn_infer_residual(tarn_call *call, int i, int64_t width);
/* out[0] gets in[0]'s type and leading dimensions, and `width` last. */
void tarn_infer_rows_of(tarn_call *call, int64_t width);
/* targets: i32, one for each row of in[0], below `classes` (negative ones are ignored rows). */
tarn_status tarn_infer_targets(tarn_call *call, int i, int64_t classes);
/* An activation that exists. */
tarn_status tarn_infer_activation(tarn_call *call, tarn_activation activation);
/* out[o] of in[0]'s type and the given shape; rank 0 is a scalar. */
void tarn_infer_out(tarn_call *call, int o, int ndim, int64_t n0, int64_t n1, int64_t n2);

#endif
