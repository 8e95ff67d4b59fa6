/* page.c - the whole page: the template with its parts put in.
 *
 * page.html, page.css and the scripts are assembled into the program, so that a report needs no file of the
 * installation. A place in the template is {{word}}; what is put in is never looked through for places again.
 */
#include "launch/report/report.h"
#include "runtime/base/sha256.h"

#include <stdlib.h>
#include <string.h>

#define EMBED(symbol, file)                                                                                            \
    __asm__(".pushsection .rodata\n"                                                                                   \
            ".global " #symbol "\n" #symbol ":\n"                                                                      \
            ".incbin \"" TARN_REPORT_FILES "/" file "\"\n"                                                             \
            ".byte 0\n"                                                                                                \
            ".popsection\n");                                                                                          \
    extern const char symbol[]

EMBED(tarn_report_page_html, "page.html");
EMBED(tarn_report_page_css, "page.css");
EMBED(tarn_report_chart_js, "chart.js");
EMBED(tarn_report_page_js, "page.js");

/* The hash of the page's script as a Content-Security-Policy names it: sha256-BASE64. */
static void write_hash(FILE *out, const tarn_report *report)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t digest[TARN_SHA256_BYTES + 1] = {0}; /* and a zero: the last two bytes are two thirds of a group */
    tarn_sha256 *sha = tarn_sha256_create();
    (void)report;
    if (!sha) return;
    tarn_sha256_update(sha, tarn_report_chart_js, strlen(tarn_report_chart_js));
    tarn_sha256_update(sha, tarn_report_page_js, strlen(tarn_report_page_js));
    if (!tarn_sha256_finish(sha, digest)) return;
    fputs("sha256-", out);
    for (int i = 0; i < TARN_SHA256_BYTES + 1; i += 3) {
        unsigned three = (unsigned)digest[i] << 16 | (unsigned)digest[i + 1] << 8 | digest[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            putc(i + 3 > TARN_SHA256_BYTES && shift == 0 ? '=' : digits[three >> shift & 63], out);
    }
}

static void write_title(FILE *out, const tarn_report *report)
{
    if (report->run_count == 1)
        tarn_report_write_text(out, tarn_report_name(report->runs[0]));
    else
        fprintf(out, "%d runs", report->run_count);
    fputs(" \u00b7 Tarn report", out);
}

static void write_style(FILE *out, const tarn_report *report)
{
    (void)report;
    fputs(tarn_report_page_css, out);
}

static void write_script(FILE *out, const tarn_report *report)
{
    (void)report;
    fputs(tarn_report_chart_js, out);
    fputs(tarn_report_page_js, out);
}

/* What of the record is drawn: nobody should take a mean for a point. */
static void write_footer(FILE *out, const tarn_report *report)
{
    int64_t points = 0, drawn = 0;
    bool grouped = false;
    for (int i = 0; i < report->run_count; i++) {
        points += report->runs[i]->points;
        for (int k = 0; k < report->runs[i]->curve_count; k++) {
            drawn += report->runs[i]->curves[k].group_count;
            grouped |= report->runs[i]->curves[k].group_count < report->runs[i]->curves[k].count;
        }
    }
    fputs("Made by tarn " TARN_VERSION_STRING " on ", out);
    tarn_report_write_date(out, report->now_ms);
    fputs(". ", out);
    tarn_report_write_count(out, points);
    fputs(points == 1 ? " recorded point" : " recorded points", out);
    if (grouped) {
        fputs(", drawn as ", out);
        tarn_report_write_count(out, drawn);
        fputs(": a line is the mean of neighbouring points, the band around it reaches from their smallest to their "
              "largest value. Best, first and last values are of all points",
              out);
    } else if (points)
        fputs(", all of them drawn", out);
    fputs(". This page is complete: it loads nothing.", out);
}

static void write_data(FILE *out, const tarn_report *report)
{
    char *data = tarn_report_data(report);
    if (data) fputs(data, out);
    free(data);
}

static const struct {
    const char *word;
    void (*write)(FILE *out, const tarn_report *report);
} places[] = {{"hash", write_hash},
              {"title", write_title},
              {"style", write_style},
              {"heading", tarn_report_write_heading},
              {"timeline", tarn_report_write_timeline},
              {"panels", tarn_report_write_panels},
              {"tables", tarn_report_write_tables},
              {"footer", write_footer},
              {"data", write_data},
              {"script", write_script}};

char *tarn_report_page(const tarn_report *report, size_t *length)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, length);
    if (!out) return NULL;
    for (const char *at = tarn_report_page_html; *at;) {
        const char *place = strstr(at, "{{");
        if (!place) {
            fputs(at, out);
            break;
        }
        fwrite(at, 1, (size_t)(place - at), out);
        place += 2;
        size_t size = strcspn(place, "}");
        for (size_t i = 0; i < sizeof places / sizeof *places; i++)
            if (strlen(places[i].word) == size && !memcmp(places[i].word, place, size)) places[i].write(out, report);
        at = place + size + 2;
    }
    bool failed = ferror(out);
    if (!fclose(out) && !failed) return text;
    free(text);
    return NULL;
}
