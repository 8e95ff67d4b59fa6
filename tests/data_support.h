/* data_support.h - what the tests of data share: a context and a folder for each test, small files, expected errors.
 */
#ifndef TARN_TESTS_DATA_SUPPORT_H
#define TARN_TESTS_DATA_SUPPORT_H

#include "tests/support.h"

#include <criterion/criterion.h>
#include <tarn/data.h>

static tarn_context *context;
static char *folder;

__attribute__((unused)) static void setup(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    folder = tarn_test_directory();
    cr_assert_not_null(folder);
}

__attribute__((unused)) static void teardown(void)
{
    tarn_test_remove(folder);
    free(folder);
    tarn_exit(context);
}

/* A path in the test's folder, of which a test uses a few at a time. */
__attribute__((unused)) static const char *in_folder(const char *name)
{
    static char paths[8][256];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

__attribute__((unused)) static const char *write_bytes(const char *name, const void *bytes, size_t size)
{
    const char *path = in_folder(name);
    cr_assert(tarn_test_write(path, bytes, size));
    return path;
}

__attribute__((unused)) static const char *write_text(const char *name, const char *text)
{
    return write_bytes(name, text, strlen(text));
}

/* The call failed so, with a message that holds each of the words (NULL ends them); forgets the error. */
__attribute__((unused)) static void expect_error(tarn_status status, tarn_status expected, ...)
{
    cr_assert_eq(status, expected, "status is %s", tarn_status_name(status));
    const tarn_error *error = tarn_get_error(context);
    cr_assert_not_null(error);
    cr_expect_eq(error->status, expected);
    va_list words;
    va_start(words, expected);
    for (const char *word; (word = va_arg(words, const char *)) != NULL;)
        cr_expect(strstr(error->message, word) != NULL, "'%s' is missing in: %s", word, error->message);
    va_end(words);
    tarn_error_clear(context);
}

#endif
