/* test_ops.c - the one test of all ops: every row of ops.def on every case of its folder, through the public checker;
 * and the checker itself on kernels that are wrong on purpose, each of which it must refuse. */
#include "ops/attributes.h"
#include "ops/kernel.h"
#include "ops/rows.h"
#include "runtime/backend/registry.h"
#include <tarn/tarn.h>

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define TARN_OP(name)                                                                                                  \
    extern const tarn_op_case tarn_##name##_cases[];                                                                   \
    extern const int tarn_##name##_case_count;
#define TARN_OP_FAST(name) TARN_OP(name)
#include "ops/ops.def"
#undef TARN_OP
#undef TARN_OP_FAST

typedef struct row {
    const tarn_op *op;
    const tarn_op_case *cases;
    const int *count;
    bool fast;
} row;

static const row rows[] = {
#define TARN_OP(name)      {&tarn_op_##name, tarn_##name##_cases, &tarn_##name##_case_count, false},
#define TARN_OP_FAST(name) {&tarn_op_##name, tarn_##name##_cases, &tarn_##name##_case_count, true},
#include "ops/ops.def"
#undef TARN_OP
#undef TARN_OP_FAST
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static tarn_context *open_context(void)
{
    tarn_context *context = NULL;
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    return context;
}

static bool processor_has_avx2(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

Test(ops, every_row_on_every_case, .timeout = 300)
{
    tarn_context *context = open_context();
    int checks = 0;
    printf("%-16s cases checks  fast kernels\n", "op");
    for (int r = 0; r < ROWS; r++) {
        tarn_op_report total = {0};
        cr_expect(*rows[r].count > 0, "op %s has no cases", rows[r].op->name);
        for (int c = 0; c < *rows[r].count; c++) {
            tarn_op_report report;
            tarn_status status = tarn_op_check(context, rows[r].op, &rows[r].cases[c], &report);
            cr_expect_eq(status, TARN_OK, "%s", report.failures ? report.message : tarn_status_name(status));
            cr_expect(report.checks > 0, "op %s: nothing was compared", rows[r].op->name);
            total.checks += report.checks;
            total.isas |= report.isas;
        }
        printf("%-16s %5d %6d %s%s\n", rows[r].op->name, *rows[r].count, total.checks,
               total.isas >> TARN_ISA_AVX2 & 1 ? " avx2" : "", total.isas >> TARN_ISA_AVX512 & 1 ? " avx512" : "");
        if (rows[r].fast && processor_has_avx2())
            cr_expect(total.isas >> TARN_ISA_AVX2 & 1, "op %s: its kernel.c was not exercised", rows[r].op->name);
        checks += total.checks;
    }
    printf("%d ops, %d comparisons\n", (int)ROWS, checks);
    cr_expect_null(tarn_get_error(context));
    tarn_exit(context);
}

Test(ops, rows_are_alphabetical_and_registered)
{
    tarn_context *context = open_context();
    for (int r = 0; r < ROWS; r++) {
        cr_expect_eq(tarn_op_find(context, rows[r].op->name), rows[r].op);
        if (r > 0)
            cr_expect_lt(strcmp(rows[r - 1].op->name, rows[r].op->name), 0, "ops.def: %s stands after %s",
                         rows[r].op->name, rows[r - 1].op->name);
    }
    tarn_exit(context);
}

/* ---- the checker refuses what is wrong --------------------------------------------------------------------------- */

/* An op of the test: y = x^2 row by row plus the row's sum, so that there is an order of summation to get wrong. */
static tarn_status infer_square(tarn_call *call)
{
    if (call->in[0].ndim != 2) return tarn_call_error(call, "x must be a matrix");
    call->outputs = 1;
    call->out[0].dtype = call->in[0].dtype;
    call->out[0].ndim = 2;
    memcpy(call->out[0].shape, call->in[0].shape, sizeof call->out[0].shape);
    return TARN_OK;
}

/* What is wrong with the kernel under test. */
static enum mistake {
    NOTHING,
    ONE_LANE,     /* an element a bit off */
    SUM_ORDER,    /* the row is summed backwards */
    LAST_ELEMENT, /* the last element is never written */
    BEYOND,       /* a byte behind the output is written */
    NAN_IS_ZERO,  /* NaN becomes 0 */
    GRADIENT,     /* the gradient is off by 2 % */
    NEVER_ADDS,   /* call->add is ignored */
    UNDECLARED,   /* backward reads the result, which the row does not name */
    TEAM          /* the bits depend on the number of threads */
} mistake;
/* In the fast kernel alone, or in all. */
static bool everywhere;

#define SQUARE_KERNELS(name, real, is_fast)                                                                            \
    static void name##_forward(const tarn_call *call)                                                                  \
    {                                                                                                                  \
        bool wrong = is_fast || everywhere;                                                                            \
        const real *x = call->in[0].data;                                                                              \
        real *y = call->out[0].data;                                                                                   \
        int64_t n = call->in[0].shape[1], numel = tarn_view_numel(&call->in[0]);                                       \
        for (int64_t first = 0; first < numel; first += n) {                                                           \
            real sum = 0;                                                                                              \
            for (int64_t i = 0; i < n; i++) sum += x[first + (wrong && mistake == SUM_ORDER ? n - 1 - i : i)];         \
            for (int64_t i = first; i < first + n; i++) {                                                              \
                if (wrong && mistake == LAST_ELEMENT && i == numel - 1) continue;                                      \
                y[i] = x[i] * x[i] + sum;                                                                              \
                if (wrong && mistake == NAN_IS_ZERO && y[i] != y[i]) y[i] = 0;                                         \
                if (wrong && mistake == ONE_LANE && i == numel / 2) y[i] *= (real)1.0000002;                           \
            }                                                                                                          \
        }                                                                                                              \
        if (wrong && mistake == BEYOND) ((char *)(y + numel))[0] = 1;                                                  \
        if (wrong && mistake == TEAM) y[0] += (real)(tarn_team_size(call->team) - 1);                                  \
    }                                                                                                                  \
    static void name##_backward(const tarn_call *call)                                                                 \
    {                                                                                                                  \
        bool wrong = is_fast || everywhere;                                                                            \
        const real *x = call->in[0].data, *dy = call->grad_out.data, *y = call->out[0].data;                           \
        real *dx = call->grad_in[0].data;                                                                              \
        int64_t n = call->in[0].shape[1], numel = tarn_view_numel(&call->in[0]);                                       \
        for (int64_t first = 0; dx && first < numel; first += n) {                                                     \
            real sum = 0;                                                                                              \
            for (int64_t i = 0; i < n; i++) sum += dy[first + i];                                                      \
            for (int64_t i = first; i < first + n; i++) {                                                              \
                real value = 2 * x[i] * dy[i] + sum;                                                                   \
                if (wrong && mistake == GRADIENT) value *= (real)1.02;                                                 \
                if (wrong && mistake == UNDECLARED) value += 0 * y[i];                                                 \
                dx[i] = call->add[0] && !(wrong && mistake == NEVER_ADDS) ? dx[i] + value : value;                     \
            }                                                                                                          \
        }                                                                                                              \
    }

SQUARE_KERNELS(scalar, float, false)
SQUARE_KERNELS(fast, float, true)
SQUARE_KERNELS(twice, double, false)

static const tarn_op square = {.name = "test_square",
                               .min_inputs = 1,
                               .max_inputs = 1,
                               .infer = infer_square,
                               .differentiable = 1,
                               .reads = TARN_READS_IN(0)};
static const tarn_op_case square_case = {
    .name = "square", .inputs = 1, .in = {{.ndim = 2, .shape = {5, 37}, .low = -2, .high = 2}}};

/* The op registered anew, with or without kernels in double. */
static tarn_context *open_square(bool with_double)
{
    tarn_context *context = open_context();
    cr_assert_eq(tarn_op_register(context, &square), TARN_OK);
    tarn_kernel_register(context, square.name, TARN_FORWARD, TARN_F32, TARN_ISA_SCALAR, scalar_forward);
    tarn_kernel_register(context, square.name, TARN_BACKWARD, TARN_F32, TARN_ISA_SCALAR, scalar_backward);
    tarn_kernel_register(context, square.name, TARN_FORWARD, TARN_F32, TARN_ISA_AVX2, fast_forward);
    tarn_kernel_register(context, square.name, TARN_BACKWARD, TARN_F32, TARN_ISA_AVX2, fast_backward);
    if (with_double) {
        tarn_kernel_register(context, square.name, TARN_FORWARD, TARN_F64, TARN_ISA_SCALAR, twice_forward);
        tarn_kernel_register(context, square.name, TARN_BACKWARD, TARN_F64, TARN_ISA_SCALAR, twice_backward);
    }
    return context;
}

Test(checker, accepts_a_right_op)
{
    for (int with_double = 0; with_double < 2; with_double++) {
        tarn_op_report report;
        tarn_context *context = open_square(with_double);
        mistake = NOTHING;
        cr_expect_eq(tarn_op_check(context, &square, &square_case, &report), TARN_OK, "%s", report.message);
        tarn_exit(context);
    }
}

static void expect_refused(enum mistake kind, bool in_all, bool with_double, const char *part)
{
    tarn_op_report report;
    tarn_context *context = open_square(with_double);
    mistake = kind;
    everywhere = in_all;
    tarn_status status = tarn_op_check(context, &square, &square_case, &report);
    cr_expect_eq(status, TARN_ERROR_NUMERIC, "mistake %d was not seen", (int)kind);
    cr_expect_gt(report.failures, 0);
    cr_expect(strstr(report.message, part), "mistake %d: '%s' is not in '%s'", (int)kind, part, report.message);
    cr_expect_null(tarn_get_error(context), "the checker must leave the context usable");
    tarn_exit(context);
}

Test(checker, refuses_a_fast_kernel_with_other_bits)
{
    if (!processor_has_avx2()) cr_skip_test("no AVX2 here");
    expect_refused(ONE_LANE, false, true, "avx2 kernel");
    expect_refused(SUM_ORDER, false, true, "avx2 kernel");
    expect_refused(NAN_IS_ZERO, false, true, "special values");
    expect_refused(GRADIENT, false, true, "backward, avx2 kernel");
    expect_refused(NEVER_ADDS, false, true, "adding");
    expect_refused(UNDECLARED, false, true, "backward, avx2 kernel");
    expect_refused(LAST_ELEMENT, false, true, "avx2 kernel");
    expect_refused(TEAM, false, true, "2 threads");
}

Test(checker, refuses_an_op_that_is_wrong_on_every_instruction_set)
{
    expect_refused(GRADIENT, true, true, "central differences");
    expect_refused(GRADIENT, true, false, "central differences"); /* in float */
    expect_refused(BEYOND, true, true, "writes outside");
    expect_refused(LAST_ELEMENT, true, true, "scalar kernel");
    expect_refused(NEVER_ADDS, true, true, "a kernel must add");
    expect_refused(UNDECLARED, true, true, "");
    expect_refused(TEAM, true, true, "2 threads");
}

/* A rule of composition that is wrong: scale's row copied, its gradient 2 % too large. */
static tarn_status wrong_rule(tarn_gradient_call *call)
{
    call->grad_in[0] = tarn_scale(call->grad_out, 1.02f, 0.0f);
    return TARN_OK;
}

static tarn_status rule_of_wrong_shape(tarn_gradient_call *call)
{
    call->grad_in[0] = tarn_sum_all(call->grad_out);
    return TARN_OK;
}

Test(checker, refuses_a_wrong_gradient_rule)
{
    static tarn_op copy;
    const char *parts[] = {"central differences", "no gradient of the right shape"};
    for (int kind = 0; kind < 2; kind++) {
        tarn_op_report report;
        tarn_context *context = open_context();
        copy = tarn_op_scale;
        copy.name = "test_scale";
        copy.gradient = kind ? rule_of_wrong_shape : wrong_rule;
        cr_assert_eq(tarn_op_register(context, &copy), TARN_OK);
        tarn_kernel_register(context, copy.name, TARN_FORWARD, TARN_F32, TARN_ISA_SCALAR,
                             tarn_kernel_find(context, "scale", TARN_FORWARD, TARN_F32, TARN_ISA_SCALAR, NULL));
        tarn_kernel_register(context, copy.name, TARN_FORWARD, TARN_F64, TARN_ISA_SCALAR,
                             tarn_kernel_find(context, "scale", TARN_FORWARD, TARN_F64, TARN_ISA_SCALAR, NULL));
        tarn_scale_attrs attrs = {.scale = 1.0};
        tarn_op_case op_case = {.name = "wrong rule", .inputs = 1, .in = {{.ndim = 1, .shape = {9}}}, .attrs = &attrs};
        cr_expect_eq(tarn_op_check(context, &copy, &op_case, &report), TARN_ERROR_NUMERIC);
        cr_expect(strstr(report.message, parts[kind]), "%s", report.message);
        tarn_exit(context);
    }
}

/* A built-in op with one wrong lane: the kernel of relu as every one knows it, then an element changed. */
static tarn_kernel *right_relu;
static void relu_with_a_wrong_lane(const tarn_call *call)
{
    right_relu(call);
    float *y = call->out[0].data;
    int64_t n = tarn_view_numel(&call->out[0]);
    if (n > 3) y[n - 3] = nextafterf(y[n - 3], 2.0f);
}

Test(checker, refuses_a_mutated_built_in_kernel)
{
    if (!processor_has_avx2()) cr_skip_test("no AVX2 here");
    tarn_op_report report;
    tarn_context *context = open_context();
    right_relu = tarn_kernel_find(context, "relu", TARN_FORWARD, TARN_F32, TARN_ISA_AVX2, NULL);
    tarn_kernel_register(context, "relu", TARN_FORWARD, TARN_F32, TARN_ISA_AVX2, relu_with_a_wrong_lane);
    for (int c = 1; c < tarn_relu_case_count; c++)
        cr_expect_eq(tarn_op_check(context, &tarn_op_relu, &tarn_relu_cases[c], &report), TARN_ERROR_NUMERIC);
    tarn_exit(context);
}

Test(checker, needs_a_registered_op_and_a_fitting_case)
{
    tarn_context *context = open_context();
    tarn_op_report report;
    cr_expect_eq(tarn_op_check(context, &square, &square_case, &report), TARN_ERROR_ARGUMENT);
    tarn_error_clear(context);
    tarn_op_case two = {.name = "two", .inputs = 2};
    cr_expect_eq(tarn_op_check(context, &tarn_op_relu, &two, &report), TARN_ERROR_ARGUMENT);
    tarn_exit(context);
}
