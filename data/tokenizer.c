/* tokenizer.c - characters or bytes to ids and back.
 *
 * Invariant: ids are ranks in order of code point, so the vocabulary of a text depends on the set of its characters
 * only.
 */
#include "data/tokenizer.h"

#include <stdlib.h>
#include <string.h>

struct tarn_tokenizer {
    tarn_context *context;
    tarn_tokenizer_kind kind;
    int64_t size;
    uint32_t *codes;  /* ascending; NULL for bytes */
    char *vocabulary; /* the same as UTF-8 */
};

int tarn_utf8_next(const uint8_t *bytes, int64_t size, uint32_t *code)
{
    if (size < 1) return 0;
    uint32_t lead = bytes[0];
    if (lead < 0x80) {
        *code = lead;
        return 1;
    }
    int length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || size < length) return 0;
    uint32_t value = lead & (0x7fu >> length);
    for (int i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80) return 0;
        value = value << 6 | (bytes[i] & 0x3fu);
    }
    if ((length == 3 && value < 0x800) || (length == 4 && value < 0x10000)) return 0;
    if (value >= TARN_CODE_POINTS || (value >= 0xd800 && value < 0xe000)) return 0;
    *code = value;
    return length;
}

int tarn_utf8_put(uint32_t code, char out[5])
{
    int length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    out[0] = (char)(lead[length] | code);
    out[length] = 0;
    return length;
}

static tarn_status no_memory(tarn_context *context)
{
    return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for a tokenizer");
}

tarn_status tarn_tokenizer_of_characters(tarn_tokenizer **tokenizer, tarn_context *context, const uint8_t *present)
{
    *tokenizer = NULL;
    int64_t size = 0;
    for (uint32_t code = 0; code < TARN_CODE_POINTS; code++) size += present[code / 8] >> code % 8 & 1;
    tarn_tokenizer *made = calloc(1, sizeof *made);
    if (made == NULL) return no_memory(context);
    made->context = context;
    made->kind = TARN_TOKENIZE_CHARACTERS;
    made->codes = malloc((size_t)(size + 1) * sizeof *made->codes);
    made->vocabulary = malloc((size_t)size * 4 + 5);
    if (made->codes == NULL || made->vocabulary == NULL) {
        tarn_tokenizer_destroy(made);
        return no_memory(context);
    }
    char *end = made->vocabulary;
    *end = 0;
    for (uint32_t code = 0; code < TARN_CODE_POINTS; code++) {
        if (!(present[code / 8] >> code % 8 & 1)) continue;
        made->codes[made->size++] = code;
        end += tarn_utf8_put(code, end);
    }
    *tokenizer = made;
    return TARN_OK;
}

/* Marks the characters of a vocabulary in present. */
static tarn_status parse_vocabulary(tarn_context *context, const char *vocabulary, uint8_t *present)
{
    int64_t size = (int64_t)strlen(vocabulary);
    int64_t last = -1;
    for (int64_t i = 0; i < size;) {
        uint32_t code;
        int length = tarn_utf8_next((const uint8_t *)vocabulary + i, size - i, &code);
        if (length == 0 || (int64_t)code <= last)
            return tarn_fail(context, TARN_ERROR_FORMAT, TARN_HERE,
                             "the vocabulary is %s at byte %lld: pass what tarn_text_vocabulary returned",
                             length == 0 ? "no valid UTF-8" : "not in order of code point", (long long)i);
        present[code / 8] |= (uint8_t)(1u << code % 8);
        last = code;
        i += length;
    }
    return TARN_OK;
}

tarn_status tarn_tokenizer_create(tarn_tokenizer **tokenizer, tarn_context *context, tarn_tokenizer_kind kind,
                                  const char *vocabulary)
{
    *tokenizer = NULL;
    bool empty = vocabulary == NULL || vocabulary[0] == 0;
    if (kind == TARN_TOKENIZE_BYTES && empty) {
        tarn_tokenizer *made = calloc(1, sizeof *made);
        if (made == NULL) return no_memory(context);
        made->context = context;
        made->kind = kind;
        made->size = 256;
        *tokenizer = made;
        return TARN_OK;
    }
    if (kind != TARN_TOKENIZE_CHARACTERS || empty)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         kind == TARN_TOKENIZE_CHARACTERS ? "a character tokenizer needs a vocabulary"
                         : kind == TARN_TOKENIZE_BYTES    ? "a byte tokenizer has no vocabulary: pass \"\""
                                                          : "unknown kind of tokenizer");
    uint8_t *present = calloc(TARN_CODE_POINTS / 8, 1);
    if (present == NULL) return no_memory(context);
    tarn_status status = parse_vocabulary(context, vocabulary, present);
    if (status == TARN_OK) status = tarn_tokenizer_of_characters(tokenizer, context, present);
    free(present);
    return status;
}

void tarn_tokenizer_destroy(tarn_tokenizer *tokenizer)
{
    if (tokenizer == NULL) return;
    free(tokenizer->codes);
    free(tokenizer->vocabulary);
    free(tokenizer);
}

int64_t tarn_tokenizer_size(const tarn_tokenizer *tokenizer)
{
    return tokenizer->size;
}

const char *tarn_tokenizer_vocabulary(const tarn_tokenizer *tokenizer)
{
    return tokenizer->vocabulary != NULL ? tokenizer->vocabulary : "";
}

/* The id of a code point (of a byte for bytes), -1 when it has none. */
static int32_t find_id(const tarn_tokenizer *tokenizer, uint32_t code)
{
    if (tokenizer->kind == TARN_TOKENIZE_BYTES) return code < 256 ? (int32_t)code : -1;
    int64_t low = 0, high = tokenizer->size;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (tokenizer->codes[middle] < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < tokenizer->size && tokenizer->codes[low] == code ? (int32_t)low : -1;
}

tarn_status tarn_tokenizer_encode(tarn_tokenizer *tokenizer, const char *text, int32_t **ids, int64_t *count)
{
    *ids = NULL;
    *count = 0;
    int64_t size = (int64_t)strlen(text), made = 0;
    int32_t *list = malloc((size_t)(size + 1) * sizeof *list);
    if (list == NULL) return no_memory(tokenizer->context);
    const uint8_t *bytes = (const uint8_t *)text;
    for (int64_t i = 0; i < size;) {
        uint32_t code = bytes[i];
        int length = tokenizer->kind == TARN_TOKENIZE_BYTES ? 1 : tarn_utf8_next(bytes + i, size - i, &code);
        if (length == 0) {
            free(list);
            return tarn_fail(tokenizer->context, TARN_ERROR_FORMAT, TARN_HERE,
                             "byte %lld (0x%02x) of the text to encode is no valid UTF-8", (long long)i, bytes[i]);
        }
        int32_t id = find_id(tokenizer, code);
        if (id < 0) {
            free(list);
            return tarn_fail(
                tokenizer->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                "the character '%.*s' (U+%04X, byte %lld of the text) is not among the %lld characters the "
                "vocabulary knows: leave it out, or train with data.tokenizer byte",
                length, text + i, (unsigned)code, (long long)i, (long long)tokenizer->size);
        }
        list[made++] = id;
        i += length;
    }
    *ids = list;
    *count = made;
    return TARN_OK;
}

int tarn_tokenizer_decode(const tarn_tokenizer *tokenizer, int32_t id, char out[5])
{
    out[0] = out[1] = 0;
    if (id < 0 || id >= tokenizer->size) return 0;
    if (tokenizer->kind == TARN_TOKENIZE_CHARACTERS) return tarn_utf8_put(tokenizer->codes[id], out);
    out[0] = (char)id;
    return 1;
}
