/* body.h - the products of mlp_block, in their order; included by reference.c and kernel.c after products_*.h. */

static void forward(const tarn_call *call)
{
    const tarn_activation_attrs *attrs = call->attrs;
    int64_t m = tarn_rows(&call->in[0]), hidden = call->in[1].shape[0], width = call->in[1].shape[1];
    element *middle = tarn_scratch_get(call->scratch, (size_t)(m * hidden) * sizeof(element));
    if (!middle) return;
    product up = {.m = m,
                  .n = hidden,
                  .k = width,
                  .a = call->in[0].data,
                  .lda = width,
                  .b = call->in[1].data,
                  .ldb = width,
                  .transpose_b = true,
                  .c = middle,
                  .ldc = hidden,
                  .bias = call->in[3].data,
                  .activation = attrs->activation,
                  .pre = call->out[1].data,
                  .ld_pre = hidden};
    product down = {.m = m,
                    .n = width,
                    .k = hidden,
                    .a = middle,
                    .lda = hidden,
                    .b = call->in[2].data,
                    .ldb = hidden,
                    .transpose_b = true,
                    .c = call->out[0].data,
                    .ldc = width,
                    .bias = call->in[4].data,
                    .residual = call->in[5].data,
                    .ld_residual = width};
    multiply(call, &up);
    multiply(call, &down);
}

/* dw (n, k) = dy^T x with the row sums of dy^T in db; either may be unwanted (NULL). Operand numbers iw and ib. */
static void weight_gradient(const tarn_call *call, int64_t m, int64_t n, int64_t k, const element *dy, const element *x,
                            int iw, int ib)
{
    element *dw = call->grad_in[iw].data, *db = call->grad_in[ib].data;
    if (!dw && !db) return;
    tarn_scratch_mark mark = tarn_scratch_here(call->scratch);
    if (!dw) dw = tarn_scratch_get(call->scratch, (size_t)(n * k) * sizeof(element)); /* frozen weight, trained bias */
    if (!dw) return;
    product p = {.m = n,
                 .n = k,
                 .k = m,
                 .a = dy,
                 .lda = n,
                 .transpose_a = true,
                 .b = x,
                 .ldb = k,
                 .c = dw,
                 .ldc = k,
                 .add = call->grad_in[iw].data && call->add[iw],
                 .row_sum = db,
                 .add_row_sum = call->add[ib]};
    multiply(call, &p);
    tarn_scratch_rewind(call->scratch, mark);
}

static void backward(const tarn_call *call)
{
    const tarn_activation_attrs *attrs = call->attrs;
    int64_t m = tarn_rows(&call->in[0]), hidden = call->in[1].shape[0], width = call->in[1].shape[1];
    element *du = tarn_scratch_get(call->scratch, (size_t)(m * hidden) * sizeof(element));
    element *middle = tarn_scratch_get(call->scratch, (size_t)(m * hidden) * sizeof(element));
    if (!du || !middle) return;
    product through = {.m = m,
                       .n = hidden,
                       .k = width,
                       .a = call->grad_out.data,
                       .lda = width,
                       .b = call->in[2].data,
                       .ldb = hidden,
                       .c = du,
                       .ldc = hidden,
                       .activation = attrs->activation,
                       .gate = call->out[1].data,
                       .ld_gate = hidden,
                       .activated = middle,
                       .ld_activated = hidden};
    multiply(call, &through);
    weight_gradient(call, m, width, hidden, call->grad_out.data, middle, 2, 4);
    weight_gradient(call, m, hidden, width, du, call->in[0].data, 1, 3);
    if (!call->grad_in[0].data) return;
    product dx = {.m = m,
                  .n = width,
                  .k = hidden,
                  .a = du,
                  .lda = hidden,
                  .b = call->in[1].data,
                  .ldb = width,
                  .c = call->grad_in[0].data,
                  .ldc = width,
                  .add = call->add[0]};
    multiply(call, &dx);
}
