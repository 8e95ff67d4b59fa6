/* messages.c - see messages.h. */
#include "track/tensorboard/messages.h"
#include "runtime/config/number.h"

#include <string.h>

enum { EVENT_WALL = 1, EVENT_STEP = 2, EVENT_VERSION = 3, EVENT_SUMMARY = 5 };
enum { SUMMARY_VALUE = 1 };
enum { VALUE_TAG = 1, VALUE_SIMPLE = 2, VALUE_HISTOGRAM = 5, VALUE_TENSOR = 8, VALUE_METADATA = 9 };
enum { METADATA_PLUGIN = 1, PLUGIN_NAME = 1, PLUGIN_CONTENT = 2 };
enum {
    TENSOR_TYPE = 1,
    TENSOR_SHAPE = 2,
    TENSOR_STRING = 8,
    SHAPE_DIM = 2,
    DIM_SIZE = 1,
    TYPE_FLOAT = 1,
    TYPE_STRING = 7
};
enum {
    HPARAMS_START = 3,
    HPARAMS_END = 4,
    START_HPARAMS = 1,
    START_GROUP = 4,
    START_TIME = 5,
    END_STATUS = 1,
    END_TIME = 2
};
enum { STATUS_SUCCESS = 1 };
enum { STRUCT_NUMBER = 2, STRUCT_STRING = 3, STRUCT_BOOL = 4 }; /* google.protobuf.Value */

static const char start_tag[] = "_hparams_/session_start_info", end_tag[] = "_hparams_/session_end_info";

static void begin(tarn_event_writer *writer, const char *tag)
{
    tarn_protobuf_clear(&writer->value);
    tarn_protobuf_string(&writer->value, VALUE_TAG, tag);
}

/* The value at hand as an event of its own. */
static void end(tarn_event_writer *writer, double wall, int64_t step)
{
    tarn_protobuf_clear(&writer->summary);
    tarn_protobuf_message(&writer->summary, SUMMARY_VALUE, &writer->value);
    tarn_protobuf_clear(&writer->event);
    tarn_protobuf_double(&writer->event, EVENT_WALL, wall);
    if (step) tarn_protobuf_integer(&writer->event, EVENT_STEP, step);
    tarn_protobuf_message(&writer->event, EVENT_SUMMARY, &writer->summary);
    tarn_event_record(&writer->out, &writer->event);
}

void tarn_event_version(tarn_event_writer *writer, double wall)
{
    tarn_protobuf_clear(&writer->event);
    tarn_protobuf_double(&writer->event, EVENT_WALL, wall);
    tarn_protobuf_string(&writer->event, EVENT_VERSION, "brain.Event:2");
    tarn_event_record(&writer->out, &writer->event);
}

void tarn_event_scalar(tarn_event_writer *writer, double wall, int64_t step, const char *tag, float value)
{
    begin(writer, tag);
    tarn_protobuf_float(&writer->value, VALUE_SIMPLE, value);
    end(writer, wall, step);
}

void tarn_event_histogram(tarn_event_writer *writer, double wall, int64_t step, const char *tag,
                          const tarn_board_histogram *histogram)
{
    tarn_protobuf *message = &writer->inner[0];
    tarn_protobuf_clear(message);
    tarn_protobuf_double(message, 1, histogram->min);
    tarn_protobuf_double(message, 2, histogram->max);
    tarn_protobuf_double(message, 3, histogram->count);
    tarn_protobuf_double(message, 4, histogram->sum);
    tarn_protobuf_double(message, 5, histogram->sum_squares);
    tarn_protobuf_doubles(message, 6, histogram->limits, (size_t)histogram->buckets);
    tarn_protobuf_doubles(message, 7, histogram->counts, (size_t)histogram->buckets);
    begin(writer, tag);
    tarn_protobuf_message(&writer->value, VALUE_HISTOGRAM, message);
    end(writer, wall, step);
}

/* Whose value it is; `content` is the plug-in's message. */
static void plugin(tarn_event_writer *writer, const char *name, const tarn_protobuf *content)
{
    tarn_protobuf *data = &writer->inner[2], *metadata = &writer->inner[3];
    tarn_protobuf_clear(data);
    tarn_protobuf_string(data, PLUGIN_NAME, name);
    if (content) tarn_protobuf_message(data, PLUGIN_CONTENT, content);
    tarn_protobuf_clear(metadata);
    tarn_protobuf_message(metadata, METADATA_PLUGIN, data);
    tarn_protobuf_message(&writer->value, VALUE_METADATA, metadata);
}

/* A tensor of one dimension: a text, or, without one, no numbers at all. */
static void tensor(tarn_event_writer *writer, const char *text)
{
    tarn_protobuf *dim = &writer->inner[2], *shape = &writer->inner[3], *message = &writer->inner[0];
    tarn_protobuf_clear(dim);
    if (text) tarn_protobuf_integer(dim, DIM_SIZE, 1);
    tarn_protobuf_clear(shape);
    tarn_protobuf_message(shape, SHAPE_DIM, dim);
    tarn_protobuf_clear(message);
    tarn_protobuf_integer(message, TENSOR_TYPE, text ? TYPE_STRING : TYPE_FLOAT);
    tarn_protobuf_message(message, TENSOR_SHAPE, shape);
    if (text) tarn_protobuf_string(message, TENSOR_STRING, text);
    tarn_protobuf_message(&writer->value, VALUE_TENSOR, message);
}

void tarn_event_text(tarn_event_writer *writer, double wall, int64_t step, const char *tag, const char *text)
{
    begin(writer, tag);
    plugin(writer, "text", NULL);
    tensor(writer, text);
    end(writer, wall, step);
}

/* A parameter's text as google.protobuf.Value. */
static void hparam(tarn_protobuf *value, const char *text)
{
    double number;
    tarn_protobuf_clear(value);
    if (tarn_number_parse(text, &number))
        tarn_protobuf_double(value, STRUCT_NUMBER, number);
    else if (!strcmp(text, "true") || !strcmp(text, "false"))
        tarn_protobuf_integer(value, STRUCT_BOOL, *text == 't');
    else
        tarn_protobuf_string(value, STRUCT_STRING, text);
}

static void session(tarn_event_writer *writer, double wall, int field, const char *tag)
{
    tarn_protobuf *content = &writer->inner[0];
    tarn_protobuf_clear(content);
    tarn_protobuf_message(content, field, &writer->inner[1]);
    begin(writer, tag);
    plugin(writer, "hparams", content);
    tensor(writer, NULL);
    end(writer, wall, 0);
}

void tarn_event_session_start(tarn_event_writer *writer, double wall, const cJSON *parameters, const char *group)
{
    tarn_protobuf *info = &writer->inner[1], *entry = &writer->inner[2], *value = &writer->inner[3];
    tarn_protobuf_clear(info);
    for (const cJSON *item = parameters ? parameters->child : NULL; item; item = item->next) {
        hparam(value, item->valuestring);
        tarn_protobuf_clear(entry);
        tarn_protobuf_string(entry, 1, item->string);
        tarn_protobuf_message(entry, 2, value);
        tarn_protobuf_message(info, START_HPARAMS, entry);
    }
    tarn_protobuf_string(info, START_GROUP, group);
    tarn_protobuf_double(info, START_TIME, wall);
    session(writer, wall, HPARAMS_START, start_tag);
}

void tarn_event_session_success(tarn_event_writer *writer, double wall)
{
    tarn_protobuf *info = &writer->inner[1];
    tarn_protobuf_clear(info);
    tarn_protobuf_integer(info, END_STATUS, STATUS_SUCCESS);
    tarn_protobuf_double(info, END_TIME, wall);
    session(writer, wall, HPARAMS_END, end_tag);
}

void tarn_event_writer_free(tarn_event_writer *writer)
{
    tarn_protobuf_free(&writer->out);
    tarn_protobuf_free(&writer->event);
    tarn_protobuf_free(&writer->summary);
    tarn_protobuf_free(&writer->value);
    for (int i = 0; i < 4; i++) tarn_protobuf_free(&writer->inner[i]);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static void parse_tensor(tarn_protobuf_reader reader, tarn_event_seen *seen)
{
    for (tarn_protobuf_field field; tarn_protobuf_next(&reader, &field);)
        if (field.number == TENSOR_STRING && field.bytes) {
            seen->kind = TARN_EVENT_TEXT;
            seen->text = (const char *)field.bytes;
            seen->text_length = field.count;
        }
}

static bool parse_value(tarn_protobuf_reader reader, tarn_event_seen *seen)
{
    for (tarn_protobuf_field field; tarn_protobuf_next(&reader, &field);)
        if (field.number == VALUE_TAG) {
            seen->tag = (const char *)field.bytes;
            seen->tag_length = field.count;
        } else if (field.number == VALUE_SIMPLE)
            seen->kind = TARN_EVENT_SCALAR;
        else if (field.number == VALUE_HISTOGRAM)
            seen->kind = TARN_EVENT_HISTOGRAM;
        else if (field.number == VALUE_TENSOR)
            parse_tensor(tarn_protobuf_inner(&field), seen);
    if (seen->tag && seen->tag_length == sizeof start_tag - 1 && !memcmp(seen->tag, start_tag, seen->tag_length))
        seen->kind = TARN_EVENT_SESSION_START;
    if (seen->tag && seen->tag_length == sizeof end_tag - 1 && !memcmp(seen->tag, end_tag, seen->tag_length))
        seen->kind = TARN_EVENT_SESSION_END;
    if (!seen->tag) seen->kind = TARN_EVENT_OTHER;
    return !reader.bad;
}

bool tarn_event_parse(const unsigned char *bytes, size_t count, tarn_event_seen *seen)
{
    tarn_protobuf_reader reader = {.at = bytes, .end = bytes + count};
    *seen = (tarn_event_seen){0};
    for (tarn_protobuf_field field; tarn_protobuf_next(&reader, &field);)
        if (field.number == EVENT_WALL)
            seen->wall = tarn_protobuf_field_double(&field);
        else if (field.number == EVENT_STEP)
            seen->step = (int64_t)field.integer;
        else if (field.number == EVENT_SUMMARY) {
            tarn_protobuf_reader summary = tarn_protobuf_inner(&field);
            for (tarn_protobuf_field value; tarn_protobuf_next(&summary, &value);)
                if (value.number == SUMMARY_VALUE && !parse_value(tarn_protobuf_inner(&value), seen)) return false;
            if (summary.bad) return false;
        }
    return !reader.bad;
}
