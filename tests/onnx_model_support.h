/* onnx_model_support.h - models to export, and asking ONNX Runtime about what was exported. */
#ifndef TARN_TESTS_ONNX_MODEL_SUPPORT_H
#define TARN_TESTS_ONNX_MODEL_SUPPORT_H

#include "tests/onnx_support.h"

#include <criterion/criterion.h>

static tarn_context *context;
static char *folder;

__attribute__((unused)) static void quiet(void *user, tarn_log_level level, const char *line)
{
    (void)user;
    (void)level;
    (void)line;
}

__attribute__((unused)) static void start(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_set_log(context, quiet, NULL);
    folder = tarn_test_directory();
}

__attribute__((unused)) static void end(void)
{
    tarn_exit(context);
    tarn_test_remove(folder);
    free(folder);
}

__attribute__((unused)) static const char *message(void)
{
    const tarn_error *error = tarn_get_error(context);
    return error ? error->message : "";
}

__attribute__((unused)) static char *in_folder(const char *name)
{
    return tarn_test_format("%s/%s", folder, name);
}

/* Runs onnx_check.py over the folders with a model in them. */
__attribute__((unused)) static void check_with_python(void)
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

__attribute__((unused)) static tarn_module *make_gpt(int64_t layers, int64_t heads, int64_t width, int64_t length,
                                                     int64_t vocabulary)
{
    tarn_module *gpt;
    tarn_gpt_options options = {
        .layers = layers, .heads = heads, .width = width, .context = length, .vocabulary = vocabulary, .dropout = 0.1};
    cr_assert_eq(tarn_gpt_create(&gpt, context, &options), TARN_OK, "%s", message());
    cr_assert_eq(tarn_module_build(gpt, 11), TARN_OK);
    return gpt;
}

__attribute__((unused)) static tarn_module *make_mlp(int count, const int64_t *sizes, tarn_activation activation)
{
    tarn_module *mlp;
    tarn_mlp_options options = {.count = count, .sizes = sizes, .activation = activation, .dropout = 0.2};
    cr_assert_eq(tarn_mlp_create(&mlp, context, &options), TARN_OK, "%s", message());
    cr_assert_eq(tarn_module_build(mlp, 12), TARN_OK);
    return mlp;
}

__attribute__((unused)) static void expect_refused(tarn_status got, tarn_status wanted, const char *text)
{
    cr_expect_eq(got, wanted, "status %s, wanted %s: %s", tarn_status_name(got), tarn_status_name(wanted), message());
    cr_expect(strstr(message(), text), "\"%s\" does not say \"%s\"", message(), text);
    tarn_error_clear(context);
}

#endif
