/* onnx_support.h - what tests of exported models share: forwards of our own as files that tests/python/onnx_check.py
 * compares ONNX Runtime with. */
#ifndef TARN_TESTS_ONNX_SUPPORT_H
#define TARN_TESTS_ONNX_SUPPORT_H

#include "checkpoint/onnx/input.h"
#include "tests/support.h"
#include <tarn/tarn.h>

#include <inttypes.h>

__attribute__((unused)) static void tarn_test_onnx_shape(FILE *file, tarn_dtype dtype, int ndim, const int64_t *shape)
{
    fputs(dtype == TARN_F32 ? "float32" : dtype == TARN_I32 ? "int32" : dtype == TARN_I64 ? "int64" : "bool", file);
    for (int d = 0; d < ndim; d++) fprintf(file, " %" PRId64, shape[d]);
}

/* Runs the module on a made-up input and writes case-<number> to the folder. False when something failed. */
__attribute__((unused)) static bool tarn_test_onnx_case(tarn_context *context, tarn_module *module,
                                                        const tarn_onnx_input *input, int64_t batch, int64_t length,
                                                        const char *folder, int number)
{
    int64_t shape[TARN_MAX_DIMS], count;
    void *values = tarn_onnx_make_input(input, batch, length, 7 + (uint64_t)number, shape, &count);
    tarn_step *step;
    if (!values || tarn_step_open(&step, context, &(tarn_step_options){.no_gradient = true})) return false;
    tarn_tensor *y = tarn_forward(step, module, tarn_leaf(step, input->dtype, input->ndim, shape, values, false));
    char *text = tarn_test_format("%s/case-%03d.txt", folder, number);
    char *in = tarn_test_format("%s/case-%03d.in", folder, number);
    char *out = tarn_test_format("%s/case-%03d.out", folder, number);
    size_t bytes = (size_t)tarn_tensor_numel(y) * tarn_dtype_size(tarn_tensor_dtype(y));
    char *result = malloc(bytes + 1);
    int64_t result_shape[TARN_MAX_DIMS];
    for (int d = 0; d < tarn_tensor_ndim(y); d++) result_shape[d] = tarn_tensor_dim(y, d);
    FILE *file = fopen(text, "w");
    bool done = file && result && !tarn_tensor_read(y, result, bytes) &&
                tarn_test_write(in, values, 4 * (size_t)count) && tarn_test_write(out, result, bytes);
    if (file) {
        tarn_test_onnx_shape(file, input->dtype, input->ndim, shape);
        fputs(" / ", file);
        tarn_test_onnx_shape(file, tarn_tensor_dtype(y), tarn_tensor_ndim(y), result_shape);
        fclose(file);
    }
    if (tarn_step_close(step)) done = false;
    free(values);
    free(result);
    free(text);
    free(in);
    free(out);
    return done;
}

#endif
