/* reader_curve.c - curves in bounded memory: points come in, groups of neighbours stay.
 *
 * A curve begins with a group a point. When `most` groups are there, neighbours are joined in pairs, and from then on a
 * group takes twice as many points before the next one begins. Joining adds counts and sums and takes the outer of the
 * extremes, so what a group says of its points stays exact, however often it was joined.
 */
#include "track/reader_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_step(const void *a, const void *b)
{
    const tarn_run_group *x = a, *y = b;
    if (x->first_step != y->first_step) return x->first_step < y->first_step ? -1 : 1;
    if (x->last_step != y->last_step) return x->last_step < y->last_step ? -1 : 1;
    return (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
}

/* Points of several ranks, or of a program that logs as it likes, do not come by step. */
static void order(tarn_run_curve *curve)
{
    if (curve->ordered) return;
    qsort(curve->groups, (size_t)curve->group_count, sizeof *curve->groups, by_step);
    curve->ordered = true;
}

static void join(tarn_run_group *into, const tarn_run_group *other)
{
    if (other->first_step < into->first_step) into->first_step = other->first_step;
    if (other->last_step > into->last_step) into->last_step = other->last_step;
    if (other->time_ms > into->time_ms) into->time_ms = other->time_ms;
    if (other->least < into->least) into->least = other->least;
    if (other->greatest > into->greatest) into->greatest = other->greatest;
    into->sum += other->sum;
    into->count += other->count;
}

void tarn_run_curve_thin(tarn_run_curve *curve, int most)
{
    order(curve);
    if (curve->group_count <= most || most < 1) return;
    /* Groups of as equal a number of the former ones as can be. */
    int kept = 0;
    for (int i = 0; i < curve->group_count; i++) {
        int place = (int)((int64_t)i * most / curve->group_count);
        if (place == kept)
            curve->groups[kept++] = curve->groups[i];
        else
            join(&curve->groups[kept - 1], &curve->groups[i]);
    }
    curve->group_count = kept;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const tarn_run_curve *)a)->key, ((const tarn_run_curve *)b)->key);
}

tarn_run_curve *tarn_run_view_curve(tarn_run_view *view, const char *key)
{
    for (int i = 0; i < view->curve_count; i++)
        if (!strcmp(view->curves[i].key, key)) return &view->curves[i];
    if (tarn_run_grow(&view->curves, view->curve_count, &view->curve_room, sizeof *view->curves)) return NULL;
    char *copy = strdup(key);
    if (!copy) return NULL;
    tarn_run_curve *curve = &view->curves[view->curve_count++];
    *curve = (tarn_run_curve){.key = copy, .stride = 1, .ordered = true};
    return curve;
}

static void summarize(tarn_run_curve *curve, int64_t step, int64_t time_ms, double value)
{
    bool none = !curve->count++;
    if (none || step < curve->first_step) curve->first_step = step, curve->first = value;
    if (none || step >= curve->last_step) curve->last_step = step, curve->last = value;
    if (none || value < curve->least) curve->least = value, curve->least_step = step;
    if (none || value > curve->greatest) curve->greatest = value, curve->greatest_step = step;
    if (none || time_ms > curve->last_ms) curve->last_ms = time_ms;
}

int tarn_run_curve_add(tarn_run_view *view, tarn_run_curve *curve, int most, int64_t step, int64_t time_ms,
                       double value)
{
    if (!isfinite(value)) {
        view->not_finite++;
        return 0;
    }
    tarn_run_group point = {.first_step = step,
                            .last_step = step,
                            .time_ms = time_ms,
                            .count = 1,
                            .sum = value,
                            .least = value,
                            .greatest = value};
    tarn_run_group *newest = curve->group_count ? &curve->groups[curve->group_count - 1] : NULL;
    bool back = newest && step < newest->last_step;
    if (newest && !back && newest->count < curve->stride) {
        join(newest, &point);
    } else {
        if (curve->group_count >= most) {
            tarn_run_curve_thin(curve, (most + 1) / 2);
            curve->stride *= 2;
        }
        if (tarn_run_grow(&curve->groups, curve->group_count, &curve->group_room, sizeof *curve->groups)) return -1;
        curve->groups[curve->group_count++] = point;
        if (back) curve->ordered = false;
    }
    summarize(curve, step, time_ms, value);
    view->points++;
    if (time_ms > view->last_ms) view->last_ms = time_ms;
    return 0;
}

static int texts_by_key(const void *a, const void *b)
{
    return strcmp(((const tarn_run_text *)a)->key, ((const tarn_run_text *)b)->key);
}

static int starts_by_time(const void *a, const void *b)
{
    const tarn_run_start *x = a, *y = b;
    return (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
}

static void sort(void *array, int count, size_t size, int (*compare)(const void *, const void *))
{
    if (count > 1) qsort(array, (size_t)count, size, compare);
}

void tarn_run_view_finish(tarn_run_view *view)
{
    for (int i = 0; i < view->curve_count; i++) order(&view->curves[i]);
    sort(view->curves, view->curve_count, sizeof *view->curves, by_key);
    sort(view->params, view->param_count, sizeof *view->params, texts_by_key);
    sort(view->tags, view->tag_count, sizeof *view->tags, texts_by_key);
    sort(view->starts, view->start_count, sizeof *view->starts, starts_by_time);
}

const tarn_run_curve *tarn_run_curve_of(const tarn_run_view *view, const char *key)
{
    for (int i = 0; i < view->curve_count; i++)
        if (!strcmp(view->curves[i].key, key)) return &view->curves[i];
    return NULL;
}

double tarn_run_curve_mean(const tarn_run_curve *curve)
{
    double sum = 0;
    for (int i = 0; i < curve->group_count; i++) sum += curve->groups[i].sum;
    return sum / (double)curve->count;
}
