/* ops.h - the differentiable ops. All return a tensor of the current step (never NULL, see tensor.h).
 *
 * Shapes in comments: (B, T, C) = batch, time, channels; `...` = any leading dimensions. A loss is the *sum* over its
 * rows: the trainer divides once by the global count (train.h).
 */
#ifndef TARN_OPS_H
#define TARN_OPS_H

#include <tarn/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- fused: where the speed of a training step lives ------------------------------------------------------------ */

typedef enum tarn_activation {
    TARN_NO_ACTIVATION = 0,
    TARN_RELU,
    TARN_GELU,      /* exact: x * Phi(x) */
    TARN_GELU_TANH, /* the tanh approximation, GPT-2's */
    TARN_SILU,
    TARN_TANH,
    TARN_SIGMOID
} tarn_activation;

/* residual + activation(x weight^T + bias). x (..., K), weight (N, K), bias (N) or NULL, residual (..., N) or NULL. */
TARN_API tarn_tensor *tarn_linear(tarn_tensor *x, tarn_tensor *weight, tarn_tensor *bias, tarn_tensor *residual,
                                  tarn_activation activation);
/* residual + down(activation(up(x))), saving only the pre-activation. x (..., C), up_weight (H, C), up_bias (H) or
 * NULL, down_weight (C, H), down_bias (C) or NULL, residual (..., C) or NULL. */
TARN_API tarn_tensor *tarn_mlp_block(tarn_tensor *x, tarn_tensor *up_weight, tarn_tensor *up_bias,
                                     tarn_tensor *down_weight, tarn_tensor *down_bias, tarn_tensor *residual,
                                     tarn_activation activation);
/* (x - mean) / sqrt(variance + epsilon) * weight + bias over the last dimension. weight, bias (C), either may be NULL.
 */
TARN_API tarn_tensor *tarn_layer_norm(tarn_tensor *x, tarn_tensor *weight, tarn_tensor *bias, float epsilon);
/* x / sqrt(mean(x^2) + epsilon) * weight over the last dimension (Zhang and Sennrich 2019). weight (C) or NULL. */
TARN_API tarn_tensor *tarn_rms_norm(tarn_tensor *x, tarn_tensor *weight, float epsilon);
/* Causal self-attention on packed projections: qkv (B, T, 3C) holds q, k, v of all heads, each C = heads * D wide;
 * returns (B, T, C). Scores are scaled by 1/sqrt(D). Saves the log-sum-exp (B, heads, T). */
TARN_API tarn_tensor *tarn_causal_attention(tarn_tensor *qkv, int heads);
/* token_weight[ids] + position_weight[0..T). ids (B, T) i32, token_weight (V, C), position_weight (>= T, C) or NULL.
 * Returns (B, T, C). */
TARN_API tarn_tensor *tarn_embedding(tarn_tensor *ids, tarn_tensor *token_weight, tarn_tensor *position_weight);
/* Sum over rows of -log softmax(logits)[target]. logits (..., V), targets (...) i32; a negative target is ignored. */
TARN_API tarn_tensor *tarn_cross_entropy(tarn_tensor *logits, tarn_tensor *targets);
/* tarn_cross_entropy(x weight^T, targets) without keeping the logits: the tied classifier. x (..., C), weight (V, C).
 */
TARN_API tarn_tensor *tarn_classifier_loss(tarn_tensor *x, tarn_tensor *weight, tarn_tensor *targets);
/* Sum over all elements of (x - y)^2. */
TARN_API tarn_tensor *tarn_mse(tarn_tensor *x, tarn_tensor *y);
/* Each element is zeroed with the given probability, the others are divided by 1 - probability. The mask is a function
 * of (seed, step, global sample, element): the same on any number of ranks. Identity in a no_gradient step. */
TARN_API tarn_tensor *tarn_dropout(tarn_tensor *x, float probability);

/* ---- matrix products -------------------------------------------------------------------------------------------- */

/* a (..., M, K) times b (..., K, N): leading dimensions equal, or absent from b (one matrix for all). Transposed
 * operands through tarn_transpose cost a copy at most. */
TARN_API tarn_tensor *tarn_matmul(tarn_tensor *a, tarn_tensor *b);

/* ---- elementwise, with NumPy broadcasting ------------------------------------------------------------------------ */

/* Elements are f32 (f64 for checks), the same of both operands, and so is the result; anything else is TARN_ERROR_SHAPE
 * of the step: tarn_convert. A NaN among the inputs of an element gives NaN; division and roots follow IEEE 754. Sizes
 * of a and b, from the last dimension on, are equal or one of them is 1 (or absent); the gradient of a repeated input
 * is summed over the repetitions. Functions of one tensor keep its shape. */
TARN_API tarn_tensor *tarn_add(tarn_tensor *a, tarn_tensor *b);
TARN_API tarn_tensor *tarn_subtract(tarn_tensor *a, tarn_tensor *b);
TARN_API tarn_tensor *tarn_multiply(tarn_tensor *a, tarn_tensor *b);
TARN_API tarn_tensor *tarn_divide(tarn_tensor *a, tarn_tensor *b);
/* x * scale + offset, rounded once. */
TARN_API tarn_tensor *tarn_scale(tarn_tensor *x, float scale, float offset);
TARN_API tarn_tensor *tarn_exp(tarn_tensor *x);
/* Natural logarithm: -infinity at 0, NaN below. */
TARN_API tarn_tensor *tarn_log_e(tarn_tensor *x);
/* NaN below 0. */
TARN_API tarn_tensor *tarn_sqrt(tarn_tensor *x);
/* max(0, x); the slope at 0 is 0. */
TARN_API tarn_tensor *tarn_relu(tarn_tensor *x);
/* x Phi(x), Phi the distribution function of the normal law (Hendrycks and Gimpel 2016). */
TARN_API tarn_tensor *tarn_gelu(tarn_tensor *x);
/* x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)): the same paper's tanh approximation, GPT-2's. */
TARN_API tarn_tensor *tarn_gelu_tanh(tarn_tensor *x);
/* x sigmoid(x). */
TARN_API tarn_tensor *tarn_silu(tarn_tensor *x);
TARN_API tarn_tensor *tarn_tanh(tarn_tensor *x);
/* 1 / (1 + e^-x). */
TARN_API tarn_tensor *tarn_sigmoid(tarn_tensor *x);

/* ---- reductions and softmax -------------------------------------------------------------------------------------- */

/* Over dimension d (negative counts from the end), which is kept with size 1 when keep is true, else dropped. f32 (f64
 * for checks). The order of a sum is fixed: blocks of 4096 elements, in 16 strided lanes along the last dimension, one
 * after the other along any other. */
TARN_API tarn_tensor *tarn_sum(tarn_tensor *x, int d, bool keep);
/* The sum divided by the size; NaN over no elements. */
TARN_API tarn_tensor *tarn_mean(tarn_tensor *x, int d, bool keep);
/* NaN when there is one, -infinity over no elements. The gradient goes to the first of the elements that equal the
 * result (the first NaN when that is NaN), the others get 0. */
TARN_API tarn_tensor *tarn_max(tarn_tensor *x, int d, bool keep);
/* Over all elements: a scalar. */
TARN_API tarn_tensor *tarn_sum_all(tarn_tensor *x);
/* Over the last dimension, the shape stays: e^(x - m) / sum(e^(x - m)), m the largest element of the row. A row with a
 * NaN, or of -infinity alone, is NaN throughout. */
TARN_API tarn_tensor *tarn_softmax(tarn_tensor *x);
/* Its logarithm, (x - m) - log(sum(e^(x - m))): finite where softmax itself underflows to 0. */
TARN_API tarn_tensor *tarn_log_softmax(tarn_tensor *x);

/* ---- shape ------------------------------------------------------------------------------------------------------- */

/* One dimension may be -1: what is left. */
TARN_API tarn_tensor *tarn_reshape(tarn_tensor *x, int ndim, const int64_t *shape);
/* Swaps two dimensions: a view. */
TARN_API tarn_tensor *tarn_transpose(tarn_tensor *x, int d0, int d1);
/* Elements [begin, end) of dimension d: a view. Negative begin and end count from the end. */
TARN_API tarn_tensor *tarn_slice(tarn_tensor *x, int d, int64_t begin, int64_t end);
/* Joins count >= 1 parts along dimension d (negative counts from the end), in order: a copy. The parts have one element
 * type, whichever, and equal sizes in all other dimensions; else TARN_ERROR_SHAPE of the step. Gradients are of f32 and
 * f64 only. More than TARN_MAX_OPERANDS parts are joined in turns, each of which copies what is joined so far. */
TARN_API tarn_tensor *tarn_concat(int count, tarn_tensor *const *parts, int d);
/* Rows of x (N, ...) by index (...) i32 or i64: (..., ...). */
TARN_API tarn_tensor *tarn_gather(tarn_tensor *x, tarn_tensor *index);
/* Conversion of the element type; no gradient but between f32 and f64. */
TARN_API tarn_tensor *tarn_convert(tarn_tensor *x, tarn_dtype dtype);

/* ---- where a call stands ----------------------------------------------------------------------------------------- */

/* Messages about a failed op name the line of the program that applied it: each op is also a macro that notes its place
 * (per thread) before the call. Define TARN_NO_CALL_SITES before including Tarn's headers to do without. */
TARN_API void tarn_at(const char *file, int line);

#ifndef TARN_NO_CALL_SITES
#define tarn_linear(...)           (tarn_at(TARN_HERE), tarn_linear(__VA_ARGS__))
#define tarn_mlp_block(...)        (tarn_at(TARN_HERE), tarn_mlp_block(__VA_ARGS__))
#define tarn_layer_norm(...)       (tarn_at(TARN_HERE), tarn_layer_norm(__VA_ARGS__))
#define tarn_rms_norm(...)         (tarn_at(TARN_HERE), tarn_rms_norm(__VA_ARGS__))
#define tarn_causal_attention(...) (tarn_at(TARN_HERE), tarn_causal_attention(__VA_ARGS__))
#define tarn_embedding(...)        (tarn_at(TARN_HERE), tarn_embedding(__VA_ARGS__))
#define tarn_cross_entropy(...)    (tarn_at(TARN_HERE), tarn_cross_entropy(__VA_ARGS__))
#define tarn_classifier_loss(...)  (tarn_at(TARN_HERE), tarn_classifier_loss(__VA_ARGS__))
#define tarn_mse(...)              (tarn_at(TARN_HERE), tarn_mse(__VA_ARGS__))
#define tarn_dropout(...)          (tarn_at(TARN_HERE), tarn_dropout(__VA_ARGS__))
#define tarn_matmul(...)           (tarn_at(TARN_HERE), tarn_matmul(__VA_ARGS__))
#define tarn_add(...)              (tarn_at(TARN_HERE), tarn_add(__VA_ARGS__))
#define tarn_subtract(...)         (tarn_at(TARN_HERE), tarn_subtract(__VA_ARGS__))
#define tarn_multiply(...)         (tarn_at(TARN_HERE), tarn_multiply(__VA_ARGS__))
#define tarn_divide(...)           (tarn_at(TARN_HERE), tarn_divide(__VA_ARGS__))
#define tarn_scale(...)            (tarn_at(TARN_HERE), tarn_scale(__VA_ARGS__))
#define tarn_exp(...)              (tarn_at(TARN_HERE), tarn_exp(__VA_ARGS__))
#define tarn_log_e(...)            (tarn_at(TARN_HERE), tarn_log_e(__VA_ARGS__))
#define tarn_sqrt(...)             (tarn_at(TARN_HERE), tarn_sqrt(__VA_ARGS__))
#define tarn_relu(...)             (tarn_at(TARN_HERE), tarn_relu(__VA_ARGS__))
#define tarn_gelu(...)             (tarn_at(TARN_HERE), tarn_gelu(__VA_ARGS__))
#define tarn_gelu_tanh(...)        (tarn_at(TARN_HERE), tarn_gelu_tanh(__VA_ARGS__))
#define tarn_silu(...)             (tarn_at(TARN_HERE), tarn_silu(__VA_ARGS__))
#define tarn_tanh(...)             (tarn_at(TARN_HERE), tarn_tanh(__VA_ARGS__))
#define tarn_sigmoid(...)          (tarn_at(TARN_HERE), tarn_sigmoid(__VA_ARGS__))
#define tarn_sum(...)              (tarn_at(TARN_HERE), tarn_sum(__VA_ARGS__))
#define tarn_mean(...)             (tarn_at(TARN_HERE), tarn_mean(__VA_ARGS__))
#define tarn_max(...)              (tarn_at(TARN_HERE), tarn_max(__VA_ARGS__))
#define tarn_sum_all(...)          (tarn_at(TARN_HERE), tarn_sum_all(__VA_ARGS__))
#define tarn_softmax(...)          (tarn_at(TARN_HERE), tarn_softmax(__VA_ARGS__))
#define tarn_log_softmax(...)      (tarn_at(TARN_HERE), tarn_log_softmax(__VA_ARGS__))
#define tarn_reshape(...)          (tarn_at(TARN_HERE), tarn_reshape(__VA_ARGS__))
#define tarn_transpose(...)        (tarn_at(TARN_HERE), tarn_transpose(__VA_ARGS__))
#define tarn_slice(...)            (tarn_at(TARN_HERE), tarn_slice(__VA_ARGS__))
#define tarn_concat(...)           (tarn_at(TARN_HERE), tarn_concat(__VA_ARGS__))
#define tarn_gather(...)           (tarn_at(TARN_HERE), tarn_gather(__VA_ARGS__))
#define tarn_convert(...)          (tarn_at(TARN_HERE), tarn_convert(__VA_ARGS__))
#endif

#ifdef __cplusplus
}
#endif
#endif
