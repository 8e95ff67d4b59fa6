/* body.h - the products of linear, in their order; included by reference.c and kernel.c after products_*.h. */

static void forward(const tarn_call *call)
{
    const tarn_activation_attrs *attrs = call->attrs;
    const tarn_view *weight = &call->in[1];
    int64_t n = weight->shape[0], k = weight->shape[1];
    product p = {.m = tarn_rows(&call->in[0]),
                 .n = n,
                 .k = k,
                 .a = call->in[0].data,
                 .lda = k,
                 .b = weight->data,
                 .ldb = k,
                 .transpose_b = true,
                 .c = call->out[0].data,
                 .ldc = n,
                 .bias = call->in[2].data,
                 .activation = attrs->activation,
                 .pre = call->outputs > 1 ? call->out[1].data : NULL,
                 .ld_pre = n,
                 .residual = call->in[3].data,
                 .ld_residual = n};
    multiply(call, &p);
}

static void backward(const tarn_call *call)
{
    const tarn_activation_attrs *attrs = call->attrs;
    int64_t m = tarn_rows(&call->in[0]), n = call->in[1].shape[0], k = call->in[1].shape[1];
    const element *du = call->grad_out.data;
    bool wants_sums = call->grad_in[1].data || call->grad_in[2].data;
    if (!call->grad_in[0].data && !wants_sums) return;
    if (attrs->activation != TARN_NO_ACTIVATION) {
        element *gated = tarn_scratch_get(call->scratch, (size_t)(m * n) * sizeof(element));
        if (!gated) return;
        through_activation(call, attrs->activation, m * n, du, call->out[1].data, gated);
        du = gated;
    }
    if (call->grad_in[0].data) {
        product dx = {.m = m,
                      .n = k,
                      .k = n,
                      .a = du,
                      .lda = n,
                      .b = call->in[1].data,
                      .ldb = k,
                      .c = call->grad_in[0].data,
                      .ldc = k,
                      .add = call->add[0]};
        multiply(call, &dx);
    }
    if (!wants_sums) return;
    element *gradient = call->grad_in[1].data;
    if (!gradient) gradient = tarn_scratch_get(call->scratch, (size_t)(n * k) * sizeof(element)); /* weight frozen */
    if (!gradient) return;
    product dweight = {.m = n,
                       .n = k,
                       .k = m,
                       .a = du,
                       .lda = n,
                       .transpose_a = true,
                       .b = call->in[0].data,
                       .ldb = k,
                       .c = gradient,
                       .ldc = k,
                       .add = call->grad_in[1].data && call->add[1],
                       .row_sum = call->grad_in[2].data,
                       .add_row_sum = call->add[2]};
    multiply(call, &dweight);
}
