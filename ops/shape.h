/* shape.h - shapes as ops see them: inference shared by families of ops, broadcasting, a tensor cut at a dimension. */
#ifndef TARN_OPS_SHAPE_H
#define TARN_OPS_SHAPE_H

#include <tarn/sys/op.h>

static inline bool tarn_dtype_is_real(tarn_dtype dtype)
{
    return dtype == TARN_F32 || dtype == TARN_F64;
}

/* d in [-ndim, ndim) as [0, ndim), or -1. */
int tarn_dimension(int d, int ndim);

/* out[0] gets the dtype and shape of in[0], which must be f32 or f64. */
tarn_status tarn_infer_same(tarn_call *call);
/* The same, and in[0] has at least one dimension: ops along the last one. */
tarn_status tarn_infer_rows(tarn_call *call);
/* out[0] gets the shape in[0] and in[1] broadcast to by NumPy's rule: shapes are aligned at their last dimension, sizes
 * are equal or one of them is 1. Both f32 or both f64. */
tarn_status tarn_infer_broadcast(tarn_call *call);

/* Reductions over one dimension (tarn_reduce_attrs): in[0] without dimension d, or with size 1 there. */
tarn_status tarn_infer_reduce(tarn_call *call);

/* x (outer..., n, inner...) cut at dimension d: element (o, k, i) of a contiguous x lies at (o * n + k) * inner + i. */
typedef struct tarn_cut {
    int64_t outer, n, inner;
} tarn_cut;
/* d may count from the end; it was checked by infer. */
tarn_cut tarn_cut_at(const tarn_view *x, int d);
/* Rows along the last dimension; a scalar is one row of one. */
tarn_cut tarn_cut_rows(const tarn_view *x);

/* How the elements of a binary op's inputs lie, with dimensions that can be walked as one merged. Row r of `rows`
 * starts at offset[side](r) and has n elements stride[side] apart; out is contiguous, row r starts at r * n. */
typedef struct tarn_broadcast {
    int outer_dims;
    int64_t outer_shape[TARN_MAX_DIMS], outer_stride[2][TARN_MAX_DIMS];
    int64_t rows, n, stride[2];
} tarn_broadcast;
void tarn_broadcast_plan(tarn_broadcast *plan, const tarn_call *call);
/* Element offset of row r of input `side`. */
int64_t tarn_broadcast_offset(const tarn_broadcast *plan, int side, int64_t row);

#endif
