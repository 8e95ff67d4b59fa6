/* dropout.c - dropout: zeroes elements with a probability p, multiplies the others by the float nearest to 1 / (1 - p).
 *
 * The mask is a function of (seed, step, global sample, stream, element within the sample) alone, see mask.h; a tensor
 * whose elements do not divide by the samples of the call counts as one sample, the first. Dropped elements are +0,
 * whatever they were. Backward makes the mask anew. */
#include "ops/attributes.h"
#include "ops/rows.h"
#include "ops/shape.h"
#include "runtime/autograd/step.h"
#include <tarn/ops.h>

static tarn_status infer(tarn_call *call)
{
    float probability = ((const tarn_dropout_attrs *)call->attrs)->probability;
    if (!(probability >= 0.0f && probability < 1.0f))
        return tarn_call_error(call, "probability %g is not in [0, 1)", (double)probability);
    return tarn_infer_same(call);
}

const tarn_op tarn_op_dropout = {
    .name = "dropout",
    .min_inputs = 1,
    .max_inputs = 1,
    .attrs_size = sizeof(tarn_dropout_attrs),
    .infer = infer,
    .differentiable = 1,
    .random = true,
    .onnx = NULL, /* a no_gradient step never applies it */
};

tarn_tensor *tarn_dropout(tarn_tensor *x, float probability)
{
    const tarn_step *step = x && x->step ? x->step : tarn_step_current();
    bool records = step && tarn_step_is_recording(step);
    if (x && x->valid && probability >= 0.0f && probability < 1.0f && (probability == 0.0f || !records)) return x;
    return tarn_apply(NULL, &tarn_op_dropout, 1, &x, &(tarn_dropout_attrs){probability});
}
