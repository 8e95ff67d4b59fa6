/* tables.c - configuration, metrics, data and tags as tables. */
#include "launch/report/report.h"

#include <stdlib.h>
#include <string.h>

typedef const char *lookup(const tarn_run_view *view, const char *key);

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

typedef enum kind { PARAMS, TAGS, METRICS } kind;

static int count_of(const tarn_run_view *view, kind kind)
{
    return kind == PARAMS ? view->param_count : kind == TAGS ? view->tag_count : view->curve_count;
}

static const char *key_of(const tarn_run_view *view, kind kind, int index)
{
    return kind == PARAMS ? view->params[index].key : kind == TAGS ? view->tags[index].key : view->curves[index].key;
}

/* The keys that any run has, in order, each once; borrowed. NULL: memory ran out. */
static const char **keys_of(const tarn_report *report, kind kind, int *count)
{
    int room = 0;
    for (int i = 0; i < report->run_count; i++) room += count_of(report->runs[i], kind);
    const char **keys = calloc((size_t)room + 1, sizeof *keys);
    *count = 0;
    if (!keys) return NULL;
    for (int i = 0; i < report->run_count; i++)
        for (int k = 0; k < count_of(report->runs[i], kind); k++) {
            const char *key = key_of(report->runs[i], kind, k);
            if (strcmp(key, "tarn.starts")) keys[(*count)++] = key; /* the time line shows them */
        }
    if (*count) qsort(keys, (size_t)*count, sizeof *keys, by_text);
    int kept = 0;
    for (int i = 0; i < *count; i++)
        if (!kept || strcmp(keys[kept - 1], keys[i])) keys[kept++] = keys[i];
    *count = kept;
    return keys;
}

static bool differs(const tarn_report *report, lookup *value, const char *key)
{
    const char *first = value(report->runs[0], key);
    for (int i = 1; i < report->run_count; i++) {
        const char *other = value(report->runs[i], key);
        if (!first != !other || (first && strcmp(first, other))) return true;
    }
    return false;
}

static void write_run_columns(FILE *out, const tarn_report *report)
{
    for (int i = 0; i < report->run_count; i++) {
        if (report->run_count == 1) {
            fputs("<th scope=\"col\">Value</th>", out);
            return;
        }
        fprintf(out, "<th scope=\"col\" data-run=\"%d\"><span class=\"swatch c%d\"></span><bdi>", i,
                i % TARN_REPORT_COLOURS);
        tarn_report_write_text(out, tarn_report_name(report->runs[i]));
        fputs("</bdi></th>", out);
    }
}

static void begin_cell(FILE *out, const tarn_report *report, int run)
{
    fprintf(out, "<td data-run=\"%d\"", run);
    if (report->run_count > 1) {
        fputs(" data-label=\"", out);
        tarn_report_write_text(out, tarn_report_name(report->runs[run]));
        putc('"', out);
    }
    putc('>', out);
}

static void write_value(FILE *out, const char *value)
{
    if (!value)
        fputs("<span class=\"muted\">\u2013</span>", out);
    else if (!*value)
        fputs("<span class=\"muted\">empty</span>", out);
    else {
        fputs("<bdi>", out);
        tarn_report_write_text(out, value);
        fputs("</bdi>", out);
    }
}

static void write_row(FILE *out, const tarn_report *report, lookup *value, const char *key, bool different)
{
    fprintf(out, "<tr%s><th scope=\"row\">", different ? " class=\"differs\"" : "");
    tarn_report_write_key(out, key);
    if (different) fputs("<span class=\"hidden\"> (differs)</span>", out);
    fputs("</th>", out);
    for (int i = 0; i < report->run_count; i++) {
        begin_cell(out, report, i);
        write_value(out, value(report->runs[i], key));
        fputs("</td>", out);
    }
    fputs("</tr>\n", out);
}

static void begin_table(FILE *out, const tarn_report *report, const char *head)
{
    fprintf(out, "<div class=\"scroll\"><table class=\"%s\"><thead><tr><th scope=\"col\">%s</th>",
            report->run_count > 1 ? "values stacking" : "values", head);
    write_run_columns(out, report);
    fputs("</tr></thead>\n<tbody>\n", out);
}

static void end_table(FILE *out)
{
    fputs("</tbody></table></div>\n", out);
}

/* The configuration of one run: its sections side by side. */
static void write_groups(FILE *out, const tarn_report *report, const char *const *keys, int count)
{
    size_t section = 0;
    fputs("<div class=\"groups\">\n", out);
    for (int i = 0; i < count; i++) {
        const char *dot = strchr(keys[i], '.');
        size_t length = dot ? (size_t)(dot - keys[i]) : 0;
        bool first = !i || length != section || strncmp(keys[i], keys[i - 1], length);
        /* Keys without a section stand together. */
        if (first && i) fputs("</dl></section>\n", out);
        if (first) {
            fputs("<section><h3>", out);
            char name[128];
            snprintf(name, sizeof name, "%.*s", (int)(length < 127 ? length : 127), keys[i]);
            tarn_report_write_text(out, dot ? name : "run");
            fputs("</h3><dl>", out);
        }
        section = length;
        fputs("<div><dt>", out);
        tarn_report_write_text(out, dot ? dot + 1 : keys[i]);
        fputs("</dt><dd>", out);
        write_value(out, tarn_run_param(report->runs[0], keys[i]));
        fputs("</dd></div>\n", out);
    }
    fputs("</dl></section></div>\n", out);
}

/* By section; keys without one first. */
static int by_section(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    bool in_x = strchr(x, '.'), in_y = strchr(y, '.');
    return in_x != in_y ? in_x - in_y : strcmp(x, y);
}

static void write_configuration(FILE *out, const tarn_report *report)
{
    int count, different = 0;
    const char **keys = keys_of(report, PARAMS, &count);
    if (!keys) return; /* the stream of the page fails, too, when memory runs out */
    for (int i = 0; i < count; i++) different += differs(report, tarn_run_param, keys[i]);
    fputs("<section class=\"card\" id=\"configuration\"><h2>Configuration</h2>\n", out);
    if (!count) fputs("<p class=\"empty\">No parameter has been recorded.</p>\n", out);
    if (count && report->run_count > 1) {
        fprintf(out,
                "<input type=\"checkbox\" id=\"only-differences\"%s><label for=\"only-differences\"> "
                "Only what differs (%d of %d)</label>\n",
                different ? " checked" : "", different, count);
    }
    if (count && report->run_count == 1) {
        qsort(keys, (size_t)count, sizeof *keys, by_section);
        write_groups(out, report, keys, count);
    } else if (count) {
        begin_table(out, report, "Parameter");
        for (int i = 0; i < count; i++)
            write_row(out, report, tarn_run_param, keys[i], differs(report, tarn_run_param, keys[i]));
        end_table(out);
        if (report->run_count > 1 && !different)
            fputs("<p class=\"muted\">The configurations are the same.</p>\n", out);
    }
    fputs("</section>\n", out);
    free(keys);
}

/* ---- metrics ---- */

static void write_metric_row(FILE *out, const tarn_report *report, int run, const tarn_run_curve *curve)
{
    fputs("<tr><th scope=\"row\">", out);
    tarn_report_write_key(out, curve->key);
    if (report->run_count > 1) {
        fprintf(out, " <span class=\"which\"><span class=\"swatch c%d\"></span><bdi>", run % TARN_REPORT_COLOURS);
        tarn_report_write_text(out, tarn_report_name(report->runs[run]));
        fputs("</bdi></span>", out);
    }
    fputs("</th><td data-label=\"Points\">", out);
    tarn_report_write_count(out, curve->count);
    fputs("</td><td data-label=\"First\">", out);
    tarn_report_write_number(out, curve->first);
    fputs("</td><td data-label=\"Last\">", out);
    tarn_report_write_number(out, curve->last);
    fputs("</td><td data-label=\"Smallest\"><span>", out);
    tarn_report_write_number(out, curve->least);
    fputs(" <span class=\"muted\">at ", out);
    tarn_report_write_count(out, curve->least_step);
    fputs("</span></span></td><td data-label=\"Largest\"><span>", out);
    tarn_report_write_number(out, curve->greatest);
    fputs(" <span class=\"muted\">at ", out);
    tarn_report_write_count(out, curve->greatest_step);
    fputs("</span></span></td></tr>\n", out);
}

static void write_metrics(FILE *out, const tarn_report *report)
{
    int count;
    const char **keys = keys_of(report, METRICS, &count);
    if (!keys || !count) {
        free(keys);
        return;
    }
    fputs("<details class=\"card\"><summary><h2>All metrics in numbers</h2></summary>\n<div class=\"scroll\"><table "
          "class=\"values numbers stacking\"><thead><tr><th scope=\"col\">Metric</th><th scope=\"col\">Points</th><th "
          "scope=\"col\">First</th><th scope=\"col\">Last</th><th scope=\"col\">Smallest</th><th "
          "scope=\"col\">Largest</th></tr></thead>\n<tbody>\n",
          out);
    for (int i = 0; i < count; i++)
        for (int run = 0; run < report->run_count; run++) {
            const tarn_run_curve *curve = tarn_run_curve_of(report->runs[run], keys[i]);
            if (curve && curve->count) write_metric_row(out, report, run, curve);
        }
    free(keys);
    end_table(out);
    fputs("</details>\n", out);
}

/* ---- data and tags ---- */

static bool uses(const tarn_run_view *view, const tarn_run_input *input)
{
    for (int i = 0; i < view->input_count; i++) {
        const tarn_run_input *other = &view->inputs[i];
        if (!strcmp(other->name, input->name) && !strcmp(other->digest, input->digest) &&
            !strcmp(other->context, input->context) && !strcmp(other->source, input->source))
            return true;
    }
    return false;
}

/* One row, however many of the runs use it. */
static void write_input(FILE *out, const tarn_report *report, const tarn_run_input *input)
{
    fputs("<tr><th scope=\"row\"><bdi>", out);
    tarn_report_write_text(out, input->name);
    fputs("</bdi>", out);
    for (int run = 0; run < report->run_count && report->run_count > 1; run++) {
        if (!uses(report->runs[run], input)) continue;
        fprintf(out, "%s<span class=\"which\"><span class=\"swatch c%d\"></span><bdi>", run ? " " : "",
                run % TARN_REPORT_COLOURS);
        tarn_report_write_text(out, tarn_report_name(report->runs[run]));
        fputs("</bdi></span>", out);
    }
    fputs("</th><td data-label=\"Used for\">", out);
    write_value(out, input->context);
    fputs("</td><td data-label=\"Digest\" class=\"code\">", out);
    write_value(out, input->digest);
    fputs("</td><td data-label=\"Source\">", out);
    write_value(out, input->source);
    fputs("</td></tr>\n", out);
}

static void write_inputs(FILE *out, const tarn_report *report)
{
    int count = 0;
    for (int i = 0; i < report->run_count; i++) count += report->runs[i]->input_count;
    if (!count) return;
    fputs(
        "<section class=\"card\"><h2>Data</h2>\n<div class=\"scroll\"><table class=\"values stacking\"><thead><tr><th "
        "scope=\"col\">Dataset</th><th scope=\"col\">Used for</th><th scope=\"col\">Digest</th><th "
        "scope=\"col\">Source</th></tr></thead>\n<tbody>\n",
        out);
    for (int i = 0; i < report->run_count; i++)
        for (int k = 0; k < report->runs[i]->input_count; k++) {
            const tarn_run_input *input = &report->runs[i]->inputs[k];
            bool told = false;
            for (int before = 0; before < i; before++) told |= uses(report->runs[before], input);
            if (!told) write_input(out, report, input);
        }
    end_table(out);
    fputs("</section>\n", out);
}

static void write_tags(FILE *out, const tarn_report *report)
{
    int count;
    const char **keys = keys_of(report, TAGS, &count);
    if (keys && count) {
        fputs("<details class=\"card\"><summary><h2>Tags</h2></summary>\n", out);
        begin_table(out, report, "Tag");
        for (int i = 0; i < count; i++) write_row(out, report, tarn_run_tag, keys[i], false);
        end_table(out);
        fputs("</details>\n", out);
    }
    free(keys);
}

void tarn_report_write_tables(FILE *out, const tarn_report *report)
{
    write_configuration(out, report);
    write_inputs(out, report);
    write_metrics(out, report);
    write_tags(out, report);
}
