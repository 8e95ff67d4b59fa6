/* input.c - see input.h. */
#include "checkpoint/onnx/input.h"
#include "nn/module.h"
#include "runtime/random/random.h"

#include <stdlib.h>
#include <string.h>

/* Of a gpt and of an mlp it is known. */
static bool known(const tarn_module *module, tarn_onnx_input *input)
{
    tarn_gpt_options gpt;
    tarn_parameter_info weight;
    if (tarn_module_is_gpt(module) && !tarn_gpt_get_options(module, &gpt)) {
        *input = (tarn_onnx_input){
            .dtype = TARN_I32, .ndim = 2, .shape = {-1, -1}, .longest = gpt.context, .ids = gpt.vocabulary};
        return true;
    }
    if (strcmp(tarn_module_kind(module), "mlp") != 0 || !tarn_module_parameter_at(module, 0, &weight)) return false;
    *input = (tarn_onnx_input){.dtype = TARN_F32, .ndim = 2, .shape = {-1, weight.shape[1]}};
    return true;
}

tarn_status tarn_onnx_input_of(tarn_context *context, const tarn_module *module, const tarn_onnx_options *options,
                               tarn_onnx_input *input)
{
    *input = options->input;
    if (!input->ndim && !known(module, input))
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "ONNX: the input of a %s is not known: describe it in options.input",
                         tarn_module_kind(module));
    if (input->dtype != TARN_F32 && input->dtype != TARN_I32)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "ONNX: the input is %s; it must be f32 or i32",
                         tarn_dtype_name(input->dtype));
    if (input->ndim < 1 || input->ndim > TARN_MAX_DIMS)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "ONNX: the input has %d dimensions; 1, the batch, to %d are possible", input->ndim,
                         TARN_MAX_DIMS);
    int lengths = 0;
    for (int d = 1; d < input->ndim; d++) {
        lengths += input->shape[d] == -1;
        if (input->shape[d] < 1 && input->shape[d] != -1)
            return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                             "ONNX: dimension %d of the input has the size %lld; at least 1, or -1 for the length", d,
                             (long long)input->shape[d]);
    }
    if (lengths > 1)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "ONNX: %d dimensions of the input are -1 beside the batch; one at most, the length", lengths);
    if (input->ids < 1) input->ids = 1;
    return TARN_OK;
}

int tarn_onnx_length_dimension(const tarn_onnx_input *input)
{
    for (int d = 1; d < input->ndim; d++)
        if (input->shape[d] == -1) return d;
    return -1;
}

void *tarn_onnx_make_input(const tarn_onnx_input *input, int64_t batch, int64_t length, uint64_t seed,
                           int64_t shape[TARN_MAX_DIMS], int64_t *count)
{
    *count = 1;
    for (int d = 0; d < input->ndim; d++) {
        shape[d] = d == 0 ? batch : input->shape[d] == -1 ? length : input->shape[d];
        *count *= shape[d];
    }
    float *values = calloc((size_t)*count + 1, sizeof *values); /* an i32 is as large */
    if (!values || !seed) return values;
    tarn_random_uniform(seed, TARN_STREAM_SAMPLE, 0, *count, 1, values);
    if (input->dtype == TARN_F32) return values;
    for (int64_t i = 0; i < *count; i++) {
        int32_t id = (int32_t)(((double)values[i] + 1) / 2 * (double)input->ids);
        memcpy(&values[i], &id, sizeof id);
    }
    return values;
}
