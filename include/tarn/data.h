/* data.h - sources of samples, and the batches made of them.
 *
 * The order of samples is a pure function of (seed, epoch, position): nothing is stored, any step can be resumed. An
 * epoch visits each sample once; a batch may begin in one epoch and end in the next.
 */
#ifndef TARN_DATA_H
#define TARN_DATA_H

#include <tarn/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_dataset tarn_dataset;

/* What a step receives: its shard's rows, as tensors of the step. In training every row is a sample. The last batch of
 * an evaluation may have too few: when targets are integers (classes, tokens), rows are filled up with inputs of zero
 * and targets of -1, which tarn_cross_entropy ignores and `count` leaves out; other targets know no value that does not
 * count, so nothing is padded and `samples` is smaller. */
struct tarn_batch {
    tarn_tensor *inputs;  /* (B, ...) */
    tarn_tensor *targets; /* (B, ...) */
    int64_t samples;      /* B, rows of padding included */
    int64_t count; /* valid targets: tokens of text, samples otherwise; what the loss is divided by, over all shards */
    int64_t first; /* global position of row 0, for randomness */
};

/* Shape of one sample: without the batch dimension; ndim 0 is a single value. */
typedef struct tarn_sample_shape {
    tarn_dtype input_dtype, target_dtype;
    int input_ndim, target_ndim;
    int64_t input_shape[TARN_MAX_DIMS], target_shape[TARN_MAX_DIMS];
    int64_t classes; /* number of classes or tokens, 0 when targets are no classes */
} tarn_sample_shape;

/* Ends a dataset and its validation part; nothing for NULL and for a validation part, which is borrowed. */
TARN_API void tarn_dataset_close(tarn_dataset *dataset);
/* Samples of an epoch, the validation part not among them; of a text 0 while its context is not known; of a stream
 * INT64_MAX. */
TARN_API int64_t tarn_dataset_length(const tarn_dataset *dataset);
/* Writes element types, shapes and number of classes of a sample to *shape; of a text (context) both ways. */
TARN_API void tarn_dataset_shape(const tarn_dataset *dataset, tarn_sample_shape *shape);
/* Copies sample `index` to input and target (bytes as the shape says). Thread-safe. */
TARN_API tarn_status tarn_dataset_read(tarn_dataset *dataset, int64_t index, void *input, void *target);
/* "sha256:..." of the source's contents, for the record of a run: the file of a text; images then labels, unpacked;
 * inputs then targets as they were at opening. "" for callbacks. The validation part has that of the whole. Borrowed.
 */
TARN_API const char *tarn_dataset_digest(const tarn_dataset *dataset);

/* ---- text -------------------------------------------------------------------------------------------------------- */

typedef enum tarn_tokenizer_kind { TARN_TOKENIZE_CHARACTERS = 0, TARN_TOKENIZE_BYTES } tarn_tokenizer_kind;

typedef struct tarn_text_options {
    tarn_tokenizer_kind tokenizer;
    int64_t context;        /* tokens of a sample; 0: the trainer sets the model's */
    const char *vocabulary; /* of a trained model (characters), which the text must not leave; NULL: the text's own */
    double validation;      /* share of the text, cut from its end, that tarn_dataset_validation returns; 0 = none */
} tarn_text_options;

/* A UTF-8 text. With n tokens, training sample i is the window of `context` inputs from i * context on and the same
 * shifted by one as targets: (n - 1) / context samples an epoch, and no token is a target twice. */
TARN_API tarn_status tarn_text_open(tarn_dataset **dataset, tarn_context *context, const char *path,
                                    const tarn_text_options *options);
/* Sets the tokens of a sample of a text opened with context 0 (the trainer does, to the model's), or changes them: the
 * lengths of both parts follow. Errors: TARN_ERROR_ARGUMENT for a data set that is no text and a context below 1,
 * TARN_ERROR_STATE when a trainer reads from it already, TARN_ERROR_CONFIG when a part
 * of the text is too short for one sample. */
TARN_API tarn_status tarn_text_set_context(tarn_dataset *text, int64_t context);
/* The vocabulary as text, to keep with a model: characters in order of code point, "" for bytes, NULL when the data
 * set is no text. Borrowed. */
TARN_API const char *tarn_text_vocabulary(const tarn_dataset *text);

/* A vocabulary alone, to encode prompts and decode samples. vocabulary as tarn_text_vocabulary returned it (copied):
 * characters in ascending order of code point for TARN_TOKENIZE_CHARACTERS (an id is the place in it); "" or NULL for
 * TARN_TOKENIZE_BYTES, whose ids are the bytes. TARN_ERROR_FORMAT: no UTF-8, or another order; TARN_ERROR_ARGUMENT: the
 * vocabulary does not fit the kind.
 * Ended by tarn_tokenizer_destroy; NULL is fine there. */
typedef struct tarn_tokenizer tarn_tokenizer;
TARN_API tarn_status tarn_tokenizer_create(tarn_tokenizer **tokenizer, tarn_context *context, tarn_tokenizer_kind kind,
                                           const char *vocabulary);
TARN_API void tarn_tokenizer_destroy(tarn_tokenizer *tokenizer);
/* Number of ids: 256 for bytes, else the characters of the vocabulary. ids are 0 to size - 1. */
TARN_API int64_t tarn_tokenizer_size(const tarn_tokenizer *tokenizer);
/* Encodes text to ids; *ids is freed with free(). Unknown characters are an error that names the character. */
TARN_API tarn_status tarn_tokenizer_encode(tarn_tokenizer *tokenizer, const char *text, int32_t **ids, int64_t *count);
/* Writes the text of one id (at most 4 bytes and a zero) to out[5]; returns its length in bytes. */
TARN_API int tarn_tokenizer_decode(const tarn_tokenizer *tokenizer, int32_t id, char out[5]);

/* ---- other sources ----------------------------------------------------------------------------------------------- */

/* Images and labels in the IDX format of MNIST, plain or gzipped. Inputs are f32 (pixels / 255), flattened; targets
 * i32. */
TARN_API tarn_status tarn_idx_open(tarn_dataset **dataset, tarn_context *context, const char *images,
                                   const char *labels);

/* Arrays in memory, borrowed: they must outlive the dataset. inputs (n, ...), targets (n, ...). */
TARN_API tarn_status tarn_arrays_open(tarn_dataset **dataset, tarn_context *context, int64_t n,
                                      const tarn_sample_shape *shape, const void *inputs, const void *targets);

/* Samples from a function: called from several threads at once, writes sample `index`. Returns TARN_OK or an error,
 * which ends the run with a message that names the sample. */
typedef tarn_status tarn_read_function(void *user, int64_t index, void *input, void *target);
TARN_API tarn_status tarn_callback_open(tarn_dataset **dataset, tarn_context *context, int64_t n,
                                        const tarn_sample_shape *shape, tarn_read_function *read, void *user);

/* A stream: samples 0, 1, 2, ... in this order, each once, until `read` returns TARN_EXHAUSTED for an index; it must do
 * so for all later ones too, on every rank. Then the run ends on all ranks after the last step that was whole, with its
 * final checkpoint and TARN_OK. As above, read is called from several threads, ahead of need, for the samples of this
 * rank alone, and must give the same sample for the same index whenever asked: a resumed run goes on at the index where
 * it was. Trains only: it cannot be split or evaluated on. Its end is not stored: a run that is started again asks for
 * the next sample, and goes on if there is one by then. */
TARN_API tarn_status tarn_stream_open(tarn_dataset **dataset, tarn_context *context, const tarn_sample_shape *shape,
                                      tarn_read_function *read, void *user);

/* The validation part that the options cut off, borrowed from the dataset; NULL when there is none. For idx, arrays and
 * callbacks: tarn_dataset_split cuts the last `share` of the samples off (of a text: of its tokens); 0 cuts nothing.
 * Once, and before training starts. */
TARN_API tarn_dataset *tarn_dataset_validation(tarn_dataset *dataset);
TARN_API tarn_status tarn_dataset_split(tarn_dataset *dataset, double share);

#ifdef __cplusplus
}
#endif
#endif
