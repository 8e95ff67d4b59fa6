/* body.h - the products of matmul; included by reference.c and kernel.c after products_*.h. */

/* A batch of matrices as the product reads them. */
typedef struct matrices {
    const element *data;
    int batch_dims;
    int64_t shape[TARN_MAX_DIMS], stride[TARN_MAX_DIMS]; /* of the batch dimensions */
    int64_t ld;
    bool transposed; /* columns are contiguous instead of rows */
} matrices;

/* Row-major copy of a view of any strides; NULL when memory is out. */
static element *copy_of(const tarn_call *call, const tarn_view *x)
{
    int64_t count = tarn_view_numel(x), at[TARN_MAX_DIMS] = {0}, offset = 0;
    element *copy = tarn_scratch_get(call->scratch, (size_t)count * sizeof(element));
    for (int64_t i = 0; copy && i < count; i++) {
        copy[i] = ((const element *)x->data)[offset];
        for (int d = x->ndim - 1; d >= 0; d--) {
            offset += x->stride[d];
            if (++at[d] < x->shape[d]) break;
            offset -= x->stride[d] * x->shape[d];
            at[d] = 0;
        }
    }
    return copy;
}

static int64_t at_least_one(int64_t n)
{
    return n > 1 ? n : 1;
}

/* How the matrices of a view are read. flat: all rows as one matrix, so rows must follow at one distance. */
static bool read_matrices(const tarn_call *call, const tarn_view *x, bool flat, matrices *m)
{
    int n = x->ndim;
    int64_t rows = x->shape[n - 2], columns = x->shape[n - 1], row = x->stride[n - 2], column = x->stride[n - 1];
    bool by_rows = (column == 1 || columns == 1) && (rows == 1 || row >= columns);
    bool by_columns = (row == 1 || rows == 1) && (columns == 1 || column >= rows);
    if (flat && n > 2) by_rows = by_rows && tarn_view_is_contiguous(x);
    *m = (matrices){.data = x->data, .batch_dims = n - 2};
    for (int d = 0; d + 2 < n; d++) {
        m->shape[d] = x->shape[d];
        m->stride[d] = x->stride[d];
    }
    if (by_rows) {
        m->ld = rows == 1 ? at_least_one(columns) : row;
        return true;
    }
    if (by_columns && !(flat && n > 2)) {
        m->transposed = true;
        m->ld = columns == 1 ? at_least_one(rows) : column;
        return true;
    }
    m->data = copy_of(call, x);
    m->ld = columns;
    int64_t stride = rows * columns;
    for (int d = n - 3; d >= 0; d--) {
        m->stride[d] = stride;
        stride *= x->shape[d];
    }
    return m->data != NULL;
}

static const element *matrix_at(const matrices *m, int64_t index)
{
    const element *data = m->data;
    for (int d = m->batch_dims - 1; d >= 0; d--) {
        data += index % m->shape[d] * m->stride[d];
        index /= m->shape[d];
    }
    return data;
}

typedef struct matmul_shape {
    int64_t batch, m, n, k;
    bool shared; /* one b for all: the rows of all matrices are those of one */
} matmul_shape;

static matmul_shape shape_of(const tarn_call *call)
{
    const tarn_view *a = &call->in[0], *b = &call->in[1];
    matmul_shape s = {.batch = 1, .m = a->shape[a->ndim - 2], .n = b->shape[b->ndim - 1], .k = a->shape[a->ndim - 1]};
    for (int d = 0; d + 2 < a->ndim; d++) s.batch *= a->shape[d];
    s.shared = b->ndim == 2;
    if (s.shared) {
        s.m *= s.batch;
        s.batch = 1;
    }
    return s;
}

static void forward(const tarn_call *call)
{
    matmul_shape s = shape_of(call);
    matrices a, b;
    if (!read_matrices(call, &call->in[0], s.shared, &a) || !read_matrices(call, &call->in[1], false, &b)) return;
    for (int64_t i = 0; i < s.batch; i++) {
        product p = {.m = s.m,
                     .n = s.n,
                     .k = s.k,
                     .a = matrix_at(&a, i),
                     .lda = a.ld,
                     .transpose_a = a.transposed,
                     .b = matrix_at(&b, i),
                     .ldb = b.ld,
                     .transpose_b = b.transposed,
                     .c = (element *)call->out[0].data + i * s.m * s.n,
                     .ldc = s.n};
        multiply(call, &p);
    }
}

static void backward(const tarn_call *call)
{
    matmul_shape s = shape_of(call);
    element *da = call->grad_in[0].data, *db = call->grad_in[1].data;
    matrices a, b;
    if (db && !read_matrices(call, &call->in[0], s.shared, &a)) return;
    if (da && !read_matrices(call, &call->in[1], false, &b)) return;
    for (int64_t i = 0; i < s.batch; i++) {
        const element *dc = (const element *)call->grad_out.data + i * s.m * s.n;
        if (da) {
            product p = {.m = s.m,
                         .n = s.k,
                         .k = s.n,
                         .a = dc,
                         .lda = s.n,
                         .b = matrix_at(&b, i),
                         .ldb = b.ld,
                         .transpose_b = !b.transposed,
                         .c = da + i * s.m * s.k,
                         .ldc = s.k,
                         .add = call->add[0]};
            multiply(call, &p);
        }
        if (db) {
            product p = {.m = s.k,
                         .n = s.n,
                         .k = s.m,
                         .a = matrix_at(&a, i),
                         .lda = a.ld,
                         .transpose_a = !a.transposed,
                         .b = dc,
                         .ldb = s.n,
                         .c = db + i * s.k * s.n,
                         .ldc = s.n,
                         .add = call->add[1]};
            multiply(call, &p);
        }
    }
}
