/* data.c - the runs as JSON, for page.js.
 *
 * {runs: [{name, colour, begin, starts: [{step, time, ranks}], curves: {KEY: {x, w, t, y, a, b, n}}}],
 *  panels: [{title, stack, zero, dots, overTime, scale, unit, lines: [{key, label, part}]}]}
 *
 * Of a curve, by group: x first step, w steps from there to the last one, t milliseconds since the run's begin, y mean,
 * a smallest and b largest value, n points. w, a, b, n are left out when every group is one point. Numbers have seven
 * digits, which is more than a screen shows.
 */
#include "launch/report/report.h"
#include "runtime/config/number.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

/* One of the arrays of a curve. */
typedef enum member { FIRST, WIDTH, TIME, MEAN, LEAST, GREATEST, COUNT } member;

static void write_short(FILE *out, double value)
{
    char text[TARN_NUMBER_TEXT], rounded[TARN_NUMBER_TEXT];
    snprintf(rounded, sizeof rounded, "%.7g", value);
    tarn_number_print(text, strtod(rounded, NULL));
    fputs(text, out);
}

static bool add_array(cJSON *object, const char *name, const tarn_run_curve *curve, member member, int64_t begin)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return false;
    putc('[', out);
    for (int i = 0; i < curve->group_count; i++) {
        const tarn_run_group *group = &curve->groups[i];
        if (i) putc(',', out);
        switch (member) {
        case FIRST:
            fprintf(out, "%lld", (long long)group->first_step);
            break;
        case WIDTH:
            fprintf(out, "%lld", (long long)(group->last_step - group->first_step));
            break;
        case TIME:
            fprintf(out, "%lld", (long long)(group->time_ms - begin));
            break;
        case MEAN:
            write_short(out, group->sum / (double)group->count);
            break;
        case LEAST:
            write_short(out, group->least);
            break;
        case GREATEST:
            write_short(out, group->greatest);
            break;
        case COUNT:
            fprintf(out, "%lld", (long long)group->count);
            break;
        }
    }
    putc(']', out);
    bool added = !fclose(out) && cJSON_AddRawToObject(object, name, text);
    free(text);
    return added;
}

static bool add_curve(cJSON *curves, const tarn_run_curve *curve, int64_t begin)
{
    cJSON *object = cJSON_AddObjectToObject(curves, curve->key);
    bool grouped = false;
    for (int i = 0; i < curve->group_count; i++) grouped |= curve->groups[i].count > 1;
    if (!object || !add_array(object, "x", curve, FIRST, begin) || !add_array(object, "t", curve, TIME, begin) ||
        !add_array(object, "y", curve, MEAN, begin))
        return false;
    return !grouped || (add_array(object, "w", curve, WIDTH, begin) && add_array(object, "a", curve, LEAST, begin) &&
                        add_array(object, "b", curve, GREATEST, begin) && add_array(object, "n", curve, COUNT, begin));
}

static bool add_run(cJSON *runs, const tarn_run_view *view, int index)
{
    cJSON *run = cJSON_CreateObject();
    int64_t begin = tarn_report_begin(view);
    if (!run || !cJSON_AddItemToArray(runs, run)) {
        cJSON_Delete(run);
        return false;
    }
    if (!cJSON_AddStringToObject(run, "name", tarn_report_name(view)) ||
        !cJSON_AddNumberToObject(run, "colour", index % TARN_REPORT_COLOURS))
        return false;
    cJSON *starts = cJSON_AddArrayToObject(run, "starts");
    for (int i = 1; starts && i < view->start_count; i++) {
        cJSON *start = cJSON_CreateObject();
        if (!start || !cJSON_AddItemToArray(starts, start)) {
            cJSON_Delete(start);
            return false;
        }
        if (!cJSON_AddNumberToObject(start, "step", (double)view->starts[i].step) ||
            !cJSON_AddNumberToObject(start, "time", (double)(view->starts[i].time_ms - begin)) ||
            !cJSON_AddNumberToObject(start, "ranks", view->starts[i].ranks))
            return false;
    }
    cJSON *curves = starts ? cJSON_AddObjectToObject(run, "curves") : NULL;
    for (int i = 0; curves && i < view->curve_count; i++)
        if (view->curves[i].count && !add_curve(curves, &view->curves[i], begin)) return false;
    return curves;
}

static bool add_panel(cJSON *panels, const tarn_report_panel *from)
{
    cJSON *panel = cJSON_CreateObject();
    if (!panel || !cJSON_AddItemToArray(panels, panel)) {
        cJSON_Delete(panel);
        return false;
    }
    if (!cJSON_AddStringToObject(panel, "title", from->title) ||
        !cJSON_AddBoolToObject(panel, "stack", from->kind == TARN_REPORT_STACK) ||
        !cJSON_AddBoolToObject(panel, "zero", from->from_zero) || !cJSON_AddBoolToObject(panel, "dots", from->dots) ||
        !cJSON_AddBoolToObject(panel, "overTime", from->over_time) ||
        !cJSON_AddNumberToObject(panel, "scale", from->scale) || !cJSON_AddStringToObject(panel, "unit", from->unit))
        return false;
    cJSON *lines = cJSON_AddArrayToObject(panel, "lines");
    for (int i = 0; lines && i < from->line_count; i++) {
        cJSON *line = cJSON_CreateObject();
        if (!line || !cJSON_AddItemToArray(lines, line)) {
            cJSON_Delete(line);
            return false;
        }
        if (!cJSON_AddStringToObject(line, "key", from->lines[i].key) ||
            !cJSON_AddStringToObject(line, "label", from->lines[i].label))
            return false;
        if (from->kind == TARN_REPORT_STACK &&
            !cJSON_AddNumberToObject(line, "part", tarn_report_part_of(from->lines[i].label)))
            return false;
    }
    return lines;
}

/* The same JSON without a character that HTML takes for the end of the script or for markup. Such characters stand in
 * JSON only inside strings, where an escape means the same. */
static char *escape(const char *json)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
    for (const char *at = json; *at; at++)
        if (*at == '<' || *at == '>' || *at == '&')
            fprintf(out, "\\u%04x", (unsigned)*at);
        else
            putc(*at, out);
    if (!fclose(out)) return text;
    free(text);
    return NULL;
}

char *tarn_report_data(const tarn_report *report)
{
    cJSON *whole = cJSON_CreateObject();
    cJSON *runs = whole ? cJSON_AddArrayToObject(whole, "runs") : NULL;
    cJSON *panels = runs ? cJSON_AddArrayToObject(whole, "panels") : NULL;
    bool built = panels;
    for (int i = 0; built && i < report->run_count; i++) built = add_run(runs, report->runs[i], i);
    for (int i = 0; built && i < report->panel_count; i++) built = add_panel(panels, &report->panels[i]);
    char *json = built ? cJSON_PrintUnformatted(whole) : NULL, *text = json ? escape(json) : NULL;
    cJSON_free(json);
    cJSON_Delete(whole);
    return text;
}
