/* records.c - see records.h. */
#include "track/wandb/records.h"
#include "runtime/config/number.h"

#include <stdlib.h>
#include <string.h>

enum { RECORD_NUMBER = 1, RECORD_INFO = 200, INFO_STREAM = 1 };
enum { ITEM_KEY = 1, ITEM_NESTED = 2, ITEM_JSON = 16 };
enum { MOST_BINS = 512 }; /* W&B refuses more */

static void time_stamp(tarn_protobuf *message, int field, int64_t time_ms)
{
    tarn_protobuf stamp = {0};
    tarn_protobuf_integer(&stamp, 1, time_ms / 1000);
    if (time_ms % 1000) tarn_protobuf_integer(&stamp, 2, time_ms % 1000 * 1000000);
    tarn_protobuf_message(message, field, &stamp);
    tarn_protobuf_free(&stamp);
}

int64_t tarn_wandb_timestamp(const tarn_protobuf_field *field)
{
    int64_t time_ms = 0;
    tarn_protobuf_reader reader = tarn_protobuf_inner(field);
    for (tarn_protobuf_field part; tarn_protobuf_next(&reader, &part);) {
        if (part.number == 1) time_ms += (int64_t)part.integer * 1000;
        if (part.number == 2) time_ms += (int64_t)part.integer / 1000000;
    }
    return time_ms;
}

static void known(tarn_protobuf *message, int field, const char *text)
{
    if (text && *text) tarn_protobuf_string(message, field, text);
}

/* ---- items ------------------------------------------------------------------------------------------------------- */

void tarn_wandb_item(tarn_protobuf *items, const char *key, const char *below, const char *json)
{
    tarn_protobuf item = {0};
    tarn_protobuf_string(&item, ITEM_NESTED, key);
    if (below) tarn_protobuf_string(&item, ITEM_NESTED, below);
    tarn_protobuf_string(&item, ITEM_JSON, json);
    tarn_protobuf_message(items, 1, &item);
    tarn_protobuf_free(&item);
}

void tarn_wandb_item_number(tarn_protobuf *items, const char *key, double value)
{
    char text[TARN_NUMBER_TEXT];
    tarn_number_print(text, value);
    tarn_wandb_item(items, key, NULL, text);
}

static void add_number(tarn_protobuf *text, double value)
{
    char printed[TARN_NUMBER_TEXT];
    if (text->used > 1) tarn_protobuf_raw(text, ",", 1);
    tarn_protobuf_raw(text, printed, (size_t)tarn_number_print(printed, value));
}

bool tarn_wandb_item_histogram(tarn_protobuf *items, const char *key, const tarn_board_histogram *histogram)
{
    tarn_protobuf bins = {0}, values = {0};
    int join = 1 + (histogram->buckets - 1) / MOST_BINS;
    double edge = histogram->min < histogram->limits[0] ? histogram->min : histogram->limits[0];
    tarn_protobuf_raw(&bins, "[", 1);
    tarn_protobuf_raw(&values, "[", 1);
    add_number(&bins, edge);
    for (int i = 0; i < histogram->buckets; i += join) {
        int end = i + join < histogram->buckets ? i + join : histogram->buckets;
        double count = 0, limit = histogram->limits[end - 1];
        for (int k = i; k < end; k++) count += histogram->counts[k];
        /* The outermost bucket ends where the values do. */
        if (end == histogram->buckets && histogram->max > edge && histogram->max < limit) limit = histogram->max;
        add_number(&bins, limit);
        add_number(&values, count);
        edge = limit;
    }
    tarn_protobuf_raw(&bins, "]", 2);
    tarn_protobuf_raw(&values, "]", 2);
    bool made = !bins.failed && !values.failed;
    if (made) {
        tarn_wandb_item(items, key, "_type", "\"histogram\"");
        tarn_wandb_item(items, key, "values", (const char *)values.bytes);
        tarn_wandb_item(items, key, "bins", (const char *)bins.bytes);
    }
    tarn_protobuf_free(&bins);
    tarn_protobuf_free(&values);
    return made;
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

void tarn_wandb_header(tarn_protobuf *out)
{
    tarn_protobuf version = {0};
    tarn_protobuf_string(&version, 1, "tarn");
    tarn_protobuf_string(&version, 2, "0.70.0"); /* the oldest server that reads it; as wandb 0.31.0 says */
    tarn_protobuf_clear(out);
    tarn_protobuf_message(out, 1, &version);
    tarn_protobuf_free(&version);
}

static void config_item(tarn_protobuf *config, const char *key, const char *json)
{
    tarn_protobuf item = {0};
    tarn_protobuf_string(&item, ITEM_KEY, key);
    tarn_protobuf_string(&item, ITEM_JSON, json);
    tarn_protobuf_message(config, 1, &item);
    tarn_protobuf_free(&item);
}

void tarn_wandb_config(tarn_protobuf *out, const char *key, const char *json)
{
    tarn_protobuf_clear(out);
    config_item(out, key, json);
}

static void telemetry(tarn_protobuf *run)
{
    tarn_protobuf message = {0}, feature = {0};
    tarn_protobuf_integer(&feature, 4, 1); /* offline */
    tarn_protobuf_message(&message, 3, &feature);
    tarn_protobuf_message(run, 19, &message);
    tarn_protobuf_free(&message);
    tarn_protobuf_free(&feature);
}

static void commit(tarn_protobuf *message, int field, const char *id)
{
    if (!*id) return;
    tarn_protobuf git = {0};
    tarn_protobuf_string(&git, 2, id);
    tarn_protobuf_message(message, field, &git);
    tarn_protobuf_free(&git);
}

void tarn_wandb_make_run(tarn_protobuf *out, const tarn_wandb_run *run, const tarn_wandb_process *process)
{
    tarn_protobuf config = {0};
    tarn_protobuf_clear(out);
    tarn_protobuf_string(out, 1, run->id);
    tarn_protobuf_string(out, 3, run->project);
    config_item(&config, "_wandb", "{}");
    for (const cJSON *item = run->config ? run->config->child : NULL; item; item = item->next)
        config_item(&config, item->string, item->valuestring);
    tarn_protobuf_message(out, 4, &config);
    tarn_protobuf_free(&config);
    tarn_protobuf_string(out, 8, run->name);
    known(out, 9, run->notes);
    known(out, 13, process->host);
    time_stamp(out, 17, run->start_ms);
    telemetry(out);
    commit(out, 21, process->commit);
}

static void number(tarn_protobuf *message, int field, int64_t value)
{
    if (value > 0) tarn_protobuf_integer(message, field, value);
}

void tarn_wandb_environment(tarn_protobuf *out, const tarn_wandb_process *process)
{
    tarn_protobuf inner = {0};
    tarn_protobuf_clear(out);
    known(out, 1, process->system);
    time_stamp(out, 3, process->time_ms);
    known(out, 6, process->source);
    commit(out, 9, process->commit);
    known(out, 11, process->folder);
    known(out, 12, process->host);
    known(out, 13, process->user);
    known(out, 14, process->source);
    number(out, 16, process->cores);
    number(out, 17, process->threads);
    if (process->memory) {
        number(&inner, 1, process->memory);
        tarn_protobuf_message(out, 21, &inner);
        tarn_protobuf_clear(&inner);
    }
    if (*process->processor) {
        tarn_protobuf_string(&inner, 3, process->processor);
        tarn_protobuf_message(out, 22, &inner);
    }
    tarn_protobuf_string(out, 199, process->writer);
    tarn_protobuf_free(&inner);
}

void tarn_wandb_metric(tarn_protobuf *out, const char *name)
{
    tarn_protobuf options = {0};
    tarn_protobuf_clear(out);
    tarn_protobuf_string(out, 1, name ? name : TARN_WANDB_STEP);
    if (name) {
        tarn_protobuf_string(out, 4, TARN_WANDB_STEP);
        tarn_protobuf_integer(&options, 1, 1); /* step_sync */
    }
    tarn_protobuf_integer(&options, 3, 1); /* defined */
    tarn_protobuf_message(out, 6, &options);
    tarn_protobuf_free(&options);
}

void tarn_wandb_history(tarn_protobuf *out, const tarn_protobuf *items, int64_t step)
{
    tarn_protobuf number = {0};
    tarn_protobuf_clear(out);
    if (items->failed) out->failed = true;
    tarn_protobuf_raw(out, items->bytes, items->used);
    tarn_protobuf_integer(&number, 1, step);
    tarn_protobuf_message(out, 2, &number);
    tarn_protobuf_free(&number);
}

void tarn_wandb_files(tarn_protobuf *out, const char *path)
{
    tarn_protobuf item = {0};
    tarn_protobuf_clear(out);
    tarn_protobuf_string(&item, 1, path);
    tarn_protobuf_message(out, 1, &item);
    tarn_protobuf_free(&item);
}

void tarn_wandb_exit(tarn_protobuf *out, int code, int64_t seconds)
{
    tarn_protobuf_clear(out);
    number(out, 1, code);
    number(out, 2, seconds);
}

void tarn_wandb_stats_begin(tarn_protobuf *out, int64_t time_ms)
{
    tarn_protobuf_clear(out);
    time_stamp(out, 2, time_ms);
}

void tarn_wandb_stats_add(tarn_protobuf *out, const char *key, double value)
{
    tarn_protobuf item = {0};
    char text[TARN_NUMBER_TEXT];
    tarn_number_print(text, value);
    tarn_protobuf_string(&item, ITEM_KEY, key);
    tarn_protobuf_string(&item, ITEM_JSON, text);
    tarn_protobuf_message(out, 3, &item);
    tarn_protobuf_free(&item);
}

void tarn_wandb_record(tarn_protobuf *record, int type, const tarn_protobuf *message, int64_t count, const char *stream)
{
    tarn_protobuf info = {0};
    tarn_protobuf_clear(record);
    tarn_protobuf_integer(record, RECORD_NUMBER, count);
    tarn_protobuf_message(record, type, message);
    tarn_protobuf_string(&info, INFO_STREAM, stream);
    tarn_protobuf_message(record, RECORD_INFO, &info);
    tarn_protobuf_free(&info);
}

/* ---- files/wandb-metadata.json ----------------------------------------------------------------------------------- */

char *tarn_wandb_metadata(const tarn_wandb_process *process)
{
    cJSON *object = cJSON_CreateObject();
    const struct {
        const char *key, *text;
    } texts[] = {{"os", process->system},      {"program", process->source}, {"root", process->folder},
                 {"host", process->host},      {"username", process->user},  {"executable", process->source},
                 {"writerId", process->writer}};
    for (size_t i = 0; object && i < sizeof texts / sizeof *texts; i++)
        if (*texts[i].text) cJSON_AddStringToObject(object, texts[i].key, texts[i].text);
    if (object && process->cores) cJSON_AddNumberToObject(object, "cpu_count", (double)process->cores);
    if (object && process->threads) cJSON_AddNumberToObject(object, "cpu_count_logical", (double)process->threads);
    if (object && *process->commit)
        cJSON_AddStringToObject(cJSON_AddObjectToObject(object, "git"), "commit", process->commit);
    char *text = object ? cJSON_Print(object) : NULL;
    cJSON_Delete(object);
    return text;
}
