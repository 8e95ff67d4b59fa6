/* nn.h - modules: named parameters, their flat buffer, forward; and the models built of them.
 *
 * All parameters of a root module live in one contiguous f32 buffer in reverse order of registration (the last layer's
 * gradients, which are ready first in backward, stand at its beginning). The buffer is made, and the values initialised
 * as a pure function of (seed, parameter name), by tarn_module_build - which the trainer calls when nobody did.
 */
#ifndef TARN_NN_H
#define TARN_NN_H

#include <tarn/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_module tarn_module;
typedef struct tarn_parameter tarn_parameter;

typedef enum tarn_init_kind {
    TARN_INIT_ZEROS = 0,
    TARN_INIT_ONES,
    TARN_INIT_NORMAL, /* mean 0, standard deviation `scale` */
    TARN_INIT_UNIFORM /* [-scale, scale) */
} tarn_init_kind;

typedef struct tarn_parameter_options {
    tarn_init_kind init;
    double scale;
    bool no_decay; /* biases and norms: kept out of weight decay */
    bool frozen;   /* no gradient, no update */
} tarn_parameter_options;

/* ---- modules of one's own ---------------------------------------------------------------------------------------- */

/* Computes the module's output; self is what tarn_module_create was given. */
typedef tarn_tensor *tarn_forward_function(tarn_step *step, tarn_module *module, void *self, tarn_tensor *input);

/* kind is a short noun ("linear"). self is freed with `free_self` (may be NULL) when the module is destroyed. */
TARN_API tarn_status tarn_module_create(tarn_module **module, tarn_context *context, const char *kind,
                                        tarn_forward_function *forward, void *self, void (*free_self)(void *self));
/* Destroys a module, its children and their parameters. NULL is fine. */
TARN_API void tarn_module_destroy(tarn_module *module);
/* Registers a parameter under the module's name ("weight"). Before tarn_module_build only. The parameter belongs to the
 * module. */
TARN_API tarn_status tarn_module_parameter(tarn_parameter **parameter, tarn_module *module, const char *name, int ndim,
                                           const int64_t *shape, const tarn_parameter_options *options);
/* Makes child a part of module under a name; the module owns it from then on. Parameter names are joined with dots. */
TARN_API tarn_status tarn_module_add(tarn_module *module, const char *name, tarn_module *child);
/* Lays out the flat buffer and initialises it. Once, on a root module. */
TARN_API tarn_status tarn_module_build(tarn_module *module, uint64_t seed);
TARN_API bool tarn_module_is_built(const tarn_module *module);

/* The module's output for input, by its forward function: a tensor of `step`, on whose tape it goes. Shapes are those
 * of the module, see its `create`. Several threads may run one module, each in a step of its own. Errors are the step's
 * and come back as an inert tensor: TARN_ERROR_STATE when the root module is not built, TARN_ERROR_UNSUPPORTED when the
 * module has no forward function, TARN_ERROR_SHAPE when the input does not fit. */
TARN_API tarn_tensor *tarn_forward(tarn_step *step, tarn_module *module, tarn_tensor *input);
/* The parameter as a tensor, for one's own forward functions. Valid once built. */
TARN_API tarn_tensor *tarn_parameter_tensor(tarn_parameter *parameter);

/* ---- looking at parameters --------------------------------------------------------------------------------------- */

typedef struct tarn_parameter_info {
    const char *name; /* "blocks.0.attention.qkv.weight", borrowed */
    int ndim;
    int64_t shape[TARN_MAX_DIMS];
    int64_t numel;
    int64_t offset; /* in the flat buffer, in elements */
    bool no_decay, frozen;
    float *values; /* borrowed; NULL before tarn_module_build */
} tarn_parameter_info;

TARN_API int tarn_module_parameter_count(const tarn_module *module);
/* The index-th parameter in order of registration; false when out of range. */
TARN_API bool tarn_module_parameter_at(const tarn_module *module, int index, tarn_parameter_info *info);
/* Trainable and frozen values, without padding. */
TARN_API int64_t tarn_module_numel(const tarn_module *module);
/* Freezes (or thaws) every parameter whose name matches the shell pattern; the number changed through *changed (may be
 * NULL). No match is an error that lists names. */
TARN_API tarn_status tarn_module_freeze(tarn_module *module, const char *pattern, bool frozen, int *changed);

/* ---- layers ------------------------------------------------------------------------------------------------------ */

/* All `create` functions: the caller owns *module until tarn_module_add or tarn_module_destroy; no memory is taken for
 * values before tarn_module_build; values that make no sense are TARN_ERROR_ARGUMENT, and *module is NULL then. `...`
 * is any number of leading dimensions. */

/* activation(x weight^T + bias): (..., inputs) to (..., outputs), all f32. Parameters: weight (outputs, inputs) and,
 * unless no_bias, bias (outputs), without weight decay. */
typedef struct tarn_linear_options {
    bool no_bias;
    tarn_activation activation;
    double init_scale; /* 0: weight and bias uniform in +-1/sqrt(inputs), as PyTorch's Linear; > 0: weight normal with
                          this deviation, bias 0 */
} tarn_linear_options;
TARN_API tarn_status tarn_linear_create(tarn_module **module, tarn_context *context, int64_t inputs, int64_t outputs,
                                        const tarn_linear_options *options);
/* Row weight[id] for each id: ids (B, T) i32 in [0, rows) to (B, T, width) f32. Parameter: weight (rows, width), normal
 * with deviation init_scale (0 = 1, as PyTorch's Embedding). An id outside is an error of the step. */
TARN_API tarn_status tarn_embedding_create(tarn_module **module, tarn_context *context, int64_t rows, int64_t width,
                                           double init_scale);
/* Layer norm over the last dimension, see tarn_layer_norm: (..., width) to the same. Parameters without weight decay:
 * weight (width), 1; bias (width), 0. epsilon 0 = 1e-5. */
TARN_API tarn_status tarn_layer_norm_create(tarn_module **module, tarn_context *context, int64_t width, double epsilon);
/* RMS norm over the last dimension, see tarn_rms_norm: (..., width) to the same. Parameter without weight decay: weight
 * (width), 1. epsilon 0 = 1e-5. */
TARN_API tarn_status tarn_rms_norm_create(tarn_module **module, tarn_context *context, int64_t width, double epsilon);
/* Causal self-attention, see tarn_causal_attention: qkv projection, heads of width / heads, output projection, dropout
 * in [0, 1) on what comes out. (B, T, width) to the same. Parameters: qkv.weight (3 width, width), qkv.bias (3 width),
 * output.weight (width, width), output.bias (width), initialised as those of tarn_linear_create. heads must divide
 * width.
 */
TARN_API tarn_status tarn_attention_create(tarn_module **module, tarn_context *context, int64_t width, int64_t heads,
                                           double dropout);

/* ---- models ------------------------------------------------------------------------------------------------------ */

/* A perceptron of count - 1 linear layers: (B, ...) with sizes[0] values a sample to (B, sizes[count - 1]), no
 * activation on the last. Parameters: layers.I.weight (sizes[I + 1], sizes[I]), layers.I.bias, initialised as those of
 * tarn_linear_create. sizes is read by create and not kept. Errors: TARN_ERROR_ARGUMENT for fewer than two sizes and
 * sizes below 1. */
typedef struct tarn_mlp_options {
    int count; /* of sizes, at least 2 */
    const int64_t *sizes;
    tarn_activation activation; /* of hidden layers; TARN_NO_ACTIVATION = relu */
    double dropout;             /* in [0, 1), after each hidden layer */
} tarn_mlp_options;
TARN_API tarn_status tarn_mlp_create(tarn_module **module, tarn_context *context, const tarn_mlp_options *options);

/* GPT-2's shape (Radford et al. 2019: pre-norm, learned positions, GELU tanh, classifier tied to the token embedding).
 * Input ids (B, T) i32, T <= context; output logits (B, T, vocabulary). vocabulary 0: the trainer takes the data set's;
 * all other sizes are required, and heads must divide width. First values: weights and embeddings normal with deviation
 * 0.02, projections into the residual stream 0.02 / sqrt(2 layers), biases 0, norms 1 and 0. dropout, in [0, 1), after
 * the embedding, the attention and the MLP of each block. */
typedef struct tarn_gpt_options {
    int64_t layers, heads, width, context, vocabulary;
    double dropout;
} tarn_gpt_options;
TARN_API tarn_status tarn_gpt_create(tarn_module **module, tarn_context *context, const tarn_gpt_options *options);
/* Sum of cross entropies of the model's predictions, through the fused tied classifier: what training uses. */
TARN_API tarn_tensor *tarn_gpt_loss(tarn_step *step, tarn_module *gpt, tarn_tensor *ids, tarn_tensor *targets);
/* The options a gpt was made with; the vocabulary as set since. TARN_ERROR_ARGUMENT for another module. */
TARN_API tarn_status tarn_gpt_get_options(const tarn_module *gpt, tarn_gpt_options *options);
/* Sets the vocabulary of a gpt made with vocabulary 0, before it is built. */
TARN_API tarn_status tarn_gpt_set_vocabulary(tarn_module *gpt, int64_t vocabulary);
/* Whether the module itself was made by tarn_gpt_create; false for NULL and for a module that only holds one. */
TARN_API bool tarn_module_is_gpt(const tarn_module *module);

#ifndef TARN_NO_CALL_SITES /* see ops.h */
#define tarn_forward(...)  (tarn_at(TARN_HERE), tarn_forward(__VA_ARGS__))
#define tarn_gpt_loss(...) (tarn_at(TARN_HERE), tarn_gpt_loss(__VA_ARGS__))
#endif

#ifdef __cplusplus
}
#endif
#endif
