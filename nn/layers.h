/* layers.h - the layers as the models of this room use them: with a residual, and with their parts. */
#ifndef TARN_NN_LAYERS_H
#define TARN_NN_LAYERS_H

#include "nn/tree.h"

/* The linear layer's forward with a residual (NULL = none): residual + activation(x weight^T + bias). */
tarn_tensor *tarn_linear_apply(tarn_module *linear, tarn_tensor *x, tarn_tensor *residual);
/* The tensors a fused op wants; *bias is NULL without one. */
void tarn_linear_tensors(tarn_module *linear, tarn_tensor **weight, tarn_tensor **bias);
/* An embedding whose number of rows may still be 0; tarn_embedding_set_rows gives it before the build. */
tarn_status tarn_embedding_make(tarn_module **module, tarn_context *context, int64_t rows, int64_t width,
                                double init_scale);
void tarn_embedding_set_rows(tarn_module *embedding, int64_t rows);
tarn_tensor *tarn_embedding_tensor(tarn_module *embedding);
/* tarn_attention_create with the output projection's own deviation (0: as init_scale). */
tarn_status tarn_attention_make(tarn_module **module, tarn_context *context, int64_t width, int64_t heads,
                                double dropout, double init_scale, double output_scale);
/* residual + dropout(attention(x)); residual may be NULL. */
tarn_tensor *tarn_attention_apply(tarn_module *attention, tarn_tensor *x, tarn_tensor *residual);
/* residual + dropout(branch) when there is dropout; a branch without it adds the residual itself, fused. */
tarn_tensor *tarn_drop_and_add(tarn_tensor *branch, tarn_tensor *residual, double dropout);
tarn_status tarn_check_dropout(tarn_context *context, const char *what, double dropout);

#endif
