/* test_onnx.c - exported models: structure, random gpt and mlp against ONNX Runtime, MLflow packages that mlflow loads,
 * parameters in a file of their own, atomic writing. What needs Python skips without TARN_TEST_PYTHON. */
#include "tests/onnx_decode.h"
#include "tests/onnx_model_support.h"

#include <dirent.h>
#include <math.h>

TestSuite(onnx, .init = start, .fini = end, .timeout = 400);

/* First values are small (0.02) and norms and biases constant: made larger and uneven, so that a mistake shows. */
static void stir(tarn_module *module)
{
    tarn_parameter_info info;
    for (int i = 0; tarn_module_parameter_at(module, i, &info); i++)
        for (int64_t k = 0; k < info.numel; k++) info.values[k] += 0.05f * sinf((float)(i + 1) * (float)(k + 1));
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

/* ---- structure, without Python ----------------------------------------------------------------------------------- */

Test(onnx, the_file_of_an_mlp_is_this)
{
    static const char expected[] = "ir 8\n"
                                   "opset 17\n"
                                   "layers.0/Gemm = Gemm %input %layers.0.weight %layers.0.bias transB=1\n"
                                   "layers.0/Sigmoid = Sigmoid %layers.0/Gemm\n"
                                   "layers.0/Mul = Mul %layers.0/Gemm %layers.0/Sigmoid\n"
                                   "output = Gemm %layers.0/Mul %layers.1.weight %layers.1.bias transB=1\n"
                                   "input type 1 batch 6\n"
                                   "output type 1 batch 3\n"
                                   "layers.0.weight: 5 6 type 1, 120 bytes\n"
                                   "layers.0.bias: 5 type 1, 20 bytes\n"
                                   "layers.1.weight: 3 5 type 1, 60 bytes\n"
                                   "layers.1.bias: 3 type 1, 12 bytes\n";
    tarn_module *mlp = make_mlp(3, (int64_t[]){6, 5, 3}, TARN_SILU);
    char *path = in_folder("model.onnx");
    cr_assert_eq(tarn_onnx_export(context, mlp, path, NULL, NULL), TARN_OK, "%s", message());
    char *text = tarn_test_onnx_text(path, false);
    cr_expect_str_eq(text, expected, "%s", text);
    free(text);
    tarn_onnx_origin origin = {.step = 7, .checkpoint_digest = "abc", .classes = "[\"a\", \"b\", \"c\"]"};
    tarn_onnx_options options = {.opset = 20, .origin = &origin};
    cr_assert_eq(tarn_onnx_export(context, mlp, path, &options, NULL), TARN_OK, "%s", message());
    text = tarn_test_onnx_text(path, true);
    cr_expect(strstr(text, "ir 9\nopset 20\nframework=tarn\nframework_version=" TARN_VERSION_STRING
                           "\ncheckpoint_sha256=abc\nstep=7\nclasses=[\"a\", \"b\", \"c\"]\n"),
              "%s", text);
    free(text);
    free(path);
    tarn_module_destroy(mlp);
}

static int occurrences(const char *text, const char *what)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what)) count++;
    return count;
}

Test(onnx, a_gpt_shares_what_its_layers_share)
{
    tarn_module *gpt = make_gpt(4, 2, 16, 12, 23);
    char *path = in_folder("model.onnx");
    tarn_onnx_written written;
    cr_assert_eq(tarn_onnx_export(context, gpt, path, NULL, &written), TARN_OK, "%s", message());
    char *text = tarn_test_onnx_text(path, false);
    cr_expect(strstr(text, "input type 7 batch sequence\n"), "%s", text);
    cr_expect(strstr(text, "output type 1 batch sequence 23\n"), "%s", text);
    cr_expect_eq(occurrences(text, "= Trilu"), 1, "one mask for all layers");
    cr_expect_eq(occurrences(text, "= Shape"), 1, "sizes are taken from the input once");
    cr_expect_eq(occurrences(text, "= Softmax"), 4);
    cr_expect_eq(occurrences(text, "token_embedding.weight:"), 1, "the tied weight stands in it once");
    cr_expect_eq(written.parameters, tarn_module_parameter_count(gpt));
    free(text);
    free(path);
    tarn_module_destroy(gpt);
}

/* ---- what goes wrong --------------------------------------------------------------------------------------------- */

static int entries_of(const char *directory)
{
    int count = 0;
    DIR *opened = opendir(directory);
    for (struct dirent *entry; opened && (entry = readdir(opened));) count += entry->d_name[0] != '.';
    if (opened) closedir(opened);
    return count;
}

Test(onnx, what_cannot_be_written_leaves_nothing_behind)
{
    tarn_module *gpt = make_gpt(1, 1, 8, 4, 5), *own;
    char *good = in_folder("model.onnx"), *missing = in_folder("no/such/model.onnx"), *taken = in_folder("taken");
    char *held = in_folder("taken/somebody's");
    tarn_onnx_options outside = {.most_inline = 1}, opset = {.opset = 16};
    cr_assert(!mkdir(taken, 0777) && tarn_test_write(held, "x", 1));
    expect_refused(tarn_onnx_export(context, gpt, missing, NULL, NULL), TARN_ERROR_IO, "no/such/model.onnx");
    expect_refused(tarn_onnx_export(context, gpt, "", NULL, NULL), TARN_ERROR_ARGUMENT, "no name for a file");
    expect_refused(tarn_onnx_export(context, gpt, taken, &outside, NULL), TARN_ERROR_IO, "taken");
    expect_refused(tarn_onnx_package(context, gpt, taken, NULL, NULL), TARN_ERROR_ARGUMENT, "no folder of a model");
    expect_refused(tarn_onnx_export(context, gpt, good, &opset, NULL), TARN_ERROR_ARGUMENT, "17");
    cr_expect_eq(entries_of(folder), 1, "only what was there");
    cr_expect_eq(entries_of(taken), 1);
    /* What is there stays when the new one cannot be written. */
    cr_assert_eq(tarn_onnx_export(context, gpt, good, NULL, NULL), TARN_OK, "%s", message());
    size_t before = 0, after = 0;
    char *first = tarn_test_read(good, &before);
    expect_refused(tarn_onnx_export(context, gpt, good, &opset, NULL), TARN_ERROR_ARGUMENT, "17");
    char *second = tarn_test_read(good, &after);
    cr_expect(before == after && !memcmp(first, second, before));
    cr_assert_eq(tarn_module_create(&own, context, "own", NULL, NULL, NULL), TARN_OK);
    cr_assert_eq(tarn_module_build(own, 1), TARN_OK);
    expect_refused(tarn_onnx_export(context, own, good, NULL, NULL), TARN_ERROR_ARGUMENT,
                   "input of a own is not known");
    free(first);
    free(second);
    free(good);
    free(missing);
    free(taken);
    free(held);
    tarn_module_destroy(own);
    tarn_module_destroy(gpt);
}
