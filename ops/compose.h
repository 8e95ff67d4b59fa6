/* compose.h - what gradients written as compositions need beyond tarn/ops.h. */
#ifndef TARN_OPS_COMPOSE_H
#define TARN_OPS_COMPOSE_H

#include <tarn/ops.h>

/* x seen with the shape of `like`, to which it broadcasts by NumPy's rule: a view. */
tarn_tensor *tarn_expand(tarn_tensor *x, const tarn_tensor *like);
/* The other way: sums x over the dimensions along which `like` was broadcast to x's shape. Extra leading dimensions go
 * first, from the outermost, then dimensions of size 1, from the outermost; each by tarn_sum, whose order is stated. */
tarn_tensor *tarn_reduce_to(tarn_tensor *x, const tarn_tensor *like);
/* The gradient of a reduction over dimension d of `like`: gradient, whose dimension d was kept or not, as a view with
 * the shape of like. */
tarn_tensor *tarn_expand_reduced(tarn_tensor *gradient, const tarn_tensor *like, int d);
/* x * scale + offset with constants in double: kernels round them to the element type. */
tarn_tensor *tarn_scale_exactly(tarn_tensor *x, double scale, double offset);
/* x in contiguous memory of its own. */
tarn_tensor *tarn_copy_contiguous(tarn_tensor *x);

#endif
