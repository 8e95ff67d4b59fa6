/* onnxruntime.h - ONNX Runtime, where there is one: looked for when it is needed, never linked.
 *
 * Its C interface is a table of functions to which newer versions only append; what is used here is of its first
 * version, so any libonnxruntime will do and no header is needed.
 */
#ifndef TARN_CHECKPOINT_ONNX_ONNXRUNTIME_H
#define TARN_CHECKPOINT_ONNX_ONNXRUNTIME_H

#include <tarn/base.h>

typedef struct tarn_onnxruntime tarn_onnxruntime;

/* Opens the library that the environment's TARN_ONNXRUNTIME names, else libonnxruntime as the system finds it. False:
 * there is none, and message says what to do. The library stays loaded when this is closed (it has threads). */
bool tarn_onnxruntime_open(tarn_onnxruntime **runtime, char *message, size_t size);
void tarn_onnxruntime_close(tarn_onnxruntime *runtime);
const char *tarn_onnxruntime_version(const tarn_onnxruntime *runtime);
/* Loads a model, with the optimisations that ONNX Runtime does by itself: as users run it. */
bool tarn_onnxruntime_load(tarn_onnxruntime *runtime, const char *path, char *message, size_t size);
/* Runs the loaded model on one input (f32 or i64, contiguous). *output is freed with free(): its elements, f32 or i64
 * as *dtype says. */
bool tarn_onnxruntime_run(tarn_onnxruntime *runtime, tarn_dtype input_dtype, int ndim, const int64_t *shape,
                          const void *input, tarn_dtype *dtype, int *output_ndim, int64_t output_shape[TARN_MAX_DIMS],
                          void **output, char *message, size_t size);

#endif
