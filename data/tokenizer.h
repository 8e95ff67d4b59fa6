/* tokenizer.h - the inside of a tokenizer: a sorted list of code points, or the 256 bytes.
 */
#ifndef TARN_DATA_TOKENIZER_H
#define TARN_DATA_TOKENIZER_H

#include <tarn/data.h>

#define TARN_CODE_POINTS 0x110000

/* Decodes one character of bytes[0..size): its length (1 to 4) and *code, or 0 when the bytes are no valid UTF-8
 * (overlong forms, surrogates and code points beyond U+10FFFF included) or size is 0. */
int tarn_utf8_next(const uint8_t *bytes, int64_t size, uint32_t *code);
/* Writes a code point and a zero to out[5]; returns its length. */
int tarn_utf8_put(uint32_t code, char out[5]);

/* A character tokenizer of the code points p with present[p / 8] bit p % 8 set. */
tarn_status tarn_tokenizer_of_characters(tarn_tokenizer **tokenizer, tarn_context *context, const uint8_t *present);
/* The vocabulary as text ("" for bytes), borrowed. */
const char *tarn_tokenizer_vocabulary(const tarn_tokenizer *tokenizer);

#endif
