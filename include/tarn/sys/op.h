/* sys/op.h - for those who extend Tarn with an op of their own: the row that states an op's meaning, the call its
 * kernels receive, registration, and the checker.
 *
 * An op is a row (tarn_op: shapes, what backward reads, gradient) and kernels registered per (op, pass, dtype, backend,
 * ISA). The scalar kernel of an op is the definition of its bits: every other kernel equals it with memcmp (any NaN
 * equals any NaN). Kernels own no memory, do no I/O, call no libm, use no atomics on floats.
 */
#ifndef TARN_SYS_OP_H
#define TARN_SYS_OP_H

#include <tarn/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TARN_MAX_OPERANDS 8

/* A tensor as a kernel sees it. stride is in elements; contiguous means row-major without gaps. */
typedef struct tarn_view {
    void *data; /* NULL: an optional operand that is absent */
    tarn_dtype dtype;
    int ndim;
    int64_t shape[TARN_MAX_DIMS];
    int64_t stride[TARN_MAX_DIMS];
} tarn_view;

typedef struct tarn_op tarn_op;
typedef struct tarn_team tarn_team;
typedef struct tarn_scratch tarn_scratch;
typedef struct tarn_onnx_call tarn_onnx_call; /* sys/onnx.h */

/* Where random numbers of a call come from: a pure function of these (Philox), so nothing is stored. */
typedef struct tarn_random_key {
    uint64_t seed;
    uint64_t step;
    uint64_t first_sample; /* global position of the sample in row 0 */
    int64_t samples;       /* samples in this call */
    uint32_t stream;       /* number of the random op within the step */
} tarn_random_key;

/* One invocation of an op. Outputs are out[0], the result, and out[1..], saved for backward and invisible to users. */
typedef struct tarn_call {
    const tarn_op *op;
    const void *attrs; /* the op's attribute struct, attrs_size bytes */
    int inputs, outputs;
    tarn_view in[TARN_MAX_OPERANDS];
    tarn_view out[TARN_MAX_OPERANDS];
    /* Backward only. */
    tarn_view grad_out;                   /* gradient of out[0], contiguous */
    tarn_view grad_in[TARN_MAX_OPERANDS]; /* data NULL: not wanted. Contiguous. */
    bool add[TARN_MAX_OPERANDS];          /* grad_in[i] holds a gradient already: grad_in[i] = grad_in[i] + new;
                                             false: overwrite, the memory is uninitialised */
    tarn_random_key random;
    tarn_team *team;       /* threads that may share this call's work; see tarn_team_for. NULL = this thread alone */
    tarn_scratch *scratch; /* see tarn_scratch_get */
    char *error;           /* infer writes its message here, see tarn_call_error */
    size_t error_size;
} tarn_call;

typedef void tarn_kernel(const tarn_call *call);

typedef enum tarn_pass { TARN_FORWARD = 0, TARN_BACKWARD = 1 } tarn_pass;
typedef enum tarn_isa { TARN_ISA_SCALAR = 0, TARN_ISA_AVX2, TARN_ISA_AVX512, TARN_ISA_COUNT } tarn_isa;

/* What backward reads of a call; the rest may be freed or never kept. */
#define TARN_READS_IN(i)  (1u << (i))
#define TARN_READS_OUT(i) (1u << (16 + (i)))

/* What a gradient rule written as a composition of other ops receives and returns. */
typedef struct tarn_gradient_call {
    tarn_step *step;
    const void *attrs;
    int inputs;
    tarn_tensor *const *in;  /* only those named in `reads` may be used */
    tarn_tensor *const *out; /* likewise */
    tarn_tensor *grad_out;
    tarn_tensor *grad_in[TARN_MAX_OPERANDS]; /* the rule sets those that wants[i] asks for */
    bool wants[TARN_MAX_OPERANDS];
} tarn_gradient_call;

struct tarn_op {
    const char *name; /* unique, [a-z0-9_] */
    int min_inputs;   /* trailing inputs beyond these are optional (NULL) */
    int max_inputs;
    size_t attrs_size;
    /* Checks the inputs and sets call->outputs and dtype, ndim, shape of each out[]. On failure returns
     * tarn_call_error(call, ...). */
    tarn_status (*infer)(tarn_call *call);
    uint32_t differentiable; /* bit i: in[i] has a gradient; 0 = not differentiable */
    uint32_t reads;          /* TARN_READS_IN(i) | TARN_READS_OUT(i) */
    uint32_t strided;        /* bit i: kernels accept any strides for in[i]; others get a contiguous copy */
    /* 1 + index of an input whose gradient simply is grad_out (a residual), 0 = none. Kernels never see it: the engine
     * hands the buffer on. */
    int passes_gradient;
    bool random; /* takes a random stream number of its own */
    bool view;   /* out[0] shares in[0]'s memory: infer sets out[0].stride and out[0].data too */
    /* The gradient as a composition of other ops: used when no backward kernel is registered for the dtype. */
    tarn_status (*gradient)(tarn_gradient_call *call);
    /* How it is exported (sys/onnx.h). Both NULL: not at all, as is right for losses. */
    const char *onnx; /* the ONNX operator that is the op as it stands: the same inputs, no attributes */
    tarn_status (*to_onnx)(tarn_onnx_call *call); /* else: adds nodes; counts before `onnx` */
};

/* Formats the message of a failed infer and returns TARN_ERROR_SHAPE. */
TARN_API tarn_status tarn_call_error(tarn_call *call, const char *format, ...) TARN_PRINTF(2, 3);

/* Makes an op known to the process (its row must live as long). Registering a name twice is an error. */
TARN_API tarn_status tarn_op_register(tarn_context *context, const tarn_op *op);
/* Registers a CPU kernel. Lookup takes the best ISA not above the one in use, so a scalar kernel alone is enough. */
TARN_API tarn_status tarn_kernel_register(tarn_context *context, const char *op, tarn_pass pass, tarn_dtype dtype,
                                          tarn_isa isa, tarn_kernel *kernel);
/* Applies an op to inputs (NULL = absent). step may be NULL: that of the first input that has one, else the thread's
 * current one. */
TARN_API tarn_tensor *tarn_apply(tarn_step *step, const tarn_op *op, int inputs, tarn_tensor *const *in,
                                 const void *attrs);

/* ---- for kernels ----------------------------------------------------------------------------------------------- */

/* Number of elements: the product of the sizes, 1 without dimensions. */
TARN_API int64_t tarn_view_numel(const tarn_view *view);
/* Whether elements stand in row-major order without gaps. Strides of dimensions of size 1 do not matter; a view without
 * elements is contiguous. */
TARN_API bool tarn_view_is_contiguous(const tarn_view *view);
/* 64-byte aligned memory of this call, uninitialised; gone when the kernel returns. Called by the kernel's own thread
 * only, never inside tarn_team_for. NULL when memory is out: the call is then marked failed, and the kernel returns. */
TARN_API void *tarn_scratch_get(tarn_scratch *scratch, size_t bytes);
/* Runs fn(argument, begin, end, member) over [0, count) in contiguous pieces, multiples of grain but the last, on the
 * team's threads, and waits. member < tarn_team_size. */
typedef void tarn_team_function(void *argument, int64_t begin, int64_t end, int member);
TARN_API void tarn_team_for(tarn_team *team, int64_t count, int64_t grain, tarn_team_function *fn, void *argument);
TARN_API int tarn_team_size(const tarn_team *team);

/* ---- the checker ----------------------------------------------------------------------------------------------- */

/* One case of an op: input shapes, element types, ranges of the random values, attributes. */
typedef struct tarn_op_case {
    const char *name;
    int inputs;
    struct {
        bool absent;
        tarn_dtype dtype;
        int ndim;
        int64_t shape[TARN_MAX_DIMS];
        double low, high; /* uniform values in [low, high); both 0 = [-1, 1). Integers: low <= value < high */
        int permutation[TARN_MAX_DIMS]; /* all 0 = contiguous; otherwise dimension order in memory (a strided input) */
    } in[TARN_MAX_OPERANDS];
    const void *attrs;
    int64_t samples;              /* for random ops */
    bool skip_finite_differences; /* say why beside the case */
} tarn_op_case;

typedef struct tarn_op_report {
    int checks; /* comparisons made */
    int failures;
    char message[512]; /* the first failure */
    uint32_t isas;     /* bit per tarn_isa that has a fast kernel of its own, forward or backward */
} tarn_op_report;

/* Checks an op on a case: inferred against actual shapes, guard bytes around outputs, every kernel of every ISA this
 * machine runs against the scalar one (memcmp), with and without accumulation and with teams of 1, 2 and 3 threads,
 * and the gradient against central differences in double. Returns TARN_OK when all agree; the report says the rest. */
TARN_API tarn_status tarn_op_check(tarn_context *context, const tarn_op *op, const tarn_op_case *op_case,
                                   tarn_op_report *report);

#ifdef __cplusplus
}
#endif
#endif
