/* onnxruntime.c - see onnxruntime.h.
 *
 * Invariants
 *  1. Every status the library returns is looked at and released.
 *  2. What it makes is released in reverse order.
 *  3. Nothing is called by a number above 101, where its first version ends.
 */
#include "checkpoint/onnx/onnxruntime.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Places in the table (onnxruntime_c_api.h, struct OrtApi). */
enum {
    GET_ERROR_MESSAGE = 2,
    CREATE_ENV = 3,
    CREATE_SESSION = 7,
    RUN = 9,
    CREATE_SESSION_OPTIONS = 10,
    CREATE_TENSOR_WITH_DATA = 49,
    GET_TENSOR_MUTABLE_DATA = 51,
    GET_TENSOR_ELEMENT_TYPE = 60,
    GET_DIMENSIONS_COUNT = 61,
    GET_DIMENSIONS = 62,
    GET_TENSOR_TYPE_AND_SHAPE = 65,
    CREATE_CPU_MEMORY_INFO = 69,
    RELEASE_ENV = 92,
    RELEASE_STATUS = 93,
    RELEASE_MEMORY_INFO = 94,
    RELEASE_SESSION = 95,
    RELEASE_VALUE = 96,
    RELEASE_TENSOR_INFO = 99,
    RELEASE_SESSION_OPTIONS = 100
};
enum { LOG_FATAL = 4, DEVICE_ALLOCATOR = 0, DEFAULT_MEMORY = 0, ELEMENTS_FLOAT = 1, ELEMENTS_INT64 = 7 };

typedef void *status; /* NULL: no error */
typedef struct api_base {
    const void *const *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
} api_base;

struct tarn_onnxruntime {
    const void *const *api;
    const char *version;
    void *environment, *options, *session, *memory;
};

/* Function `place` of the table, as a function of the given type. */
#define CALL(runtime, place, type) ((type)(uintptr_t)(runtime)->api[place])

static bool check(const tarn_onnxruntime *runtime, status got, const char *what, char *message, size_t size)
{
    if (!got) return true;
    const char *text = CALL(runtime, GET_ERROR_MESSAGE, const char *(*)(const void *))(got);
    snprintf(message, size, "%s: %s", what, text ? text : "no reason given");
    CALL(runtime, RELEASE_STATUS, void (*)(void *))(got);
    return false;
}

static void release(const tarn_onnxruntime *runtime, int place, void *object)
{
    if (object) CALL(runtime, place, void (*)(void *))(object);
}

/* ---- the library ------------------------------------------------------------------------------------------------ */

/* Debian's library has its version in its name, and the name without one only with the headers. */
static void *open_installed(void)
{
    static const char *const names[] = {"libonnxruntime.so", "libonnxruntime.so.1"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (library) return library;
    }
    glob_t found;
    void *library = NULL;
    if (!glob("/usr/lib/*/libonnxruntime.so.*", 0, NULL, &found))
        for (size_t i = 0; i < found.gl_pathc && !library; i++)
            library = dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
    globfree(&found);
    return library;
}

static const api_base *open_library(char *message, size_t size)
{
    const char *path = getenv("TARN_ONNXRUNTIME");
    void *library = path && *path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : open_installed();
    if (!library && path && *path) {
        const char *reason = dlerror();
        snprintf(message, size, "TARN_ONNXRUNTIME: %s", reason ? reason : path);
        return NULL;
    }
    if (!library) {
        snprintf(message, size,
                 "ONNX Runtime is not found. Python's package of it has the library: python3 -m venv ort && "
                 "ort/bin/pip install onnxruntime && export TARN_ONNXRUNTIME=$(ls $PWD/ort/lib/python3*/"
                 "site-packages/onnxruntime/capi/libonnxruntime.so.*)");
        return NULL;
    }
    const api_base *(*get_base)(void);
    *(void **)(&get_base) = dlsym(library, "OrtGetApiBase");
    if (get_base) return get_base();
    snprintf(message, size, "%s is no ONNX Runtime: it has no OrtGetApiBase", path ? path : "libonnxruntime");
    return NULL;
}

bool tarn_onnxruntime_open(tarn_onnxruntime **out, char *message, size_t size)
{
    *out = NULL;
    const api_base *base = open_library(message, size);
    if (!base) return false;
    tarn_onnxruntime *runtime = calloc(1, sizeof *runtime);
    if (runtime) {
        runtime->api = base->get_api(1);
        runtime->version = base->get_version();
    }
    if (!runtime || !runtime->api) {
        snprintf(message, size, "ONNX Runtime %s does not offer the first version of its interface",
                 runtime ? runtime->version : "");
        free(runtime);
        return false;
    }
    if (!check(
            runtime,
            CALL(runtime, CREATE_ENV, status(*)(int, const char *, void **))(LOG_FATAL, "tarn", &runtime->environment),
            "ONNX Runtime", message, size) ||
        !check(runtime, CALL(runtime, CREATE_SESSION_OPTIONS, status(*)(void **))(&runtime->options), "ONNX Runtime",
               message, size) ||
        !check(runtime,
               CALL(runtime, CREATE_CPU_MEMORY_INFO, status(*)(int, int, void **))(DEVICE_ALLOCATOR, DEFAULT_MEMORY,
                                                                                   &runtime->memory),
               "ONNX Runtime", message, size)) {
        tarn_onnxruntime_close(runtime);
        return false;
    }
    *out = runtime;
    return true;
}

void tarn_onnxruntime_close(tarn_onnxruntime *runtime)
{
    if (!runtime) return;
    release(runtime, RELEASE_MEMORY_INFO, runtime->memory);
    release(runtime, RELEASE_SESSION, runtime->session);
    release(runtime, RELEASE_SESSION_OPTIONS, runtime->options);
    release(runtime, RELEASE_ENV, runtime->environment);
    free(runtime);
}

const char *tarn_onnxruntime_version(const tarn_onnxruntime *runtime)
{
    return runtime->version;
}

/* ---- a model ---------------------------------------------------------------------------------------------------- */

bool tarn_onnxruntime_load(tarn_onnxruntime *runtime, const char *path, char *message, size_t size)
{
    release(runtime, RELEASE_SESSION, runtime->session);
    runtime->session = NULL;
    return check(runtime,
                 CALL(runtime, CREATE_SESSION, status(*)(const void *, const char *, const void *, void **))(
                     runtime->environment, path, runtime->options, &runtime->session),
                 path, message, size);
}

/* The output's type, shape and elements. */
static bool read_output(const tarn_onnxruntime *runtime, void *value, tarn_dtype *dtype, int *ndim,
                        int64_t shape[TARN_MAX_DIMS], void **output, char *message, size_t size)
{
    void *info = NULL, *data = NULL;
    size_t dimensions = 0;
    int type = 0;
    bool done =
        check(runtime, CALL(runtime, GET_TENSOR_TYPE_AND_SHAPE, status(*)(const void *, void **))(value, &info),
              "its output", message, size) &&
        check(runtime, CALL(runtime, GET_TENSOR_ELEMENT_TYPE, status(*)(const void *, int *))(info, &type),
              "its output", message, size) &&
        check(runtime, CALL(runtime, GET_DIMENSIONS_COUNT, status(*)(const void *, size_t *))(info, &dimensions),
              "its output", message, size);
    if (done && (dimensions > TARN_MAX_DIMS || (type != ELEMENTS_FLOAT && type != ELEMENTS_INT64))) {
        snprintf(message, size, "its output has %zu dimensions of element type %d", dimensions, type);
        done = false;
    }
    done = done &&
           check(runtime,
                 CALL(runtime, GET_DIMENSIONS, status(*)(const void *, int64_t *, size_t))(info, shape, dimensions),
                 "its output", message, size) &&
           check(runtime, CALL(runtime, GET_TENSOR_MUTABLE_DATA, status(*)(void *, void **))(value, &data),
                 "its output", message, size);
    release(runtime, RELEASE_TENSOR_INFO, info);
    if (!done) return false;
    size_t bytes = type == ELEMENTS_FLOAT ? sizeof(float) : sizeof(int64_t);
    for (size_t d = 0; d < dimensions; d++) bytes *= (size_t)shape[d];
    *dtype = type == ELEMENTS_FLOAT ? TARN_F32 : TARN_I64;
    *ndim = (int)dimensions;
    *output = malloc(bytes + 1);
    if (*output && bytes) memcpy(*output, data, bytes);
    if (!*output) snprintf(message, size, "out of memory");
    return *output != NULL;
}

bool tarn_onnxruntime_run(tarn_onnxruntime *runtime, tarn_dtype input_dtype, int ndim, const int64_t *shape,
                          const void *input, tarn_dtype *dtype, int *output_ndim, int64_t output_shape[TARN_MAX_DIMS],
                          void **output, char *message, size_t size)
{
    typedef status create_tensor(const void *, void *, size_t, const int64_t *, size_t, int, void **);
    typedef status run(void *, const void *, const char *const *, const void *const *, size_t, const char *const *,
                       size_t, void **);
    static const char *const input_name = "input", *const output_name = "output";
    size_t bytes = tarn_dtype_size(input_dtype);
    for (int d = 0; d < ndim; d++) bytes *= (size_t)shape[d];
    void *in = NULL, *out = NULL;
    int type = input_dtype == TARN_F32 ? ELEMENTS_FLOAT : ELEMENTS_INT64;
    *output = NULL;
    bool done = check(runtime,
                      CALL(runtime, CREATE_TENSOR_WITH_DATA, create_tensor *)(runtime->memory, (void *)(uintptr_t)input,
                                                                              bytes, shape, (size_t)ndim, type, &in),
                      "its input", message, size) &&
                check(runtime,
                      CALL(runtime, RUN, run *)(runtime->session, NULL, &input_name, (const void *const *)&in, 1,
                                                &output_name, 1, &out),
                      "running it", message, size) &&
                read_output(runtime, out, dtype, output_ndim, output_shape, output, message, size);
    release(runtime, RELEASE_VALUE, out);
    release(runtime, RELEASE_VALUE, in);
    return done;
}
