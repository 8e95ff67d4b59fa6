/* custom_op.c - an op of one's own, outside Tarn's tree: softplus(x) = log(1 + e^x), with its gradient and a kernel,
 * checked by the public checker and then trained through.
 *
 * softplus = max(x, 0) + log1p(e^-|x|); d softplus / dx = 1 / (1 + e^-x).
 */
#include <math.h>
#include <stdio.h>
#include <tarn/sys/op.h>
#include <tarn/tarn.h>

static tarn_status infer(tarn_call *call)
{
    if (call->in[0].dtype != TARN_F32 && call->in[0].dtype != TARN_F64)
        return tarn_call_error(call, "softplus needs f32 or f64, not %s", tarn_dtype_name(call->in[0].dtype));
    call->outputs = 1;
    call->out[0] = call->in[0];
    return TARN_OK;
}

/* One template for both element types: f64 serves the finite differences of the checker. */
#define SOFTPLUS(T, suffix)                                                                                            \
    static void forward_##suffix(const tarn_call *call)                                                                \
    {                                                                                                                  \
        const T *x = call->in[0].data;                                                                                 \
        T *y = call->out[0].data;                                                                                      \
        for (int64_t i = 0; i < tarn_view_numel(&call->in[0]); i++)                                                    \
            y[i] = (T)((x[i] > 0 ? x[i] : 0) + log1p(exp(-fabs((double)x[i]))));                                       \
    }                                                                                                                  \
    static void backward_##suffix(const tarn_call *call)                                                               \
    {                                                                                                                  \
        const T *x = call->in[0].data, *dy = call->grad_out.data;                                                      \
        T *dx = call->grad_in[0].data;                                                                                 \
        for (int64_t i = 0; i < tarn_view_numel(&call->in[0]); i++) {                                                  \
            T value = (T)(dy[i] / (1 + exp(-(double)x[i])));                                                           \
            dx[i] = call->add[0] ? dx[i] + value : value;                                                              \
        }                                                                                                              \
    }
SOFTPLUS(float, f32)
SOFTPLUS(double, f64)

static const tarn_op softplus = {.name = "softplus",
                                 .min_inputs = 1,
                                 .max_inputs = 1,
                                 .infer = infer,
                                 .differentiable = 1,
                                 .reads = TARN_READS_IN(0),
                                 .onnx = "Softplus"};

static const tarn_op_case cases[] = {
    {.name = "row", .inputs = 1, .in = {{.dtype = TARN_F32, .ndim = 2, .shape = {3, 17}, .low = -4, .high = 4}}},
    {.name = "one value", .inputs = 1, .in = {{.dtype = TARN_F32, .ndim = 1, .shape = {1}}}}};

int main(int argc, char **argv)
{
    tarn_context *context;
    tarn_init(&context, &argc, &argv);
    tarn_op_register(context, &softplus);
    tarn_kernel_register(context, "softplus", TARN_FORWARD, TARN_F32, TARN_ISA_SCALAR, forward_f32);
    tarn_kernel_register(context, "softplus", TARN_BACKWARD, TARN_F32, TARN_ISA_SCALAR, backward_f32);
    tarn_kernel_register(context, "softplus", TARN_FORWARD, TARN_F64, TARN_ISA_SCALAR, forward_f64);
    tarn_kernel_register(context, "softplus", TARN_BACKWARD, TARN_F64, TARN_ISA_SCALAR, backward_f64);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tarn_op_report report;
        tarn_status status = tarn_op_check(context, &softplus, &cases[i], &report);
        printf("softplus, %s: %d checks, %d failures %s\n", cases[i].name, report.checks, report.failures,
               report.message);
        if (status) tarn_fail(context, status, TARN_HERE, "softplus failed its check: %s", report.message);
    }

    /* And in an expression: the minimum of sum(softplus(x) - x / 2) lies at x = 0. */
    float x[4] = {-2, -1, 1, 2};
    for (int i = 0; i < 200 && !tarn_get_error(context); i++) {
        tarn_step *step;
        tarn_step_open(&step, context, NULL);
        tarn_tensor *leaf = tarn_leaf(step, TARN_F32, 1, (int64_t[]){4}, x, true);
        tarn_tensor *y = tarn_apply(NULL, &softplus, 1, &leaf, NULL);
        tarn_backward(step, tarn_sum_all(tarn_subtract(y, tarn_scale(leaf, 0.5f, 0))));
        float gradient[4] = {0};
        tarn_tensor_read(tarn_gradient(leaf), gradient, sizeof gradient);
        for (int k = 0; k < 4; k++) x[k] -= gradient[k];
        tarn_step_close(step);
    }
    printf("minimum at %.4f %.4f %.4f %.4f\n", x[0], x[1], x[2], x[3]);
    return tarn_exit(context);
}
