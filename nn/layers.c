/* layers.c - linear, embedding, layer norm, rms norm: parameters plus one op each. */
#include "nn/layers.h"

#include "runtime/base/portable_math.h"

#include <math.h>
#include <stdlib.h>

#define NORM_EPSILON 1e-5 /* PyTorch's and GPT-2's */

tarn_status tarn_check_dropout(tarn_context *context, const char *what, double dropout)
{
    if (dropout >= 0 && dropout < 1) return TARN_OK;
    return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "%s: dropout is %g; it must be in [0, 1)", what, dropout);
}

tarn_tensor *tarn_drop_and_add(tarn_tensor *branch, tarn_tensor *residual, double dropout)
{
    tarn_tensor *dropped = dropout > 0 ? tarn_dropout(branch, (float)dropout) : branch;
    return residual ? tarn_add(dropped, residual) : dropped;
}

/* Creates the module with its state; frees the state when that fails. */
static tarn_status create_with(tarn_module **module, tarn_context *context, const char *kind,
                               tarn_forward_function *forward, void *self)
{
    *module = NULL;
    if (!self) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "module %s: out of memory", kind);
    tarn_status status = tarn_module_create(module, context, kind, forward, self, free);
    if (status) free(self);
    return status;
}

/* Gives the module back, or destroys what could not be finished. */
static tarn_status finish(tarn_module **module, tarn_status status)
{
    if (!status) return TARN_OK;
    tarn_module_destroy(*module);
    *module = NULL;
    return status;
}

/* ---- linear ----------------------------------------------------------------------------------------------------- */

typedef struct linear_layer {
    tarn_parameter *weight, *bias; /* (outputs, inputs), (outputs) or NULL */
    tarn_activation activation;
} linear_layer;

tarn_tensor *tarn_linear_apply(tarn_module *linear, tarn_tensor *x, tarn_tensor *residual)
{
    const linear_layer *layer = linear->self;
    return tarn_linear(x, &layer->weight->tensor, layer->bias ? &layer->bias->tensor : NULL, residual,
                       layer->activation);
}

void tarn_linear_tensors(tarn_module *linear, tarn_tensor **weight, tarn_tensor **bias)
{
    const linear_layer *layer = linear->self;
    *weight = &layer->weight->tensor;
    *bias = layer->bias ? &layer->bias->tensor : NULL;
}

static tarn_tensor *linear_forward(tarn_step *step, tarn_module *module, void *self, tarn_tensor *x)
{
    (void)step;
    (void)self;
    return tarn_linear_apply(module, x, NULL);
}

/* Default values as torch.nn.Linear's: weight and bias uniform in +-1/sqrt(inputs). */
tarn_status tarn_linear_create(tarn_module **module, tarn_context *context, int64_t inputs, int64_t outputs,
                               const tarn_linear_options *options)
{
    *module = NULL;
    tarn_linear_options chosen = options ? *options : (tarn_linear_options){0};
    if (inputs < 1 || outputs < 1)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "linear layer of %lld inputs and %lld outputs: both must be at least 1", (long long)inputs,
                         (long long)outputs);
    if (!(chosen.init_scale >= 0) || !isfinite(chosen.init_scale) || (unsigned)chosen.activation > TARN_SIGMOID)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "linear layer: init_scale %g (finite, not negative) or activation %d is wrong",
                         chosen.init_scale, (int)chosen.activation);
    linear_layer *layer = calloc(1, sizeof *layer);
    tarn_status status = create_with(module, context, "linear", linear_forward, layer);
    if (status) return status;
    layer->activation = chosen.activation;
    double bound = 1.0 / tarn_math_sqrt((double)inputs);
    tarn_parameter_options of_weight = {.init = TARN_INIT_UNIFORM, .scale = bound};
    tarn_parameter_options of_bias = {.init = TARN_INIT_UNIFORM, .scale = bound, .no_decay = true};
    if (chosen.init_scale > 0) {
        of_weight = (tarn_parameter_options){.init = TARN_INIT_NORMAL, .scale = chosen.init_scale};
        of_bias = (tarn_parameter_options){.init = TARN_INIT_ZEROS, .no_decay = true};
    }
    status = tarn_module_parameter(&layer->weight, *module, "weight", 2, (int64_t[]){outputs, inputs}, &of_weight);
    if (!status && !chosen.no_bias)
        status = tarn_module_parameter(&layer->bias, *module, "bias", 1, (int64_t[]){outputs}, &of_bias);
    return finish(module, status);
}

/* ---- embedding -------------------------------------------------------------------------------------------------- */

typedef struct embedding_layer {
    tarn_parameter *weight; /* (rows, width) */
} embedding_layer;

tarn_tensor *tarn_embedding_tensor(tarn_module *embedding)
{
    const embedding_layer *layer = embedding->self;
    return &layer->weight->tensor;
}

void tarn_embedding_set_rows(tarn_module *embedding, int64_t rows)
{
    const embedding_layer *layer = embedding->self;
    layer->weight->shape[0] = rows;
}

static tarn_tensor *embedding_forward(tarn_step *step, tarn_module *module, void *self, tarn_tensor *ids)
{
    (void)step;
    (void)self;
    return tarn_embedding(ids, tarn_embedding_tensor(module), NULL);
}

tarn_status tarn_embedding_make(tarn_module **module, tarn_context *context, int64_t rows, int64_t width,
                                double init_scale)
{
    embedding_layer *layer = calloc(1, sizeof *layer);
    tarn_status status = create_with(module, context, "embedding", embedding_forward, layer);
    if (status) return status;
    tarn_parameter_options options = {.init = TARN_INIT_NORMAL, .scale = init_scale == 0 ? 1.0 : init_scale};
    status = tarn_module_parameter(&layer->weight, *module, "weight", 2, (int64_t[]){rows, width}, &options);
    return finish(module, status);
}

tarn_status tarn_embedding_create(tarn_module **module, tarn_context *context, int64_t rows, int64_t width,
                                  double init_scale)
{
    *module = NULL;
    if (rows < 1 || width < 1)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "embedding of %lld rows and width %lld: both must be at least 1", (long long)rows,
                         (long long)width);
    return tarn_embedding_make(module, context, rows, width, init_scale);
}

/* ---- norms ------------------------------------------------------------------------------------------------------ */

typedef struct norm_layer {
    tarn_parameter *weight, *bias; /* (width); bias NULL in rms_norm */
    float epsilon;
} norm_layer;

static tarn_tensor *layer_norm_forward(tarn_step *step, tarn_module *module, void *self, tarn_tensor *x)
{
    (void)step;
    (void)module;
    const norm_layer *layer = self;
    return tarn_layer_norm(x, &layer->weight->tensor, &layer->bias->tensor, layer->epsilon);
}

static tarn_tensor *rms_norm_forward(tarn_step *step, tarn_module *module, void *self, tarn_tensor *x)
{
    (void)step;
    (void)module;
    const norm_layer *layer = self;
    return tarn_rms_norm(x, &layer->weight->tensor, layer->epsilon);
}

static tarn_status create_norm(tarn_module **module, tarn_context *context, const char *kind,
                               tarn_forward_function *forward, int64_t width, double epsilon, bool bias)
{
    *module = NULL;
    if (width < 1 || !(epsilon >= 0) || !isfinite(epsilon))
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "%s of width %lld with epsilon %g: the width must be at least 1, epsilon finite and not "
                         "negative (0 = %g)",
                         kind, (long long)width, epsilon, NORM_EPSILON);
    norm_layer *layer = calloc(1, sizeof *layer);
    tarn_status status = create_with(module, context, kind, forward, layer);
    if (status) return status;
    layer->epsilon = (float)(epsilon == 0 ? NORM_EPSILON : epsilon);
    tarn_parameter_options ones = {.init = TARN_INIT_ONES, .no_decay = true};
    tarn_parameter_options zeros = {.init = TARN_INIT_ZEROS, .no_decay = true};
    status = tarn_module_parameter(&layer->weight, *module, "weight", 1, &width, &ones);
    if (!status && bias) status = tarn_module_parameter(&layer->bias, *module, "bias", 1, &width, &zeros);
    return finish(module, status);
}

tarn_status tarn_layer_norm_create(tarn_module **module, tarn_context *context, int64_t width, double epsilon)
{
    return create_norm(module, context, "layer_norm", layer_norm_forward, width, epsilon, true);
}

tarn_status tarn_rms_norm_create(tarn_module **module, tarn_context *context, int64_t width, double epsilon)
{
    return create_norm(module, context, "rms_norm", rms_norm_forward, width, epsilon, false);
}
