/* charts.c - the panels with their charts as SVG: what stands there without scripts, in print, in a mail.
 *
 * page.js draws the same panels anew from the data, in the size of the screen. Steps are the horizontal axis here, and
 * both axes are linear.
 */
#include "launch/report/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 560, HEIGHT = 240, LEFT = 54, RIGHT = 10, TOP = 10, BOTTOM = 26, MOST_POINTS = 260, LEAST_POINTS = 40 };

typedef struct frame {
    double x0, x1, y0, y1; /* of the data */
    double scale;          /* of the numbers beside the axis */
    double unit;           /* of the axis across: 0 = steps, else milliseconds */
    const char *across;    /* what stands beside that axis */
} frame;

static double across(const frame *frame, double x)
{
    return LEFT + (x - frame->x0) / (frame->x1 - frame->x0) * (WIDTH - LEFT - RIGHT);
}

static double down(const frame *frame, double y)
{
    return TOP + (frame->y1 - y) / (frame->y1 - frame->y0) * (HEIGHT - TOP - BOTTOM);
}

/* Where a group stands: in the middle of its steps, or at the time of its last point. */
static double place(const frame *frame, const tarn_run_group *group, int64_t begin)
{
    if (frame->unit > 0) return (double)(group->time_ms - begin) / frame->unit;
    return ((double)group->first_step + (double)group->last_step) / 2;
}

static double mean(const tarn_run_group *group)
{
    return group->sum / (double)group->count;
}

/* ---- axes ---- */

/* The distance of ticks: 1, 2 or 5 times a power of ten, so that there are about `wanted`. */
static double tick_distance(double span, int wanted)
{
    double raw = span / wanted, power = pow(10, floor(log10(raw))), ratio = raw / power;
    return power * (ratio < 1.5 ? 1 : ratio < 3.5 ? 2 : ratio < 7.5 ? 5 : 10);
}

static void write_tick_number(FILE *out, double value, double distance, double highest)
{
    if (fabs(value) < distance / 1e6) value = 0;
    double size = fabs(value);
    if (highest < 1e-3 && size > 0)
        fprintf(out, "%.2g", value);
    else if (size >= 1e4 && size < 1e15) {
        const char *unit = size >= 1e12 ? "T" : size >= 1e9 ? "G" : size >= 1e6 ? "M" : "k";
        double by = size >= 1e12 ? 1e12 : size >= 1e9 ? 1e9 : size >= 1e6 ? 1e6 : 1e3;
        fprintf(out, "%.4g%s", value / by, unit);
    } else
        fprintf(out, "%.4g", value);
}

static void write_axes(FILE *out, const frame *frame)
{
    double low = frame->y0 * frame->scale, high = frame->y1 * frame->scale, distance = tick_distance(high - low, 4);
    fputs("<g class=\"axis\">", out);
    for (double tick = ceil(low / distance) * distance; tick <= high + distance / 1e6; tick += distance) {
        double y = tick / frame->scale;
        fprintf(out, "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text class=\"y\" x=\"%d\" y=\"%.1f\">", LEFT,
                down(frame, y), WIDTH - RIGHT, LEFT - 8, down(frame, y) + 4);
        write_tick_number(out, tick, distance, fmax(fabs(low), fabs(high)));
        fputs("</text>", out);
    }
    distance = tick_distance(frame->x1 - frame->x0, 6);
    if (distance < 1 && frame->unit <= 0) distance = 1;
    for (double x = ceil(frame->x0 / distance) * distance; x <= frame->x1 + distance / 1e6; x += distance) {
        fprintf(out, "<text class=\"x\" x=\"%.1f\" y=\"%d\">", across(frame, x), HEIGHT - 8);
        write_tick_number(out, x, distance, fabs(frame->x1));
        fputs("</text>", out);
    }
    fprintf(out, "<text class=\"y unit\" x=\"%d\" y=\"%d\">%s</text></g>", LEFT - 8, HEIGHT - 8, frame->across);
}

/* ---- curves ---- */

/* Every how-many-th group a drawing takes at most: the groups of a page are for a whole screen. */
static int points_a_curve(const tarn_report *report)
{
    int curves = 0;
    for (int i = 0; i < report->panel_count; i++) curves += report->panels[i].line_count * report->run_count;
    int most = curves ? 8000 / curves : MOST_POINTS;
    return most > MOST_POINTS ? MOST_POINTS : most < LEAST_POINTS ? LEAST_POINTS : most;
}

/* A copy with few groups; groups NULL when memory ran out. */
static tarn_run_curve thinned(const tarn_run_curve *curve, int most)
{
    tarn_run_curve copy = *curve;
    size_t bytes = (size_t)curve->group_count * sizeof *copy.groups;
    copy.groups = malloc(bytes ? bytes : 1);
    if (!copy.groups) return copy;
    memcpy(copy.groups, curve->groups, bytes);
    tarn_run_curve_thin(&copy, most);
    return copy;
}

static void write_curve(FILE *out, const frame *frame, const tarn_run_curve *whole, int colour, int dash, int most,
                        bool dots, int64_t begin)
{
    tarn_run_curve curve = thinned(whole, most);
    bool band = false;
    if (!curve.groups) return;
    for (int i = 0; i < curve.group_count; i++) band |= curve.groups[i].count > 1 && !dots;
    fprintf(out, "<g class=\"curve c%d d%d\">", colour, dash);
    if (band) {
        fputs("<path class=\"band\" d=\"", out);
        for (int i = 0; i < curve.group_count; i++)
            fprintf(out, "%c%.1f %.1f", i ? 'L' : 'M', across(frame, place(frame, &curve.groups[i], begin)),
                    down(frame, curve.groups[i].greatest));
        for (int i = curve.group_count; i--;)
            fprintf(out, "L%.1f %.1f", across(frame, place(frame, &curve.groups[i], begin)),
                    down(frame, curve.groups[i].least));
        fputs("Z\"/>", out);
    }
    if (!dots) {
        fputs("<path class=\"line\" d=\"", out);
        for (int i = 0; i < curve.group_count; i++)
            fprintf(out, "%c%.1f %.1f", i ? 'L' : 'M', across(frame, place(frame, &curve.groups[i], begin)),
                    down(frame, mean(&curve.groups[i])));
        fputs("\"/>", out);
    }
    if (dots || curve.group_count <= 40)
        for (int i = 0; i < curve.group_count; i++)
            fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"/>",
                    across(frame, place(frame, &curve.groups[i], begin)), down(frame, mean(&curve.groups[i])),
                    dots ? "1.8" : "2.5");
    fputs("</g>", out);
    free(curve.groups);
}

/* Parts one above the other. They were logged at the same steps, so their groups are of the same steps. */
static void write_stack(FILE *out, const frame *frame, const tarn_report *report, const tarn_report_panel *panel,
                        int most)
{
    const tarn_run_curve *first = tarn_run_curve_of(report->runs[0], panel->lines[0].key);
    tarn_run_curve x = thinned(first, most);
    double *below = x.groups ? calloc((size_t)x.group_count + 1, sizeof *below) : NULL;
    for (int line = 0; below && line < panel->line_count; line++) {
        const tarn_run_curve *whole = tarn_run_curve_of(report->runs[0], panel->lines[line].key);
        tarn_run_curve part = thinned(whole, most);
        if (part.groups && part.group_count == x.group_count) {
            fprintf(out, "<path class=\"part p%d\" d=\"", tarn_report_part_of(panel->lines[line].label));
            for (int i = 0; i < x.group_count; i++)
                fprintf(out, "%c%.1f %.1f", i ? 'L' : 'M', across(frame, place(frame, &x.groups[i], 0)),
                        down(frame, below[i] + mean(&part.groups[i])));
            for (int i = x.group_count; i--;)
                fprintf(out, "L%.1f %.1f", across(frame, place(frame, &x.groups[i], 0)), down(frame, below[i]));
            fputs("Z\"/>", out);
            for (int i = 0; i < x.group_count; i++) below[i] += mean(&part.groups[i]);
        }
        free(part.groups);
    }
    free(below);
    free(x.groups);
}

/* ---- panels ---- */

/* The unit of the axis of time that suits so many milliseconds. */
static void choose_time(frame *frame, double longest)
{
    static const struct {
        double unit;
        const char *word;
    } units[] = {{1e3, "s"}, {60e3, "min"}, {3600e3, "h"}, {86400e3, "days"}};
    size_t unit = 0;
    while (unit < 3 && longest > 3 * units[unit + 1].unit) unit++;
    frame->unit = units[unit].unit;
    frame->across = units[unit].word;
}

static frame frame_of(const tarn_report *report, const tarn_report_panel *panel)
{
    frame frame = {
        .scale = panel->scale, .x0 = INFINITY, .x1 = -INFINITY, .y0 = INFINITY, .y1 = -INFINITY, .across = "step"};
    double sum = 0, longest = 0;
    for (int run = 0; run < report->run_count; run++)
        longest = fmax(longest, (double)tarn_report_duration(report->runs[run]));
    if (panel->over_time) choose_time(&frame, longest);
    for (int run = 0; run < report->run_count; run++)
        for (int line = 0; line < panel->line_count; line++) {
            const tarn_run_curve *curve = tarn_run_curve_of(report->runs[run], panel->lines[line].key);
            if (!curve || !curve->count) continue;
            int64_t begin = tarn_report_begin(report->runs[run]);
            for (int i = 0; i < curve->group_count; i++) {
                frame.x0 = fmin(frame.x0, place(&frame, &curve->groups[i], begin));
                frame.x1 = fmax(frame.x1, place(&frame, &curve->groups[i], begin));
            }
            frame.y0 = fmin(frame.y0, curve->least);
            frame.y1 = fmax(frame.y1, curve->greatest);
            double highest = 0;
            for (int i = 0; i < curve->group_count; i++) highest = fmax(highest, mean(&curve->groups[i]));
            sum += highest;
        }
    if (panel->kind == TARN_REPORT_STACK) frame.y0 = 0, frame.y1 = sum;
    if (panel->from_zero && frame.y0 > 0) frame.y0 = 0;
    if (frame.x0 == frame.x1) frame.x0 -= 1, frame.x1 += 1;
    if (frame.y0 == frame.y1) {
        double room = frame.y0 == 0.0 ? 1 : fabs(frame.y0) / 10;
        frame.y0 -= room;
        frame.y1 += room;
    }
    double room = (frame.y1 - frame.y0) * 0.04;
    if (frame.y0 != 0.0) frame.y0 -= room;
    frame.y1 += room;
    return frame;
}

static void write_starts(FILE *out, const frame *frame, const tarn_report *report)
{
    for (int run = 0; run < report->run_count; run++)
        for (int i = 1; i < report->runs[run]->start_count; i++) {
            const tarn_run_start *start = &report->runs[run]->starts[i];
            double step = frame->unit > 0
                              ? (double)(start->time_ms - tarn_report_begin(report->runs[run])) / frame->unit
                              : (double)start->step;
            if (step < frame->x0 || step > frame->x1) continue;
            fprintf(out, "<path class=\"start%s\" d=\"M%.1f %dV%d\"/>", report->run_count > 1 ? " faint" : "",
                    across(frame, step), TOP, HEIGHT - BOTTOM);
        }
}

static void write_description(FILE *out, const tarn_report *report, const tarn_report_panel *panel)
{
    int told = 0;
    tarn_report_write_text(out, panel->title);
    for (int run = 0; run < report->run_count && told < 6; run++)
        for (int line = 0; line < panel->line_count && told < 6; line++) {
            const tarn_run_curve *curve = tarn_run_curve_of(report->runs[run], panel->lines[line].key);
            if (!curve || !curve->count) continue;
            fputs(told++ ? "; " : ": ", out);
            if (report->run_count > 1) {
                tarn_report_write_text(out, tarn_report_name(report->runs[run]));
                putc(' ', out);
            }
            tarn_report_write_text(out, panel->lines[line].label);
            fputs(" from ", out);
            tarn_report_write_number(out, curve->first);
            fputs(" to ", out);
            tarn_report_write_number(out, curve->last);
        }
}

static void write_legend(FILE *out, const tarn_report *report, const tarn_report_panel *panel)
{
    int shown = panel->line_count > TARN_REPORT_LEGEND ? TARN_REPORT_LEGEND - 1 : panel->line_count;
    if (panel->line_count < 2) return;
    fputs("<ul class=\"legend\">", out);
    for (int line = 0; line < shown; line++) {
        if (panel->kind == TARN_REPORT_STACK)
            fprintf(out, "<li><span class=\"swatch p%d\"></span>", tarn_report_part_of(panel->lines[line].label));
        else if (report->run_count > 1)
            fprintf(out,
                    "<li><svg class=\"dash d%d\" viewBox=\"0 0 24 8\" aria-hidden=\"true\"><path d=\"M0 4H24\"/>"
                    "</svg>",
                    line % 4);
        else
            fprintf(out, "<li><span class=\"swatch c%d\"></span>", line % TARN_REPORT_COLOURS);
        tarn_report_write_text(out, panel->lines[line].label);
        fputs("</li>", out);
    }
    if (shown < panel->line_count) fprintf(out, "<li class=\"muted\">and %d more</li>", panel->line_count - shown);
    fputs("</ul>", out);
}

/* How wide the panel `place` of `count` is, so that no row has a hole: three in a row, or two, or one. */
static const char *span_of(int place, int count)
{
    if (count == 1) return "whole";
    int pairs = count % 3 == 0 ? 0 : count % 3 == 1 ? 4 : 2; /* panels, at the end, that stand two in a row */
    return place >= count - pairs ? "half" : "third";
}

static void write_panel(FILE *out, const tarn_report *report, int index, int most, const char *span)
{
    const tarn_report_panel *panel = &report->panels[index];
    frame frame = frame_of(report, panel);
    fprintf(out, "<figure class=\"card panel %s\" data-panel=\"%d\"><figcaption><h3>", panel->wide ? "wide" : span,
            index);
    tarn_report_write_text(out, panel->title);
    if (*panel->note || *panel->unit) {
        fputs(" <span class=\"note\">", out);
        tarn_report_write_text(out, panel->note);
        fprintf(out, "%s%s</span>", *panel->note && *panel->unit ? ", " : "", panel->unit);
    }
    fputs("</h3>", out);
    write_legend(out, report, panel);
    fputs("</figcaption><div class=\"plot\" role=\"img\" aria-label=\"", out);
    write_description(out, report, panel);
    fprintf(out, "\"><svg viewBox=\"0 0 %d %d\" aria-hidden=\"true\">", WIDTH, HEIGHT);
    write_axes(out, &frame);
    write_starts(out, &frame, report);
    if (panel->kind == TARN_REPORT_STACK)
        write_stack(out, &frame, report, panel, most);
    else
        for (int run = 0; run < report->run_count; run++)
            for (int line = 0; line < panel->line_count; line++) {
                const tarn_run_curve *curve = tarn_run_curve_of(report->runs[run], panel->lines[line].key);
                if (curve && curve->count)
                    write_curve(out, &frame, curve, (report->run_count > 1 ? run : line) % TARN_REPORT_COLOURS,
                                report->run_count > 1 ? line % 4 : 0, most, panel->dots,
                                tarn_report_begin(report->runs[run]));
            }
    fputs("</svg></div></figure>\n", out);
}

void tarn_report_write_panels(FILE *out, const tarn_report *report)
{
    static const char *const sections[] = {"Training", "Other metrics", "Ranks and time", "System"};
    int most = points_a_curve(report);
    for (size_t section = 0; section < sizeof sections / sizeof *sections; section++) {
        bool open = false, times = !strcmp(sections[section], "Ranks and time");
        int count = 0, place = 0;
        for (int i = 0; i < report->panel_count; i++)
            count += !strcmp(report->panels[i].section, sections[section]) && !report->panels[i].wide;
        for (int i = 0; i < report->panel_count; i++) {
            if (strcmp(report->panels[i].section, sections[section])) continue;
            if (!open) fprintf(out, "<section class=\"panels\"><h2>%s</h2>\n", sections[section]);
            if (!open && times) tarn_report_write_split(out, report);
            if (!open) fputs("<div class=\"grid\">\n", out);
            open = true;
            write_panel(out, report, i, most, span_of(place, count));
            place += !report->panels[i].wide;
        }
        if (open) fputs("</div></section>\n", out);
    }
    if (!report->panel_count)
        fputs("<section class=\"card empty\"><h2>No curves yet</h2><p>None of these runs has recorded a metric. A run "
              "that has just begun shows its first points here when the report is made again.</p></section>\n",
              out);
}
