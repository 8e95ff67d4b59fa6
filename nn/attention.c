/* attention.c - causal self-attention with its two projections: x (B, T, C) -> qkv (B, T, 3C) -> heads -> (B, T, C). */
#include "nn/layers.h"

#include <stdlib.h>

typedef struct attention_layer {
    tarn_module *qkv, *output; /* owned by the module's tree */
    int heads;
    double dropout;
} attention_layer;

tarn_tensor *tarn_attention_apply(tarn_module *attention, tarn_tensor *x, tarn_tensor *residual)
{
    const attention_layer *layer = attention->self;
    tarn_tensor *mixed = tarn_causal_attention(tarn_linear_apply(layer->qkv, x, NULL), layer->heads);
    if (layer->dropout > 0)
        return tarn_drop_and_add(tarn_linear_apply(layer->output, mixed, NULL), residual, layer->dropout);
    return tarn_linear_apply(layer->output, mixed, residual);
}

static tarn_tensor *attention_forward(tarn_step *step, tarn_module *module, void *self, tarn_tensor *x)
{
    (void)step;
    (void)self;
    return tarn_attention_apply(module, x, NULL);
}

tarn_status tarn_attention_make(tarn_module **module, tarn_context *context, int64_t width, int64_t heads,
                                double dropout, double init_scale, double output_scale)
{
    *module = NULL;
    if (width < 1 || heads < 1 || heads > width || width % heads)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "attention of width %lld with %lld heads: heads must divide width, so that each head is "
                         "width / heads wide",
                         (long long)width, (long long)heads);
    tarn_status status = tarn_check_dropout(context, "attention", dropout);
    if (status) return status;
    attention_layer *layer = calloc(1, sizeof *layer);
    if (!layer) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "module attention: out of memory");
    status = tarn_module_create(module, context, "attention", attention_forward, layer, free);
    if (status) {
        free(layer);
        return status;
    }
    layer->heads = (int)heads;
    layer->dropout = dropout;
    tarn_linear_options of_qkv = {.init_scale = init_scale};
    tarn_linear_options of_output = {.init_scale = output_scale > 0 ? output_scale : init_scale};
    status = tarn_linear_create(&layer->qkv, context, width, 3 * width, &of_qkv);
    status = tarn_module_adopt(*module, "qkv", status, layer->qkv);
    if (!status) {
        status = tarn_linear_create(&layer->output, context, width, width, &of_output);
        status = tarn_module_adopt(*module, "output", status, layer->output);
    }
    if (status) {
        tarn_module_destroy(*module);
        *module = NULL;
    }
    return status;
}

tarn_status tarn_attention_create(tarn_module **module, tarn_context *context, int64_t width, int64_t heads,
                                  double dropout)
{
    return tarn_attention_make(module, context, width, heads, dropout, 0, 0);
}
