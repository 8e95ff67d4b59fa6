/* test_text.c - texts as samples, tokenizers, UTF-8, and bad input to each.
 */
#include "data/dataset.h"
#include "data/tokenizer.h"
#include "tests/data_support.h"

TestSuite(text, .init = setup, .fini = teardown);

/* ---- text ------------------------------------------------------------------------------------------------ */

Test(text, windows_and_vocabulary)
{
    const char *path = write_text("t", "hello \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"); /* 9 characters */
    tarn_dataset *text;
    cr_assert_eq(tarn_text_open(&text, context, path, &(tarn_text_options){.context = 4}), TARN_OK);
    cr_expect_str_eq(tarn_text_vocabulary(text), " ehlo\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    cr_expect_eq(tarn_dataset_length(text), 2); /* (9 - 1) / 4 */
    cr_expect_null(tarn_dataset_validation(text));
    tarn_sample_shape shape;
    tarn_dataset_shape(text, &shape);
    cr_expect_eq(shape.classes, 8);
    cr_expect_eq(shape.input_dtype, TARN_I32);
    cr_expect_eq(shape.target_dtype, TARN_I32);
    cr_expect(shape.input_ndim == 1 && shape.target_ndim == 1 && shape.input_shape[0] == 4 &&
              shape.target_shape[0] == 4);
    static const int32_t tokens[9] = {2, 1, 3, 3, 4, 0, 5, 6, 7};
    for (int64_t i = 0; i < 2; i++) {
        int32_t input[4], target[4];
        cr_assert_eq(tarn_dataset_read(text, i, input, target), TARN_OK);
        cr_expect_eq(memcmp(input, tokens + 4 * i, sizeof input), 0);
        cr_expect_eq(memcmp(target, tokens + 4 * i + 1, sizeof target), 0);
    }
    int32_t unused[4];
    expect_error(tarn_dataset_read(text, 2, unused, unused), TARN_ERROR_ARGUMENT, path, "2", NULL);
    expect_error(tarn_dataset_read(text, -1, unused, unused), TARN_ERROR_ARGUMENT, path, "-1", NULL);
    tarn_dataset_close(text);
}

Test(text, digest_is_that_of_the_file)
{
    const char *path = write_text("abc", "abc");
    for (int kind = 0; kind < 2; kind++) {
        tarn_dataset *text;
        cr_assert_eq(tarn_text_open(&text, context, path, &(tarn_text_options){.tokenizer = (tarn_tokenizer_kind)kind}),
                     TARN_OK);
        cr_expect_str_eq(tarn_dataset_digest(text),
                         "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        tarn_dataset_close(text);
    }
}

Test(text, context_set_later)
{
    char content[1001];
    for (int i = 0; i < 1000; i++) content[i] = (char)('a' + i % 26);
    const char *path = write_bytes("t", content, 1000);
    tarn_dataset *text;
    cr_assert_eq(tarn_text_open(&text, context, path, &(tarn_text_options){.validation = 0.1}), TARN_OK);
    tarn_dataset *validation = tarn_dataset_validation(text);
    cr_assert_not_null(validation);
    cr_expect_eq(tarn_dataset_length(text), 0);
    cr_expect_eq(tarn_dataset_length(validation), 0);
    cr_assert_eq(tarn_text_set_context(text, 10), TARN_OK);
    cr_expect_eq(tarn_dataset_length(text), 89);      /* (900 - 1) / 10 */
    cr_expect_eq(tarn_dataset_length(validation), 9); /* (100 - 1) / 10 */
    cr_expect_str_eq(tarn_dataset_digest(text), tarn_dataset_digest(validation));
    int32_t input[10], target[10];
    cr_assert_eq(tarn_dataset_read(text, 88, input, target), TARN_OK);
    cr_expect_eq(target[9], 890 % 26);
    cr_assert_eq(tarn_dataset_read(validation, 0, input, target), TARN_OK);
    cr_expect_eq(input[0], 900 % 26);
    cr_assert_eq(tarn_dataset_read(validation, 8, input, target), TARN_OK);
    cr_expect_eq(target[9], 990 % 26);

    cr_assert_eq(tarn_text_set_context(validation, 99), TARN_OK); /* sets both */
    cr_expect_eq(tarn_dataset_length(text), 9);
    cr_expect_eq(tarn_dataset_length(validation), 1);
    expect_error(tarn_text_set_context(text, 100), TARN_ERROR_CONFIG, path, "validation", "100", "at most 99", NULL);
    expect_error(tarn_text_set_context(text, 0), TARN_ERROR_ARGUMENT, path, NULL);
    cr_expect_eq(tarn_dataset_length(text), 9, "an error changes nothing");
    tarn_dataset_close(validation); /* borrowed: nothing happens */
    cr_expect_eq(tarn_dataset_read(validation, 0, (int32_t[99]){0}, (int32_t[99]){0}), TARN_OK);
    tarn_dataset_close(text);
}

/* No token is a target twice and all but the first and a remainder are targets once. */
Test(text, each_token_is_a_target_once)
{
    uint8_t content[251];
    for (int i = 0; i < 251; i++) content[i] = (uint8_t)i;
    const char *path = write_bytes("t", content, sizeof content);
    for (int64_t length = 1; length <= 60; length++) {
        tarn_dataset *text;
        cr_assert_eq(tarn_text_open(&text, context, path,
                                    &(tarn_text_options){.tokenizer = TARN_TOKENIZE_BYTES, .context = length}),
                     TARN_OK);
        int seen[251] = {0};
        int32_t input[60], target[60];
        for (int64_t i = 0; i < tarn_dataset_length(text); i++) {
            cr_assert_eq(tarn_dataset_read(text, i, input, target), TARN_OK);
            for (int64_t k = 0; k < length; k++) {
                seen[target[k]]++;
                cr_expect_eq(input[k] + 1, target[k]);
            }
        }
        int64_t covered = 250 / length * length;
        for (int64_t token = 0; token < 251; token++)
            cr_expect_eq(seen[token], token >= 1 && token <= covered, "context %d token %d", (int)length, (int)token);
        tarn_dataset_close(text);
    }
}

/* More than 256, then more than 65536 characters: tokens of two and four bytes. */
Test(text, large_vocabularies)
{
    static const uint32_t ends[2] = {0x1000, 0x12000};
    for (int k = 0; k < 2; k++) {
        char *content = malloc(4 * 0x12000 + 1), *end = content;
        cr_assert_not_null(content);
        for (uint32_t code = ends[k] - 1; code >= 1; code--)
            if (code < 0xd800 || code >= 0xe000) end += tarn_utf8_put(code, end);
        const char *path = write_bytes("t", content, (size_t)(end - content));
        free(content);
        tarn_dataset *text;
        cr_assert_eq(tarn_text_open(&text, context, path, &(tarn_text_options){.context = 5}), TARN_OK);
        int64_t characters = (int64_t)ends[k] - 1 - (k == 1 ? 0x800 : 0);
        tarn_sample_shape shape;
        tarn_dataset_shape(text, &shape);
        cr_expect_eq(shape.classes, characters);
        int32_t input[5], target[5];
        cr_assert_eq(tarn_dataset_read(text, 1, input, target), TARN_OK);
        cr_expect_eq(input[0], characters - 6);
        cr_expect_eq(target[4], characters - 11);
        tarn_dataset_close(text);
    }
}

Test(text, bad_input)
{
    tarn_dataset *text = NULL;
    tarn_text_options options = {.context = 8};
    expect_error(tarn_text_open(&text, context, in_folder("missing"), &options), TARN_ERROR_IO, "missing",
                 "No such file", NULL);
    cr_expect_null(text);
    expect_error(tarn_text_open(&text, context, folder, &options), TARN_ERROR_IO, folder, "directory", NULL);
    expect_error(tarn_text_open(&text, context, NULL, &options), TARN_ERROR_ARGUMENT, "path", NULL);
    expect_error(tarn_text_open(&text, context, write_text("empty", ""), &options), TARN_ERROR_FORMAT, "empty", NULL);
    expect_error(tarn_text_open(&text, context, write_text("short", "12345678"), &options), TARN_ERROR_CONFIG, "short",
                 "8 of 8 tokens", "needs 9", "at most 7", NULL);
    expect_error(tarn_text_open(&text, context, write_text("one", "1"), NULL), TARN_ERROR_CONFIG, "one",
                 "1 of 1 tokens", "at least 2", NULL);
    options.validation = 0.5;
    expect_error(tarn_text_open(&text, context, write_text("cut", "1234567890"), &options), TARN_ERROR_CONFIG, "cut",
                 "training", "5 of 10 tokens", "at most 4", NULL);
    options.validation = 0.1;
    expect_error(tarn_text_open(&text, context, write_text("cut", "12345678901234567890"), &options), TARN_ERROR_CONFIG,
                 "cut", "validation", "2 of 20 tokens", "at most 1", NULL);
    options.validation = 1;
    expect_error(tarn_text_open(&text, context, in_folder("cut"), &options), TARN_ERROR_ARGUMENT, "share of 1", NULL);
    options.validation = 0;
    expect_error(tarn_text_open(&text, context, write_bytes("zero", "ab\0cd", 5), &options), TARN_ERROR_FORMAT, "zero",
                 "byte 2", NULL);

    static const struct {
        const char *bytes;
        const char *at;
    } invalid[] = {
        {"ab\xff", "byte 2 (0xff)"},             /* no lead byte */
        {"\x80", "byte 0 (0x80)"},               /* a continuation alone */
        {"a\xc3", "byte 1 (0xc3)"},              /* cut off */
        {"a\xe2\x82", "byte 1 (0xe2)"},          /* cut off */
        {"\xc3\xa9\xc0\x80", "byte 2 (0xc0)"},   /* overlong */
        {"\xe0\x80\x80", "byte 0 (0xe0)"},       /* overlong */
        {"\xf0\x80\x80\x80", "byte 0 (0xf0)"},   /* overlong */
        {"\xed\xa0\x80", "byte 0 (0xed)"},       /* a surrogate */
        {"ab\xf4\x90\x80\x80", "byte 2 (0xf4)"}, /* beyond U+10FFFF */
        {"\xe2\x28\xa1", "byte 0 (0xe2)"},       /* no continuation */
    };
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
        expect_error(tarn_text_open(&text, context, write_text("utf8", invalid[i].bytes), &options), TARN_ERROR_FORMAT,
                     "utf8", invalid[i].at, "UTF-8", NULL);
        /* As bytes it is fine. */
        cr_assert_eq(tarn_text_open(&text, context, write_bytes("utf8", "\xff\xfe\0", 3),
                                    &(tarn_text_options){.tokenizer = TARN_TOKENIZE_BYTES, .context = 2}),
                     TARN_OK);
        tarn_dataset_close(text);
    }
}

/* ---- tokenizers ------------------------------------------------------------------------------------------ */

Test(text, tokenizer_characters)
{
    tarn_tokenizer *tokenizer;
    cr_assert_eq(tarn_tokenizer_create(&tokenizer, context, TARN_TOKENIZE_CHARACTERS, "\nab\xc3\xa9\xf0\x9f\x98\x80"),
                 TARN_OK);
    cr_expect_eq(tarn_tokenizer_size(tokenizer), 5);
    int32_t *ids;
    int64_t count;
    cr_assert_eq(tarn_tokenizer_encode(tokenizer, "b\xf0\x9f\x98\x80\n\xc3\xa9", &ids, &count), TARN_OK);
    static const int32_t expected[4] = {2, 4, 0, 3};
    cr_assert_eq(count, 4);
    cr_expect_eq(memcmp(ids, expected, sizeof expected), 0);
    char text[64] = "", one[5];
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(tarn_tokenizer_decode(tokenizer, ids[i], one), (int)strlen(one));
        strcat(text, one);
    }
    cr_expect_str_eq(text, "b\xf0\x9f\x98\x80\n\xc3\xa9");
    free(ids);
    cr_expect_eq(tarn_tokenizer_decode(tokenizer, 5, one), 0);
    cr_expect_eq(tarn_tokenizer_decode(tokenizer, -1, one), 0);
    cr_assert_eq(tarn_tokenizer_encode(tokenizer, "", &ids, &count), TARN_OK);
    cr_expect_eq(count, 0);
    free(ids);
    expect_error(tarn_tokenizer_encode(tokenizer, "abx", &ids, &count), TARN_ERROR_ARGUMENT, "'x'", "U+0078", "byte 2",
                 NULL);
    cr_expect_null(ids);
    expect_error(tarn_tokenizer_encode(tokenizer, "a\xe2\x82\xac", &ids, &count), TARN_ERROR_ARGUMENT, "'\xe2\x82\xac'",
                 "U+20AC", "byte 1", NULL);
    expect_error(tarn_tokenizer_encode(tokenizer, "a\xff", &ids, &count), TARN_ERROR_FORMAT, "byte 1", NULL);
    tarn_tokenizer_destroy(tokenizer);
    tarn_tokenizer_destroy(NULL);
}

Test(text, tokenizer_bytes)
{
    tarn_tokenizer *tokenizer;
    cr_assert_eq(tarn_tokenizer_create(&tokenizer, context, TARN_TOKENIZE_BYTES, ""), TARN_OK);
    cr_expect_eq(tarn_tokenizer_size(tokenizer), 256);
    int32_t *ids;
    int64_t count;
    cr_assert_eq(tarn_tokenizer_encode(tokenizer, "a\xff\xc3", &ids, &count), TARN_OK);
    cr_assert_eq(count, 3);
    cr_expect(ids[0] == 'a' && ids[1] == 0xff && ids[2] == 0xc3);
    free(ids);
    for (int id = 0; id < 256; id++) {
        char one[5];
        cr_expect_eq(tarn_tokenizer_decode(tokenizer, id, one), 1);
        cr_expect_eq((uint8_t)one[0], id);
        cr_expect_eq(one[1], 0);
    }
    tarn_tokenizer_destroy(tokenizer);
}

Test(text, tokenizer_bad_vocabularies)
{
    tarn_tokenizer *tokenizer;
    expect_error(tarn_tokenizer_create(&tokenizer, context, TARN_TOKENIZE_CHARACTERS, ""), TARN_ERROR_ARGUMENT, NULL);
    expect_error(tarn_tokenizer_create(&tokenizer, context, TARN_TOKENIZE_CHARACTERS, NULL), TARN_ERROR_ARGUMENT, NULL);
    expect_error(tarn_tokenizer_create(&tokenizer, context, TARN_TOKENIZE_BYTES, "ab"), TARN_ERROR_ARGUMENT, NULL);
    expect_error(tarn_tokenizer_create(&tokenizer, context, TARN_TOKENIZE_CHARACTERS, "ba"), TARN_ERROR_FORMAT,
                 "byte 1", NULL);
    expect_error(tarn_tokenizer_create(&tokenizer, context, TARN_TOKENIZE_CHARACTERS, "aab"), TARN_ERROR_FORMAT,
                 "byte 1", NULL);
    expect_error(tarn_tokenizer_create(&tokenizer, context, TARN_TOKENIZE_CHARACTERS, "ab\xc3"), TARN_ERROR_FORMAT,
                 "byte 2", NULL);
}

/* Every code point there and back. */
Test(text, utf8_round_trip)
{
    for (uint32_t code = 0; code < TARN_CODE_POINTS; code++) {
        char text[5];
        uint32_t back = ~code;
        int length = tarn_utf8_put(code, text);
        int expected = code >= 0xd800 && code < 0xe000 ? 0 : length;
        cr_assert_eq(tarn_utf8_next((const uint8_t *)text, length, &back), expected, "U+%04X", code);
        if (expected > 0) cr_assert_eq(back, code);
    }
}
