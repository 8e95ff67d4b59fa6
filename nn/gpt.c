/* gpt.c - GPT-2's shape (Radford et al. 2019): pre-norm blocks, learned positions, the classifier tied to the token
 * embedding.
 *
 * Parameters, with I the block:
 *   token_embedding.weight (V, C)              position_embedding.weight (context, C)
 *   blocks.I.norm1.{weight,bias} (C)           blocks.I.attention.qkv.{weight (3C, C), bias}
 *   blocks.I.attention.output.{weight, bias}   blocks.I.norm2.{weight,bias}
 *   blocks.I.mlp.up.{weight (4C, C), bias}     blocks.I.mlp.down.{weight (C, 4C), bias}
 *   norm.{weight,bias}
 * First values as GPT-2's: weights normal with deviation 0.02, projections into the residual stream divided by
 * sqrt(2 layers), biases 0.
 */
#include "nn/layers.h"

#include "runtime/base/portable_math.h"

#include <stdio.h>
#include <stdlib.h>

#define INIT_SCALE 0.02
#define EXPANSION  4 /* width of the MLP's middle / width */

typedef struct gpt_block {
    tarn_module *norm1, *attention, *norm2, *up, *down; /* owned by the module's tree */
    double dropout;
} gpt_block;

typedef struct gpt_model {
    tarn_gpt_options options;
    tarn_module *token, *position, *norm;
    tarn_module *block[]; /* options.layers */
} gpt_model;

/* ---- forward ---------------------------------------------------------------------------------------------------- */

/* x = x + attention(norm1(x)); x = x + down(gelu(up(norm2(x)))). The residual is added in the projections' epilogues,
 * unless dropout stands in between. */
static tarn_tensor *block_forward(tarn_step *step, tarn_module *module, void *self, tarn_tensor *x)
{
    (void)module;
    const gpt_block *block = self;
    x = tarn_attention_apply(block->attention, tarn_forward(step, block->norm1, x), x);
    tarn_tensor *up, *up_bias, *down, *down_bias;
    tarn_linear_tensors(block->up, &up, &up_bias);
    tarn_linear_tensors(block->down, &down, &down_bias);
    tarn_tensor *normed = tarn_forward(step, block->norm2, x);
    if (block->dropout > 0)
        return tarn_drop_and_add(tarn_mlp_block(normed, up, up_bias, down, down_bias, NULL, TARN_GELU_TANH), x,
                                 block->dropout);
    return tarn_mlp_block(normed, up, up_bias, down, down_bias, x, TARN_GELU_TANH);
}

/* ids (B, T) -> (B, T, C), normed: what the classifier reads. */
static tarn_tensor *trunk(tarn_step *step, const gpt_model *model, tarn_tensor *ids)
{
    if (tarn_tensor_is_valid(ids)) {
        if (tarn_tensor_ndim(ids) != 2 || tarn_tensor_dtype(ids) != TARN_I32)
            return tarn_module_refuse(step, TARN_ERROR_SHAPE, TARN_HERE,
                                      "gpt: input ids must be (batch, time) of i32; got %d dimensions of %s",
                                      tarn_tensor_ndim(ids), tarn_dtype_name(tarn_tensor_dtype(ids)));
        if (tarn_tensor_dim(ids, 1) > model->options.context)
            return tarn_module_refuse(
                step, TARN_ERROR_SHAPE, TARN_HERE,
                "gpt: the input is %lld tokens long, the model's context %lld; shorten the input or "
                "make the model with a longer context",
                (long long)tarn_tensor_dim(ids, 1), (long long)model->options.context);
    }
    tarn_tensor *x = tarn_embedding(ids, tarn_embedding_tensor(model->token), tarn_embedding_tensor(model->position));
    x = tarn_drop_and_add(x, NULL, model->options.dropout);
    for (int64_t i = 0; i < model->options.layers; i++) x = tarn_forward(step, model->block[i], x);
    return tarn_forward(step, model->norm, x);
}

static tarn_tensor *gpt_forward(tarn_step *step, tarn_module *module, void *self, tarn_tensor *ids)
{
    (void)module;
    const gpt_model *model = self;
    return tarn_linear(trunk(step, model, ids), tarn_embedding_tensor(model->token), NULL, NULL, TARN_NO_ACTIVATION);
}

bool tarn_module_is_gpt(const tarn_module *module)
{
    return module && module->forward == gpt_forward;
}

tarn_tensor *tarn_gpt_loss(tarn_step *step, tarn_module *gpt, tarn_tensor *ids, tarn_tensor *targets)
{
    if (!tarn_module_is_gpt(gpt))
        return tarn_module_refuse(step, TARN_ERROR_ARGUMENT, TARN_HERE,
                                  "tarn_gpt_loss: the module is a %s, not one of tarn_gpt_create; use tarn_forward and "
                                  "tarn_cross_entropy",
                                  gpt ? gpt->kind : "NULL");
    if (!tarn_module_is_built(gpt))
        return tarn_module_refuse(
            step, TARN_ERROR_STATE, TARN_HERE,
            "tarn_gpt_loss: the model's parameters do not exist yet; call tarn_module_build first");
    const gpt_model *model = gpt->self;
    return tarn_classifier_loss(trunk(step, model, ids), tarn_embedding_tensor(model->token), targets);
}

/* ---- making ----------------------------------------------------------------------------------------------------- */

static tarn_status add_linear(tarn_module *parent, const char *name, tarn_module **linear, int64_t inputs,
                              int64_t outputs, double scale)
{
    tarn_linear_options options = {.init_scale = scale};
    tarn_status status = tarn_linear_create(linear, parent->context, inputs, outputs, &options);
    return tarn_module_adopt(parent, name, status, *linear);
}

static tarn_status add_norm(tarn_module *parent, const char *name, tarn_module **norm, int64_t width)
{
    tarn_status status = tarn_layer_norm_create(norm, parent->context, width, 0);
    return tarn_module_adopt(parent, name, status, *norm);
}

static tarn_status create_block(tarn_module **module, tarn_context *context, const tarn_gpt_options *options)
{
    *module = NULL;
    gpt_block *block = calloc(1, sizeof *block);
    if (!block) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "gpt: out of memory");
    tarn_status status = tarn_module_create(module, context, "gpt_block", block_forward, block, free);
    if (status) {
        free(block);
        return status;
    }
    block->dropout = options->dropout;
    int64_t width = options->width;
    double residual_scale = INIT_SCALE / tarn_math_sqrt(2.0 * (double)options->layers);
    status = add_norm(*module, "norm1", &block->norm1, width);
    if (!status) {
        status = tarn_attention_make(&block->attention, context, width, options->heads, options->dropout, INIT_SCALE,
                                     residual_scale);
        status = tarn_module_adopt(*module, "attention", status, block->attention);
    }
    if (!status) status = add_norm(*module, "norm2", &block->norm2, width);
    if (!status) status = add_linear(*module, "mlp.up", &block->up, width, EXPANSION * width, INIT_SCALE);
    if (!status) status = add_linear(*module, "mlp.down", &block->down, EXPANSION * width, width, residual_scale);
    if (status) {
        tarn_module_destroy(*module);
        *module = NULL;
    }
    return status;
}

static tarn_status check_built(const tarn_module *module)
{
    const gpt_model *model = module->self;
    if (model->options.vocabulary > 0) return TARN_OK;
    return tarn_fail(module->context, TARN_ERROR_STATE, TARN_HERE,
                     "gpt: the vocabulary is not known yet; give it in tarn_gpt_options or by tarn_gpt_set_vocabulary "
                     "before tarn_module_build (tarn_train takes it from the data)");
}

static tarn_status check_options(tarn_context *context, const tarn_gpt_options *options)
{
    if (!options || options->layers < 1 || options->heads < 1 || options->width < 1 || options->context < 1)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "gpt: layers %lld, heads %lld, width %lld, context %lld; each must be at least 1",
                         (long long)(options ? options->layers : 0), (long long)(options ? options->heads : 0),
                         (long long)(options ? options->width : 0), (long long)(options ? options->context : 0));
    if (options->width % options->heads)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "gpt: heads %lld does not divide width %lld; each head is width / heads wide",
                         (long long)options->heads, (long long)options->width);
    if (options->vocabulary < 0)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "gpt: vocabulary %lld; use 0 to take the data set's",
                         (long long)options->vocabulary);
    return tarn_check_dropout(context, "gpt", options->dropout);
}

static tarn_status add_parts(tarn_module *module, gpt_model *model)
{
    const tarn_gpt_options *options = &model->options;
    tarn_context *context = module->context;
    tarn_status status = tarn_embedding_make(&model->token, context, options->vocabulary, options->width, INIT_SCALE);
    status = tarn_module_adopt(module, "token_embedding", status, model->token);
    if (status) return status;
    status = tarn_embedding_make(&model->position, context, options->context, options->width, INIT_SCALE);
    status = tarn_module_adopt(module, "position_embedding", status, model->position);
    for (int64_t i = 0; i < options->layers && !status; i++) {
        char name[40];
        snprintf(name, sizeof name, "blocks.%lld", (long long)i);
        status = create_block(&model->block[i], context, options);
        status = tarn_module_adopt(module, name, status, model->block[i]);
    }
    return status ? status : add_norm(module, "norm", &model->norm, options->width);
}

tarn_status tarn_gpt_create(tarn_module **module, tarn_context *context, const tarn_gpt_options *options)
{
    *module = NULL;
    tarn_status status = check_options(context, options);
    if (status) return status;
    gpt_model *model = calloc(1, sizeof *model + (size_t)options->layers * sizeof *model->block);
    if (!model) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "gpt: out of memory");
    model->options = *options;
    status = tarn_module_create(module, context, "gpt", gpt_forward, model, free);
    if (status) {
        free(model);
        return status;
    }
    (*module)->check = check_built;
    status = add_parts(*module, model);
    if (status) {
        tarn_module_destroy(*module);
        *module = NULL;
    }
    return status;
}

tarn_status tarn_gpt_get_options(const tarn_module *gpt, tarn_gpt_options *options)
{
    if (!tarn_module_is_gpt(gpt))
        return tarn_fail(gpt ? gpt->context : NULL, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "tarn_gpt_get_options: the module is a %s, not a gpt", gpt ? gpt->kind : "NULL");
    const gpt_model *model = gpt->self;
    *options = model->options;
    return TARN_OK;
}

tarn_status tarn_gpt_set_vocabulary(tarn_module *gpt, int64_t vocabulary)
{
    if (!tarn_module_is_gpt(gpt))
        return tarn_fail(gpt ? gpt->context : NULL, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "tarn_gpt_set_vocabulary: the module is a %s, not a gpt", gpt ? gpt->kind : "NULL");
    gpt_model *model = gpt->self;
    if (vocabulary < 1)
        return tarn_fail(gpt->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "tarn_gpt_set_vocabulary: %lld; it must be at least 1", (long long)vocabulary);
    if (model->options.vocabulary == vocabulary) return TARN_OK;
    if (tarn_module_is_built(gpt) || model->options.vocabulary)
        return tarn_fail(gpt->context, TARN_ERROR_STATE, TARN_HERE,
                         "tarn_gpt_set_vocabulary(%lld): the model has a vocabulary of %lld already; make it with "
                         "vocabulary 0 to set it later",
                         (long long)vocabulary, (long long)model->options.vocabulary);
    tarn_embedding_set_rows(model->token, vocabulary);
    model->options.vocabulary = vocabulary;
    return TARN_OK;
}
