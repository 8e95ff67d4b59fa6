/* test_onnx.c - exported models: structure, random gpt and mlp against ONNX Runtime, MLflow packages that mlflow loads,
 * parameters in a file of their own, atomic writing, `tarn export`. What needs Python skips without TARN_TEST_PYTHON.
 */
#include "checkpoint/onnx/model.h"
#include "tests/onnx_support.h"
#include "tests/run_support.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>

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

TestSuite(onnx, .init = start, .fini = end, .timeout = 400);

static const char *message(void)
{
    const tarn_error *error = tarn_get_error(context);
    return error ? error->message : "";
}

static char *in_folder(const char *name)
{
    return tarn_test_format("%s/%s", folder, name);
}

/* Runs onnx_check.py over the folders with a model in them. */
static void check_with_python(void)
{
    const char *python = getenv("TARN_TEST_PYTHON");
    if (!python || !*python) cr_skip_test("TARN_TEST_PYTHON is not set: ONNX Runtime was not asked");
    char *command = tarn_test_format("exec %s %s/tests/python/onnx_check.py %s/*/", python, TARN_SOURCE_DIR, folder);
    char *output;
    int code = tarn_test_run(command, 360, &output);
    cr_expect_eq(code, 0, "%s", output);
    cr_log_info("%s", output);
    free(command);
    free(output);
}

static tarn_module *make_gpt(int64_t layers, int64_t heads, int64_t width, int64_t length, int64_t vocabulary)
{
    tarn_module *gpt;
    tarn_gpt_options options = {
        .layers = layers, .heads = heads, .width = width, .context = length, .vocabulary = vocabulary, .dropout = 0.1};
    cr_assert_eq(tarn_gpt_create(&gpt, context, &options), TARN_OK, "%s", message());
    cr_assert_eq(tarn_module_build(gpt, 11), TARN_OK);
    return gpt;
}

static tarn_module *make_mlp(int count, const int64_t *sizes, tarn_activation activation)
{
    tarn_module *mlp;
    tarn_mlp_options options = {.count = count, .sizes = sizes, .activation = activation, .dropout = 0.2};
    cr_assert_eq(tarn_mlp_create(&mlp, context, &options), TARN_OK, "%s", message());
    cr_assert_eq(tarn_module_build(mlp, 12), TARN_OK);
    return mlp;
}

/* First values are small (0.02) and norms and biases constant: made larger and uneven, so that a mistake shows. */
static void stir(tarn_module *module)
{
    tarn_parameter_info info;
    for (int i = 0; tarn_module_parameter_at(module, i, &info); i++)
        for (int64_t k = 0; k < info.numel; k++)
            info.values[k] += 0.05f * sinf((float)(i + 1) * (float)(k + 1));
}

static void pack(tarn_module *module, const char *name, const int64_t *lengths, const tarn_onnx_options *options)
{
    char *directory = in_folder(name);
    tarn_onnx_input input;
    static const tarn_onnx_options defaults;
    if (!options) options = &defaults;
    cr_assert_eq(tarn_onnx_package(context, module, directory, options, NULL), TARN_OK, "%s: %s", name, message());
    cr_assert_eq(tarn_onnx_input_of(context, module, options, &input), TARN_OK);
    int number = 0;
    for (int64_t batch = 1; batch <= 4; batch += 3)
        for (int i = 0; i < 2; i++)
            if (!i || lengths[i] != lengths[0])
                cr_assert(tarn_test_onnx_case(context, module, &input, batch, lengths[i], directory, number++),
                          "%s: %s", name, message());
    free(directory);
}

/* ---- against ONNX Runtime and mlflow ----------------------------------------------------------------------------- */

Test(onnx, gpts_of_any_shape_agree_with_onnx_runtime_and_load_in_mlflow)
{
    static const int64_t shapes[][5] = {/* layers, heads, width, context, vocabulary */
                                        {1, 1, 4, 1, 2},
                                        {1, 2, 8, 2, 5},
                                        {2, 2, 16, 3, 11},
                                        {3, 4, 32, 33, 65},
                                        {2, 6, 48, 64, 256}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t *s = shapes[i], lengths[] = {(s[3] + 1) / 2, s[3]};
        tarn_module *gpt = make_gpt(s[0], s[1], s[2], s[3], s[4]);
        stir(gpt);
        char *name = tarn_test_format("gpt-%zu", i);
        tarn_onnx_origin origin = {
            .step = 300, .run_id = "00112233445566778899aabbccddeeff", .vocabulary = "ab\xc3\xa9"};
        tarn_onnx_options options = {.opset = i == 2 ? 21 : 0, .origin = i % 2 ? &origin : NULL};
        pack(gpt, name, lengths, &options);
        free(name);
        tarn_module_destroy(gpt);
    }
    check_with_python();
}

Test(onnx, mlps_of_every_activation_agree_with_onnx_runtime_and_load_in_mlflow)
{
    for (int activation = TARN_RELU; activation <= TARN_SIGMOID; activation++) {
        int count = 2 + activation % 3;
        int64_t sizes[] = {5 + activation, activation % 3 ? 17 : 3, 9, 4}, lengths[] = {1, 1};
        sizes[count - 1] = 3;
        tarn_module *mlp = make_mlp(count, sizes, activation);
        stir(mlp);
        char *name = tarn_test_format("mlp-%d", activation);
        pack(mlp, name, lengths, NULL);
        free(name);
        tarn_module_destroy(mlp);
    }
    check_with_python();
}

typedef struct stack {
    tarn_module *embedding, *norm, *attention, *linear;
} stack;

/* A module of one's own out of the layers, with the other norm, no bias, no position, and the mean over time. */
static tarn_tensor *stack_forward(tarn_step *step, tarn_module *module, void *self, tarn_tensor *ids)
{
    (void)module;
    const stack *s = self;
    tarn_tensor *x = tarn_forward(step, s->embedding, ids);
    x = tarn_add(x, tarn_forward(step, s->attention, tarn_forward(step, s->norm, x)));
    return tarn_log_softmax(tarn_forward(step, s->linear, tarn_mean(x, 1, false)));
}

Test(onnx, a_module_of_ones_own_is_exported)
{
    stack s;
    tarn_module *module;
    tarn_linear_options linear = {.no_bias = true, .activation = TARN_SILU};
    cr_assert_eq(tarn_module_create(&module, context, "classifier", stack_forward, &s, NULL), TARN_OK);
    cr_assert_eq(tarn_embedding_create(&s.embedding, context, 13, 12, 0), TARN_OK);
    cr_assert_eq(tarn_rms_norm_create(&s.norm, context, 12, 0), TARN_OK);
    cr_assert_eq(tarn_attention_create(&s.attention, context, 12, 3, 0.5), TARN_OK);
    cr_assert_eq(tarn_linear_create(&s.linear, context, 12, 4, &linear), TARN_OK);
    cr_assert_eq(tarn_module_add(module, "embedding", s.embedding), TARN_OK);
    cr_assert_eq(tarn_module_add(module, "norm", s.norm), TARN_OK);
    cr_assert_eq(tarn_module_add(module, "attention", s.attention), TARN_OK);
    cr_assert_eq(tarn_module_add(module, "linear", s.linear), TARN_OK);
    cr_assert_eq(tarn_module_freeze(module, "embedding.*", true, NULL), TARN_OK);
    cr_assert_eq(tarn_module_build(module, 4), TARN_OK);
    tarn_onnx_options options = {.input = {.dtype = TARN_I32, .ndim = 2, .shape = {-1, -1}, .ids = 13}};
    pack(module, "own", (int64_t[]){3, 21}, &options);
    cr_expect_eq(tarn_onnx_package(context, module, folder, &options, NULL), TARN_ERROR_ARGUMENT);
    tarn_error_clear(context);
    tarn_module_destroy(module);
    check_with_python();
}

Test(onnx, parameters_beyond_the_limit_go_to_a_file_of_their_own)
{
    tarn_module *gpt = make_gpt(2, 2, 32, 16, 40);
    stir(gpt);
    tarn_onnx_options options = {.most_inline = 4096};
    pack(gpt, "outside", (int64_t[]){5, 16}, &options);
    char *path = in_folder("outside/model.onnx");
    tarn_onnx_written first, second, third;
    cr_assert_eq(tarn_onnx_export(context, gpt, path, &options, &first), TARN_OK, "%s", message());
    cr_assert(first.data_file[0] && !access(first.data_file, F_OK));
    stir(gpt);
    cr_assert_eq(tarn_onnx_export(context, gpt, path, &options, &second), TARN_OK, "%s", message());
    cr_expect(strcmp(first.data_file, second.data_file), "another model has another file");
    cr_expect(access(first.data_file, F_OK), "the older model's parameters are left behind");
    cr_assert_eq(tarn_onnx_export(context, gpt, path, NULL, &third), TARN_OK, "%s", message());
    cr_expect_str_empty(third.data_file);
    cr_expect(access(second.data_file, F_OK), "the older model's parameters are left behind");
    cr_expect_lt(llabs((long long)(third.bytes - second.bytes)), 64 * 4096);
    char *directory = in_folder("outside");
    pack(gpt, "outside", (int64_t[]){5, 16}, &options);
    free(directory);
    free(path);
    tarn_module_destroy(gpt);
    check_with_python();
}
