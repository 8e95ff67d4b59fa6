/* matmul.c - matmul: c = a b, batched.
 *
 *   in   a (..., M, K), b (..., K, N) with the same leading dimensions, or (K, N): one matrix for all
 *   out  c (..., M, N)
 *
 * The bits are those of runtime/backend/cpu/gemm.h. Backward: da = dc b^T and db = a^T dc, matrix by matrix; for one b
 * for all, db is one product over the rows of all matrices. Inputs may be transposed: rows or columns that are
 * contiguous are read in place, anything else is copied to scratch.
 */
#include "ops/fused.h"
#include "ops/rows.h"
#include <tarn/ops.h>

static tarn_status infer(tarn_call *call)
{
    const tarn_view *a = &call->in[0], *b = &call->in[1];
    tarn_status status = tarn_infer_fused(call);
    if (status) return status;
    if (b->dtype != a->dtype)
        return tarn_call_error(call, "a is %s and b is %s; both must have one element type", tarn_dtype_name(a->dtype),
                               tarn_dtype_name(b->dtype));
    if (a->ndim < 2 || b->ndim < 2) return tarn_call_error(call, "a and b must have at least two dimensions");
    if (a->shape[a->ndim - 1] != b->shape[b->ndim - 2])
        return tarn_call_error(call, "a (in[0]) has %lld columns, b (in[1]) %lld rows; they must be equal",
                               (long long)a->shape[a->ndim - 1], (long long)b->shape[b->ndim - 2]);
    bool same = b->ndim == 2 || b->ndim == a->ndim;
    for (int d = 0; same && b->ndim > 2 && d + 2 < a->ndim; d++) same = a->shape[d] == b->shape[d];
    if (!same)
        return tarn_call_error(call, "the leading dimensions of b (in[1]) must be those of a (in[0]), or absent");
    tarn_infer_rows_of(call, b->shape[b->ndim - 1]);
    call->outputs = 1;
    return TARN_OK;
}

const tarn_op tarn_op_matmul = {
    .name = "matmul",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer,
    .differentiable = 3,
    .reads = TARN_READS_IN(0) | TARN_READS_IN(1),
    .strided = 3,
    .onnx = "MatMul",
};

tarn_tensor *tarn_matmul(tarn_tensor *a, tarn_tensor *b)
{
    return tarn_apply(NULL, &tarn_op_matmul, 2, (tarn_tensor *[]){a, b}, NULL);
}
