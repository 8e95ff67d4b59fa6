/* body.h - classifier_loss around its rows; included by reference.c and kernel.c, which define
 *   rows_forward(call, losses)                               logits -> e^(logit - m), 1 / s, the rows' losses
 *   rows_backward(call, first, count, dlogits)               a chunk of dlogits (rows, count)
 */

static void forward(const tarn_call *call)
{
    int64_t rows = tarn_rows(&call->in[0]), classes = call->in[1].shape[0], width = call->in[1].shape[1];
    element *losses = tarn_scratch_get(call->scratch, (size_t)rows * sizeof(element));
    if (!losses) return;
    product logits = {.m = rows,
                      .n = classes,
                      .k = width,
                      .a = call->in[0].data,
                      .lda = width,
                      .b = call->in[1].data,
                      .ldb = width,
                      .transpose_b = true,
                      .c = call->out[1].data,
                      .ldc = tarn_classifier_stride(classes)};
    multiply(call, &logits);
    rows_forward(call, losses);
    double total = 0;
    for (int64_t row = 0; row < rows; row++) total += (double)losses[row];
    *(element *)call->out[0].data = (element)total;
}

static void backward(const tarn_call *call)
{
    int64_t rows = tarn_rows(&call->in[0]), classes = call->in[1].shape[0], width = call->in[1].shape[1];
    int64_t chunk = classes < TARN_CLASSIFIER_CHUNK ? classes : TARN_CLASSIFIER_CHUNK;
    element *dx = call->grad_in[0].data, *dweight = call->grad_in[1].data;
    if (!dx && !dweight) return;
    element *dlogits = tarn_scratch_get(call->scratch, (size_t)(rows * chunk) * sizeof(element));
    if (!dlogits) return;
    for (int64_t first = 0; first < classes; first += chunk) {
        int64_t count = classes - first < chunk ? classes - first : chunk;
        rows_backward(call, first, count, dlogits);
        product weight_part = {.m = count,
                               .n = width,
                               .k = rows,
                               .a = dlogits,
                               .lda = count,
                               .transpose_a = true,
                               .b = call->in[0].data,
                               .ldb = width,
                               .c = dweight ? dweight + first * width : NULL,
                               .ldc = width,
                               .add = call->add[1]};
        product input_part = {.m = rows,
                              .n = width,
                              .k = count,
                              .a = dlogits,
                              .lda = count,
                              .b = (const element *)call->in[1].data + first * width,
                              .ldb = width,
                              .c = dx,
                              .ldc = width,
                              .add = call->add[0] || first > 0};
        if (dweight) multiply(call, &weight_part);
        if (dx) multiply(call, &input_part);
    }
}
