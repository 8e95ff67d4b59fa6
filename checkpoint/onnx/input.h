/* input.h - the input of a model to be exported: of what type and size, and made-up values of it. */
#ifndef TARN_CHECKPOINT_ONNX_INPUT_H
#define TARN_CHECKPOINT_ONNX_INPUT_H

#include <tarn/onnx.h>

/* What options say, or what is known of the module, checked. Sizes are then positive, but for the length, -1. */
tarn_status tarn_onnx_input_of(tarn_context *context, const tarn_module *module, const tarn_onnx_options *options,
                               tarn_onnx_input *input);
/* The dimension that is the length, -1 when there is none. */
int tarn_onnx_length_dimension(const tarn_onnx_input *input);
/* An input of that batch and length: its shape, and values from malloc (NULL: no memory). seed 0: all zero, which is a
 * valid id, too. Ids are i32. */
void *tarn_onnx_make_input(const tarn_onnx_input *input, int64_t batch, int64_t length, uint64_t seed,
                           int64_t shape[TARN_MAX_DIMS], int64_t *count);

#endif
