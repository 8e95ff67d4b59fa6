/* divide.c - divide: a / b with broadcasting. Backward: da = dy / b, db = -(dy y) / b, summed over the broadcast
 * dimensions in the order of tarn_reduce_to. Composed of other ops. */
#include "ops/compose.h"
#include "ops/rows.h"
#include "ops/shape.h"

static tarn_status gradient(tarn_gradient_call *call)
{
    if (call->wants[0]) call->grad_in[0] = tarn_reduce_to(tarn_divide(call->grad_out, call->in[1]), call->in[0]);
    if (call->wants[1]) {
        tarn_tensor *product = tarn_scale(tarn_multiply(call->grad_out, call->out[0]), -1.0f, 0.0f);
        call->grad_in[1] = tarn_reduce_to(tarn_divide(product, call->in[1]), call->in[1]);
    }
    return TARN_OK;
}

const tarn_op tarn_op_divide = {
    .name = "divide",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = tarn_infer_broadcast,
    .differentiable = 3,
    .reads = TARN_READS_IN(1) | TARN_READS_OUT(0),
    .strided = 3,
    .gradient = gradient,
    .onnx = "Div",
};

tarn_tensor *tarn_divide(tarn_tensor *a, tarn_tensor *b)
{
    return tarn_apply(NULL, &tarn_op_divide, 2, (tarn_tensor *[]){a, b}, NULL);
}
