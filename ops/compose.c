/* compose.c - see compose.h. */
#include "ops/compose.h"

tarn_tensor *tarn_reduce_to(tarn_tensor *x, const tarn_tensor *like)
{
    while (tarn_tensor_is_valid(x) && tarn_tensor_ndim(x) > tarn_tensor_ndim(like)) x = tarn_sum(x, 0, false);
    for (int d = 0; tarn_tensor_is_valid(x) && d < tarn_tensor_ndim(like); d++)
        if (tarn_tensor_dim(like, d) == 1 && tarn_tensor_dim(x, d) != 1) x = tarn_sum(x, d, true);
    return x;
}

tarn_tensor *tarn_expand_reduced(tarn_tensor *gradient, const tarn_tensor *like, int d)
{
    int64_t shape[TARN_MAX_DIMS];
    int ndim = tarn_tensor_ndim(like);
    for (int i = 0; i < ndim; i++) shape[i] = tarn_tensor_dim(like, i);
    shape[d < 0 ? d + ndim : d] = 1;
    return tarn_expand(tarn_reshape(gradient, ndim, shape), like);
}
