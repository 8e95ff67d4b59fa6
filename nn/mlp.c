/* mlp.c - a multi-layer perceptron: linear layers with the activation fused, dropout after each hidden one.
 *
 * Parameters: layers.I.weight (sizes[I+1], sizes[I]), layers.I.bias. Input (B, ...) is taken as (B, sizes[0]).
 */
#include "nn/layers.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct mlp_model {
    int layers;
    int64_t inputs;
    double dropout;
    tarn_module *layer[]; /* owned by the module's tree */
} mlp_model;

static tarn_tensor *mlp_forward(tarn_step *step, tarn_module *module, void *self, tarn_tensor *x)
{
    (void)module;
    const mlp_model *model = self;
    int64_t rows = tarn_tensor_dim(x, 0), numel = tarn_tensor_numel(x);
    if (tarn_tensor_is_valid(x)) {
        if (tarn_tensor_ndim(x) < 1 || rows < 1 || numel / rows != model->inputs)
            return tarn_module_refuse(step, TARN_ERROR_SHAPE, TARN_HERE,
                                      "mlp: a sample has %lld values, the model takes %lld; set the first of sizes to "
                                      "what the data has",
                                      (long long)(rows > 0 ? numel / rows : 0), (long long)model->inputs);
        if (tarn_tensor_ndim(x) != 2) x = tarn_reshape(x, 2, (int64_t[]){rows, model->inputs});
    }
    for (int i = 0; i < model->layers; i++) {
        x = tarn_linear_apply(model->layer[i], x, NULL);
        if (i + 1 < model->layers && model->dropout > 0) x = tarn_dropout(x, (float)model->dropout);
    }
    return x;
}

static tarn_status check(tarn_context *context, const tarn_mlp_options *options)
{
    if (!options || !options->sizes || options->count < 2)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "mlp: sizes needs at least two numbers, inputs and outputs, as in [784, 512, 10]");
    for (int i = 0; i < options->count; i++)
        if (options->sizes[i] < 1)
            return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "mlp: sizes[%d] is %lld; it must be at least 1",
                             i, (long long)options->sizes[i]);
    return tarn_check_dropout(context, "mlp", options->dropout);
}

tarn_status tarn_mlp_create(tarn_module **module, tarn_context *context, const tarn_mlp_options *options)
{
    *module = NULL;
    tarn_status status = check(context, options);
    if (status) return status;
    int layers = options->count - 1;
    mlp_model *model = calloc(1, sizeof *model + (size_t)layers * sizeof *model->layer);
    if (!model) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "module mlp: out of memory");
    status = tarn_module_create(module, context, "mlp", mlp_forward, model, free);
    if (status) {
        free(model);
        return status;
    }
    model->layers = layers;
    model->inputs = options->sizes[0];
    model->dropout = options->dropout;
    tarn_activation hidden = options->activation == TARN_NO_ACTIVATION ? TARN_RELU : options->activation;
    for (int i = 0; i < layers && !status; i++) {
        char name[32];
        snprintf(name, sizeof name, "layers.%d", i);
        tarn_linear_options of_layer = {.activation = i + 1 < layers ? hidden : TARN_NO_ACTIVATION};
        status = tarn_linear_create(&model->layer[i], context, options->sizes[i], options->sizes[i + 1], &of_layer);
        status = tarn_module_adopt(*module, name, status, model->layer[i]);
    }
    if (status) {
        tarn_module_destroy(*module);
        *module = NULL;
    }
    return status;
}
