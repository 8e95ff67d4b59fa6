/* panels.c - which curves share a chart, and in which order charts stand.
 *
 * By the name of the metric: what Tarn logs has its places, what a program logs besides gets a chart of its own. A rank
 * or node in a name (system/node_1/...) makes it one line of the chart that all ranks or nodes share.
 */
#include "launch/report/report.h"
#include "runtime/base/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALL_GROUPS = 26000, /* of a page: about 45 bytes each */
    MOST_GROUPS = 1200, /* of a curve: more than a chart has pixels on most screens */
    LEAST_GROUPS = 48
};

#define DERIVED "samples per second"

const char *const tarn_report_parts[] = {"data", "compute", "reduce", "update", "save", "track", "wait", "rest"};
const int tarn_report_part_count = sizeof tarn_report_parts / sizeof *tarn_report_parts;

int tarn_report_part_of(const char *word)
{
    for (int i = 0; i < tarn_report_part_count; i++)
        if (!strcmp(tarn_report_parts[i], word)) return i;
    return 0;
}

/* ---- names ---- */

/* "rank_3" or "node_3" as a part of a key between slashes: its number and where the rest begins, or NULL. */
static const char *member_of(const char *key, const char *word, int *number)
{
    size_t length = strlen(word);
    for (const char *at = key; (at = strstr(at, word)); at += length) {
        char *end;
        if (at != key && at[-1] != '/') continue;
        long value = strtol(at + length, &end, 10);
        if (end == at + length || *end != '/' || value < 0 || value > 1000000) continue;
        *number = (int)value;
        return end + 1;
    }
    return NULL;
}

/* The word at the end of a key, behind . or / or _: "loss" of train.loss, loss, my_loss. */
static bool is_kind(const char *key, const char *word)
{
    size_t length = strlen(key), tail = strlen(word);
    return tarn_text_ends(key, word) && (length == tail || strchr("./_:", key[length - tail - 1]));
}

static bool is_one_of(const char *key, const char *const *words)
{
    for (; *words; words++)
        if (is_kind(key, *words)) return true;
    return false;
}

static bool is_system(const char *key)
{
    return !strncmp(key, "system/", 7);
}

static bool is_throughput(const char *key)
{
    return !strcmp(key, DERIVED) ||
           (tarn_text_ends(key, "per_second") && !strstr(key, "network") && !strstr(key, "disk"));
}

/* ---- panels ---- */

static int grow(void *array, int count, int *room, size_t size)
{
    void **elements = array;
    if (count < *room) return 0;
    void *grown = realloc(*elements, (size_t)(2 * *room + 8) * size);
    if (!grown) return -1;
    *elements = grown;
    *room = 2 * *room + 8;
    return 0;
}

/* The panel of that title, note, unit and section, made when it is not there. */
static tarn_report_panel *panel_of(tarn_report *report, const char *section, const char *title, const char *note,
                                   const char *unit)
{
    for (int i = 0; i < report->panel_count; i++)
        if (!strcmp(report->panels[i].title, title) && !strcmp(report->panels[i].note, note) &&
            !strcmp(report->panels[i].section, section) && !strcmp(report->panels[i].unit, unit))
            return &report->panels[i];
    if (grow(&report->panels, report->panel_count, &report->panel_room, sizeof *report->panels)) return NULL;
    tarn_report_panel made = {
        .section = section, .title = strdup(title), .note = strdup(note), .scale = 1, .unit = unit};
    if (!made.title || !made.note) {
        free(made.title);
        free(made.note);
        return NULL;
    }
    report->panels[report->panel_count] = made;
    return &report->panels[report->panel_count++];
}

static bool add_line(tarn_report_panel *panel, const char *key, const char *label)
{
    if (!panel) return false;
    for (int i = 0; i < panel->line_count; i++)
        if (!strcmp(panel->lines[i].key, key)) return true;
    if (grow(&panel->lines, panel->line_count, &panel->line_room, sizeof *panel->lines)) return false;
    tarn_report_line line = {.key = strdup(key), .label = strdup(label)};
    if (!line.key || !line.label) {
        free(line.key);
        free(line.label);
        return false;
    }
    panel->lines[panel->line_count++] = line;
    return true;
}

/* What a measurement is called above its chart: "system_memory_usage_megabytes" becomes words and a unit. */
static const char *name_measurement(const char *name, char title[128])
{
    static const char *const units[][2] = {
        {"_percentage", "%"}, {"_megabytes", "MB"}, {"_seconds", "s"}, {"_watts", "W"}, {"_celsius", "\u00b0C"}};
    const char *unit = "";
    snprintf(title, 128, "%.120s", name);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (tarn_text_ends(title, units[i][0])) {
            unit = units[i][1];
            title[strlen(title) - strlen(units[i][0])] = '\0';
        }
    for (char *at = title; *at; at++)
        if (*at == '_') *at = ' ';
    if (*title >= 'a' && *title <= 'z') *title = (char)(*title - 'a' + 'A');
    if (!strncmp(title, "Cpu", 3)) memcpy(title, "CPU", 3);
    if (!strncmp(title, "Gpu", 3)) memcpy(title, "GPU", 3);
    return unit;
}

/* The place of what tells of ranks and times among its like; TIMES for other measurements. */
enum { TIMES = 8 };
static int time_place(const char *key)
{
    static const char *const places[TIMES - 1] = {"step_seconds", "compute_seconds",      "reduce_seconds",
                                                  "data_seconds", "arrival_skew_seconds", "slow_ratio",
                                                  "slowest_rank"};
    for (int i = 0; i < TIMES - 1; i++)
        if (is_kind(key, places[i])) return i;
    return tarn_text_ends(key, "_seconds") ? TIMES - 1 : TIMES;
}

/* The time of a part of a step. */
static bool is_part(const char *key)
{
    char name[32];
    for (int i = 0; i < tarn_report_part_count; i++) {
        snprintf(name, sizeof name, "%s_seconds", tarn_report_parts[i]);
        if (is_kind(key, name)) return true;
    }
    return false;
}

static bool add_measurement(tarn_report *report, const char *key)
{
    char title[128], label[64];
    int member = 0;
    const char *rest = member_of(key, "rank_", &member);
    snprintf(label, sizeof label, "rank %d", member);
    if (!rest) {
        rest = member_of(key, "node_", &member);
        snprintf(label, sizeof label, "node %d", member);
    }
    const char *unit = name_measurement(rest ? rest : key + strlen("system/"), title);
    bool time = time_place(key) < TIMES;
    if (time && !rest && is_part(key)) {
        /* Rank 0 stands there as one of the ranks already. */
        char of_rank[160];
        snprintf(of_rank, sizeof of_rank, "system/rank_0/%s", key + strlen("system/"));
        for (int i = 0; i < report->run_count; i++)
            if (tarn_run_curve_of(report->runs[i], of_rank)) return true;
    }
    if (time && !strcmp(unit, "s") && !strstr(title, "skew")) strncat(title, " time", sizeof title - strlen(title) - 1);
    tarn_report_panel *panel = panel_of(report, time ? "Ranks and time" : "System", title, "", unit);
    if (!panel) return false;
    panel->seconds = !strcmp(unit, "s");
    panel->over_time = !time;
    panel->dots = is_kind(key, "slowest_rank");
    panel->from_zero = strcmp(unit, "MB");
    return add_line(panel, key, rest ? label : key + strlen("system/"));
}

/* Each pass adds the curves of one kind, so that panels stand in the order of the passes, and lines in that of keys. */
static bool add_curve(tarn_report *report, int pass, const char *key)
{
    static const char *const losses[] = {"loss", NULL}, *const accuracies[] = {"accuracy", "acc", NULL},
                             *const rates[] = {"lr", "learning_rate", NULL},
                             *const norms[] = {"gradient_norm", "grad_norm", NULL};
    bool system = is_system(key);
    switch (pass) {
    case 0:
        if (system || !is_one_of(key, losses)) return true;
        tarn_report_panel *panel = panel_of(report, "Training", "Loss", "", "");
        if (panel) panel->wide = true;
        return add_line(panel, key, key);
    case 1:
        if (system || !is_one_of(key, accuracies)) return true;
        return add_line(panel_of(report, "Training", "Accuracy", "", ""), key, key);
    case 2:
        if (system || !is_one_of(key, rates)) return true;
        return add_line(panel_of(report, "Training", "Learning rate", "", ""), key, key);
    case 3:
        if (system || !is_one_of(key, norms)) return true;
        return add_line(panel_of(report, "Training", "Gradient norm", "", ""), key, key);
    case 4: {
        if (!is_throughput(key)) return true;
        char title[128];
        name_measurement(system ? key + strlen("system/") : key, title);
        *title = (char)tolower((unsigned char)*title);
        tarn_report_panel *rate =
            panel_of(report, "Training", "Throughput", title, ""); /* samples, tokens: an axis each */
        if (rate) rate->from_zero = true;
        return add_line(rate, key, key);
    }
    case 5:
        if (system || is_one_of(key, losses) || is_one_of(key, accuracies) || is_one_of(key, rates) ||
            is_one_of(key, norms) || is_throughput(key))
            return true;
        return add_line(panel_of(report, "Other metrics", key, "", ""), key, key);
    default: /* times first */
        if (!system || is_throughput(key) || time_place(key) != pass - 6) return true;
        return add_measurement(report, key);
    }
}

/* The parts of the time of a step one above the other, where there is one run. */
static bool add_stack(tarn_report *report)
{
    char key[64], title[] = "Parts of a step";
    int parts = 0;
    if (report->run_count != 1) return true;
    for (int i = 0; i < tarn_report_part_count; i++) {
        snprintf(key, sizeof key, "system/%s_seconds", tarn_report_parts[i]);
        if (tarn_run_curve_of(report->runs[0], key)) parts++;
    }
    if (parts < 2) return true;
    tarn_report_panel *panel = panel_of(report, "Ranks and time", title, "of rank 0", "s");
    if (!panel) return false;
    panel->kind = TARN_REPORT_STACK;
    panel->seconds = true;
    panel->from_zero = true;
    for (int i = 0; i < tarn_report_part_count; i++) {
        snprintf(key, sizeof key, "system/%s_seconds", tarn_report_parts[i]);
        if (tarn_run_curve_of(report->runs[0], key) && !add_line(panel, key, tarn_report_parts[i])) return false;
    }
    return true;
}

/* ---- derived and thinned ---- */

static const tarn_run_curve *throughput_of(const tarn_run_view *view)
{
    for (int i = 0; i < view->curve_count; i++)
        if (is_throughput(view->curves[i].key)) return &view->curves[i];
    return NULL;
}

/* Samples a second out of the batch and the time of a step. Of a group it is the batch over the mean time, which is
 * how many samples those steps really had in that time; the bounds are those of its fastest and slowest step. */
static bool derive_throughput(tarn_run_view *view)
{
    const tarn_run_curve *step = tarn_run_curve_of(view, "system/step_seconds");
    const char *batch_text = tarn_run_param(view, "train.batch");
    double batch = batch_text ? strtod(batch_text, NULL) : 0;
    if (throughput_of(view) || !step || step->least <= 0 || batch <= 0) return true;
    tarn_run_curve rate = *step;
    rate.key = strdup(DERIVED);
    rate.groups = malloc((size_t)(step->group_count ? step->group_count : 1) * sizeof *rate.groups);
    rate.group_room = rate.group_count;
    rate.first = batch / step->first;
    rate.last = batch / step->last;
    rate.least = batch / step->greatest;
    rate.greatest = batch / step->least;
    rate.least_step = step->greatest_step;
    rate.greatest_step = step->least_step;
    for (int i = 0; rate.groups && i < rate.group_count; i++) {
        tarn_run_group group = step->groups[i];
        double count = (double)group.count;
        group.sum = count * (batch / (group.sum / count));
        group.least = batch / step->groups[i].greatest;
        group.greatest = batch / step->groups[i].least;
        rate.groups[i] = group;
    }
    if (!rate.key || !rate.groups || grow(&view->curves, view->curve_count, &view->curve_room, sizeof *view->curves)) {
        free(rate.key);
        free(rate.groups);
        return false;
    }
    view->curves[view->curve_count++] = rate;
    return true;
}

/* How many groups a curve of one sort, measurements or not, may have so that all of them together stay within `all`. */
static int share_of(const tarn_report *report, bool measurements, int all)
{
    int most = MOST_GROUPS;
    for (; most > LEAST_GROUPS; most -= most / 8) {
        int64_t sum = 0;
        for (int i = 0; i < report->run_count; i++)
            for (int k = 0; k < report->runs[i]->curve_count; k++) {
                const tarn_run_curve *curve = &report->runs[i]->curves[k];
                if (is_system(curve->key) == measurements) sum += curve->group_count < most ? curve->group_count : most;
            }
        if (sum <= all) return most;
    }
    return LEAST_GROUPS;
}

/* What is trained is looked at more closely than measurements are, of which there are many. */
static void thin(tarn_report *report)
{
    int trained = share_of(report, false, ALL_GROUPS / 2), measured = share_of(report, true, ALL_GROUPS / 2);
    for (int i = 0; i < report->run_count; i++)
        for (int k = 0; k < report->runs[i]->curve_count; k++) {
            tarn_run_curve *curve = &report->runs[i]->curves[k];
            tarn_run_curve_thin(curve, is_system(curve->key) ? measured : trained);
        }
}

/* Milliseconds where no mean of a line reaches half a second. */
static void choose_unit(const tarn_report *report, tarn_report_panel *panel)
{
    if (!panel->seconds) return;
    for (int i = 0; i < report->run_count; i++)
        for (int k = 0; k < panel->line_count; k++) {
            const tarn_run_curve *curve = tarn_run_curve_of(report->runs[i], panel->lines[k].key);
            if (curve && curve->count && tarn_run_curve_mean(curve) >= 0.5) return;
        }
    panel->scale = 1e3;
    panel->unit = "ms";
}

bool tarn_report_arrange(tarn_report *report, tarn_run_view **runs, int run_count, int64_t now_ms)
{
    *report = (tarn_report){.runs = runs, .run_count = run_count, .now_ms = now_ms};
    for (int i = 0; i < run_count; i++)
        if (!derive_throughput(runs[i])) return false;
    for (int pass = 0; pass <= 6 + TIMES; pass++) {
        if (pass == 7 && !add_stack(report)) return false; /* behind the time of the whole step */
        for (int i = 0; i < run_count; i++)
            for (int k = 0; k < runs[i]->curve_count; k++)
                if (runs[i]->curves[k].count && !add_curve(report, pass, runs[i]->curves[k].key)) return false;
    }
    for (int i = 0; i < report->panel_count; i++) choose_unit(report, &report->panels[i]);
    thin(report);
    return true;
}

void tarn_report_close(tarn_report *report)
{
    for (int i = 0; i < report->panel_count; i++) {
        tarn_report_panel *panel = &report->panels[i];
        for (int k = 0; k < panel->line_count; k++) {
            free(panel->lines[k].key);
            free(panel->lines[k].label);
        }
        free(panel->lines);
        free(panel->title);
        free(panel->note);
    }
    free(report->panels);
    *report = (tarn_report){0};
}

/* ---- the split of a step ---- */

/* All ranks leave a step together: what its parts do not account for, a rank has waited or done otherwise. */
static bool rest_mean(const tarn_run_view *view, int rank, double *seconds)
{
    const tarn_run_curve *step = tarn_run_curve_of(view, "system/step_seconds");
    double part;
    if (!step || !step->count) return false;
    *seconds = tarn_run_curve_mean(step);
    for (int i = 0; i < tarn_report_part_count - 1; i++)
        if (tarn_report_part_mean(view, rank, tarn_report_parts[i], &part)) *seconds -= part;
    return *seconds > 0;
}

bool tarn_report_part_mean(const tarn_run_view *view, int rank, const char *part, double *seconds)
{
    char key[96];
    if (!strcmp(part, "rest")) return rest_mean(view, rank, seconds);
    snprintf(key, sizeof key, "system/rank_%d/%s_seconds", rank, part);
    const tarn_run_curve *curve = tarn_run_curve_of(view, key);
    if (!curve && rank == 0) {
        snprintf(key, sizeof key, "system/%s_seconds", part);
        curve = tarn_run_curve_of(view, key);
    }
    if (!curve || !curve->count) return false;
    *seconds = tarn_run_curve_mean(curve);
    return true;
}

int tarn_report_part_ranks(const tarn_run_view *view)
{
    int ranks = 0, rank;
    double seconds;
    for (int i = 0; i < view->curve_count; i++)
        if (member_of(view->curves[i].key, "rank_", &rank) && rank >= ranks) ranks = rank + 1;
    for (int i = 0; !ranks && i < tarn_report_part_count - 1; i++)
        if (tarn_report_part_mean(view, 0, tarn_report_parts[i], &seconds)) return 1;
    return ranks;
}
