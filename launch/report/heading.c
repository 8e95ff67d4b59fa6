/* heading.c - the top of the page: which runs, what became of them, their numbers at a glance, what to know. */
#include "launch/report/report.h"

#include <stdlib.h>
#include <string.h>

/* Runs that say they are running and have logged nothing for so long may be dead. */
enum { SILENT_MS = 10 * 60 * 1000 };

static const struct status {
    const char *name, *class, *word, *sign;
} statuses[] = {{"RUNNING", "running", "Running", "\u25b6"},     {"FINISHED", "finished", "Finished", "\u2713"},
                {"FAILED", "failed", "Failed", "\u2717"},        {"KILLED", "killed", "Killed", "\u25a0"},
                {"SCHEDULED", "unknown", "Scheduled", "\u2026"}, {"UNKNOWN", "unknown", "Unknown state", "?"}};

static void write_status(FILE *out, const tarn_report *report, const tarn_run_view *view)
{
    const struct status *status = &statuses[sizeof statuses / sizeof *statuses - 1];
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (!strcmp(statuses[i].name, view->head.status)) status = &statuses[i];
    fprintf(out, "<span class=\"status %s\"><span aria-hidden=\"true\">%s</span> %s</span>", status->class,
            status->sign, status->word);
    if (strcmp(status->name, "RUNNING") || !view->last_ms || report->now_ms - view->last_ms < SILENT_MS) return;
    fputs(" <span class=\"muted\">nothing logged for ", out);
    tarn_report_write_duration(out, report->now_ms - view->last_ms);
    fputs("</span>", out);
}

/* The first of these curves that the run has. */
static const tarn_run_curve *one_of(const tarn_run_view *view, const char *const *keys)
{
    const tarn_run_curve *found = NULL;
    for (; *keys && !found; keys++) found = tarn_run_curve_of(view, *keys);
    return found && found->count ? found : NULL;
}

static const char *const train_losses[] = {"train.loss", "loss", "train_loss", NULL},
                         *const validation_losses[] = {"validation.loss", "val_loss", "validation_loss", NULL},
                         *const accuracies[] = {"validation.accuracy", "val_accuracy", "accuracy", NULL},
                         *const throughputs[] = {"system/tokens_per_second", "system/samples_per_second",
                                                 "train.tokens_per_second",  "train.samples_per_second",
                                                 "tokens_per_second",        "samples_per_second",
                                                 "samples per second",       NULL};

/* Of what is trained: measurements may number their samples otherwise. */
static int64_t last_step(const tarn_run_view *view)
{
    int64_t step = 0;
    const tarn_run_curve *loss = one_of(view, train_losses);
    if (loss) return loss->last_step;
    for (int i = 0; i < view->curve_count; i++)
        if (view->curves[i].count && view->curves[i].last_step > step) step = view->curves[i].last_step;
    return step;
}

static int ranks_of(const tarn_run_view *view)
{
    return view->start_count ? view->starts[view->start_count - 1].ranks : 0;
}

/* ---- one run: tiles ---- */

static void begin_tile(FILE *out, const char *label)
{
    fprintf(out, "<div class=\"tile\"><dt>%s</dt><dd>", label);
}

static void end_tile(FILE *out, const char *note)
{
    fputs("</dd>", out);
    if (note) fprintf(out, "<dd class=\"note\">%s</dd>", note);
    fputs("</div>\n", out);
}

static void write_at_step(FILE *out, const char *before, int64_t step)
{
    fprintf(out, "</dd><dd class=\"note\">%sat step ", before);
    tarn_report_write_count(out, step);
}

static void write_curve_tile(FILE *out, const char *label, const tarn_run_curve *curve, bool best, bool greatest)
{
    if (!curve) return;
    begin_tile(out, label);
    tarn_report_write_number(out, !best ? curve->last : greatest ? curve->greatest : curve->least);
    write_at_step(out, "", !best ? curve->last_step : greatest ? curve->greatest_step : curve->least_step);
    end_tile(out, NULL);
}

static void write_tiles(FILE *out, const tarn_run_view *view)
{
    fputs("<dl class=\"tiles\">\n", out);
    write_curve_tile(out, "Best validation loss", one_of(view, validation_losses), true, false);
    write_curve_tile(out, "Best accuracy", one_of(view, accuracies), true, true);
    write_curve_tile(out, "Last training loss", one_of(view, train_losses), false, false);
    if (view->points) {
        begin_tile(out, "Steps");
        tarn_report_write_count(out, last_step(view));
        const char *planned = tarn_run_param(view, "train.steps");
        if (planned) {
            fputs("</dd><dd class=\"note\">of ", out);
            tarn_report_write_count(out, strtoll(planned, NULL, 10));
            fputs(" planned", out);
        }
        end_tile(out, NULL);
    }
    begin_tile(out, "Duration");
    tarn_report_write_duration(out, tarn_report_duration(view));
    if (view->start_count > 1) {
        int restarts = view->start_count - 1;
        fprintf(out, "</dd><dd class=\"note\">%d restart%s", restarts, restarts == 1 ? "" : "s");
    } else if (view->start_count)
        fputs("</dd><dd class=\"note\">no restart", out);
    end_tile(out, NULL);
    const tarn_run_curve *rate = one_of(view, throughputs);
    if (rate) {
        begin_tile(out, "Throughput");
        char text[32];
        double mean = tarn_run_curve_mean(rate);
        snprintf(text, sizeof text, "%.4g", mean);
        if (mean >= 1e4)
            tarn_report_write_count(out, (int64_t)strtod(text, NULL));
        else
            fputs(text, out);
        fprintf(out, "</dd><dd class=\"note\">%s a second, mean", strstr(rate->key, "token") ? "tokens" : "samples");
        end_tile(out, NULL);
    }
    fputs("</dl>\n", out);
}

static void write_fact(FILE *out, const char *label, const char *value, bool code)
{
    if (!value || !*value) return;
    fprintf(out, "<div><dt>%s</dt><dd><bdi%s>", label, code ? " class=\"code\"" : "");
    tarn_report_write_text(out, value);
    fputs("</bdi></dd></div>\n", out);
}

static void write_one(FILE *out, const tarn_report *report)
{
    const tarn_run_view *view = report->runs[0];
    fputs("<p class=\"eyebrow\">", out);
    if (*view->head.experiment) {
        fputs("<bdi>", out);
        tarn_report_write_text(out, view->head.experiment);
        fputs("</bdi>", out);
    } else
        fputs("Run", out);
    fputs("</p>\n<h1><bdi>", out);
    tarn_report_write_text(out, tarn_report_name(view));
    fputs("</bdi></h1>\n<p class=\"state\">", out);
    write_status(out, report, view);
    fputs("</p>\n", out);
    write_tiles(out, view);
    fputs("<dl class=\"facts\">\n", out);
    if (tarn_report_begin(view)) {
        fputs("<div><dt>Started</dt><dd>", out);
        tarn_report_write_date(out, tarn_report_begin(view));
        fputs("</dd></div>\n", out);
    }
    if (ranks_of(view)) fprintf(out, "<div><dt>Ranks</dt><dd>%d</dd></div>\n", ranks_of(view));
    write_fact(out, "User", view->head.user, false);
    char commit[13] = "";
    const char *whole = tarn_run_tag(view, "mlflow.source.git.commit");
    if (whole) snprintf(commit, sizeof commit, "%s", whole);
    write_fact(out, "Commit", commit, true);
    write_fact(out, "Run id", view->head.run_id, true);
    fputs("</dl>\n", out);
}

/* ---- several runs: a table ---- */

static void write_cell(FILE *out, const char *label, const tarn_run_curve *curve, bool best, bool greatest, bool wins)
{
    fprintf(out, "<td data-label=\"%s\"%s><span>", label, wins ? " class=\"best\"" : "");
    if (curve) {
        tarn_report_write_number(out, !best ? curve->last : greatest ? curve->greatest : curve->least);
        fputs(" <span class=\"muted\">at ", out);
        tarn_report_write_count(out, !best ? curve->last_step : greatest ? curve->greatest_step : curve->least_step);
        fputs("</span>", out);
        if (wins) fputs("<span class=\"star\" role=\"img\" aria-label=\"best of these\">\u2605</span>", out);
    } else
        fputs("<span class=\"muted\">\u2013</span>", out);
    fputs("</span></td>", out);
}

/* The run with the best value of a curve; -1 when fewer than two have it. */
static int winner(const tarn_report *report, const char *const *keys, bool greatest)
{
    int best = -1, have = 0;
    double value = 0;
    for (int i = 0; i < report->run_count; i++) {
        const tarn_run_curve *curve = one_of(report->runs[i], keys);
        if (!curve) continue;
        double mine = greatest ? -curve->greatest : curve->least;
        if (!have++ || mine < value) best = i, value = mine;
    }
    return have > 1 ? best : -1;
}

static bool any(const tarn_report *report, const char *const *keys)
{
    for (int i = 0; i < report->run_count; i++)
        if (one_of(report->runs[i], keys)) return true;
    return false;
}

static void write_several(FILE *out, const tarn_report *report)
{
    bool accuracy = any(report, accuracies), validation = any(report, validation_losses);
    int best_loss = winner(report, validation_losses, false), best_accuracy = winner(report, accuracies, true);
    fprintf(out, "<p class=\"eyebrow\">Comparison</p>\n<h1>%d runs</h1>\n", report->run_count);
    fputs("<div class=\"scroll\"><table class=\"runs stacking\"><thead><tr><th scope=\"col\">Run</th>"
          "<th scope=\"col\">State</th>",
          out);
    if (validation) fputs("<th scope=\"col\">Best validation loss</th>", out);
    if (accuracy) fputs("<th scope=\"col\">Best accuracy</th>", out);
    fputs("<th scope=\"col\">Last training loss</th><th scope=\"col\">Duration</th><th scope=\"col\">Restarts</th>"
          "<th scope=\"col\">Started</th></tr></thead><tbody>\n",
          out);
    for (int i = 0; i < report->run_count; i++) {
        const tarn_run_view *view = report->runs[i];
        fprintf(out, "<tr><th scope=\"row\"><span class=\"swatch c%d\"></span><bdi>", i % TARN_REPORT_COLOURS);
        tarn_report_write_text(out, tarn_report_name(view));
        fputs("</bdi> <span class=\"code muted\">", out);
        char short_id[9];
        snprintf(short_id, sizeof short_id, "%.8s", view->head.run_id);
        tarn_report_write_text(out, short_id);
        fputs("</span></th><td data-label=\"State\"><span>", out);
        write_status(out, report, view);
        fputs("</span></td>", out);
        if (validation)
            write_cell(out, "Best validation loss", one_of(view, validation_losses), true, false, i == best_loss);
        if (accuracy) write_cell(out, "Best accuracy", one_of(view, accuracies), true, true, i == best_accuracy);
        write_cell(out, "Last training loss", one_of(view, train_losses), false, false, false);
        fputs("<td data-label=\"Duration\">", out);
        tarn_report_write_duration(out, tarn_report_duration(view));
        fputs("</td><td data-label=\"Restarts\">", out);
        if (view->start_count)
            fprintf(out, "%d", view->start_count - 1);
        else
            fputs("<span class=\"muted\">\u2013</span>", out);
        fputs("</td><td data-label=\"Started\">", out);
        tarn_report_write_date(out, tarn_report_begin(view));
        fputs("</td></tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
}

/* ---- what to know ---- */

static void begin_notice(FILE *out, const tarn_report *report, const tarn_run_view *view, bool *open)
{
    if (!*open) fputs("<ul class=\"notices\" aria-label=\"What to know\">\n", out);
    *open = true;
    fputs("<li>", out);
    if (report->run_count < 2) return;
    fputs("<bdi>", out);
    tarn_report_write_text(out, tarn_report_name(view));
    fputs("</bdi>: ", out);
}

static void write_notices(FILE *out, const tarn_report *report)
{
    bool open = false;
    for (int i = 0; i < report->run_count; i++) {
        const tarn_run_view *view = report->runs[i];
        for (int k = 0; k < view->tag_count; k++) {
            const char *key = view->tags[k].key;
            bool broken = !strcmp(key, "tarn.broken_promise"), not_finite = !strncmp(key, "nonfinite.", 10);
            if (!broken && !not_finite) continue;
            begin_notice(out, report, view, &open);
            if (broken)
                fputs("A step that was run again gave other values (its bits were not repeated): ", out);
            else {
                fputs("Not a finite number: <b>", out);
                tarn_report_write_text(out, key + 10);
                fputs("</b> was ", out);
            }
            tarn_report_write_text(out, view->tags[k].value);
            fputs("</li>\n", out);
        }
        if (view->not_finite) {
            begin_notice(out, report, view, &open);
            tarn_report_write_count(out, view->not_finite);
            fputs(" values are no finite numbers and are not in the curves</li>\n", out);
        }
        if (view->left_out) {
            begin_notice(out, report, view, &open);
            tarn_report_write_count(out, view->left_out);
            fputs(" lines of the record could not be read and are left out</li>\n", out);
        }
        if (view->thinned) {
            begin_notice(out, report, view, &open);
            fputs("The spool was thinned, or its oldest points were taken away after they were published: of ", out);
            tarn_report_write_count(out, view->thinned);
            fputs(view->thinned == 1 ? " metric" : " metrics", out);
            fputs(" it does not hold all points. A store that has the whole run shows them</li>\n", out);
        }
        if (!view->points) {
            begin_notice(out, report, view, &open);
            fputs("No metric has been recorded</li>\n", out);
        }
    }
    if (open) fputs("</ul>\n", out);
}

void tarn_report_write_heading(FILE *out, const tarn_report *report)
{
    fputs("<header class=\"heading\">\n", out);
    if (report->run_count == 1)
        write_one(out, report);
    else
        write_several(out, report);
    write_notices(out, report);
    fputs("</header>\n", out);
}
