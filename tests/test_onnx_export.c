/* test_onnx_export.c - verification of exported models, and `tarn export`. What needs Python skips without
 * TARN_TEST_PYTHON. */
#include "launch/export.h"
#include "tests/onnx_decode.h"
#include "tests/onnx_model_support.h"
#include "tests/run_support.h"

TestSuite(onnx, .init = start, .fini = end, .timeout = 400);

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

/* The line of a message that names the library, as a shell runs it: the tests' environment of Python stands for the
 * one that the line before it makes. */
static void follow_the_remedy(const char *message)
{
    const char *python = getenv("TARN_TEST_PYTHON"), *line = strstr(message, "export TARN_ONNXRUNTIME=");
    cr_assert(line, "%s", message);
    if (!find_onnxruntime()) return;
    char *output,
        *command = tarn_test_format("cd %s && ln -s $(%s -c 'import sys; print(sys.prefix)') ort && %s && echo "
                                    "$TARN_ONNXRUNTIME",
                                    folder, python, line);
    cr_expect_eq(tarn_test_run(command, 60, &output), 0, "%s: %s", line, output);
    output[strcspn(output, "\n")] = '\0';
    cr_expect(strstr(output, "/ort/lib/") && !access(output, R_OK), "%s: %s", line, output);
    free(output);
    free(command);
    unsetenv("TARN_ONNXRUNTIME");
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
    tarn_error_clear(context);
    if (!comparison.compared) {
        cr_expect(strstr(comparison.message, "ort/bin/pip install onnxruntime"), "%s", comparison.message);
        follow_the_remedy(comparison.message);
    }
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
