/* onnx.h - a model as an ONNX file: written, compared with ONNX Runtime, packed as an MLflow model.
 *
 * A model is exported by looking at its own forward pass: it runs twice on small inputs of different batch and length,
 * every op that is applied is written as ONNX nodes by the rule of its row (sys/onnx.h), and sizes that differ between
 * the two stay symbols. So any module whose ops have a rule can be exported, and the file takes any batch and length.
 * Dropout is off, losses are not part of it.
 *
 * The file: opset 17, IR 8 unless asked otherwise; one input "input", one output "output"; parameters keep their names.
 * Ids are int64 in the file (i32 in Tarn). It is written under a temporary name, synced and renamed: there is the whole
 * file or the one that was there before. None of these calls is collective: one rank alone makes them.
 */
#ifndef TARN_ONNX_H
#define TARN_ONNX_H

#include <tarn/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the file says about where the model comes from, in metadata_props. NULL (step: below 0): not known, left out. */
typedef struct tarn_onnx_origin {
    const char *checkpoint_digest; /* SHA-256 of the training state, see `tarn checkpoint digest` */
    int64_t step;                  /* the step of the checkpoint */
    const char *run_id;            /* of the tracking run, 32 hex digits */
    const char *git_revision;      /* of the program or the repository it ran in */
    const char *vocabulary;        /* characters in order of id (tarn_text_vocabulary) */
    const char *tokenizer;         /* "char" or "byte" */
    const char *classes;           /* names of the classes, a JSON list */
    const char *preprocessing;     /* what was done to a sample before the model saw it, in words or JSON */
} tarn_onnx_origin;

/* The input of one call: its first dimension is the batch. A size of -1 after that (at most one) is the length, which
 * any call may choose, up to `longest`. */
typedef struct tarn_onnx_input {
    tarn_dtype dtype;             /* TARN_F32 or TARN_I32 */
    int ndim;                     /* the batch included; 0: that of the module, known of a gpt and of an mlp */
    int64_t shape[TARN_MAX_DIMS]; /* shape[0] is not looked at */
    int64_t longest;              /* the largest length; 0: any */
    int64_t ids;                  /* i32: values lie in [0, ids); 0 = 1 */
} tarn_onnx_input;

typedef struct tarn_onnx_options {
    int opset;                      /* 0 = 17; up to 21 */
    tarn_onnx_input input;          /* zero: that of the module */
    const tarn_onnx_origin *origin; /* may be NULL */
    /* Bytes beyond which parameters go to a file of their own beside the model, FILE.<digest>.data, which the model
     * names; 0 = what a protobuf can hold (2 GiB). */
    int64_t most_inline;
} tarn_onnx_options;

/* What was written. */
typedef struct tarn_onnx_written {
    int opset, nodes, parameters;
    int64_t bytes;        /* of all files together */
    char data_file[4096]; /* path of the parameters' file, "" when they are in the model */
} tarn_onnx_written;

/* Writes a built module to the file `path`. options may be NULL, *written (may be NULL) says what was made. Errors:
 * TARN_ERROR_UNSUPPORTED names an op that has no mapping, or whose sizes depend on the batch in a way that ONNX cannot
 * be told, and its module; TARN_ERROR_ARGUMENT: no such opset, an input that is not known; TARN_ERROR_IO: the path
 * cannot be written. Nothing is left behind then. */
TARN_API tarn_status tarn_onnx_export(tarn_context *context, tarn_module *module, const char *path,
                                      const tarn_onnx_options *options, tarn_onnx_written *written);

/* The outcome of a comparison. */
typedef struct tarn_onnx_comparison {
    bool compared;        /* false: there is no ONNX Runtime here, see `message` */
    char message[512];    /* why it was not compared, and what to do about it */
    char runtime[64];     /* version of ONNX Runtime */
    int cases;            /* inputs compared: two batch sizes, and two lengths where there is a length */
    double most_absolute; /* largest difference of an element */
    double most_relative; /* largest difference divided by our value, of elements of at least 1e-3 */
    double largest;       /* largest of our values */
} tarn_onnx_comparison;

/* Runs the file in ONNX Runtime and the module here, on the same made-up inputs, and compares the outputs. ONNX Runtime
 * is looked for at run time: the library TARN_ONNXRUNTIME names, else libonnxruntime.so. Where there is none the status
 * is TARN_OK and comparison->compared false. TARN_ERROR_NUMERIC: an element differs by more than 1e-5, or 1e-5 times
 * the largest one where that is over 1; TARN_ERROR_FORMAT: ONNX Runtime refuses the file, or the shapes differ. options
 * as for the export. */
TARN_API tarn_status tarn_onnx_verify(tarn_context *context, tarn_module *module, const char *path,
                                      const tarn_onnx_options *options, tarn_onnx_comparison *comparison);

/* Makes a folder that `mlflow.pyfunc.load_model` and `mlflow.onnx.load_model` open: model.onnx, MLmodel (with the
 * signature of input and output), requirements.txt, python_env.yaml, conda.yaml and an input example. It is made under
 * a temporary name and renamed; a folder of such a model that is there is replaced, any other that is not empty refused
 * (TARN_ERROR_ARGUMENT). Errors else as of the export. */
TARN_API tarn_status tarn_onnx_package(tarn_context *context, tarn_module *module, const char *folder,
                                       const tarn_onnx_options *options, tarn_onnx_written *written);

#ifdef __cplusplus
}
#endif
#endif
