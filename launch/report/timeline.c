/* timeline.c - bars: when which process of a run was at work, and where the time of its steps went.
 *
 * A process lasts from its beginning to the last point before the next one begins: what lies between is the time that
 * a failure cost, with the steps that had to be run again.
 */
#include "launch/report/report.h"

/* When the newest point before `before` was logged; `after` when there is none. */
static int64_t last_sign(const tarn_run_view *view, int64_t after, int64_t before)
{
    int64_t last = after;
    for (int i = 0; i < view->curve_count; i++) {
        const tarn_run_curve *curve = &view->curves[i];
        for (int k = 0; k < curve->group_count; k++)
            if (curve->groups[k].time_ms < before && curve->groups[k].time_ms > last) last = curve->groups[k].time_ms;
    }
    return last;
}

static void write_segment(FILE *out, double left, double width, int colour, const tarn_run_start *start, int number,
                          int64_t lasted)
{
    if (width < 0.3) width = 0.3;
    if (left > 100 - width) left = 100 - width;
    fprintf(out, "<li class=\"segment c%d\" style=\"left:%.2f%%;width:%.2f%%\" title=\"", colour, left, width);
    if (number)
        fprintf(out, "Restart %d: went on from step ", number);
    else
        fputs("Began at step ", out);
    tarn_report_write_count(out, start->step);
    if (start->ranks) fprintf(out, " on %d rank%s", start->ranks, start->ranks == 1 ? "" : "s");
    fputs(", at work for ", out);
    tarn_report_write_duration(out, lasted);
    /* Parts of the label that page.css leaves out one by one, the last ones first, where they have no room. */
    fputs("\">", out);
    if (number) {
        fputs("<span><span aria-hidden=\"true\">\u21bb\u2009</span><span class=\"hidden\">restart at step </span>",
              out);
        tarn_report_write_count(out, start->step);
        fputs("</span> ", out);
    }
    if (start->ranks)
        fprintf(out, "<span class=\"ranks\">%s%d rank%s</span>", number ? "\u00b7 " : "", start->ranks,
                start->ranks == 1 ? "" : "s");
    fputs("</li>", out);
}

static void write_run(FILE *out, const tarn_report *report, int index, int64_t longest)
{
    const tarn_run_view *view = report->runs[index];
    int64_t begin = tarn_report_begin(view), length = tarn_report_duration(view);
    int colour = report->run_count > 1 ? index % TARN_REPORT_COLOURS : 0;
    fprintf(out, "<div class=\"row\" data-run=\"%d\">", index);
    if (report->run_count > 1) {
        fputs("<span class=\"who\"><bdi>", out);
        tarn_report_write_text(out, tarn_report_name(view));
        fputs("</bdi></span>", out);
    }
    fputs("<ol class=\"track\">", out);
    tarn_run_start alone = {.time_ms = begin};
    int count = view->start_count ? view->start_count : 1;
    for (int i = 0; i < count && begin && length >= 0 && longest > 0; i++) {
        const tarn_run_start *start = view->start_count ? &view->starts[i] : &alone;
        int64_t next = i + 1 < count ? last_sign(view, start->time_ms, view->starts[i + 1].time_ms) : begin + length;
        if (next < start->time_ms) next = start->time_ms;
        write_segment(out, 100.0 * (double)(start->time_ms - begin) / (double)longest,
                      100.0 * (double)(next - start->time_ms) / (double)longest, colour, start, i,
                      next - start->time_ms);
    }
    fputs("</ol></div>\n", out);
}

void tarn_report_write_timeline(FILE *out, const tarn_report *report)
{
    int64_t longest = 0;
    bool restarted = false;
    for (int i = 0; i < report->run_count; i++) {
        int64_t length = tarn_report_duration(report->runs[i]);
        if (length > longest) longest = length;
        if (report->runs[i]->start_count > 1) restarted = true;
    }
    if (!longest || (report->run_count == 1 && !restarted)) return;
    fputs("<section class=\"card timeline\" aria-label=\"Time line\"><h3>Time line</h3>\n", out);
    for (int i = 0; i < report->run_count; i++) write_run(out, report, i, longest);
    fprintf(out, "<div class=\"row scale\" aria-hidden=\"true\">%s<span class=\"ends\"><span>0</span><span>",
            report->run_count > 1 ? "<span class=\"who\"></span>" : "");
    tarn_report_write_duration(out, longest);
    fputs("</span></span></div>\n</section>\n", out);
}

/* ---- where the time of a step goes ---- */

static double write_bar(FILE *out, const tarn_run_view *view, int rank, double longest)
{
    double sum = 0, seconds;
    for (int i = 0; i < tarn_report_part_count; i++) {
        if (!tarn_report_part_mean(view, rank, tarn_report_parts[i], &seconds) || seconds <= 0) continue;
        sum += seconds;
        if (!out) continue;
        fprintf(out,
                "<li class=\"part p%d\" style=\"width:%.2f%%\" title=\"%s: %.3g ms\"><span class=\"hidden\">%s "
                "%.3g ms</span></li>",
                i, 100 * seconds / longest, tarn_report_parts[i], 1e3 * seconds, tarn_report_parts[i], 1e3 * seconds);
    }
    return sum;
}

void tarn_report_write_split(FILE *out, const tarn_report *report)
{
    double longest = 0, seconds;
    bool has[16] = {false};
    int rows = 0;
    for (int i = 0; i < report->run_count; i++)
        for (int rank = 0; rank < tarn_report_part_ranks(report->runs[i]); rank++) {
            double sum = write_bar(NULL, report->runs[i], rank, 1);
            if (sum > longest) longest = sum;
            rows += sum > 0;
            for (int part = 0; part < tarn_report_part_count; part++)
                has[part] |= tarn_report_part_mean(report->runs[i], rank, tarn_report_parts[part], &seconds);
        }
    if (!rows) return;
    fputs(
        "<section class=\"card split\" aria-label=\"Where the time of a step goes\"><h3>Where the time of a step goes "
        "<span class=\"note\">mean of all steps</span></h3>\n<ul class=\"legend\">",
        out);
    for (int part = 0; part < tarn_report_part_count; part++)
        if (has[part]) fprintf(out, "<li><span class=\"swatch p%d\"></span>%s</li>", part, tarn_report_parts[part]);
    fputs("</ul>\n", out);
    for (int i = 0; i < report->run_count; i++)
        for (int rank = 0; rank < tarn_report_part_ranks(report->runs[i]); rank++) {
            double sum = write_bar(NULL, report->runs[i], rank, 1);
            if (sum <= 0) continue;
            fprintf(out, "<div class=\"row\" data-run=\"%d\"><span class=\"who\">", i);
            if (report->run_count > 1) {
                fprintf(out, "<span class=\"swatch c%d\"></span><bdi>", i % TARN_REPORT_COLOURS);
                tarn_report_write_text(out, tarn_report_name(report->runs[i]));
                fputs("</bdi> ", out);
            }
            fprintf(out, "rank %d</span><ol class=\"track\">", rank);
            write_bar(out, report->runs[i], rank, longest);
            fprintf(out, "</ol><span class=\"total\">%.3g\u202fms</span></div>\n", 1e3 * sum);
        }
    fputs("</section>\n", out);
}
