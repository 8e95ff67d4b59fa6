/* number.c - numbers as text and back.
 *
 * Invariant: nothing here depends on the locale of the program (a library must not be broken by the setlocale of the
 * program it is linked into): conversions run under a private "C" locale.
 */
#include "runtime/config/number.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static locale_t plain;
static pthread_once_t plain_once = PTHREAD_ONCE_INIT;

static void make_plain(void)
{
    plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

/* Enters the "C" locale in this thread; (locale_t)0 when it could not be made, and then nothing has changed. */
static locale_t enter_plain(void)
{
    pthread_once(&plain_once, make_plain);
    return plain ? uselocale(plain) : (locale_t)0;
}

int tarn_number_print(char out[TARN_NUMBER_TEXT], double value)
{
    if (isnan(value)) return snprintf(out, TARN_NUMBER_TEXT, "nan");
    if (isinf(value)) return snprintf(out, TARN_NUMBER_TEXT, value < 0 ? "-inf" : "inf");
    locale_t before = enter_plain();
    int length = 0;
    for (int digits = 15; digits <= 17; digits++) {
        length = snprintf(out, TARN_NUMBER_TEXT, "%.*g", digits, value);
        if (strtod(out, NULL) == value) break;
    }
    if (before) uselocale(before);
    return length;
}

bool tarn_number_parse(const char *text, double *value)
{
    /* strtod takes more than we want: blanks, 0x, nan, inf. */
    if (!*text || text[strspn(text, "0123456789+-.eE")] || !strpbrk(text, "0123456789")) return false;
    locale_t before = enter_plain();
    char *end;
    double number = strtod(text, &end);
    if (before) uselocale(before);
    if (*end || !isfinite(number)) return false;
    *value = number;
    return true;
}

bool tarn_integer_parse(const char *text, int64_t *value)
{
    const char *digits = text + (*text == '-' || *text == '+');
    if (!*digits || digits[strspn(digits, "0123456789")]) return false;
    errno = 0;
    long long number = strtoll(text, NULL, 10);
    if (errno) return false;
    *value = number;
    return true;
}
