/* text.c - a text as windows of tokens.
 *
 * Invariants
 *  1. Tokens 0 .. n - v - 1 are the training part, the last v the validation part; no window crosses the cut.
 *  2. Window i of a part starts at token i * context of it, its targets are its inputs one further on: no token is a
 *     target twice.
 *  3. The vocabulary is that of the whole text, so that both parts are encoded alike.
 */
#include "data/dataset.h"
#include "data/tokenizer.h"
#include "runtime/monitor/monitor.h"

#include <stdlib.h>
#include <string.h>

typedef struct text_source {
    void *tokens; /* count elements of `width` bytes: 1, 2 or 4, the least that holds the vocabulary */
    int width;
    int64_t count;
    double share; /* of the validation part */
    tarn_tokenizer *tokenizer;
} text_source;

static int64_t text_context(const tarn_dataset *dataset)
{
    return dataset->shape.input_shape[0];
}

/* Tokens first .. first + n - 1 as i32. */
static void text_copy(const text_source *source, int64_t first, int64_t n, int32_t *out)
{
    if (source->width == 1) {
        const uint8_t *tokens = (const uint8_t *)source->tokens + first;
        for (int64_t i = 0; i < n; i++) out[i] = tokens[i];
    } else if (source->width == 2) {
        const uint16_t *tokens = (const uint16_t *)source->tokens + first;
        for (int64_t i = 0; i < n; i++) out[i] = tokens[i];
    } else {
        memcpy(out, (const int32_t *)source->tokens + first, (size_t)n * sizeof *out);
    }
}

static tarn_status text_read(const tarn_dataset *dataset, int64_t index, void *input, void *target,
                             tarn_data_error *error)
{
    (void)error;
    int64_t context = text_context(dataset), start = dataset->first + index * context;
    text_copy(dataset->source, start, context, input);
    text_copy(dataset->source, start + 1, context, target);
    return TARN_OK;
}

static void text_close(void *data)
{
    text_source *source = data;
    free(source->tokens);
    tarn_tokenizer_destroy(source->tokenizer);
    free(source);
}

static tarn_status text_too_short(tarn_dataset *dataset, const char *part, int64_t tokens, int64_t context)
{
    const text_source *source = dataset->source;
    if (tokens >= 2)
        return tarn_fail(
            dataset->context, TARN_ERROR_CONFIG, TARN_HERE,
            "%s: its %s part has %lld of %lld tokens, a sample of context %lld needs %lld: use a context of "
            "at most %lld, a longer text or another validation share (it is %g)",
            dataset->name, part, (long long)tokens, (long long)source->count, (long long)context,
            (long long)context + 1, (long long)tokens - 1, source->share);
    return tarn_fail(
        dataset->context, TARN_ERROR_CONFIG, TARN_HERE,
        "%s: its %s part has %lld of %lld tokens, even a context of 1 needs 2: use a longer text (at least "
        "%lld tokens for context %lld) or another validation share (it is %g)",
        dataset->name, part, (long long)tokens, (long long)source->count, (long long)context + 1, (long long)context,
        source->share);
}

static void text_set_part(tarn_dataset *part, int64_t first, int64_t tokens, int64_t context)
{
    part->first = first;
    part->length = context == 0 ? 0 : (tokens - 1) / context;
    part->shape.input_shape[0] = part->shape.target_shape[0] = context;
    part->input_bytes = part->target_bytes = context * (int64_t)sizeof(int32_t);
}

/* Cuts the text into its parts. context 0: lengths stay 0 until it is set. */
static tarn_status text_layout(tarn_dataset *dataset, int64_t context, double share)
{
    text_source *source = dataset->source;
    int64_t cut = (int64_t)((double)source->count * share), rest = source->count - cut;
    int64_t least = context == 0 ? 1 : context; /* a part must hold one sample, of whatever context comes later */
    double before = source->share;
    source->share = share; /* for the message */
    tarn_status status = TARN_OK;
    if (rest < least + 1)
        status = text_too_short(dataset, "training", rest, least);
    else if (share > 0 && cut < least + 1)
        status = text_too_short(dataset, "validation", cut, least);
    else if (share > 0 && tarn_dataset_make_validation(dataset) == NULL)
        status = TARN_ERROR_MEMORY;
    if (status != TARN_OK) {
        source->share = before;
        return status;
    }
    text_set_part(dataset, 0, rest, context);
    if (share > 0) text_set_part(dataset->validation, rest, cut, context);
    return TARN_OK;
}

static tarn_status text_split(tarn_dataset *dataset, double share)
{
    return text_layout(dataset, text_context(dataset), share);
}

static const tarn_dataset_kind text_kind = {
    .name = "text", .read = text_read, .split = text_split, .close = text_close};

tarn_status tarn_text_set_context(tarn_dataset *text, int64_t context)
{
    if (text->kind != &text_kind)
        return tarn_fail(text->context, TARN_ERROR_ARGUMENT, TARN_HERE, "%s: only a text has a context, this is %s",
                         text->name, text->kind->name);
    text = tarn_dataset_root(text);
    if (context < 1 || context > INT64_MAX / 8)
        return tarn_fail(text->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "%s: a context of %lld tokens makes no sense: it must be at least 1", text->name,
                         (long long)context);
    if (context == text_context(text)) return TARN_OK;
    tarn_status status = tarn_dataset_require_idle(text, "change the context");
    return status == TARN_OK ? text_layout(text, context, ((text_source *)text->source)->share) : status;
}

const char *tarn_text_vocabulary(const tarn_dataset *text)
{
    if (text->kind != &text_kind) return NULL;
    return tarn_tokenizer_vocabulary(((const text_source *)text->source)->tokenizer);
}

/* First pass: marks the characters in present and counts them. */
static tarn_status survey(tarn_context *context, const char *path, const uint8_t *bytes, int64_t size, uint8_t *present,
                          int64_t *count)
{
    *count = 0;
    for (int64_t i = 0; i < size; ++*count) {
        uint32_t code;
        int length = tarn_utf8_next(bytes + i, size - i, &code);
        if (length == 0)
            return tarn_fail(
                context, TARN_ERROR_FORMAT, TARN_HERE,
                "%s: byte %lld (0x%02x) is no valid UTF-8: convert the file (iconv -t UTF-8) or use the byte "
                "tokenizer",
                path, (long long)i, bytes[i]);
        if (i >> 20 != (i + length) >> 20) tarn_monitor_progress(context);
        if (code == 0)
            return tarn_fail(context, TARN_ERROR_FORMAT, TARN_HERE,
                             "%s: byte %lld is zero, which no text has: use the byte tokenizer for binary data", path,
                             (long long)i);
        present[code / 8] |= (uint8_t)(1u << code % 8);
        i += length;
    }
    return TARN_OK;
}

/* Second pass: writes the ids. ids maps code points to ids. */
static void encode(const text_source *source, const uint8_t *bytes, int64_t size, const int32_t *ids)
{
    int64_t token = 0;
    for (int64_t i = 0; i < size; token++) {
        uint32_t code = 0;
        if (token % (1 << 20) == 0) tarn_monitor_progress(NULL);
        i += tarn_utf8_next(bytes + i, size - i, &code);
        if (source->width == 1)
            ((uint8_t *)source->tokens)[token] = (uint8_t)ids[code];
        else if (source->width == 2)
            ((uint16_t *)source->tokens)[token] = (uint16_t)ids[code];
        else
            ((int32_t *)source->tokens)[token] = ids[code];
    }
}

/* Replaces the characters of a text by those of a given vocabulary, which must hold them all. */
static tarn_status impose_vocabulary(tarn_context *context, const char *path, const char *vocabulary, uint8_t *present)
{
    uint8_t *known = calloc(TARN_CODE_POINTS / 8, 1);
    if (!known) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "%s: no memory for the vocabulary", path);
    int64_t size = (int64_t)strlen(vocabulary);
    uint32_t code;
    for (int64_t i = 0; i < size;) {
        int length = tarn_utf8_next((const uint8_t *)vocabulary + i, size - i, &code);
        if (length <= 0) break;
        known[code / 8] |= (uint8_t)(1u << code % 8);
        i += length;
    }
    for (code = 0; code < TARN_CODE_POINTS; code++) {
        if (!(present[code / 8] >> code % 8 & 1) || known[code / 8] >> code % 8 & 1) continue;
        free(known);
        return tarn_fail(
            context, TARN_ERROR_CONFIG, TARN_HERE,
            "%s: the character U+%04X is not in the model's vocabulary: use a text of the characters the model "
            "was trained on",
            path, (unsigned)code);
    }
    memcpy(present, known, TARN_CODE_POINTS / 8);
    free(known);
    return TARN_OK;
}

/* Fills source from the bytes of a text in characters. vocabulary NULL: the text's own. */
static tarn_status tokenize_characters(tarn_context *context, const char *path, const uint8_t *bytes, int64_t size,
                                       const char *vocabulary, text_source *source)
{
    uint8_t *present = calloc(TARN_CODE_POINTS / 8, 1);
    int32_t *ids = malloc(TARN_CODE_POINTS * sizeof *ids);
    tarn_status status = TARN_OK;
    if (present != NULL && ids != NULL) {
        status = survey(context, path, bytes, size, present, &source->count);
        if (status == TARN_OK && vocabulary != NULL) status = impose_vocabulary(context, path, vocabulary, present);
        if (status == TARN_OK) status = tarn_tokenizer_of_characters(&source->tokenizer, context, present);
    }
    if (status == TARN_OK && source->tokenizer != NULL) {
        int64_t size_of_vocabulary = tarn_tokenizer_size(source->tokenizer);
        source->width = size_of_vocabulary <= 256 ? 1 : size_of_vocabulary <= 65536 ? 2 : 4;
        source->tokens = malloc((size_t)source->count * (size_t)source->width);
    }
    if (status == TARN_OK && source->tokens != NULL) {
        int32_t next = 0;
        for (uint32_t code = 0; code < TARN_CODE_POINTS; code++)
            if (present[code / 8] >> code % 8 & 1) ids[code] = next++;
        encode(source, bytes, size, ids);
    }
    free(present);
    free(ids);
    if (status == TARN_OK && source->tokens == NULL)
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "%s: no memory to encode it", path);
    return status;
}

/* Fills source from a file's bytes, which it takes. */
static tarn_status tokenize(tarn_context *context, const char *path, const tarn_text_options *options, uint8_t *bytes,
                            int64_t size, text_source *source)
{
    tarn_tokenizer_kind kind = options->tokenizer;
    if (kind == TARN_TOKENIZE_BYTES) {
        source->tokens = bytes;
        source->width = 1;
        source->count = size;
        return tarn_tokenizer_create(&source->tokenizer, context, kind, "");
    }
    tarn_status status = tokenize_characters(context, path, bytes, size, options->vocabulary, source);
    free(bytes);
    return status;
}

static tarn_status check_options(tarn_context *context, const char *path, const tarn_text_options *options)
{
    if (path == NULL) return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "a text needs a path");
    if (options->tokenizer != TARN_TOKENIZE_CHARACTERS && options->tokenizer != TARN_TOKENIZE_BYTES)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "%s: unknown kind of tokenizer %d", path,
                         (int)options->tokenizer);
    if (options->context < 0 || options->context > INT64_MAX / 8)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "%s: a context of %lld tokens makes no sense", path,
                         (long long)options->context);
    if (!(options->validation >= 0 && options->validation < 1))
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "%s: a validation share of %g makes no sense: it must be at least 0 and below 1", path,
                         options->validation);
    return TARN_OK;
}

tarn_status tarn_text_open(tarn_dataset **dataset, tarn_context *context, const char *path,
                           const tarn_text_options *options)
{
    *dataset = NULL;
    const tarn_text_options defaults = {0};
    if (options == NULL) options = &defaults;
    tarn_status status = check_options(context, path, options);
    if (status != TARN_OK) return status;

    uint8_t *bytes = NULL;
    int64_t size = 0;
    char digest[TARN_DIGEST_TEXT_BYTES];
    status = tarn_file_read_all(context, path, &bytes, &size);
    if (status != TARN_OK) return status;
    text_source *source = calloc(1, sizeof *source);
    if (size == 0)
        status = tarn_fail(context, TARN_ERROR_FORMAT, TARN_HERE, "%s: the file is empty: a text is needed", path);
    else if (source == NULL)
        status = tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "%s: no memory for the dataset", path);
    else
        status = tarn_data_digest(context, bytes, (size_t)size, NULL, 0, digest);
    if (status != TARN_OK) {
        free(source);
        free(bytes);
        return status;
    }
    tarn_dataset *made = NULL;
    status = tokenize(context, path, options, bytes, size, source);
    if (status == TARN_OK) status = tarn_dataset_create(&made, context, &text_kind, source, path);
    if (status != TARN_OK) {
        text_close(source);
        return status;
    }
    made->shape = (tarn_sample_shape){.input_dtype = TARN_I32,
                                      .target_dtype = TARN_I32,
                                      .input_ndim = 1,
                                      .target_ndim = 1,
                                      .classes = tarn_tokenizer_size(source->tokenizer)};
    memcpy(made->digest, digest, sizeof made->digest);
    status = text_layout(made, options->context, options->validation);
    if (status != TARN_OK) {
        tarn_dataset_close(made);
        return status;
    }
    *dataset = made;
    return TARN_OK;
}
