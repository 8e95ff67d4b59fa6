/* table.c - see table.h. */
#include "track/prometheus/table.h"
#include "track/json.h"
#include "track/prometheus/families.h"
#include "track/prometheus/names.h"
#include "track/prometheus/text.h"

#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1, FIELD = 512 };

/* One key of the run. */
typedef struct series {
    char *key;
    tarn_prometheus_name name;
    double value;
    int64_t step;
    bool valued, nonfinite;
} series;

static const char *const statuses[] = {"running", "finished", "failed", "killed"};
enum { RUNNING, FINISHED, FAILED, KILLED, STATUSES };

struct tarn_prometheus_table {
    pthread_mutex_t lock; /* guards what follows */
    int count;
    series *by_key[TARN_PROMETHEUS_SERIES], *by_name[TARN_PROMETHEUS_SERIES];
    int64_t left_out, changes, weighty;
    tarn_prometheus_text *text; /* of text_changes, NULL: none yet */
    int64_t text_changes;
    /* facts */
    char run_id[FIELD], experiment[FIELD], name[FIELD], user[FIELD], source[FIELD], commit[FIELD], ranks[32];
    bool named; /* the user chose the name */
    int status;
    /* counters and times (milliseconds since 1970) */
    int64_t begins, begin_ms, steps, step_ms, skipped, checkpoints, checkpoint_step, checkpoint_ms;
    bool broken_promise;
    /* of this process alone */
    bool has_statistics;
    tarn_track_statistics statistics;
};

/* What a checkpoint that became durable is logged as. */
#define CHECKPOINT_KEY "system/checkpoint_seconds"

/* ---- series ------------------------------------------------------------------------------------------------------ */

static int compare_keys(const series *a, const series *b)
{
    return strcmp(a->key, b->key);
}

/* Names together, ranks and nodes in their order. */
static int compare_names(const series *a, const series *b)
{
    int order = strcmp(a->name.name, b->name.name);
    if (!order) order = (int)strlen(a->name.part_value) - (int)strlen(b->name.part_value);
    if (!order) order = strcmp(a->name.part_value, b->name.part_value);
    return order ? order : strcmp(a->key, b->key);
}

/* The first place in the sorted array whose series is not before `it`. */
static int place_of(series *const *sorted, int count, const series *it, int (*compare)(const series *, const series *))
{
    int low = 0, high = count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (compare(sorted[middle], it) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void insert(series **sorted, int count, int place, series *it)
{
    memmove(sorted + place + 1, sorted + place, (size_t)(count - place) * sizeof *sorted);
    sorted[place] = it;
}

/* The series of a key, made when it is new; NULL when there are too many (counted), or without memory (*short_of). */
static series *series_of(tarn_prometheus_table *table, const char *key, bool *short_of)
{
    const series wanted = {.key = (char *)key};
    int place = place_of(table->by_key, table->count, &wanted, compare_keys);
    if (place < table->count && !strcmp(table->by_key[place]->key, key)) return table->by_key[place];
    if (table->count == TARN_PROMETHEUS_SERIES) {
        table->left_out++;
        return NULL;
    }
    series *made = calloc(1, sizeof *made);
    if (made) made->key = strdup(key);
    if (!made || !made->key) {
        free(made);
        *short_of = true;
        return NULL;
    }
    tarn_prometheus_name_of(&made->name, key);
    made->step = INT64_MIN;
    insert(table->by_key, table->count, place, made);
    insert(table->by_name, table->count, place_of(table->by_name, table->count, made, compare_names), made);
    table->count++;
    return made;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static void put(char field[FIELD], const char *value)
{
    snprintf(field, FIELD, "%s", value ? value : "");
}

static void take_text(char field[FIELD], const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    if (cJSON_IsString(item)) put(field, item->valuestring);
}

static void take_begin(tarn_prometheus_table *table, const tarn_track_event *event)
{
    table->status = RUNNING;
    table->weighty++;
    if (event->time_ms > table->begin_ms) {
        table->begins++;
        table->begin_ms = event->time_ms;
    }
    cJSON *text = event->text ? cJSON_Parse(event->text) : NULL;
    if (!text) return;
    take_text(table->user, text, "user");
    take_text(table->source, text, "source");
    take_text(table->commit, text, "commit");
    if (!table->named) take_text(table->name, text, "name");
    int64_t ranks = tarn_json_integer(text, "ranks", 0), resumed = tarn_json_integer(text, "resumed_step", 0);
    if (ranks > 0) snprintf(table->ranks, sizeof table->ranks, "%lld", (long long)ranks);
    if (resumed > table->steps) table->steps = resumed;
    cJSON_Delete(text);
}

static bool take_metric(tarn_prometheus_table *table, const tarn_track_event *event)
{
    bool short_of = false;
    series *it = series_of(table, event->key, &short_of);
    if (it && event->step >= it->step) {
        it->value = event->value;
        it->step = event->step;
        it->valued = true;
    }
    if (!strncmp(event->key, "train.", 6) && event->step > table->steps) {
        table->steps = event->step;
        table->step_ms = event->time_ms;
    }
    if (!strcmp(event->key, "train.skipped") && event->value > (double)table->skipped && event->value < 0x1p62) {
        table->skipped = (int64_t)event->value;
        table->weighty++;
    }
    if (!strcmp(event->key, CHECKPOINT_KEY) && event->step > table->checkpoint_step) {
        table->checkpoints++;
        table->checkpoint_step = event->step;
        table->checkpoint_ms = event->time_ms;
        table->weighty++;
    }
    return short_of;
}

static bool take_tag(tarn_prometheus_table *table, const char *key)
{
    bool short_of = false;
    if (!strcmp(key, "tarn.broken_promise")) table->broken_promise = true;
    if (strncmp(key, "nonfinite.", 10)) return false;
    series *it = series_of(table, key + 10, &short_of);
    if (it) it->nonfinite = true;
    table->weighty++;
    return short_of;
}

bool tarn_prometheus_table_take(tarn_prometheus_table *table, const tarn_track_event *event)
{
    bool short_of = false;
    pthread_mutex_lock(&table->lock);
    table->changes++;
    switch (event->kind) {
    case TARN_TRACK_METRIC:
        short_of = take_metric(table, event);
        break;
    case TARN_TRACK_TAG:
        short_of = take_tag(table, event->key);
        break;
    case TARN_TRACK_BEGIN:
        take_begin(table, event);
        break;
    case TARN_TRACK_END:
        table->status = !event->text                       ? FAILED
                        : !strcmp(event->text, "FINISHED") ? FINISHED
                        : !strcmp(event->text, "KILLED")   ? KILLED
                                                           : FAILED;
        table->weighty++;
        break;
    default: /* files, parameters, models, histograms are nothing for Prometheus */
        break;
    }
    pthread_mutex_unlock(&table->lock);
    return short_of;
}

void tarn_prometheus_table_statistics(tarn_prometheus_table *table, const tarn_track_statistics *statistics)
{
    pthread_mutex_lock(&table->lock);
    table->statistics = *statistics;
    table->has_statistics = true;
    table->changes++;
    pthread_mutex_unlock(&table->lock);
}

int64_t tarn_prometheus_table_changes(tarn_prometheus_table *table, int64_t *weighty)
{
    pthread_mutex_lock(&table->lock);
    int64_t changes = table->changes;
    *weighty = table->weighty;
    pthread_mutex_unlock(&table->lock);
    return changes;
}

/* ---- the text ---------------------------------------------------------------------------------------------------- */

/* The labels that every series has. */
static void open_series(FILE *out, const tarn_prometheus_table *table, const char *name)
{
    fprintf(out, "%s{", name);
    tarn_prometheus_write_label(out, "run", table->run_id, true);
    tarn_prometheus_write_label(out, "experiment", table->experiment, false);
    tarn_prometheus_write_label(out, "name", table->name, false);
}

static void close_series(FILE *out, double value)
{
    fputs("} ", out);
    tarn_prometheus_write_value(out, value);
    fputc('\n', out);
}

static void open_own(FILE *out, tarn_prometheus_own own)
{
    const tarn_prometheus_family *family = &tarn_prometheus_families[own];
    tarn_prometheus_write_head(out, family->name, family->type, family->help);
}

static void write_own(FILE *out, const tarn_prometheus_table *table, tarn_prometheus_own own, double value)
{
    open_own(out, own);
    open_series(out, table, tarn_prometheus_families[own].name);
    close_series(out, value);
}

static void write_facts(FILE *out, const tarn_prometheus_table *table)
{
    open_own(out, TARN_PROMETHEUS_BUILD_INFO);
    open_series(out, table, "tarn_build_info");
    tarn_prometheus_write_label(out, "version", TARN_VERSION_STRING, false);
    close_series(out, 1);
    open_own(out, TARN_PROMETHEUS_RUN_INFO);
    open_series(out, table, "tarn_run_info");
    tarn_prometheus_write_label(out, "user", table->user, false);
    tarn_prometheus_write_label(out, "source", table->source, false);
    tarn_prometheus_write_label(out, "commit", table->commit, false);
    tarn_prometheus_write_label(out, "ranks", table->ranks, false);
    close_series(out, 1);
    open_own(out, TARN_PROMETHEUS_RUN_STATUS);
    for (int i = 0; i < STATUSES; i++) {
        open_series(out, table, "tarn_run_status");
        tarn_prometheus_write_label(out, "status", statuses[i], false);
        close_series(out, table->status == i);
    }
}

static void write_counters(FILE *out, const tarn_prometheus_table *table)
{
    const struct {
        tarn_prometheus_own own;
        double value;
    } values[] = {{TARN_PROMETHEUS_BEGIN_TIME, (double)table->begin_ms / 1e3},
                  {TARN_PROMETHEUS_STEPS, (double)table->steps},
                  {TARN_PROMETHEUS_LAST_STEP_TIME, (double)table->step_ms / 1e3},
                  {TARN_PROMETHEUS_SKIPPED, (double)table->skipped},
                  {TARN_PROMETHEUS_RESTARTS, table->begins > 1 ? (double)(table->begins - 1) : 0},
                  {TARN_PROMETHEUS_CHECKPOINTS, (double)table->checkpoints},
                  {TARN_PROMETHEUS_LAST_CHECKPOINT_TIME, (double)table->checkpoint_ms / 1e3},
                  {TARN_PROMETHEUS_LAST_CHECKPOINT_STEP, (double)table->checkpoint_step},
                  {TARN_PROMETHEUS_BROKEN_PROMISE, table->broken_promise},
                  {TARN_PROMETHEUS_LEFT_OUT, (double)table->left_out}};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) write_own(out, table, values[i].own, values[i].value);
}

static void write_statistics(FILE *out, const tarn_prometheus_table *table)
{
    if (!table->has_statistics) return;
    const tarn_track_statistics *statistics = &table->statistics;
    write_own(out, table, TARN_PROMETHEUS_EVENTS, (double)statistics->events);
    write_own(out, table, TARN_PROMETHEUS_LOST, (double)statistics->lost);
    write_own(out, table, TARN_PROMETHEUS_THINNED, (double)statistics->thinned);
    write_own(out, table, TARN_PROMETHEUS_SPOOL_BYTES, (double)statistics->spool_bytes);
    for (int i = 0; i < statistics->sinks && i < TARN_TRACK_SINKS; i++) {
        if (!i) open_own(out, TARN_PROMETHEUS_BEHIND);
        open_series(out, table, "tarn_track_behind_events");
        tarn_prometheus_write_label(out, "sink", statistics->sink[i].name, false);
        close_series(out, (double)statistics->sink[i].behind);
    }
}

static void write_nonfinite(FILE *out, const tarn_prometheus_table *table)
{
    bool first = true;
    for (int i = 0; i < table->count; i++) {
        if (!table->by_key[i]->nonfinite) continue;
        if (first) open_own(out, TARN_PROMETHEUS_NONFINITE);
        first = false;
        open_series(out, table, "tarn_nonfinite");
        tarn_prometheus_write_label(out, "key", table->by_key[i]->key, false);
        close_series(out, 1);
    }
}

static void write_metrics(FILE *out, const tarn_prometheus_table *table)
{
    const char *before = "";
    for (int i = 0; i < table->count; i++) {
        const series *it = table->by_name[i];
        if (!it->valued) continue;
        if (strcmp(before, it->name.name))
            tarn_prometheus_write_head(out, it->name.name, "gauge", tarn_prometheus_help(it->name.name));
        before = it->name.name;
        open_series(out, table, it->name.name);
        if (it->name.part) tarn_prometheus_write_label(out, it->name.part, it->name.part_value, false);
        if (!it->name.whole) tarn_prometheus_write_label(out, "key", it->key, false);
        close_series(out, it->value * it->name.times / it->name.over);
    }
}

static tarn_prometheus_text *make_text(const tarn_prometheus_table *table)
{
    char *data = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&data, &bytes);
    if (!out) return NULL;
    write_facts(out, table);
    write_counters(out, table);
    write_statistics(out, table);
    write_nonfinite(out, table);
    write_metrics(out, table);
    bool complete = !ferror(out);
    if (fclose(out)) complete = false;
    tarn_prometheus_text *text = complete ? malloc(sizeof *text + bytes + 1) : NULL;
    if (text) {
        atomic_init(&text->holders, 1);
        text->bytes = bytes;
        memcpy(text->data, data, bytes + 1);
    }
    free(data);
    return text;
}

tarn_prometheus_text *tarn_prometheus_table_text(tarn_prometheus_table *table)
{
    pthread_mutex_lock(&table->lock);
    if (!table->text || table->text_changes != table->changes) {
        tarn_prometheus_text_release(table->text);
        table->text = make_text(table);
        table->text_changes = table->changes;
    }
    if (table->text) atomic_fetch_add(&table->text->holders, 1);
    tarn_prometheus_text *text = table->text;
    pthread_mutex_unlock(&table->lock);
    return text;
}

void tarn_prometheus_text_release(tarn_prometheus_text *text)
{
    if (text && atomic_fetch_sub(&text->holders, 1) == 1) free(text);
}

/* ---- keeping it for a later process ------------------------------------------------------------------------------ */

/* Numbers that are kept, by the names they have in the file. */
#define KEPT(F) F(begins) F(begin_ms) F(steps) F(step_ms) F(skipped) F(checkpoints) F(checkpoint_step) F(checkpoint_ms)

char *tarn_prometheus_table_save(tarn_prometheus_table *table)
{
    cJSON *root = cJSON_CreateObject();
    pthread_mutex_lock(&table->lock);
    cJSON_AddNumberToObject(root, "format", FORMAT);
#define KEEP(field) cJSON_AddNumberToObject(root, #field, (double)table->field);
    KEPT(KEEP)
#undef KEEP
    cJSON_AddBoolToObject(root, "broken_promise", table->broken_promise);
    cJSON *metrics = cJSON_AddArrayToObject(root, "metrics");
    bool complete = metrics != NULL;
    for (int i = 0; complete && i < table->count; i++) {
        const series *it = table->by_key[i];
        cJSON *item = cJSON_CreateObject();
        complete = cJSON_AddItemToArray(metrics, item) && cJSON_AddStringToObject(item, "key", it->key) &&
                   (!it->valued || (cJSON_AddNumberToObject(item, "value", it->value) &&
                                    cJSON_AddNumberToObject(item, "step", (double)it->step))) &&
                   (!it->nonfinite || cJSON_AddTrueToObject(item, "nonfinite"));
    }
    pthread_mutex_unlock(&table->lock);
    char *text = complete ? cJSON_PrintUnformatted(root) : NULL;
    cJSON_Delete(root);
    return text;
}

static bool restore_metrics(tarn_prometheus_table *table, const cJSON *metrics)
{
    bool short_of = false;
    const cJSON *item;
    cJSON_ArrayForEach(item, metrics)
    {
        const cJSON *key = cJSON_GetObjectItemCaseSensitive(item, "key");
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(item, "value");
        if (!cJSON_IsString(key)) return false;
        series *it = series_of(table, key->valuestring, &short_of);
        if (!it) continue;
        it->nonfinite = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(item, "nonfinite"));
        if (!cJSON_IsNumber(value)) continue;
        it->value = value->valuedouble;
        it->step = tarn_json_integer(item, "step", 0);
        it->valued = true;
    }
    return true;
}

bool tarn_prometheus_table_restore(tarn_prometheus_table *table, const char *json)
{
    cJSON *root = cJSON_Parse(json);
    const cJSON *metrics = cJSON_GetObjectItemCaseSensitive(root, "metrics");
    bool good = tarn_json_integer(root, "format", 0) == FORMAT && cJSON_IsArray(metrics);
    pthread_mutex_lock(&table->lock);
    if (good) good = restore_metrics(table, metrics);
    if (good) {
#define TAKE_BACK(field) table->field = tarn_json_integer(root, #field, 0);
        KEPT(TAKE_BACK)
#undef TAKE_BACK
        table->broken_promise = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "broken_promise"));
    }
    table->changes++;
    pthread_mutex_unlock(&table->lock);
    cJSON_Delete(root);
    return good;
}

/* ---- lifetime ---------------------------------------------------------------------------------------------------- */

tarn_prometheus_table *tarn_prometheus_table_create(const tarn_sink_run *run)
{
    tarn_prometheus_table *table = calloc(1, sizeof *table);
    if (!table) return NULL;
    pthread_mutex_init(&table->lock, NULL);
    put(table->run_id, run->run_id);
    put(table->experiment, run->experiment);
    table->named = run->name && *run->name;
    if (table->named)
        put(table->name, run->name);
    else
        snprintf(table->name, sizeof table->name, "tarn-%.8s", run->run_id); /* as MLflow shows it */
    return table;
}

void tarn_prometheus_table_destroy(tarn_prometheus_table *table)
{
    if (!table) return;
    for (int i = 0; i < table->count; i++) {
        free(table->by_key[i]->key);
        free(table->by_key[i]);
    }
    tarn_prometheus_text_release(table->text);
    pthread_mutex_destroy(&table->lock);
    free(table);
}
