/* text.c - what a person reads: escaped text, short numbers, dates, lengths of time. */
#include "launch/report/report.h"
#include "runtime/config/number.h"

#include <math.h>
#include <string.h>
#include <time.h>

void tarn_report_write_text(FILE *out, const char *text)
{
    for (const unsigned char *at = (const unsigned char *)(text ? text : ""); *at; at++) {
        switch (*at) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        case '\'':
            fputs("&#39;", out);
            break;
        default:
            /* HTML knows no control characters but these. */
            if (*at >= 32 || *at == '\n' || *at == '\t')
                putc(*at, out);
            else
                fputs("\xef\xbf\xbd", out);
        }
    }
}

void tarn_report_write_key(FILE *out, const char *key)
{
    while (*key) {
        char piece[256];
        size_t length = strcspn(key, "./_");
        length += key[length] != 0;
        if (length >= sizeof piece) length = sizeof piece - 1;
        memcpy(piece, key, length);
        piece[length] = '\0';
        tarn_report_write_text(out, piece);
        key += length;
        if (*key) fputs("<wbr>", out);
    }
}

void tarn_report_write_number(FILE *out, double value)
{
    char text[32];
    double size = fabs(value);
    if (value == floor(value) && size < 1e15 && size >= 1e4) {
        tarn_report_write_count(out, (int64_t)value);
        return;
    }
    snprintf(text, sizeof text, "%.*g", size >= 1000 && size < 1e5 ? 6 : 5, value);
    /* A true minus, as wide as a plus. */
    if (*text == '-')
        fprintf(out, "\u2212%s", text + 1);
    else
        fputs(text, out);
}

void tarn_report_write_count(FILE *out, int64_t value)
{
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)value), begin = digits[0] == '-';
    if (begin) fputs("\u2212", out);
    for (int i = begin; i < length; i++) {
        if (i > begin && (length - i) % 3 == 0 && length - begin > 4) fputs("\u202f", out);
        putc(digits[i], out);
    }
}

void tarn_report_write_date(FILE *out, int64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;
    char text[64];
    if (ms <= 0 || !gmtime_r(&seconds, &parts) || !strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &parts)) {
        fputs("unknown", out);
        return;
    }
    char machine[64];
    strftime(machine, sizeof machine, "%Y-%m-%dT%H:%M:%SZ", &parts);
    fprintf(out, "<time datetime=\"%s\">%s</time>", machine, text);
}

void tarn_report_write_duration(FILE *out, int64_t ms)
{
    long long s = ms > 0 ? ms / 1000 : 0;
    if (ms < 0)
        fputs("unknown", out);
    else if (ms < 10000)
        fprintf(out, "%.1f\u202fs", (double)ms / 1000);
    else if (s < 60)
        fprintf(out, "%lld\u202fs", s);
    else if (s < 3600)
        fprintf(out, "%lld\u202fmin %02lld\u202fs", s / 60, s % 60);
    else if (s < 86400)
        fprintf(out, "%lld\u202fh %02lld\u202fmin", s / 3600, s / 60 % 60);
    else
        fprintf(out, "%lld\u202fd %lld\u202fh", s / 86400, s / 3600 % 24);
}

int64_t tarn_report_begin(const tarn_run_view *view)
{
    int64_t begin = view->head.start_ms;
    if (view->start_count && (!begin || view->starts[0].time_ms < begin)) begin = view->starts[0].time_ms;
    if (begin) return begin;
    for (int i = 0; i < view->curve_count; i++)
        for (int k = 0; k < view->curves[i].group_count; k++)
            if (!begin || view->curves[i].groups[k].time_ms < begin) begin = view->curves[i].groups[k].time_ms;
    return begin;
}

int64_t tarn_report_duration(const tarn_run_view *view)
{
    int64_t begin = tarn_report_begin(view), end = view->head.end_ms;
    if (view->last_ms > end) end = view->last_ms;
    return begin && end >= begin ? end - begin : -1;
}

const char *tarn_report_name(const tarn_run_view *view)
{
    return *view->head.name ? view->head.name : view->head.run_id;
}
