/* test_onnx_ops.c - the ONNX mapping of every op: a model that applies one op to the values of each of its cases, and
 * models of shape ops whose sizes depend on batch and length, against ONNX Runtime (TARN_TEST_PYTHON). */
#include "ops/attributes.h"
#include "ops/compose.h"
#include "ops/rows.h"
#include "runtime/random/random.h"
#include "tests/onnx_support.h"

#include <criterion/criterion.h>

static tarn_context *context;
static char *folder;

static void quiet(void *user, tarn_log_level level, const char *line)
{
    (void)user;
    (void)level;
    (void)line;
}

static void start(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_set_log(context, quiet, NULL);
    folder = tarn_test_directory();
}

static void end(void)
{
    tarn_exit(context);
    tarn_test_remove(folder);
    free(folder);
}

TestSuite(onnx_ops, .init = start, .fini = end, .timeout = 300);

static const char *message(void)
{
    const tarn_error *error = tarn_get_error(context);
    return error ? error->message : "";
}

/* Compares what was exported to folders of `folder`. */
static void check_with_python(void)
{
    const char *python = getenv("TARN_TEST_PYTHON");
    if (!python || !*python) cr_skip_test("TARN_TEST_PYTHON is not set: ONNX Runtime was not asked");
    char *command = tarn_test_format("exec %s %s/tests/python/onnx_check.py %s/*/", python, TARN_SOURCE_DIR, folder);
    char *output;
    int code = tarn_test_run(command, 240, &output);
    cr_expect_eq(code, 0, "%s", output);
    cr_log_info("%s", output);
    free(command);
    free(output);
}

/* Exports a module to folder/name with cases of two batches and, where there is a length, two lengths. */
static void export_module(tarn_module *module, const char *name, const tarn_onnx_options *options, bool length)
{
    char *directory = tarn_test_format("%s/%s", folder, name), *path = tarn_test_format("%s/model.onnx", directory);
    cr_assert_eq(mkdir(directory, 0777), 0);
    cr_assert_eq(tarn_onnx_export(context, module, path, options, NULL), TARN_OK, "%s: %s", name, message());
    int number = 0;
    for (int64_t batch = 2; batch <= 3; batch++)
        for (int64_t t = 4; t <= (length ? 9 : 4); t += 5)
            cr_assert(tarn_test_onnx_case(context, module, &options->input, batch, t, directory, number++), "%s: %s",
                      name, message());
    free(directory);
    free(path);
}

/* ---- each op on its cases ---------------------------------------------------------------------------------------- */

#define TARN_OP(name)                                                                                                  \
    extern const tarn_op_case tarn_##name##_cases[];                                                                   \
    extern const int tarn_##name##_case_count;
#define TARN_OP_FAST(name) TARN_OP(name)
#include "ops/ops.def"
#undef TARN_OP
#undef TARN_OP_FAST

static const struct {
    const tarn_op *op;
    const tarn_op_case *cases;
    const int *count;
} rows[] = {
#define TARN_OP(name)      {&tarn_op_##name, tarn_##name##_cases, &tarn_##name##_case_count},
#define TARN_OP_FAST(name) TARN_OP(name)
#include "ops/ops.def"
#undef TARN_OP
#undef TARN_OP_FAST
};

typedef struct one_op {
    const tarn_op *op;
    const tarn_op_case *of;
} one_op;

static tarn_tensor *operand(tarn_step *step, const tarn_op_case *of, int i)
{
    int64_t count = 1;
    for (int d = 0; d < of->in[i].ndim; d++) count *= of->in[i].shape[d];
    double low = of->in[i].low, high = of->in[i].high;
    if (low == 0 && high == 0) low = -1, high = 1;
    size_t size = tarn_dtype_size(of->in[i].dtype);
    char *data = malloc((size_t)count * size + 1);
    float *unit = malloc((size_t)count * sizeof *unit + 1);
    tarn_random_uniform(3, 100 + (uint64_t)i, 0, count, 1, unit);
    for (int64_t k = 0; k < count; k++) {
        double value = low + ((double)unit[k] + 1) / 2 * (high - low);
        void *at = data + (size_t)k * size;
        if (of->in[i].dtype == TARN_F32) *(float *)at = (float)value;
        if (of->in[i].dtype == TARN_I32) *(int32_t *)at = (int32_t)value;
        if (of->in[i].dtype == TARN_I64) *(int64_t *)at = (int64_t)value;
        if (of->in[i].dtype == TARN_BOOL) *(bool *)at = value > 0;
    }
    tarn_tensor *leaf = tarn_leaf(step, of->in[i].dtype, of->in[i].ndim, of->in[i].shape, data, false);
    free(data);
    free(unit);
    return leaf;
}

static tarn_tensor *one_op_forward(tarn_step *step, tarn_module *module, void *self, tarn_tensor *input)
{
    (void)module;
    (void)input;
    const one_op *one = self;
    tarn_tensor *in[TARN_MAX_OPERANDS] = {NULL};
    for (int i = 0; i < one->of->inputs; i++)
        if (!one->of->in[i].absent) in[i] = operand(step, one->of, i);
    return tarn_apply(step, one->op, one->of->inputs, in, one->of->attrs);
}

/* Element types that a file holds and its reader here understands. */
static bool in_a_file(const one_op *one)
{
    for (int i = 0; i < one->of->inputs; i++)
        if (one->of->in[i].dtype == TARN_F64 || one->of->in[i].dtype == TARN_BF16) return false;
    if (strcmp(one->op->name, "convert") != 0) return true;
    tarn_dtype to = ((const tarn_convert_attrs *)one->of->attrs)->dtype;
    return to != TARN_F64 && to != TARN_BF16 && to != TARN_I32;
}

static int export_op(const tarn_op *op, const tarn_op_case *cases, int count, int opset)
{
    int exported = 0;
    for (int i = 0; i < count; i++) {
        one_op one = {op, &cases[i]};
        if (!in_a_file(&one)) continue;
        tarn_module *module;
        tarn_onnx_options options = {.opset = opset, .input = {.dtype = TARN_F32, .ndim = 1}};
        cr_assert_eq(tarn_module_create(&module, context, "one_op", one_op_forward, &one, NULL), TARN_OK);
        cr_assert_eq(tarn_module_build(module, 1), TARN_OK, "%s", message());
        char *name = tarn_test_format("%s-%d-%d", op->name, opset, i);
        export_module(module, name, &options, false);
        free(name);
        tarn_module_destroy(module);
        exported++;
    }
    return exported;
}

Test(onnx_ops, every_op_with_a_mapping_agrees_with_onnx_runtime)
{
    static const char *const without[] = {"classifier_loss", "cross_entropy", "dropout", "mse"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const tarn_op *op = rows[i].op;
        bool unmapped = !op->onnx && !op->to_onnx, expected = false;
        for (size_t k = 0; k < sizeof without / sizeof *without; k++) expected |= !strcmp(without[k], op->name);
        cr_expect_eq(unmapped, expected, "op %s: every op but losses and dropout has a mapping", op->name);
        if (unmapped) continue;
        cr_expect_gt(export_op(op, rows[i].cases, *rows[i].count, 17), 0, "op %s has no case", op->name);
        export_op(op, rows[i].cases, *rows[i].count, 21);
    }
    check_with_python();
}

/* ---- sizes that depend on the input ------------------------------------------------------------------------------ */

typedef tarn_tensor *body(tarn_tensor *x);

static tarn_tensor *body_forward(tarn_step *step, tarn_module *module, void *self, tarn_tensor *x)
{
    (void)step;
    (void)module;
    return (*(body *const *)self)(x);
}

/* x (batch, length, 6) */
static tarn_tensor *split_heads(tarn_tensor *x)
{
    return tarn_reshape(x, 4, (int64_t[]){tarn_tensor_dim(x, 0), -1, 2, 3});
}

static tarn_tensor *flatten_all(tarn_tensor *x)
{
    return tarn_reshape(x, 2, (int64_t[]){-1, 6});
}

static tarn_tensor *flatten_swapped(tarn_tensor *x)
{
    x = tarn_transpose(x, 0, 1);
    return tarn_reshape(x, 3, (int64_t[]){tarn_tensor_dim(x, 0), tarn_tensor_dim(x, 1) * 2, 3});
}

static tarn_tensor *both_sizes_move(tarn_tensor *x)
{
    return tarn_reshape(x, 3, (int64_t[]){6, tarn_tensor_dim(x, 0), tarn_tensor_dim(x, 1)});
}

static tarn_tensor *last_position(tarn_tensor *x)
{
    return tarn_slice(x, 1, tarn_tensor_dim(x, 1) - 1, tarn_tensor_dim(x, 1));
}

static tarn_tensor *from_the_end(tarn_tensor *x)
{
    return tarn_concat(2, (tarn_tensor *[]){tarn_slice(x, 1, 1, tarn_tensor_dim(x, 1)), tarn_slice(x, 1, 0, -2)}, 1);
}

static tarn_tensor *expand_like(tarn_tensor *x)
{
    return tarn_expand(tarn_mean(x, 1, true), x);
}

static tarn_tensor *centred(tarn_tensor *x)
{
    return tarn_divide(tarn_subtract(x, tarn_mean(x, -1, true)), tarn_exp(tarn_max(x, 1, true)));
}

static tarn_tensor *attend(tarn_tensor *x)
{
    return tarn_causal_attention(x, 2);
}

static tarn_tensor *as_it_is(tarn_tensor *x)
{
    return x;
}

Test(onnx_ops, sizes_that_depend_on_the_input_stay_symbols)
{
    static const struct {
        const char *name;
        body *run;
    } bodies[] = {{"split_heads", split_heads},
                  {"flatten_all", flatten_all},
                  {"flatten_swapped", flatten_swapped},
                  {"both_sizes_move", both_sizes_move},
                  {"last_position", last_position},
                  {"from_the_end", from_the_end},
                  {"expand_like", expand_like},
                  {"centred", centred},
                  {"attend", attend},
                  {"as_it_is", as_it_is}};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        tarn_module *module;
        body *run = bodies[i].run;
        tarn_onnx_options options = {.input = {.dtype = TARN_F32, .ndim = 3, .shape = {-1, -1, 6}}};
        cr_assert_eq(tarn_module_create(&module, context, "body", body_forward, &run, NULL), TARN_OK);
        cr_assert_eq(tarn_module_build(module, 1), TARN_OK);
        export_module(module, bodies[i].name, &options, true);
        tarn_module_destroy(module);
    }
    check_with_python();
}

/* ---- what cannot be said in a graph ------------------------------------------------------------------------------ */

static tarn_tensor *baked_scale(tarn_tensor *x)
{
    return tarn_scale(x, 1.0f / (float)tarn_tensor_dim(x, 0), 0);
}

static tarn_tensor *half(tarn_tensor *x)
{
    return tarn_slice(x, 1, 0, tarn_tensor_dim(x, 1) / 2);
}

static tarn_tensor *as_many_ops(tarn_tensor *x)
{
    for (int64_t i = 0; i < tarn_tensor_dim(x, 1); i++) x = tarn_relu(x);
    return x;
}

static tarn_tensor *a_loss(tarn_tensor *x)
{
    return tarn_mse(x, x);
}

static tarn_tensor *in_double(tarn_tensor *x)
{
    return tarn_exp(tarn_convert(x, TARN_F64));
}

Test(onnx_ops, what_no_graph_can_say_is_refused_by_name)
{
    static const struct {
        body *run;
        const char *op, *why;
    } bodies[] = {{baked_scale, "op scale of module body", "depends on the batch or the length"},
                  {half, "op slice of module body", "depends on the batch or the length"},
                  {as_many_ops, "forward pass", "depends on the size of the batch or the length"},
                  {a_loss, "op mse of module body", "no mapping to ONNX"},
                  {in_double, "op exp of module body", "f64"}};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        tarn_module *module;
        body *run = bodies[i].run;
        tarn_onnx_options options = {.input = {.dtype = TARN_F32, .ndim = 3, .shape = {-1, -1, 6}}};
        cr_assert_eq(tarn_module_create(&module, context, "body", body_forward, &run, NULL), TARN_OK);
        cr_assert_eq(tarn_module_build(module, 1), TARN_OK);
        char *path = tarn_test_format("%s/model.onnx", folder);
        cr_expect_eq(tarn_onnx_export(context, module, path, &options, NULL), TARN_ERROR_UNSUPPORTED, "body %zu", i);
        cr_expect(strstr(message(), bodies[i].op) && strstr(message(), bodies[i].why), "body %zu: %s", i, message());
        cr_expect(access(path, F_OK), "body %zu left a file", i);
        tarn_error_clear(context);
        free(path);
        tarn_module_destroy(module);
    }
}
