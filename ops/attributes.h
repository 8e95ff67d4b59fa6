/* attributes.h - the attribute structs of the plain ops: what a call's `attrs` points at. */
#ifndef TARN_OPS_ATTRIBUTES_H
#define TARN_OPS_ATTRIBUTES_H

#include <tarn/tensor.h>

/* scale */
typedef struct tarn_scale_attrs {
    double scale, offset;
} tarn_scale_attrs;

/* sum, mean, max: the dimension, in [0, ndim) or counted from the end. */
typedef struct tarn_reduce_attrs {
    int d;
    bool keep; /* with size 1 */
} tarn_reduce_attrs;

/* reshape, expand: the wanted shape. reshape allows one -1. */
typedef struct tarn_shape_attrs {
    int ndim;
    int64_t shape[TARN_MAX_DIMS];
} tarn_shape_attrs;

typedef struct tarn_transpose_attrs {
    int d0, d1;
} tarn_transpose_attrs;

/* Elements [begin, end) of dimension d; negative values count from the end. */
typedef struct tarn_slice_attrs {
    int d;
    int64_t begin, end;
} tarn_slice_attrs;

typedef struct tarn_concat_attrs {
    int d;
} tarn_concat_attrs;

typedef struct tarn_convert_attrs {
    tarn_dtype dtype;
} tarn_convert_attrs;

typedef struct tarn_dropout_attrs {
    float probability; /* in [0, 1) */
} tarn_dropout_attrs;

#endif
