/* package.c - the folder of an MLflow model (MLflow 2 and 3): model.onnx, MLmodel, the environment files, an example.
 *
 * Invariants
 *  1. The folder is made under a temporary name and renamed when everything in it is synced.
 *  2. A folder is replaced only if it is empty or holds an MLmodel: what somebody else put there stays.
 *  3. Nothing written into YAML needs quoting but what is quoted here: names and numbers of ours, hexadecimal ids.
 */
#include "checkpoint/onnx/model.h"
#include "checkpoint/files.h"
#include "nn/module.h"
#include "runtime/base/write.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What MLmodel calls the version of MLflow that wrote it: the one whose format this is. */
#define MLFLOW_VERSION "3.17.2"
#define PYTHON_VERSION "3.11"

enum { EXAMPLE_LENGTH = 8 };

/* Text that grows; open_memstream keeps the error until it is closed. */
typedef struct text {
    FILE *stream;
    char *bytes;
    size_t length;
} text;

static bool begin(text *t)
{
    *t = (text){0};
    t->stream = open_memstream(&t->bytes, &t->length);
    return t->stream != NULL;
}

/* Writes the text to folder/name, synced, and frees it. */
static bool end(text *t, const char *folder, const char *name, tarn_problem *problem)
{
    char path[PATH_MAX];
    bool done = t->stream && !fclose(t->stream);
    if (!done) tarn_problem_set(problem, ENOMEM, "out of memory");
    if (done && snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        done = tarn_problem_set(problem, ENAMETOOLONG, "%s is too long a name", folder);
    int file = done ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
    if (done && (file < 0 || !tarn_write_all(file, t->bytes, t->length) || fsync(file))) {
        int number = errno;
        done = tarn_problem_set(problem, number, "cannot write %s: %s", path, strerror(number));
    }
    if (file >= 0) close(file);
    free(t->bytes);
    return done;
}

static void write_tensor_spec(FILE *out, const char *name, const tarn_onnx_shape *shape)
{
    fprintf(out, "'[{\"name\": \"%s\", \"type\": \"tensor\", \"tensor-spec\": {\"dtype\": \"%s\", \"shape\": [", name,
            shape->dtype == TARN_F32    ? "float32"
            : shape->dtype == TARN_BOOL ? "bool"
                                        : "int64");
    for (int d = 0; d < shape->ndim; d++) {
        tarn_onnx_size size = shape->size[d];
        bool fixed = size.factor >= 0 && !size.batch && !size.length;
        fprintf(out, "%s%" PRId64, d ? ", " : "", fixed ? size.factor : -1);
    }
    fputs("]}}]'", out);
}

static bool is_plain(const char *id)
{
    return id && *id && strlen(id) <= 64 && id[strspn(id, "0123456789abcdefABCDEF-")] == '\0';
}

static bool write_mlmodel(const tarn_onnx_model *model, const char *folder, const tarn_onnx_written *written,
                          tarn_problem *problem)
{
    text t;
    unsigned char random[16];
    struct timespec now;
    struct tm utc;
    char time[32];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return tarn_problem_set(problem, errno, "no random number for the model's id: %s", strerror(errno));
    if (!begin(&t)) return tarn_problem_set(problem, ENOMEM, "out of memory");
    clock_gettime(CLOCK_REALTIME, &now);
    strftime(time, sizeof time, "%Y-%m-%d %H:%M:%S", gmtime_r(&now.tv_sec, &utc));
    const tarn_onnx_origin *origin = model->origin;
    fputs("flavors:\n"
          "  onnx:\n"
          "    code: null\n"
          "    data: model.onnx\n"
          "    onnx_session_options: null\n"
          "    onnx_version: 1.13.0\n" /* the first whose checker knows opset 17 and IR 8 */
          "    providers:\n"
          "    - CPUExecutionProvider\n"
          "  python_function:\n"
          "    data: model.onnx\n"
          "    env:\n"
          "      conda: conda.yaml\n"
          "      virtualenv: python_env.yaml\n"
          "    loader_module: mlflow.onnx\n"
          "    python_version: '" PYTHON_VERSION "'\n" /* quoted: YAML takes 3.11 for a number */
          "is_signature_from_type_hint: false\n",
          t.stream);
    if (origin && (is_plain(origin->checkpoint_digest) || origin->step >= 0)) {
        fputs("metadata:\n  tarn_version: '" TARN_VERSION_STRING "'\n", t.stream);
        if (is_plain(origin->checkpoint_digest))
            fprintf(t.stream, "  checkpoint_sha256: '%s'\n", origin->checkpoint_digest);
        if (origin->step >= 0) fprintf(t.stream, "  step: %" PRId64 "\n", origin->step);
    }
    fputs("mlflow_version: " MLFLOW_VERSION "\n", t.stream);
    fprintf(t.stream, "model_size_bytes: %" PRId64 "\nmodel_uuid: '", written->bytes);
    for (size_t i = 0; i < sizeof random; i++) fprintf(t.stream, "%02x", random[i]);
    fputs("'\n", t.stream);
    if (origin && is_plain(origin->run_id)) fprintf(t.stream, "run_id: '%s'\n", origin->run_id);
    fputs("saved_input_example_info:\n"
          "  artifact_path: input_example.json\n"
          "  serving_input_path: serving_input_example.json\n"
          "  type: ndarray\n"
          "signature:\n"
          "  inputs: ",
          t.stream);
    write_tensor_spec(t.stream, "input", &model->input_shape);
    fputs("\n  outputs: ", t.stream);
    write_tensor_spec(t.stream, "output", &model->output_shape);
    fprintf(t.stream, "\n  params: null\ntype_hint_from_example: false\nutc_time_created: '%s.%06ld'\n", time,
            now.tv_nsec / 1000);
    return end(&t, folder, "MLmodel", problem);
}

static bool write_constant(const char *folder, const char *name, const char *content, tarn_problem *problem)
{
    text t;
    if (!begin(&t)) return tarn_problem_set(problem, ENOMEM, "out of memory");
    fputs(content, t.stream);
    return end(&t, folder, name, problem);
}

/* What a Python that loads the model needs. Ranges: this program never saw the versions that will be there. */
static bool write_environment(const char *folder, tarn_problem *problem)
{
    return write_constant(folder, "requirements.txt", "mlflow>=2.12\nnumpy>=1.22\nonnx>=1.13\nonnxruntime>=1.13\n",
                          problem) &&
           write_constant(folder, "python_env.yaml",
                          "python: '" PYTHON_VERSION "'\nbuild_dependencies:\n- pip\n- setuptools\n- wheel\n"
                          "dependencies:\n- -r requirements.txt\n",
                          problem) &&
           write_constant(folder, "conda.yaml",
                          "channels:\n- conda-forge\ndependencies:\n- python=" PYTHON_VERSION
                          "\n- pip\n- pip:\n  - mlflow>=2.12\n  - numpy>=1.22\n  - onnx>=1.13\n  - onnxruntime>=1.13\n"
                          "name: mlflow-env\n",
                          problem);
}

/* Nested lists, one a dimension. */
static void write_array(FILE *out, const tarn_onnx_input *input, const int64_t *shape, int d, const void *values,
                        int64_t *at)
{
    if (d == input->ndim) {
        if (input->dtype == TARN_I32)
            fprintf(out, "%" PRId32, ((const int32_t *)values)[*at]);
        else
            fprintf(out, "%.9g", (double)((const float *)values)[*at]);
        ++*at;
        return;
    }
    fputc('[', out);
    for (int64_t i = 0; i < shape[d]; i++) {
        if (i) fputs(", ", out);
        write_array(out, input, shape, d + 1, values, at);
    }
    fputc(']', out);
}

/* One sample, made up: it shows type and shape. */
static bool write_example(const tarn_onnx_model *model, const char *folder, tarn_problem *problem)
{
    const tarn_onnx_input *input = &model->input;
    int64_t shape[TARN_MAX_DIMS], count, at = 0;
    int64_t length = input->longest > 0 && input->longest < EXAMPLE_LENGTH ? input->longest : EXAMPLE_LENGTH;
    void *values = tarn_onnx_make_input(input, 1, length, 1, shape, &count);
    bool done = true;
    for (int serving = 0; done && serving < 2; serving++) {
        text t;
        done = values && begin(&t);
        if (!done) {
            tarn_problem_set(problem, ENOMEM, "out of memory");
            break;
        }
        at = 0;
        fputs(serving ? "{\"inputs\": {\"input\": " : "{\"input\": ", t.stream);
        write_array(t.stream, input, shape, 0, values, &at);
        fputs(serving ? "}}" : "}", t.stream);
        done = end(&t, folder, serving ? "serving_input_example.json" : "input_example.json", problem);
    }
    free(values);
    return done;
}

/* May the folder be replaced? */
static bool is_ours(const char *folder)
{
    char path[PATH_MAX];
    struct stat info;
    if (stat(folder, &info)) return errno == ENOENT;
    if (!S_ISDIR(info.st_mode)) return false;
    if (snprintf(path, sizeof path, "%s/MLmodel", folder) < (int)sizeof path && !access(path, F_OK)) return true;
    DIR *directory = opendir(folder);
    bool empty = directory != NULL;
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) empty = false;
    if (directory) closedir(directory);
    return empty;
}

static bool write_folder(const tarn_onnx_model *model, const char *temporary, const char *folder, int64_t most_inline,
                         tarn_onnx_written *written, tarn_problem *problem)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/model.onnx", temporary) >= (int)sizeof path)
        return tarn_problem_set(problem, ENAMETOOLONG, "%s is too long a name", folder);
    tarn_checkpoint_remove(temporary); /* of a process of the same number that was killed */
    if (!tarn_checkpoint_make_directory(temporary, problem)) return false;
    if (!tarn_onnx_model_write(model, path, most_inline, written, problem) ||
        !write_mlmodel(model, temporary, written, problem) || !write_environment(temporary, problem) ||
        !write_example(model, temporary, problem) || !tarn_checkpoint_sync_directory(temporary, problem))
        return false;
    /* The parameters' file moves with the folder. */
    const char *name = strrchr(written->data_file, '/');
    if (name && snprintf(path, sizeof path, "%s%s", folder, name) < (int)sizeof path)
        snprintf(written->data_file, sizeof written->data_file, "%s", path);
    if (tarn_checkpoint_put_in_place(temporary, folder)) return true;
    int number = errno;
    return tarn_problem_set(problem, number, "renaming to %s: %s", folder, strerror(number));
}

tarn_status tarn_onnx_package(tarn_context *context, tarn_module *module, const char *folder,
                              const tarn_onnx_options *options, tarn_onnx_written *written)
{
    static const tarn_onnx_options defaults;
    if (!options) options = &defaults;
    tarn_onnx_written ignored;
    tarn_onnx_model model;
    tarn_problem problem;
    char temporary[PATH_MAX];
    if (!is_ours(folder))
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "ONNX: %s is there and is no folder of a model (it has no MLmodel): name another folder",
                         folder);
    tarn_status status = tarn_onnx_model_make(&model, context, module, options);
    if (status) return status;
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/') length--;
    bool done = length && length < PATH_MAX - 32;
    if (!done) tarn_problem_set(&problem, 0, "its name is empty or too long");
    if (done) {
        snprintf(temporary, sizeof temporary, "%.*s.tmp-%ld", (int)length, folder, (long)getpid());
        done = write_folder(&model, temporary, folder, options->most_inline, written ? written : &ignored, &problem);
        if (!done) tarn_checkpoint_remove(temporary);
    }
    tarn_onnx_model_free(&model);
    if (done) return TARN_OK;
    tarn_status kind = problem.error_number == ENOMEM ? TARN_ERROR_MEMORY
                       : problem.error_number         ? TARN_ERROR_IO
                                                      : TARN_ERROR_ARGUMENT;
    return tarn_fail(context, kind, TARN_HERE, "ONNX: the model folder %s was not written: %s", folder, problem.text);
}
