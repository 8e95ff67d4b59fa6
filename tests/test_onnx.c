/* test_onnx.c - exported models: structure, random gpt and mlp against ONNX Runtime, MLflow packages that mlflow loads,
 * parameters in a file of their own, atomic writing, `tarn export`. What needs Python skips without TARN_TEST_PYTHON.
 */
#include "checkpoint/onnx/model.h"
#include "launch/export.h"
#include "tests/onnx_decode.h"
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
    char *command =
        tarn_test_format("exec %s %s/tests/python/onnx_check.py %s/*/model.onnx", python, TARN_SOURCE_DIR, folder);
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

static void expect_refused(tarn_status got, tarn_status wanted, const char *text)
{
    cr_expect_eq(got, wanted, "status %s, wanted %s: %s", tarn_status_name(got), tarn_status_name(wanted), message());
    cr_expect(strstr(message(), text), "\"%s\" does not say \"%s\"", message(), text);
    tarn_error_clear(context);
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

/* ---- verification ------------------------------------------------------------------------------------------------ */

/* Names ONNX Runtime of the tests' Python, if there is one, in TARN_ONNXRUNTIME. */
static bool find_onnxruntime(void)
{
    const char *python = getenv("TARN_TEST_PYTHON");
    if (!python || !*python) return false;
    char *command = tarn_test_format("%s -c 'import glob, os, importlib.util as u\n"
                                     "d = u.find_spec(\"onnxruntime\").submodule_search_locations[0]\n"
                                     "print(glob.glob(d + \"/capi/libonnxruntime.so.*\")[0])'",
                                     python);
    char *output;
    int code = tarn_test_run(command, 60, &output);
    output[strcspn(output, "\n")] = '\0';
    if (!code) setenv("TARN_ONNXRUNTIME", output, 1);
    free(output);
    free(command);
    return !code;
}

Test(onnx, verification_finds_a_model_that_differs)
{
    if (!find_onnxruntime()) cr_skip_test("TARN_TEST_PYTHON is not set, or has no onnxruntime");
    tarn_module *gpt = make_gpt(2, 2, 16, 12, 23);
    char *path = in_folder("model.onnx"), *broken = in_folder("broken.onnx");
    tarn_onnx_comparison comparison;
    cr_assert_eq(tarn_onnx_export(context, gpt, path, NULL, NULL), TARN_OK, "%s", message());
    cr_assert_eq(tarn_onnx_verify(context, gpt, path, NULL, &comparison), TARN_OK, "%s", message());
    cr_expect(comparison.compared && comparison.cases == 4 && comparison.most_absolute <= 1e-5 &&
                  comparison.largest > 0.01,
              "%d cases, %g of %g", comparison.cases, comparison.most_absolute, comparison.largest);
    tarn_parameter_info info;
    cr_assert(tarn_module_parameter_at(gpt, 5, &info));
    info.values[0] += 0.5f;
    expect_refused(tarn_onnx_verify(context, gpt, path, NULL, &comparison), TARN_ERROR_NUMERIC, "differs by up to");
    cr_assert(tarn_test_write(broken, "no model", 8));
    expect_refused(tarn_onnx_verify(context, gpt, broken, NULL, &comparison), TARN_ERROR_FORMAT, "broken.onnx");
    tarn_module *other = make_gpt(2, 2, 16, 12, 29);
    expect_refused(tarn_onnx_verify(context, other, path, NULL, &comparison), TARN_ERROR_FORMAT, "");
    free(path);
    free(broken);
    tarn_module_destroy(other);
    tarn_module_destroy(gpt);
}

Test(onnx, without_onnx_runtime_verification_says_what_to_do)
{
    tarn_module *mlp = make_mlp(2, (int64_t[]){4, 2}, TARN_RELU);
    tarn_onnx_comparison comparison;
    char *path = in_folder("libnone.so");
    setenv("TARN_ONNXRUNTIME", path, 1);
    cr_expect_eq(tarn_onnx_verify(context, mlp, "x", NULL, &comparison), TARN_OK);
    cr_expect(!comparison.compared && strstr(comparison.message, "libnone.so"), "%s", comparison.message);
    unsetenv("TARN_ONNXRUNTIME");
    cr_expect_eq(tarn_onnx_verify(context, mlp, "x", NULL, &comparison),
                 comparison.compared ? TARN_ERROR_FORMAT : TARN_OK);
    cr_expect(comparison.compared || strstr(comparison.message, "TARN_ONNXRUNTIME"), "%s", comparison.message);
    tarn_error_clear(context);
    free(path);
    tarn_module_destroy(mlp);
}

/* ---- tarn export ------------------------------------------------------------------------------------------------- */

static char *run_tarn(int expected, const char *environment, int ranks, const char *arguments)
{
    char *output;
    int code = tarn_test_tarn(folder, environment, ranks, arguments, &output);
    cr_expect_eq(code, expected, "tarn %s: exit code %d, wanted %d: %s", arguments, code, expected, output);
    return output;
}

static void expect_output(int expected, const char *environment, int ranks, const char *arguments, const char *text)
{
    char *output = run_tarn(expected, environment, ranks, arguments);
    cr_expect(strstr(output, text), "tarn %s does not say \"%s\": %s", arguments, text, output);
    free(output);
}

Test(onnx, tarn_export_writes_the_newest_checkpoint_and_verifies_it)
{
    static const char run[] = "name: t\nmodel: {kind: gpt, layers: 1, heads: 2, width: 16, context: 16}\n"
                              "data: {kind: text, path: text.txt, validation: 0.1}\n"
                              "train: {steps: 4, batch: 4, shards: 2}\ncheckpoint: {dir: ckpt, every: 2}\n"
                              "track: {store: null}\n";
    char *text = in_folder("text.txt"), *yaml = in_folder("run.yaml"), *path = in_folder("model.onnx");
    cr_assert(tarn_test_write_text(text, 60) && tarn_test_write(yaml, run, strlen(run)));
    free(run_tarn(0, "", 0, "train run.yaml"));
    char *digest = tarn_test_digest(folder, "ckpt");
    expect_output(0, "", 0, "export ckpt --onnx model.onnx --mlflow packed", "gpt of step 4, opset 17");
    char *model = tarn_test_onnx_text(path, true), *line = tarn_test_format("checkpoint_sha256=%s\nstep=4\n", digest);
    cr_expect(strstr(model, line), "%s", model);
    cr_expect(strstr(model, "tokenizer=char\nvocabulary=") != NULL, "%s", model);
    /* On two ranks the same file. */
    size_t one = 0, two = 0;
    char *alone = tarn_test_read(path, &one);
    expect_output(0, "", 2, "export ckpt/ckpt-000000000004.h5 --onnx model.onnx", "gpt of step 4, opset 17");
    char *together = tarn_test_read(path, &two);
    cr_expect(one == two && !memcmp(alone, together, one), "the number of ranks changes the file");
    if (find_onnxruntime()) {
        char *environment = tarn_test_format("TARN_ONNXRUNTIME=%s", getenv("TARN_ONNXRUNTIME"));
        expect_output(0, environment, 0, "export ckpt --onnx model.onnx --verify=must", "verified: ONNX Runtime");
        free(environment);
    }
    expect_output(0, "TARN_ONNXRUNTIME=none.so", 0, "export ckpt --onnx model.onnx --verify", "not verified");
    expect_output(1, "TARN_ONNXRUNTIME=none.so", 0, "export ckpt --onnx model.onnx --verify=must", "none.so");
    expect_output(2, "", 0, "export ckpt", "say where to");
    expect_output(2, "", 0, "export", "needs a checkpoint");
    expect_output(2, "", 0, "export ckpt --onnx m --opset 22", "17 to 21");
    expect_output(2, "", 0, "export ckpt --onnx m --colour", "unexpected --colour");
    expect_output(2, "", 0, "export nothing --onnx m", "nothing");
    expect_output(1, "", 0, "export run.yaml --onnx m", "run.yaml cannot be used");
    expect_output(0, "", 0, "export --help", "--onnx FILE");
    free(model);
    free(line);
    free(alone);
    free(together);
    free(digest);
    free(text);
    free(yaml);
    free(path);
    check_with_python();
}

Test(onnx, tarn_export_logs_and_registers_a_model_that_mlflow_loads_by_its_alias)
{
    static const char run[] = "name: t\nmodel: {kind: mlp, sizes: [4, 6, 3], activation: tanh}\n"
                              "data: {kind: idx, images: images, labels: labels}\n"
                              "train: {steps: 3, batch: 4, shards: 2}\ncheckpoint: {dir: ckpt, every: 2}\n"
                              "track: {store: mlruns}\n";
    /* Twelve images of 2 x 2, in IDX. */
    unsigned char images[16 + 48] = {0, 0, 8, 3, 0, 0, 0, 12, 0, 0, 0, 2, 0, 0, 0, 2},
                              labels[8 + 12] = {0, 0, 8, 1, 0, 0, 0, 12};
    for (int i = 0; i < 48; i++) images[16 + i] = (unsigned char)(i * 37);
    for (int i = 0; i < 12; i++) labels[8 + i] = (unsigned char)(i % 3);
    char *yaml = in_folder("run.yaml"), *of_images = in_folder("images"), *of_labels = in_folder("labels");
    cr_assert(tarn_test_write(yaml, run, strlen(run)) && tarn_test_write(of_images, images, sizeof images) &&
              tarn_test_write(of_labels, labels, sizeof labels));
    free(run_tarn(0, "", 0, "train run.yaml"));
    expect_output(0, "", 0, "export ckpt --log --register digits --alias champion",
                  "version 1 of digits, which is now champion");
    /* The step is in the record already: another alias moves, another name gets a version, none is made twice. */
    expect_output(0, "", 0, "export ckpt --log --register digits --alias best",
                  "version 1 of digits, which is now best");
    expect_output(0, "", 0, "export ckpt --log --register digits", "version 1 of digits\n");
    expect_output(0, "", 0, "export ckpt/ckpt-000000000002.h5 --log --register digits --alias best",
                  "version 2 of digits");
    expect_output(0, "", 0, "export ckpt --log --register digits --alias best", "version 1 of digits");
    expect_output(2, "", 0, "export ckpt --log --register a/b", "must not have any of");
    expect_output(2, "", 0, "export ckpt --log --register digits --alias v1", "MLflow keeps v");
    expect_output(0, "", 2, "export ckpt --log", "logged as model t of run");
    expect_output(2, "", 0, "export ckpt --log --alias champion", "--register NAME");
    /* A server that is not there. */
    free(run_tarn(0, "", 0,
                  "train run.yaml track.store=http://127.0.0.1:9 track.flush_timeout=0.5 checkpoint.dir=waiting"));
    expect_output(1, "", 0, "export waiting --log --register digits --alias champion",
                  "but not yet a version of digits with the alias champion: ");
    expect_output(0, "", 0, "export waiting --log", "is in the spool, and not yet in the store: ");
    char *alias = in_folder("mlruns/models/digits/aliases/champion"), *version = tarn_test_read(alias, NULL);
    cr_expect(version && atoi(version) == 1, "alias: %s", version ? version : "none");
    char *status = NULL;
    char *command =
        tarn_test_format("cd %s && grep -l '^run_name' mlruns/0/*/meta.yaml | xargs grep -h '^status'", folder);
    cr_expect_eq(tarn_test_run(command, 30, &status), 0);
    cr_expect_str_eq(status, "status: 3\n", "the run is finished, as before: %s", status);
    free(status);
    free(command);

    tarn_export_source source;
    char *checkpoint = in_folder("ckpt"), *directory = in_folder("cases");
    tarn_onnx_input input;
    cr_assert(!mkdir(directory, 0777));
    cr_assert_eq(tarn_export_open(&source, context, checkpoint), TARN_OK, "%s", message());
    cr_expect_str_eq(source.origin.classes, "[\"0\", \"1\", \"2\"]");
    cr_assert_eq(tarn_onnx_input_of(context, source.model, &(tarn_onnx_options){0}, &input), TARN_OK);
    for (int number = 0; number < 2; number++)
        cr_assert(tarn_test_onnx_case(context, source.model, &input, 1 + 4 * number, 1, directory, number));
    tarn_export_close(&source);
    const char *python = getenv("TARN_TEST_PYTHON");
    if (!python || !*python) cr_skip_test("TARN_TEST_PYTHON is not set: mlflow was not asked");
    command = tarn_test_format("MLFLOW_ALLOW_FILE_STORE=true exec %s %s/tests/python/onnx_check.py --registered "
                               "file:%s/mlruns digits %s",
                               python, TARN_SOURCE_DIR, folder, directory);
    char *output;
    int code = tarn_test_run(command, 240, &output);
    cr_expect_eq(code, 0, "%s", output);
    cr_log_info("%s", output);
    free(output);
    free(command);
    free(version);
    free(alias);
    free(checkpoint);
    free(directory);
    free(yaml);
    free(of_images);
    free(of_labels);
}
