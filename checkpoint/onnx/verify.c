/* verify.c - tarn_onnx_verify: the file in ONNX Runtime against the module here, on inputs neither was made with.
 *
 * Two batch sizes, and two lengths where there is a length: what was baked into a file by mistake shows in the second.
 */
#include "checkpoint/onnx/input.h"
#include "checkpoint/onnx/onnxruntime.h"
#include "nn/module.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double TOLERANCE = 1e-5, LEAST_RELATIVE = 1e-3;
enum { SHORT = 7, LONG = 64 };

typedef struct output { /* owned */
    tarn_dtype dtype;
    int ndim;
    int64_t shape[TARN_MAX_DIMS], count;
    void *data;
} output;

static int64_t numel(int ndim, const int64_t *shape)
{
    int64_t count = 1;
    for (int d = 0; d < ndim; d++) count *= shape[d];
    return count;
}

static double element(const output *of, int64_t i)
{
    switch (of->dtype) {
    case TARN_F32:
        return (double)((const float *)of->data)[i];
    case TARN_I32:
        return ((const int32_t *)of->data)[i];
    case TARN_I64:
        return (double)((const int64_t *)of->data)[i];
    default:
        return NAN;
    }
}

static tarn_status forward(output *out, tarn_context *context, tarn_module *module, const tarn_onnx_input *input,
                           const int64_t *shape, const void *values)
{
    tarn_step *step;
    tarn_status status = tarn_step_open(&step, context, &(tarn_step_options){.no_gradient = true});
    if (status) return status;
    tarn_tensor *y = tarn_forward(step, module, tarn_leaf(step, input->dtype, input->ndim, shape, values, false));
    out->dtype = tarn_tensor_dtype(y);
    out->ndim = tarn_tensor_ndim(y);
    for (int d = 0; d < out->ndim; d++) out->shape[d] = tarn_tensor_dim(y, d);
    size_t bytes = (size_t)numel(out->ndim, out->shape) * tarn_dtype_size(out->dtype);
    out->data = malloc(bytes + 1);
    if (!out->data)
        status = tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "ONNX: no memory to verify the model");
    else if (tarn_tensor_is_valid(y))
        tarn_tensor_read(y, out->data, bytes);
    tarn_status ended = tarn_step_close(step);
    return ended ? ended : status;
}

/* The same shape? Then the differences are added to the comparison. */
static bool compare(const output *ours, const output *theirs, tarn_onnx_comparison *comparison)
{
    if (ours->ndim != theirs->ndim || memcmp(ours->shape, theirs->shape, (size_t)ours->ndim * sizeof *ours->shape) != 0)
        return false;
    int64_t count = numel(ours->ndim, ours->shape);
    for (int64_t i = 0; i < count; i++) {
        double a = element(ours, i), b = element(theirs, i), difference = fabs(a - b);
        if (a == b || (isnan(a) && isnan(b))) difference = 0; /* infinities too */
        if (isnan(difference)) difference = INFINITY;         /* a number against none */
        comparison->most_absolute = fmax(comparison->most_absolute, difference);
        if (fabs(a) >= LEAST_RELATIVE)
            comparison->most_relative = fmax(comparison->most_relative, difference / fabs(a));
        if (isfinite(a)) comparison->largest = fmax(comparison->largest, fabs(a));
    }
    comparison->cases++;
    return true;
}

static void describe(char *text, size_t size, const output *of)
{
    size_t used = 0;
    text[0] = '\0';
    for (int d = 0; d < of->ndim && used < size; d++)
        used += (size_t)snprintf(text + used, size - used, "%s%" PRId64, d ? ", " : "", of->shape[d]);
}

/* ONNX Runtime takes ids as int64. */
static void *widened(const void *values, int64_t count)
{
    int64_t *wide = malloc((size_t)count * sizeof *wide + 1);
    for (int64_t i = 0; wide && i < count; i++) wide[i] = ((const int32_t *)values)[i];
    return wide;
}

static tarn_status compare_case(tarn_context *context, tarn_module *module, tarn_onnxruntime *runtime, const char *path,
                                const tarn_onnx_input *input, int64_t batch, int64_t length,
                                tarn_onnx_comparison *comparison)
{
    int64_t shape[TARN_MAX_DIMS], count;
    char message[512] = "";
    output ours = {0}, theirs = {0};
    void *values = tarn_onnx_make_input(input, batch, length, 1000 + (uint64_t)batch, shape, &count);
    void *wide = values && input->dtype == TARN_I32 ? widened(values, count) : values;
    tarn_status status = wide ? forward(&ours, context, module, input, shape, values)
                              : tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "ONNX: no memory to verify the model");
    if (!status &&
        !tarn_onnxruntime_run(runtime, input->dtype == TARN_I32 ? TARN_I64 : TARN_F32, input->ndim, shape, wide,
                              &theirs.dtype, &theirs.ndim, theirs.shape, &theirs.data, message, sizeof message))
        status = tarn_fail(context, TARN_ERROR_FORMAT, TARN_HERE, "ONNX Runtime %s on %s: %s", comparison->runtime,
                           path, message);
    if (!status && !compare(&ours, &theirs, comparison)) {
        char here[128], there[128];
        describe(here, sizeof here, &ours);
        describe(there, sizeof there, &theirs);
        status = tarn_fail(context, TARN_ERROR_FORMAT, TARN_HERE,
                           "ONNX: with a batch of %" PRId64 " the output of %s is (%s) in ONNX Runtime, (%s) here",
                           batch, path, there, here);
    }
    if (wide != values) free(wide);
    free(values);
    free(ours.data);
    free(theirs.data);
    return status;
}

static tarn_status compare_all(tarn_context *context, tarn_module *module, tarn_onnxruntime *runtime, const char *path,
                               const tarn_onnx_input *input, tarn_onnx_comparison *comparison)
{
    int64_t longest = input->longest > 0 && input->longest < LONG ? input->longest : LONG;
    int64_t lengths[] = {longest > SHORT ? SHORT : longest > 1 ? longest - 1 : 1, longest};
    bool two_lengths = tarn_onnx_length_dimension(input) > 0 && lengths[0] != lengths[1];
    tarn_status status = TARN_OK;
    for (int64_t batch = 1; batch <= 3 && !status; batch += 2)
        for (int i = 0; i <= two_lengths && !status; i++)
            status = compare_case(context, module, runtime, path, input, batch, lengths[i], comparison);
    double most = TOLERANCE * fmax(1, comparison->largest);
    if (!status && !(comparison->most_absolute <= most))
        status =
            tarn_fail(context, TARN_ERROR_NUMERIC, TARN_HERE,
                      "ONNX: %s in ONNX Runtime %s differs by up to %.3g from the model here, whose outputs are up to "
                      "%.3g large; %.3g is allowed",
                      path, comparison->runtime, comparison->most_absolute, comparison->largest, most);
    return status;
}

tarn_status tarn_onnx_verify(tarn_context *context, tarn_module *module, const char *path,
                             const tarn_onnx_options *options, tarn_onnx_comparison *comparison)
{
    static const tarn_onnx_options defaults;
    tarn_onnx_input input;
    tarn_onnxruntime *runtime;
    *comparison = (tarn_onnx_comparison){0};
    tarn_status status = tarn_onnx_input_of(context, module, options ? options : &defaults, &input);
    if (status) return status;
    if (!tarn_onnxruntime_open(&runtime, comparison->message, sizeof comparison->message)) return TARN_OK;
    snprintf(comparison->runtime, sizeof comparison->runtime, "%s", tarn_onnxruntime_version(runtime));
    comparison->compared = true;
    char message[512] = "";
    if (tarn_onnxruntime_load(runtime, path, message, sizeof message))
        status = compare_all(context, module, runtime, path, &input, comparison);
    else
        status = tarn_fail(context, TARN_ERROR_FORMAT, TARN_HERE, "ONNX Runtime %s: %s", comparison->runtime, message);
    tarn_onnxruntime_close(runtime);
    return status;
}
