/* text.c - see text.h. */
#include "track/prometheus/text.h"
#include "runtime/config/number.h"

#include <math.h>

void tarn_prometheus_write_head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Bytes of the UTF-8 character at `text`, 0 when there is none: no overlong form, no surrogate, nothing beyond
 * U+10FFFF. */
static int character(const unsigned char *text)
{
    unsigned char lead = text[0];
    if (lead < 0x80) return 1;
    int length = lead >= 0xC2 && lead <= 0xDF ? 2 : (lead & 0xF0) == 0xE0 ? 3 : lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
    unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    for (int i = 1; i < length; i++, low = 0x80, high = 0xBF)
        if (text[i] < low || text[i] > high) return 0;
    return length;
}

void tarn_prometheus_write_label(FILE *out, const char *name, const char *value, bool first)
{
    fprintf(out, "%s%s=\"", first ? "" : ",", name);
    for (const unsigned char *at = (const unsigned char *)value; *at;) {
        int length = character(at);
        if (!length)
            fputc('?', out);
        else if (*at == '\n')
            fputs("\\n", out);
        else {
            if (*at == '"' || *at == '\\') fputc('\\', out);
            fwrite(at, 1, (size_t)length, out);
        }
        at += length ? length : 1;
    }
    fputc('"', out);
}

void tarn_prometheus_write_value(FILE *out, double value)
{
    char text[TARN_NUMBER_TEXT];
    if (isnan(value))
        fputs("NaN", out);
    else if (isinf(value))
        fputs(value > 0 ? "+Inf" : "-Inf", out);
    else {
        tarn_number_print(text, value);
        fputs(text, out);
    }
}
