/* export.c - tarn_onnx_export: the model from the module, the file from the model. */
#include "checkpoint/onnx/model.h"
#include "nn/module.h"

#include <errno.h>

tarn_status tarn_onnx_export(tarn_context *context, tarn_module *module, const char *path,
                             const tarn_onnx_options *options, tarn_onnx_written *written)
{
    static const tarn_onnx_options defaults;
    tarn_onnx_written ignored;
    tarn_problem problem;
    tarn_onnx_model model;
    tarn_status status = tarn_onnx_model_make(&model, context, module, options ? options : &defaults);
    if (status) return status;
    if (!tarn_onnx_model_write(&model, path, options ? options->most_inline : 0, written ? written : &ignored,
                               &problem))
        status = tarn_fail(context,
                           problem.error_number == ENOMEM ? TARN_ERROR_MEMORY
                           : problem.error_number         ? TARN_ERROR_IO
                                                          : TARN_ERROR_ARGUMENT,
                           TARN_HERE, "ONNX: %s was not written: %s", path, problem.text);
    tarn_onnx_model_free(&model);
    return status;
}
