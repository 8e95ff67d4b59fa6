/* tensor.h - tensors, the step they belong to, and backward.
 *
 * Lifetimes
 *  1. What an op returns belongs to the current step and is never freed by hand; tarn_step_end ends it.
 *  2. Parameters, buffers and optimizer state belong to who created them (modules, the trainer).
 *  3. tarn_keep copies a value out of a step; the copy is freed with tarn_tensor_destroy.
 *  4. Ops never return NULL. The first failure of a step is recorded (op, shapes, parameter, file:line, rank) and an
 *     inert tensor comes back; ops on it do nothing; tarn_backward, tarn_item and tarn_step_end return the status.
 */
#ifndef TARN_TENSOR_H
#define TARN_TENSOR_H

#include <tarn/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_tensor tarn_tensor;
typedef struct tarn_step tarn_step;
typedef struct tarn_batch tarn_batch; /* data.h */

/* ---- shape and value ------------------------------------------------------------------------------------------- */

TARN_API tarn_dtype tarn_tensor_dtype(const tarn_tensor *tensor);
TARN_API int tarn_tensor_ndim(const tarn_tensor *tensor);
/* Size of dimension d; negative d counts from the end; 1 outside the range. */
TARN_API int64_t tarn_tensor_dim(const tarn_tensor *tensor, int d);
TARN_API int64_t tarn_tensor_numel(const tarn_tensor *tensor);
/* False for the inert tensor that follows an error. */
TARN_API bool tarn_tensor_is_valid(const tarn_tensor *tensor);

/* A tensor of one's own outside any step: copies numel values from data, or zeros when data is NULL. */
TARN_API tarn_status tarn_tensor_create(tarn_tensor **tensor, tarn_context *context, tarn_dtype dtype, int ndim,
                                        const int64_t *shape, const void *data);
/* Ends what tarn_tensor_create or tarn_keep made; no step may use it any more. NULL, tensors of a step and parameters
 * are left alone: they are not the caller's. */
TARN_API void tarn_tensor_destroy(tarn_tensor *tensor);
/* Copies all elements, in row-major order, to out, which holds `bytes` bytes (numel * dtype size exactly). */
TARN_API tarn_status tarn_tensor_read(const tarn_tensor *tensor, void *out, size_t bytes);
/* The single value of a tensor with one element. */
TARN_API tarn_status tarn_item(const tarn_tensor *tensor, double *value);
/* Copies a value out of its step; free with tarn_tensor_destroy. */
TARN_API tarn_status tarn_keep(tarn_tensor **kept, const tarn_tensor *tensor);

/* ---- a step by hand -------------------------------------------------------------------------------------------- */
/* The trainer (train.h) opens a step for each shard; these serve inference, tests and one's own experiments. */

typedef struct tarn_step_options {
    bool no_gradient;     /* record nothing: for evaluation and sampling */
    uint64_t seed;        /* of dropout */
    int64_t index;        /* the step number, for dropout */
    int64_t first_sample; /* global position of the first sample, for dropout */
    int64_t samples;      /* samples in the leading dimension; 0 = 1 */
} tarn_step_options;

/* Opens a step and makes it the thread's current one. options may be NULL. */
TARN_API tarn_status tarn_step_open(tarn_step **step, tarn_context *context, const tarn_step_options *options);
/* Frees all tensors of the step and returns the first error it met. */
TARN_API tarn_status tarn_step_close(tarn_step *step);
/* The status of the step so far. */
TARN_API tarn_status tarn_step_status(const tarn_step *step);

/* Ends a step that the trainer opened (or, like tarn_step_close, one of one's own), and returns its status. */
TARN_API tarn_status tarn_step_end(tarn_step *step);
/* The batch the trainer gave the step; NULL in a step of one's own. */
TARN_API const tarn_batch *tarn_step_batch(const tarn_step *step);

/* A leaf of the step that copies data: a constant, or (wants_gradient) a variable whose gradient can be read. data
 * NULL: zeros. */
TARN_API tarn_tensor *tarn_leaf(tarn_step *step, tarn_dtype dtype, int ndim, const int64_t *shape, const void *data,
                                bool wants_gradient);

/* Back-propagates from a scalar (a sum, not a mean: see train.h) through the step's tape. */
TARN_API tarn_status tarn_backward(tarn_step *step, tarn_tensor *loss);
/* The gradient of a leaf after tarn_backward, borrowed from the step; NULL when there is none. */
TARN_API const tarn_tensor *tarn_gradient(const tarn_tensor *leaf);

#ifdef __cplusplus
}
#endif
#endif
