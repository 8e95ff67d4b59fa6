/* emit.c - see emit.h. */
#include "runtime/config/emit.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

struct tarn_yaml_writer {
    yaml_emitter_t emitter;
    bool failed;
    char *text;
    size_t used, size;
};

static int take(void *user, unsigned char *bytes, size_t length)
{
    tarn_yaml_writer *writer = user;
    if (writer->used + length + 1 > writer->size) {
        size_t size = 2 * (writer->used + length) + 1024;
        char *grown = realloc(writer->text, size);
        if (!grown) return 0;
        writer->text = grown;
        writer->size = size;
    }
    memcpy(writer->text + writer->used, bytes, length);
    writer->used += length;
    writer->text[writer->used] = 0;
    return 1;
}

/* The emitter takes the event over, also when it fails. */
static void emit(tarn_yaml_writer *writer, yaml_event_t *event, int initialised)
{
    if (!initialised)
        writer->failed = true;
    else if (writer->failed)
        yaml_event_delete(event);
    else if (!yaml_emitter_emit(&writer->emitter, event))
        writer->failed = true;
}

tarn_yaml_writer *tarn_yaml_begin(void)
{
    tarn_yaml_writer *writer = calloc(1, sizeof *writer);
    if (!writer || !yaml_emitter_initialize(&writer->emitter)) {
        free(writer);
        return NULL;
    }
    yaml_emitter_set_output(&writer->emitter, take, writer);
    yaml_emitter_set_unicode(&writer->emitter, 1);
    yaml_emitter_set_width(&writer->emitter, -1);
    yaml_emitter_set_indent(&writer->emitter, 2);
    yaml_event_t event;
    emit(writer, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING));
    return writer;
}

void tarn_yaml_begin_document(tarn_yaml_writer *writer)
{
    yaml_event_t event;
    emit(writer, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 0));
}

void tarn_yaml_end_document(tarn_yaml_writer *writer)
{
    yaml_event_t event;
    emit(writer, &event, yaml_document_end_event_initialize(&event, 1));
}

void tarn_yaml_begin_mapping(tarn_yaml_writer *writer)
{
    yaml_event_t event;
    emit(writer, &event, yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE));
}

void tarn_yaml_end_mapping(tarn_yaml_writer *writer)
{
    yaml_event_t event;
    emit(writer, &event, yaml_mapping_end_event_initialize(&event));
}

void tarn_yaml_begin_list(tarn_yaml_writer *writer)
{
    yaml_event_t event;
    emit(writer, &event, yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE));
}

void tarn_yaml_end_list(tarn_yaml_writer *writer)
{
    yaml_event_t event;
    emit(writer, &event, yaml_sequence_end_event_initialize(&event));
}

/* A word that YAML 1.1 and 1.2 both read as a string: begins with a letter, a slash or a dash in front of a letter, and
 * is none of the words that mean something. */
static bool is_word(const char *text)
{
    static const char *const reserved[] = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"};
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const char *first = text;
    while (*first == '-' || *first == '/') first++;
    if (!*first || !strchr(letters, *first) || !strncmp(text, "---", 3)) return false;
    if (strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-") != strlen(text))
        return false;
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (!strcasecmp(text, reserved[i])) return false;
    return true;
}

static void scalar(tarn_yaml_writer *writer, const char *text, yaml_scalar_style_t style)
{
    yaml_event_t event;
    int made =
        yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)strlen(text), 1, 1, style);
    emit(writer, &event, made);
}

void tarn_yaml_string(tarn_yaml_writer *writer, const char *text)
{
    scalar(writer, text,
           is_word(text)        ? YAML_PLAIN_SCALAR_STYLE
           : strchr(text, '\n') ? YAML_LITERAL_SCALAR_STYLE
                                : YAML_DOUBLE_QUOTED_SCALAR_STYLE);
}

void tarn_yaml_plain(tarn_yaml_writer *writer, const char *text)
{
    scalar(writer, text, YAML_PLAIN_SCALAR_STYLE);
}

char *tarn_yaml_finish(tarn_yaml_writer *writer)
{
    yaml_event_t event;
    emit(writer, &event, yaml_stream_end_event_initialize(&event));
    if (!writer->failed && !yaml_emitter_flush(&writer->emitter)) writer->failed = true;
    char *text = writer->text;
    if (writer->failed) {
        free(text);
        text = NULL;
    }
    yaml_emitter_delete(&writer->emitter);
    free(writer);
    return text;
}
